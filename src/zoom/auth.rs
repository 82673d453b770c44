//! Server-to-Server OAuth: one token at a time, however many requests want it.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{Error, Settings, http, wire::one_line};

/// A token is renewed this long before it expires.
const EARLY: Duration = Duration::from_secs(60);

/// A token, and which one it is: a request that was refused says with which it went out, so that many refusals renew it once.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub secret: SecretString,
    pub generation: u64,
    pub api_url: Option<String>,
    pub scopes: Vec<String>,
    expires_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    api_url: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Where the token is kept.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    current: Mutex<Option<Token>>,
}

impl Tokens {
    /// A token that is valid for a while.
    pub async fn get(&self, client: &reqwest::Client, settings: &Settings) -> Result<Token, Error> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(token) if token.expires_at > Instant::now() => Ok(token.clone()),
            before => {
                let generation = before.as_ref().map_or(0, |token| token.generation) + 1;
                let token = request(client, settings, generation).await?;
                *current = Some(token.clone());
                Ok(token)
            }
        }
    }

    /// Forgets the token of that generation, if it is still the one in use.
    pub async fn refused(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_mut().filter(|token| token.generation == generation) {
            token.expires_at = Instant::now();
        }
    }
}

async fn request(client: &reqwest::Client, settings: &Settings, generation: u64) -> Result<Token, Error> {
    let credentials = format!(
        "{}:{}",
        settings.client_id.trim(),
        settings.client_secret.expose_secret().trim()
    );
    let body = format!(
        "grant_type=account_credentials&account_id={}",
        http::encode(settings.account_id.as_str().trim())
    );
    let mut delays = settings.retry.delays(settings.seed ^ generation);
    loop {
        let request = client
            .post(&settings.oauth_url)
            .header(
                "authorization",
                format!("Basic {}", BASE64_STANDARD.encode(&credentials)),
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(settings.timeout)
            .body(body.clone());
        let error = match http::send(request, settings.answer_limit_bytes).await {
            Ok(answer) if answer.status.is_success() => {
                match serde_json::from_slice::<Answer>(&answer.body) {
                    Ok(answer) => {
                        let lives = Duration::from_secs(answer.expires_in.unwrap_or(3600));
                        return Ok(Token {
                            secret: answer.access_token,
                            generation,
                            api_url: answer.api_url.filter(|url| !url.trim().is_empty()),
                            scopes: answer
                                .scope
                                .unwrap_or_default()
                                .split_whitespace()
                                .map(str::to_owned)
                                .collect(),
                            // A token that lives shorter than the margin is used for half its life.
                            expires_at: Instant::now() + lives.checked_sub(EARLY).unwrap_or(lives / 2),
                        });
                    }
                    Err(_) => Error::Malformed {
                        what: "the token".into(),
                        reason: "it is not the JSON it should be".into(),
                    },
                }
            }
            Ok(answer) if answer.status.is_server_error() || answer.status.as_u16() == 429 => Error::Server {
                what: "the token".into(),
                status: answer.status.as_u16(),
            },
            Ok(answer) => {
                let said = serde_json::from_slice::<Refusal>(&answer.body)
                    .ok()
                    .and_then(|refusal| {
                        let said: Vec<String> = [refusal.reason, refusal.message, refusal.error]
                            .into_iter()
                            .flatten()
                            .collect();
                        (!said.is_empty()).then(|| said.join(", "))
                    });
                let said = said.unwrap_or_else(|| format!("HTTP {}", answer.status.as_u16()));
                return Err(Error::Credentials {
                    said: one_line(&said),
                });
            }
            Err(error) => error,
        };
        match delays.next() {
            Some(delay) => {
                tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "asking for a token again");
                tokio::time::sleep(delay).await;
            }
            None => {
                // Without a token nothing can be asked: that is no meeting's fault, whatever the answer looked like.
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
