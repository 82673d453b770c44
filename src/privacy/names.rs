//! Names inside texts: in reasons for leaving and in topics.

/// The placeholder for a name in a text. Zoom's own documentation uses it.
pub(super) const NAME: &str = "$name";

/// Reasons for leaving without a name. Source: Zoom's OpenAPI description, 2026-03.
pub(super) const NAMELESS_REASONS: [&str; 10] = [
    "Host ended the meeting.",
    "Host closed the meeting.",
    "Host started a new meeting.",
    "Network connection error.",
    "Host did not join.",
    "Exceeded free meeting minutes limit.",
    "Removed by host.",
    "Unknown reason.",
    "Leave waiting room.",
    "Removed by host from waiting room.",
];

/// What follows the name in the reasons that begin with a name. Same source.
const AFTER_THE_NAME: [&str; 2] = ["left the meeting.", "got disconnected from the meeting."];

/// What follows the host's name in Zoom's default topics.
const AFTER_THE_HOST: [&str; 4] = [
    "'s Personal Meeting Room",
    "’s Personal Meeting Room",
    "'s Zoom Meeting",
    "’s Zoom Meeting",
];

/// A reason for leaving, with the name replaced. `None` if the wording is not known, because the place of the name is then not known either.
pub(super) fn reason(said: &str, replacement: &str) -> Option<String> {
    let said = said.trim();
    if said.is_empty() || NAMELESS_REASONS.contains(&said) {
        return Some(said.to_owned());
    }
    // The last occurrence is taken: a name may contain anything, but what follows it may not.
    let (at, verb) = AFTER_THE_NAME
        .iter()
        .filter_map(|verb| Some((said.rfind(verb)?, *verb)))
        .max()?;
    let (name, rest) = (&said[..at], &said[at + verb.len()..]);
    let named = if name.trim().is_empty() {
        verb.to_owned()
    } else {
        format!("{replacement} {verb}")
    };
    let why = rest
        .strip_prefix("<br>Reason:")
        .map(str::trim)
        .filter(|why| NAMELESS_REASONS.contains(why));
    Some(match why {
        Some(why) => format!("{named}<br>Reason: {why}"),
        None => named,
    })
}

/// A topic with its host's names replaced. In one of Zoom's default topics, whatever is in the place of the host's name is replaced too.
pub(super) fn without_names(topic: &str, names: &[&str], replacement: &str) -> String {
    let mut topic = topic.to_owned();
    for name in names {
        topic = replace_words(&topic, name, replacement);
    }
    let default = AFTER_THE_HOST
        .iter()
        .find(|after| topic.trim_end().ends_with(*after));
    match default {
        Some(after) => format!("{replacement}{after}"),
        None => topic,
    }
}

/// Replaces `words` in a text by `by`, regardless of case, but not inside longer words: `Jo` is not found in `Jonas`.
pub fn replace_words(text: &str, words: &str, by: &str) -> String {
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    // Scripts without case are written without spaces or with endings. There a name may begin or end anywhere.
    let in_word =
        |c: Option<&char>| c.is_some_and(|c| c.is_lowercase() || c.is_uppercase() || c.is_numeric());
    let words: Vec<char> = words.trim().chars().collect();
    if words.is_empty() {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(c) = chars.get(at) {
        let end = at + words.len();
        let same = chars.get(at..end).is_some_and(|here| {
            here.iter()
                .zip(&words)
                .all(|(one, other)| lower(*one) == lower(*other))
        });
        let inside = (at > 0 && in_word(words.first()) && in_word(chars.get(at - 1)))
            || (in_word(words.last()) && in_word(chars.get(end)));
        if same && !inside {
            out.push_str(by);
            at = end;
        } else {
            out.push(*c);
            at += 1;
        }
    }
    out
}
