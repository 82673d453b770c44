//! Text from outside: makes it safe to show, and keeps secrets out of it. Pure; every room may use it.

use std::{borrow::Cow, fmt};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

/// Whether a character controls terminals, breaks lines, changes the writing direction or is invisible. Joiners are not included: names and emoji
/// need them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with every character that [`steers`] replaced by `U+FFFD`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) {
        let shown = text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c });
        shown.collect::<String>().into()
    } else {
        text.into()
    }
}

/// The operating system's message for a failure, without its number.
pub fn system_said(error: &std::io::Error) -> String {
    let said = error.to_string();
    match said.rfind(" (os error ") {
        Some(end) => said[..end].to_owned(),
        None => said,
    }
}

/// The most characters of text from outside that go into a message or into the catalog.
const LONGEST_LINE: usize = 400;

/// A server's text as one line of bounded length, for terminals and logs.
pub fn one_line(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "no message".to_owned();
    }
    let mut characters = text.chars().map(|c| if steers(c) { ' ' } else { c });
    let mut line: String = characters.by_ref().take(LONGEST_LINE).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// Secrets in the forms in which they are sent. If a server quotes the request, they must be neither printed nor stored.
#[derive(Clone, Default)]
pub struct Secrets(Vec<SecretString>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Adds one secret.
    #[must_use]
    pub fn with(&self, secret: &SecretString) -> Self {
        let secret = secret.expose_secret().trim();
        let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let in_json = serde_json::Value::from(secret).to_string();
        // A form without padding is also found in the padded form.
        let mut forms = vec![
            secret.to_owned(),
            encoded
                .replace("%2E", ".")
                .replace("%2D", "-")
                .replace("%5F", "_")
                .replace("%7E", "~"),
            encoded.to_ascii_lowercase(),
            encoded,
            in_json.trim_matches('"').to_owned(),
            BASE64_STANDARD_NO_PAD.encode(secret),
            BASE64_URL_SAFE_NO_PAD.encode(secret),
        ];
        forms.retain(|form| !form.is_empty());
        let mut all = self.0.clone();
        all.extend(forms.into_iter().map(SecretString::from));
        // The longest first: a form may contain another.
        all.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
        all.dedup_by(|one, other| one.expose_secret() == other.expose_secret());
        Self(all)
    }

    /// Adds a password, and the `user:password` of HTTP's Basic authentication.
    #[must_use]
    pub fn with_basic(&self, user: &str, password: &SecretString) -> Self {
        let pair = format!("{user}:{}", password.expose_secret().trim());
        self.with(password).with(&pair.into())
    }

    /// The text with every secret replaced by `(secret)`.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hidden = Cow::Borrowed(text);
        for form in &self.0 {
            if hidden.contains(form.expose_secret()) {
                hidden = hidden.replace(form.expose_secret(), "(secret)").into();
            }
        }
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("plain – text 研讨会"), "plain – text 研讨会");
        assert_eq!(
            clean("\u{1b}[2Jgone\u{202e}txt\r\n"),
            "\u{fffd}[2Jgone\u{fffd}txt\u{fffd}\u{fffd}"
        );
        for steering in ['\u{9b}', '\u{7f}', '\u{61c}', '\u{2028}', '\u{2067}', '\u{e0041}'] {
            assert_eq!(clean(&steering.to_string()), "\u{fffd}", "{steering:?}");
            assert_eq!(one_line(&format!("a{steering}b")), "a b", "{steering:?}");
        }
        let family = "\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(clean(family), family);
    }

    #[test]
    fn a_cleaned_line_is_neither_empty_nor_long() {
        assert_eq!(one_line(" \n"), "no message");
        assert_eq!(one_line(&"ü".repeat(400)).chars().count(), 400);
        let long = one_line(&"ü".repeat(401));
        assert_eq!((long.chars().count(), long.ends_with('…')), (401, true));
    }

    #[test]
    fn secrets_are_hidden_in_every_form_that_a_server_may_quote() {
        let password = "p+\"w/ü%".to_owned();
        let secrets = Secrets::default().with_basic("user", &password.clone().into());
        let quoted = [
            password.clone(),
            serde_json::json!(password).to_string(),
            utf8_percent_encode(&password, NON_ALPHANUMERIC).to_string(),
            utf8_percent_encode(&password, NON_ALPHANUMERIC)
                .to_string()
                .to_lowercase(),
            base64::prelude::BASE64_STANDARD.encode(&password),
            base64::prelude::BASE64_STANDARD.encode(format!("user:{password}")),
            base64::prelude::BASE64_URL_SAFE.encode(format!("user:{password}")),
        ];
        for text in quoted {
            let hidden = secrets.hide(&text).into_owned();
            let rest = hidden.replace("(secret)", "");
            assert!(rest.chars().all(|c| matches!(c, '"' | '=')), "{text}: {hidden}");
        }
        assert_eq!(secrets.hide("nothing of it"), "nothing of it");
        assert!(!format!("{secrets:?} {secrets:#?}").contains("w/"));
        assert_eq!(Secrets::default().with(&String::new().into()).hide("abc"), "abc");
    }
}
