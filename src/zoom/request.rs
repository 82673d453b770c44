//! One request to Zoom: paced, with a token, and retried where that makes sense.

use std::sync::atomic::Ordering;

use secrecy::ExposeSecret;

use super::{
    DEFAULT_API_URL, Error, Zoom, auth,
    http::{self, Verdict, encode},
    wire::{self, Page},
};
use crate::{model::Label, untrusted::Secrets};

/// How often one request may be answered with 429, in addition to its retries.
const THROTTLES: u32 = 20;

impl Zoom {
    /// Sends a request and reads the answer. `array` names the member that holds the list; empty if there is none.
    pub(super) async fn get(
        &self,
        label: Label,
        what: &str,
        path: &str,
        query: &[(&str, String)],
        array: &str,
    ) -> Result<Page, Error> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut delays = self
            .settings
            .retry
            .delays(self.settings.seed.wrapping_add(number));
        let (mut throttles, mut renewed) = (0, false);
        loop {
            let token = self.token().await?;
            let permit = self.pacer.acquire(label).await?;
            let begun = tokio::time::Instant::now();
            let url = self.url(&token, path, query)?;
            let way = self.settings.proxies.way(&url);
            let request = self
                .client
                .get(url)
                .bearer_auth(token.secret.expose_secret())
                .timeout(self.settings.timeout);
            let answer = http::send(request, self.settings.answer_limit_bytes, &way).await;
            drop(permit);
            let result = match &answer {
                Ok(answer) if answer.status.is_success() => "ok",
                Ok(answer) if answer.status.as_u16() == 429 => "throttled",
                Ok(_) => "refused",
                Err(_) => "unreachable",
            };
            self.settings.traffic.count(label, result, begun.elapsed());
            let verdict = match answer {
                Ok(mut answer) => {
                    let (ms, status) = (begun.elapsed().as_millis() as u64, answer.status.as_u16());
                    tracing::debug!(path, %label, status, ms, "Zoom answered");
                    let hidden = || self.settings.secrets().with(&token.secret);
                    if let Some(refusal) = way.answered(status, !answer.is_page()) {
                        Verdict::Final(Error::Proxy { said: refusal.said })
                    } else if answer.status.is_success() {
                        match read(&answer, what, array, hidden) {
                            Ok(page) => return Ok(page),
                            Err(verdict) => verdict,
                        }
                    } else {
                        answer.hide(&hidden());
                        http::judge(&answer, what, label, self.clock.now())
                    }
                }
                Err(error @ Error::Unreachable { .. }) => Verdict::Again(error, None),
                Err(error) => Verdict::Final(error),
            };
            let (error, at_least) = match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::TooFast(wait) => {
                    throttles += 1;
                    let wait_ms = wait.as_millis() as u64;
                    if self.pacer.throttled(label, wait) {
                        tracing::warn!(what, %label, wait_ms, "Zoom answered 429: slowing down");
                    } else {
                        tracing::debug!(what, %label, wait_ms, "Zoom answered 429 again");
                    }
                    if throttles > THROTTLES {
                        return Err(Error::Throttled {
                            what: what.to_owned(),
                        });
                    }
                    continue;
                }
                Verdict::Unauthorised => {
                    self.tokens.refused(token.generation).await;
                    if !renewed {
                        renewed = true;
                        continue;
                    }
                    (
                        Error::Credentials {
                            said: "the token it has just given is refused".to_owned(),
                        },
                        None,
                    )
                }
                Verdict::Again(error, at_least) => (error, at_least),
            };
            let Some(delay) = delays.next() else {
                return Err(error);
            };
            let delay = delay.max(at_least.unwrap_or_default().min(self.settings.retry.max));
            tracing::warn!(what, %error, delay_ms = delay.as_millis() as u64, "trying again");
            tokio::time::sleep(delay).await;
        }
    }

    fn url(&self, token: &auth::Token, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, Error> {
        let base = match (&self.settings.api_url, &token.api_url) {
            (Some(configured), _) => configured.clone(),
            (None, Some(regional)) => with_version(regional),
            (None, None) => DEFAULT_API_URL.to_owned(),
        };
        let mut url = format!("{}{path}", base.trim_end_matches('/'));
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        reqwest::Url::parse(&url)
            .map_err(|error| Error::Configuration(format!("{base:?} is no URL: {error}")))
    }
}

/// Reads a successful answer.
fn read(
    answer: &http::Answer,
    what: &str,
    array: &str,
    secrets: impl Fn() -> Secrets,
) -> Result<Page, Verdict> {
    match wire::page(&answer.body, array) {
        // Zoom sometimes reports an error with status 200. No answer that is requested here has a `code` of its own.
        Ok(page) if page.head.get("code").is_some() => {
            let (code, message) = wire::error_body(&answer.body).unwrap_or_default();
            let message = secrets().hide(&message).into_owned();
            Err(http::code_means(answer.status.as_u16(), code, &message, what))
        }
        Ok(page) => Ok(page),
        Err(reason) => Err(Verdict::Again(
            Error::Malformed {
                what: what.to_owned(),
                reason,
            },
            None,
        )),
    }
}

/// The API's URL with its version: the token's answer names only the host.
fn with_version(api_url: &str) -> String {
    let api_url = api_url.trim().trim_end_matches('/');
    match reqwest::Url::parse(api_url) {
        Ok(url) if url.path().trim_matches('/').is_empty() => format!("{api_url}/v2"),
        _ => api_url.to_owned(),
    }
}
