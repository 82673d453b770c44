//! Zoom's webhooks: checking the signature, and reading the event. Source: Zoom's documentation of webhooks, 2026-03.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::Sha256;

use crate::model::parse_time;

/// Webhooks that are older are refused: they may be replayed.
const OLDEST: TimeDelta = TimeDelta::minutes(5);

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WebhookEvent {
    /// Zoom validates the endpoint. This is the answer.
    Validation(String),
    /// Something happened on this day in a meeting of the account.
    Day(NaiveDate),
    /// Something that changes nothing here.
    Other,
}

/// Why a webhook is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The signature is missing or wrong.
    Signature,
    /// It is too old, or from the future.
    Time,
    /// It is about another account.
    Account,
    /// It is not what Zoom sends.
    Malformed,
}

/// Reads a webhook. `signature` is `v0=` and the hex digest of HMAC-SHA-256 over `v0:TIMESTAMP:BODY`.
pub(super) fn read(
    secret: &SecretString,
    account: &str,
    signature: &str,
    timestamp: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<WebhookEvent, Refused> {
    let given = signature
        .strip_prefix("v0=")
        .and_then(unhex)
        .ok_or(Refused::Signature)?;
    let mut mac = keyed(secret);
    mac.update(b"v0:");
    mac.update(timestamp.as_bytes());
    mac.update(b":");
    mac.update(body);
    // This compares in constant time.
    mac.verify_slice(&given).map_err(|_| Refused::Signature)?;
    let at = timestamp
        .parse()
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    if at.is_none_or(|at| (now - at).abs() > OLDEST) {
        return Err(Refused::Time);
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| Refused::Malformed)?;
    let (event, payload) = (body["event"].as_str().unwrap_or_default(), &body["payload"]);
    match event {
        "endpoint.url_validation" => {
            let plain = payload["plainToken"].as_str().ok_or(Refused::Malformed)?;
            let mut mac = keyed(secret);
            mac.update(plain.as_bytes());
            let encrypted: String = mac
                .finalize()
                .into_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let answer = serde_json::json!({"plainToken": plain, "encryptedToken": encrypted});
            Ok(WebhookEvent::Validation(answer.to_string()))
        }
        "meeting.ended" | "meeting.participant_left" | "webinar.ended" | "webinar.participant_left" => {
            if payload["account_id"].as_str() != Some(account) {
                return Err(Refused::Account);
            }
            let object = &payload["object"];
            let times = [&object["end_time"], &object["participant"]["leave_time"]];
            let at = times.into_iter().find_map(|time| parse_time(time.as_str()?));
            Ok(WebhookEvent::Day(at.unwrap_or(now).min(now).date_naive()))
        }
        _ => Ok(WebhookEvent::Other),
    }
}

fn keyed(secret: &SecretString) -> Hmac<Sha256> {
    let key = secret.expose_secret().as_bytes();
    // HMAC takes a key of any length.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret token";

    fn signed(timestamp: &str, body: &str) -> String {
        let mut mac = keyed(&SECRET.to_owned().into());
        mac.update(format!("v0:{timestamp}:{body}").as_bytes());
        let digest: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("v0={digest}")
    }

    #[test]
    fn a_webhook_needs_a_valid_signature_a_fresh_timestamp_and_the_right_account() {
        let now = parse_time("2026-03-04T10:00:00Z").unwrap();
        let (fresh, old) = (
            now.timestamp().to_string(),
            (now - TimeDelta::seconds(301)).timestamp().to_string(),
        );
        let heard = |timestamp: &str, body: &str, signature: &str| {
            read(
                &SECRET.to_owned().into(),
                "ours",
                signature,
                timestamp,
                body.as_bytes(),
                now,
            )
        };
        let ended = r#"{"event":"meeting.ended","payload":{"account_id":"ours","object":{"end_time":"2026-03-03T23:59:00Z"}}}"#;
        assert_eq!(
            heard(&fresh, ended, &signed(&fresh, ended)),
            Ok(WebhookEvent::Day("2026-03-03".parse().unwrap()))
        );
        let webinar = ended.replace("meeting.ended", "webinar.ended");
        assert_eq!(
            heard(&fresh, &webinar, &signed(&fresh, &webinar)),
            Ok(WebhookEvent::Day("2026-03-03".parse().unwrap()))
        );
        let left = r#"{"event":"meeting.participant_left","payload":{"account_id":"ours","object":{"participant":{"leave_time":"2099-01-01T00:00:00Z"}}}}"#;
        assert_eq!(
            heard(&fresh, left, &signed(&fresh, left)),
            Ok(WebhookEvent::Day(now.date_naive()))
        );
        assert_eq!(heard(&old, ended, &signed(&old, ended)), Err(Refused::Time));
        for signature in [
            "",
            "v0=",
            "v0=zz",
            "v0=00",
            "sha=00",
            &signed(&fresh, left),
            &signed(&old, ended),
        ] {
            assert_eq!(
                heard(&fresh, ended, signature),
                Err(Refused::Signature),
                "{signature}"
            );
        }
        let theirs = ended.replace("ours", "theirs");
        assert_eq!(
            heard(&fresh, &theirs, &signed(&fresh, &theirs)),
            Err(Refused::Account)
        );
        assert_eq!(heard(&fresh, "[", &signed(&fresh, "[")), Err(Refused::Malformed));
        assert_eq!(
            heard(&fresh, "{}", &signed(&fresh, "{}")),
            Ok(WebhookEvent::Other)
        );
        // As Zoom's documentation computes it, checked with openssl.
        let asked =
            r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
        let Ok(WebhookEvent::Validation(answer)) = heard(&fresh, asked, &signed(&fresh, asked)) else {
            panic!()
        };
        assert!(
            answer.contains("\"plainToken\":\"qgg8vlvZRS6UYooatFL8Aw\""),
            "{answer}"
        );
    }
}
