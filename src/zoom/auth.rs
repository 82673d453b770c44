//! Server-to-Server OAuth: one token at a time, shared by all requests.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};

use super::{Error, Settings, ZoomDate, date, http, wire};
use crate::{
    model::{Clock, Json, Row},
    untrusted::one_line,
};

/// A token is renewed this long before it expires.
const EARLY: Duration = Duration::from_secs(60);

/// A token and its generation. A refused request names the generation that it used, so that many refusals renew the token only once.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub secret: SecretString,
    pub generation: u64,
    pub api_url: Option<String>,
    pub scopes: Vec<String>,
    pub date: ZoomDate,
    expires_at: Instant,
}

/// Keeps the current token.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    current: Mutex<Option<Token>>,
    /// The error of getting it ahead, for the next request.
    failure: Mutex<Option<Error>>,
}

impl Tokens {
    /// Gets a token before the first request. A failure is reported by that request.
    pub async fn get_ahead(&self, client: &reqwest::Client, settings: &Settings, clock: &Clock) {
        let failure = self.get(client, settings, clock).await.err();
        *self.failure.lock().await = failure;
    }

    /// Returns a token that is still valid, and requests a new one if needed. The answer with a new token also sets the clock.
    pub async fn get(
        &self,
        client: &reqwest::Client,
        settings: &Settings,
        clock: &Clock,
    ) -> Result<Token, Error> {
        let mut current = self.current.lock().await;
        if let Some(error) = self.failure.lock().await.take() {
            return Err(error);
        }
        match &*current {
            Some(token) if token.expires_at > Instant::now() => Ok(token.clone()),
            before => {
                let generation = before.as_ref().map_or(0, |token| token.generation) + 1;
                let token = request(client, settings, clock, generation).await?;
                match &token.date {
                    // Logged once, not again at every renewal.
                    date if before.as_ref().is_some_and(|before| alike(&before.date, date)) => {}
                    ZoomDate::Missing | ZoomDate::Agrees => tracing::debug!("{}", token.date),
                    ZoomDate::Absurd { .. } | ZoomDate::Differs { .. } => tracing::warn!("{}", token.date),
                }
                *current = Some(token.clone());
                Ok(token)
            }
        }
    }

    /// Makes the token of that generation expire, if it is still in use.
    pub async fn refused(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_mut().filter(|token| token.generation == generation) {
            token.expires_at = Instant::now();
        }
    }
}

/// Whether both have the same verdict on the clock, whatever their times.
fn alike(one: &ZoomDate, other: &ZoomDate) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

async fn request(
    client: &reqwest::Client,
    settings: &Settings,
    clock: &Clock,
    generation: u64,
) -> Result<Token, Error> {
    let (user, password) = (
        settings.client_id.trim(),
        settings.client_secret.expose_secret().trim(),
    );
    let secrets = settings.secrets();
    let body = format!(
        "grant_type=account_credentials&account_id={}",
        http::encode(settings.account_id.as_str().trim())
    );
    let way = super::way(&settings.proxies, &settings.oauth_url);
    let mut delays = settings.retry.delays(settings.seed ^ generation);
    loop {
        let request = client
            .post(&settings.oauth_url)
            .basic_auth(user, Some(password))
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(settings.timeout)
            .body(body.clone());
        let asked = clock.now();
        let answer = http::send(request, settings.answer_limit_bytes, &way).await;
        if let Ok(answer) = &answer
            && let Some(refusal) = way.answered(answer.status.as_u16(), !answer.is_page())
        {
            return Err(Error::Proxy { said: refusal.said });
        }
        let error = match answer {
            Ok(answer) if answer.status.is_success() => match read(&answer.body, generation) {
                Ok(token) => {
                    let token = checked(token, settings)?;
                    let date = date::follow(clock, &answer.headers, asked);
                    return Ok(Token { date, ..token });
                }
                Err(reason) => Error::Malformed {
                    what: "the token".into(),
                    reason,
                },
            },
            Ok(answer) if answer.status.is_server_error() || answer.status.as_u16() == 429 => Error::Server {
                what: "the token".into(),
                status: answer.status.as_u16(),
            },
            Ok(answer) if answer.status.is_redirection() => {
                return Err(Error::Configuration(format!(
                    "ZOOM_OAUTH_URL redirects to {}, which is not followed: the credentials are for Zoom only",
                    secrets.hide(&answer.redirects_to())
                )));
            }
            Ok(mut answer) => {
                answer.hide(&secrets);
                return Err(Error::Credentials {
                    said: one_line(&refusal(&answer)),
                });
            }
            Err(error @ Error::Proxy { .. }) => return Err(error),
            Err(error) => error,
        };
        match delays.next() {
            Some(delay) => {
                tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "asking for a token again");
                tokio::time::sleep(delay).await;
            }
            None => {
                // Without a token no request is possible. So the error must not look like one of a single meeting, whatever the answer was.
                return Err(match error {
                    Error::Server { .. } | Error::Unreachable { .. } => error,
                    other => Error::Unreachable {
                        said: other.to_string(),
                    },
                });
            }
        }
    }
}

/// The longest lifetime of a token, whatever its answer says. Zoom's tokens live for an hour.
const LONGEST_LIFE_S: u64 = 24 * 3600;

/// Reads the token in an answer.
fn read(body: &[u8], generation: u64) -> Result<Token, String> {
    let answer = wire::object(body)?;
    let text = |name| answer.text(name).trim().to_owned();
    let secret = text("access_token");
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds no access_token that a header can carry".to_owned());
    }
    let lives_s = answer.get("expires_in").and_then(Json::text_or_number);
    let lives_s = lives_s.and_then(|seconds| seconds.trim().parse().ok());
    let lives = Duration::from_secs(lives_s.unwrap_or(3600).min(LONGEST_LIFE_S));
    Ok(Token {
        secret: secret.into(),
        generation,
        api_url: Some(text("api_url")).filter(|url| !url.is_empty()),
        scopes: text("scope").split_whitespace().map(str::to_owned).collect(),
        date: ZoomDate::Missing,
        // A token that lives for less than the margin is used for half its lifetime.
        expires_at: Instant::now() + lives.checked_sub(EARLY).unwrap_or(lives / 2),
    })
}

/// Refuses an API to which the token would be sent unencrypted, unless the token itself came unencrypted (in a simulation).
fn checked(token: Token, settings: &Settings) -> Result<Token, Error> {
    let scheme = |url: &str| reqwest::Url::parse(url).map(|url| url.scheme().to_owned()).ok();
    let unused = settings.api_url.is_some();
    match token.api_url.as_deref().filter(|_| !unused).map(scheme) {
        None => Ok(token),
        Some(Some(as_named))
            if as_named == "https" || scheme(&settings.oauth_url) == Some(as_named.clone()) =>
        {
            Ok(token)
        }
        Some(_) => Err(Error::Configuration(
            "the answer with the token names an API that is not https; set ZOOM_API_URL to the right one"
                .to_owned(),
        )),
    }
}

fn refusal(answer: &http::Answer) -> String {
    let row = wire::object(&answer.body).unwrap_or_else(|_| Row::empty());
    let said: Vec<_> = ["reason", "message", "error"]
        .into_iter()
        .map(|name| row.text(name))
        .filter(|said| !said.is_empty())
        .collect();
    match said.is_empty() {
        true => format!("HTTP {}", answer.status.as_u16()),
        false => said.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_token_lifetime_is_bounded_and_nothing_panics() {
        let now = Instant::now();
        for (expires_in, longest_s) in [
            (json!(3599), 3600),
            (json!("3599"), 3600),
            (json!(u64::MAX), LONGEST_LIFE_S),
            (json!(-5), 3600),
            (json!(1e300), 3600),
            (json!(null), 3600),
            (json!({}), 3600),
            (json!(0), 1),
        ] {
            let body = json!({"access_token": "t", "expires_in": expires_in, "scope": 5, "api_url": []});
            let token = read(body.to_string().as_bytes(), 1).unwrap();
            let lives = token.expires_at.saturating_duration_since(now);
            assert!(lives <= Duration::from_secs(longest_s), "{expires_in}: {lives:?}");
        }
        for body in [
            r#"{"access_token": ""}"#,
            r#"{"access_token": "a\nb"}"#,
            r#"{"access_token": 7}"#,
            "{}",
            "",
        ] {
            assert!(read(body.as_bytes(), 1).is_err(), "{body}");
        }
    }
}
