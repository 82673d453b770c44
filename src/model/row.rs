//! Rows: JSON objects in canonical form, kept as text and read in place.
//!
//! Canonical form is JSON without white space between tokens, in which the names of every object occur once and are sorted by their bytes. It is
//! written while the received JSON is read, without building a tree. Two rows have the same content if and only if their texts are equal.

use std::{borrow::Cow, fmt, ops::Range};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use super::parse_time;

/// A JSON object in canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(Box<str>);

impl Row {
    /// Reads an object in any form.
    ///
    /// # Errors
    /// The text is no JSON object. The error has the parser's words, which quote nothing.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Takes text that is already canonical, as it was kept.
    pub fn kept(canonical: &str) -> Self {
        Self(canonical.into())
    }

    /// An object without members.
    pub fn empty() -> Self {
        Self("{}".into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its members.
    pub fn view(&self) -> RowView<'_> {
        RowView(&self.0)
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Json<'_>> {
        self.view().get(name)
    }

    /// The text of that name; empty if it is absent or no text.
    pub fn text(&self, name: &str) -> Cow<'_, str> {
        self.view().text(name)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if !raw.starts_with('{') {
            return Err(D::Error::custom("no object"));
        }
        canonical(raw)
            .map(|text| Self(text.into()))
            .map_err(D::Error::custom)
    }
}

/// A row read in place, for example inside a kept detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowView<'a>(&'a str);

impl<'a> RowView<'a> {
    /// Its text.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its members, in the order of their names.
    pub fn members(self) -> Members<'a> {
        Members { rest: inside(self.0) }
    }

    /// The value of that name.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// The text of that name; empty if it is absent or no text.
    pub fn text(self, name: &str) -> Cow<'a, str> {
        self.get(name).and_then(Json::text).unwrap_or_default()
    }

    /// An owned copy.
    pub fn to_row(self) -> Row {
        Row(self.0.into())
    }
}

/// The members of an object in canonical form. A name is returned as written: no name that Zoom documents needs an escape.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_at_checked(value_end(self.rest)?)?;
        let rest = rest.strip_prefix(':')?;
        let (value, rest) = rest.split_at_checked(value_end(rest)?)?;
        self.rest = rest.strip_prefix(',').unwrap_or_default();
        Some((inside(name), Json(value)))
    }
}

/// A value in canonical form, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Takes text that is already canonical.
    pub fn kept(canonical: &'a str) -> Self {
        Self(canonical)
    }

    /// Its text, as written.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The string, if it is one.
    pub fn text(self) -> Option<Cow<'a, str>> {
        if !self.0.starts_with('"') {
            return None;
        }
        if self.0.contains('\\') {
            serde_json::from_str::<String>(self.0).ok().map(Cow::Owned)
        } else {
            Some(inside(self.0).into())
        }
    }

    /// The string or the number as text, if it is one of the two.
    pub fn text_or_number(self) -> Option<Cow<'a, str>> {
        if self.is_number() {
            Some(self.0.into())
        } else {
            self.text()
        }
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        self.0.starts_with('[')
    }

    /// The number, if it is whole and fits into 64 bits.
    pub fn whole_number(self) -> Option<i64> {
        if self.is_number() {
            self.0.parse().ok()
        } else {
            None
        }
    }

    /// The number, if it is one.
    pub fn number(self) -> Option<f64> {
        if self.is_number() {
            self.0.parse().ok()
        } else {
            None
        }
    }

    /// The time, if it is a string that contains one.
    pub fn time(self) -> Option<DateTime<Utc>> {
        parse_time(&self.text()?)
    }

    /// The object, if it is one.
    pub fn object(self) -> Option<RowView<'a>> {
        self.0.starts_with('{').then_some(RowView(self.0))
    }

    /// Its items; empty if it is no list.
    pub fn items(self) -> Items<'a> {
        Items {
            rest: if self.is_list() { inside(self.0) } else { "" },
        }
    }
}

/// The items of a list in canonical form.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Items<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = self.rest.split_at_checked(value_end(self.rest)?)?;
        self.rest = rest.strip_prefix(',').unwrap_or_default();
        Some(Json(value))
    }
}

/// The text between the first and the last character.
fn inside(json: &str) -> &str {
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default()
}

/// The end of the value that canonical JSON begins with. `None` if there is none.
fn value_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    match bytes.first()? {
        b'"' => string_end(bytes, 0),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, 0);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => Some(
            bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b':'))
                .unwrap_or(bytes.len()),
        ),
    }
}

/// The end of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += quote_or_backslash(bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        // A backslash and what it escapes.
        at += 2;
    }
}

/// The position of the first quote or backslash. It reads eight bytes at a time: most strings are so short that a call of `memchr` costs more than it
/// saves.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    // The lowest high bit of the answer marks the first match. Higher ones may be false.
    let find = |word: u64, byte: u8| {
        let zero_where_found = word ^ (ONES * u64::from(byte));
        zero_where_found.wrapping_sub(ONES) & !zero_where_found & HIGH_BITS
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    for (n, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let found = find(word, b'"') | find(word, b'\\');
        if found != 0 {
            return Some(8 * n + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(8 * eights.len() + found)
}

/// A row that is changed or built member by member.
#[derive(Clone, Debug, Default)]
pub struct RowEdit<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> RowEdit<'a> {
    /// Starts from the members of a row.
    pub fn new(row: RowView<'a>) -> Self {
        Self {
            members: row
                .members()
                .map(|(name, value)| (name.into(), value.0.into()))
                .collect(),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.members
            .binary_search_by(|(found, _)| compare_names(found, name))
    }

    /// The current value of that name.
    pub fn get(&self, name: &str) -> Option<Json<'_>> {
        let (_, value) = self.members.get(self.place(name).ok()?)?;
        Some(Json(value))
    }

    /// Removes a member and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.place(name).ok().map(|at| self.members.remove(at).1)
    }

    /// Sets a member to canonical JSON, in place of its old value.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, canonical: impl Into<Cow<'a, str>>) {
        let name = name.into();
        match self.place(&name) {
            Ok(at) => {
                if let Some((_, value)) = self.members.get_mut(at) {
                    *value = canonical.into();
                }
            }
            Err(at) => self.members.insert(at, (name, canonical.into())),
        }
    }

    /// Sets a member to text.
    pub fn set_text(&mut self, name: impl Into<Cow<'a, str>>, text: &str) {
        self.set(name, json_text(text));
    }

    /// Keeps the members whose names `wanted` accepts.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.members.retain(|(name, _)| wanted(name));
    }

    /// The row as it is now.
    pub fn finish(&self) -> Row {
        let mut out = String::with_capacity(1024);
        out.push('{');
        for (name, value) in &self.members {
            if out.len() > 1 {
                out.push(',');
            }
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            out.push_str(value);
        }
        out.push('}');
        Row(out.into())
    }
}

/// The order of names in canonical form, by their unescaped text. Names without escapes are compared as written.
fn compare_names(one: &str, other: &str) -> std::cmp::Ordering {
    let said = |name: &str| serde_json::from_str::<String>(&format!("\"{name}\"")).unwrap_or_default();
    if one.contains('\\') || other.contains('\\') {
        said(one).cmp(&said(other))
    } else {
        one.cmp(other)
    }
}

/// Any JSON value in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalJson(String);

impl CanonicalJson {
    /// Its text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl<'de> Deserialize<'de> for CanonicalJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        canonical(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

/// Text as canonical JSON.
pub fn json_text(text: &str) -> String {
    // A string can always be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}

/// The maximum nesting depth of values, the same as `serde_json` has for trees.
const DEEPEST: usize = 128;

/// The canonical form of JSON whose grammar has been checked, as in a [`RawValue`].
///
/// # Errors
/// Values that the grammar allows and no reader can hold: half a surrogate pair, a number that is too large, or values nested too deep.
fn canonical(json: &str) -> Result<String, serde_json::Error> {
    let mut out = String::with_capacity(json.len());
    let mut reader = Reader { json, at: 0 };
    reader.value(&mut out, 0)?;
    Ok(out)
}

/// Reads JSON and writes it in canonical form. What is already canonical (text without escapes, most whole numbers) is copied.
struct Reader<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no white space; 0 at the end.
    fn peek(&mut self) -> u8 {
        let bytes = self.json.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    /// The text from here up to `end`.
    fn take_to(&mut self, end: usize) -> &'a str {
        let taken = self.json.get(self.at..end).unwrap_or_default();
        self.at = end;
        taken
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<(), serde_json::Error> {
        match self.peek() {
            b'{' | b'[' if depth == DEEPEST => Err(serde::de::Error::custom("nested too deep")),
            b'{' => self.object(out, depth + 1),
            b'[' => self.list(out, depth + 1),
            b'"' => {
                let text = self.string();
                if text.contains('\\') {
                    out.push_str(&json_text(&serde_json::from_str::<String>(text)?));
                } else {
                    out.push_str(text);
                }
                Ok(())
            }
            _ => self.scalar(out),
        }
    }

    /// A string as written, with its quotes.
    fn string(&mut self) -> &'a str {
        let end = string_end(self.json.as_bytes(), self.at).unwrap_or(self.json.len());
        self.take_to(end)
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self, out: &mut String) -> Result<(), serde_json::Error> {
        let rest = self.json.as_bytes().get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let text = self.take_to(self.at + length);
        // 18 digits always fit into 64 bits.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let usual = text.starts_with(char::is_alphabetic)
            || text == "0"
            || (digits.len() <= 18
                && !digits.starts_with('0')
                && digits.bytes().all(|one| one.is_ascii_digit()));
        if usual {
            out.push_str(text);
        } else {
            out.push_str(&serde_json::from_str::<serde_json::Number>(text)?.to_string());
        }
        Ok(())
    }

    fn list(&mut self, out: &mut String, depth: usize) -> Result<(), serde_json::Error> {
        self.at += 1;
        out.push('[');
        while !matches!(self.peek(), b']' | 0) {
            self.value(out, depth)?;
            if self.peek() == b',' {
                self.at += 1;
                out.push(',');
            }
        }
        self.at += 1;
        out.push(']');
        Ok(())
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Result<(), serde_json::Error> {
        self.at += 1;
        out.push('{');
        let begin = out.len();
        let mut written: Vec<(Cow<'a, str>, Range<usize>)> = Vec::with_capacity(64);
        let mut in_order = true;
        while !matches!(self.peek(), b'}' | 0) {
            let start = out.len();
            let name = self.name(out)?;
            self.peek();
            self.at += 1;
            out.push(':');
            self.value(out, depth)?;
            in_order &= written.last().is_none_or(|(before, _)| *before < name);
            written.push((name, start..out.len()));
            if self.peek() == b',' {
                self.at += 1;
                out.push(',');
            }
        }
        self.at += 1;
        if !in_order {
            sort_members(out, begin, &mut written);
        }
        out.push('}');
        Ok(())
    }

    /// Writes a name and returns its unescaped text.
    fn name(&mut self, out: &mut String) -> Result<Cow<'a, str>, serde_json::Error> {
        let text = self.string();
        if text.contains('\\') {
            let name: String = serde_json::from_str(text)?;
            out.push_str(&json_text(&name));
            Ok(name.into())
        } else {
            out.push_str(text);
            Ok(inside(text).into())
        }
    }
}

/// Sorts the members in `out`, from `begin` on, by their names. If a name occurs more than once, the last one counts, as in every JSON reader that
/// Zoom's clients use.
fn sort_members(out: &mut String, begin: usize, members: &mut [(Cow<'_, str>, Range<usize>)]) {
    // The sort is stable: of equal names the last stays the last.
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut sorted = String::with_capacity(out.len() - begin);
    for (at, (name, place)) in members.iter().enumerate() {
        let again = members.get(at + 1).is_some_and(|(next, _)| next == name);
        if again {
            continue;
        }
        if !sorted.is_empty() {
            sorted.push(',');
        }
        sorted.push_str(out.get(place.clone()).unwrap_or_default());
    }
    out.truncate(begin);
    out.push_str(&sorted);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has finite numbers only", |n| n.is_finite())
                .prop_map(Value::from),
            "(?s).{0,12}".prop_map(Value::from),
            Just(Value::from("\\\"\u{0}\u{1f}\u{7f}é\u{1f600}")),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("(?s)[a-c\"\\\\é]{0,4}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn object(value: &Value) -> Map<String, Value> {
        [("value".to_owned(), value.clone()), ("a".to_owned(), json!(1))]
            .into_iter()
            .collect()
    }

    proptest! {
        #[test]
        fn quotes_and_backslashes_are_found_at_every_position(text in "[\"\\\\a!#\\[\\]\u{a2}\u{dc}é]{0,40}") {
            let naive = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(quote_or_backslash(text.as_bytes()), naive);
        }

        /// The naive canonical form is a tree with sorted names.
        #[test]
        fn canonical_form_is_what_a_sorted_tree_prints(value in any_json()) {
            let tree = Value::Object(object(&value));
            let reversed: Vec<String> = object(&value)
                .iter()
                .rev()
                .map(|(name, value)| format!("{} : {}", json_text(name), serde_json::to_string_pretty(value).unwrap()))
                .collect();
            let row = Row::read(&format!(" {{ {} }} ", reversed.join(" ,\n"))).unwrap();
            prop_assert_eq!(row.as_str(), tree.to_string());
            prop_assert_eq!(Row::read(row.as_str()).unwrap(), row);
        }

        #[test]
        fn members_and_items_are_those_of_the_tree(value in any_json()) {
            let row = Row::read(&Value::Object(object(&value)).to_string()).unwrap();
            check(Json(row.as_str()), &Value::Object(object(&value)));
        }

        /// Any text, as in a damaged file, is read to an end without a panic.
        #[test]
        fn text_that_is_not_canonical_is_read_safely(text in "[\\[\\]{}\",:\\\\a0-9é ]{0,40}") {
            let row = RowView(&text);
            prop_assert!(row.members().count() <= text.len());
            prop_assert!(Json(&text).items().count() <= text.len());
            let _ = (Json(&text).text(), Json(&text).number(), RowEdit::new(row).finish());
        }
    }

    fn check(json: Json<'_>, value: &Value) {
        assert_eq!(json.as_str(), value.to_string());
        assert_eq!(json.text().as_deref(), value.as_str());
        assert_eq!(json.whole_number(), value.as_i64());
        if let Value::Array(items) = value {
            assert_eq!(json.items().count(), items.len());
            json.items()
                .zip(items)
                .for_each(|(item, value)| check(item, value));
        }
        if let Value::Object(members) = value {
            let found: Vec<_> = json.object().unwrap().members().collect();
            assert_eq!(found.len(), members.len());
            for ((name, json), (wanted, value)) in found.into_iter().zip(members) {
                assert_eq!(name, inside(&json_text(wanted)));
                check(json, value);
            }
        }
    }

    #[test]
    fn the_last_of_two_equal_names_wins() {
        let row = Row::read(r#"{"b": 1, "a": {"d": 2, "c": 3}, "b": [ ]}"#).unwrap();
        assert_eq!(row.as_str(), r#"{"a":{"c":3,"d":2},"b":[]}"#);
        for bad in ["7", "[]", "", "{", r#"{"n":1e999}"#] {
            assert!(Row::read(bad).is_err(), "{bad}");
        }
    }

    /// Numbers and escapes with the same meaning are written the same, as a tree would print them.
    #[test]
    fn numbers_and_escapes_have_one_form() {
        let row = Row::read(
            r#"{"a":-0,"b":1e2,"c":18446744073709551615,"d":1234567890123456789012,"e":1.50,"f":"\u00e9\/","\u0067":"\ud83d\ude00"}"#,
        );
        let expected = r#"{"a":-0.0,"b":100.0,"c":18446744073709551615,"d":1.2345678901234568e+21,"e":1.5,"f":"é/","g":"😀"}"#;
        assert_eq!(row.unwrap().as_str(), expected);
        assert!(Row::read(r#"{"a":"\ud83d"}"#).is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_not_an_overflow() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Row::read(&nested(DEEPEST - 1)).is_ok());
        assert!(Row::read(&nested(DEEPEST)).is_err());
        assert!(Row::read(&nested(1_000_000)).is_err());
    }

    #[test]
    fn a_row_is_changed_member_by_member() {
        let row = Row::read(r#"{"a":1,"c":"x","d":null}"#).unwrap();
        let mut edit = RowEdit::new(row.view());
        edit.set_text("b", "a \"name\"");
        edit.set("c", "[2]");
        assert_eq!(edit.remove("d").as_deref(), Some("null"));
        assert_eq!(edit.get("b").and_then(Json::text).as_deref(), Some("a \"name\""));
        assert_eq!(edit.finish().as_str(), r#"{"a":1,"b":"a \"name\"","c":[2]}"#);
        edit.retain(|name| name != "a");
        assert_eq!(edit.finish().as_str(), r#"{"b":"a \"name\"","c":[2]}"#);
        assert_eq!(
            serde_json::to_string(&[row]).unwrap(),
            r#"[{"a":1,"c":"x","d":null}]"#
        );
    }
}
