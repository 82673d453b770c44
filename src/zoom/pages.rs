//! A list, page after page: rows, or an error; never a loop, and never the beginning of a list taken for all of it. Pure.

use std::collections::HashSet;

use serde_json::Value;

use crate::model::{Checksum, Row};

/// Where a list is given up: 600,000 rows, more than any account has in one. A server that always names a next page must end too.
pub const MOST_PAGES: u32 = 2_000;

/// Empty pages in a row, each with the token of a next one, before that counts as going nowhere.
const EMPTY_PAGES: u32 = 10;

/// Why a list cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A page without its rows. Not an empty list: then they would be there, and none.
    #[error("page {page} has no {array:?}")]
    NoRows {
        /// Counted from 1.
        page: u32,
        /// The member that should hold them.
        array: String,
    },
    /// A next page that is named by neither text nor a number.
    #[error("page {page} names the next one by what is no token")]
    NoToken {
        /// Counted from 1.
        page: u32,
    },
    /// A token that came before: following it would never end.
    #[error("a page token comes twice")]
    Repeated,
    /// A page that came before: tokens may be new for ever and yet lead round in a circle.
    #[error("page {page} is one that was there before")]
    Circle {
        /// Counted from 1.
        page: u32,
    },
    /// Tokens that lead nowhere.
    #[error("{EMPTY_PAGES} pages in a row are empty")]
    Nowhere,
    /// More than [`MOST_PAGES`].
    #[error("it goes on after {MOST_PAGES} pages")]
    Endless,
}

/// What has been read of a list.
#[derive(Debug, Default)]
pub struct Pages {
    /// The rows, each with the page it stood on, from 1.
    pub rows: Vec<(u32, Value)>,
    /// What the first page says beside its rows.
    pub first: Row,
    /// Pages read.
    pub read: u32,
    /// The most that a page said there are.
    pub counted: u64,
    token: String,
    seen: HashSet<String>,
    contents: HashSet<Checksum>,
    empty: u32,
}

impl Pages {
    /// What to ask the next page with; nothing before the first and after the last.
    pub fn token(&self) -> Option<&str> {
        Some(self.token.as_str()).filter(|token| !token.is_empty())
    }

    /// Rows that Zoom counts and does not show.
    pub fn missing(&self) -> u64 {
        self.counted.saturating_sub(self.rows.len() as u64)
    }

    /// Whether every row that Zoom counts is there and an object: else nothing follows from the absence of one.
    pub fn sound(&self) -> bool {
        self.missing() == 0 && self.rows.iter().all(|(_, row)| row.is_object())
    }

    /// Takes the answer that is the next page; its rows stand in `array`. Answers whether another follows.
    ///
    /// # Errors
    /// What makes the list unusable; what was read of it is no list.
    pub fn take(&mut self, mut answer: Row, array: &str) -> Result<bool, Fault> {
        self.read += 1;
        let Some(Value::Array(rows)) = answer.remove(array) else {
            return Err(Fault::NoRows {
                page: self.read,
                array: array.to_owned(),
            });
        };
        self.token = match answer.get("next_page_token") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(token)) => token.clone(),
            Some(Value::Number(token)) => token.to_string(),
            Some(_) => return Err(Fault::NoToken { page: self.read }),
        };
        if !self.token.is_empty() && !self.seen.insert(self.token.clone()) {
            return Err(Fault::Repeated);
        }
        self.empty = if rows.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= EMPTY_PAGES {
            return Err(Fault::Nowhere);
        }
        // A last page leads nowhere, whatever it holds.
        if !self.token.is_empty() && !rows.is_empty() {
            let content = Checksum::of_bytes(&serde_json::to_vec(&rows).unwrap_or_default());
            if !self.contents.insert(content) {
                return Err(Fault::Circle { page: self.read });
            }
        }
        let counted = answer.get("total_records").and_then(Value::as_u64);
        self.counted = self.counted.max(counted.unwrap_or(0));
        self.rows.extend(rows.into_iter().map(|row| (self.read, row)));
        if self.read == 1 {
            self.first = answer;
        }
        if self.token.is_empty() {
            return Ok(false);
        }
        if self.read >= MOST_PAGES {
            return Err(Fault::Endless);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(token: Value) -> Row {
        let page = json!({"rows": [{"after": token}], "next_page_token": token, "page_size": 300});
        page.as_object().unwrap().clone()
    }

    #[test]
    fn a_list_ends_with_its_last_page_or_with_an_error() {
        for last in [json!(""), json!(null)] {
            let mut pages = Pages::default();
            // A token that is a number is a token: taking it for none would end the list too early.
            for token in [json!("a"), json!(7)] {
                assert_eq!(pages.take(page(token), "rows"), Ok(true));
            }
            assert_eq!(pages.token(), Some("7"));
            assert_eq!(pages.take(page(last), "rows"), Ok(false));
            assert_eq!((pages.rows.len(), pages.read, pages.token()), (3, 3, None));
            assert!(!pages.first.contains_key("rows") && pages.first.contains_key("page_size"));
        }
        for (token, fault) in [
            (json!({"a": 1}), Fault::NoToken { page: 2 }),
            (json!("a"), Fault::Repeated),
        ] {
            let mut pages = Pages::default();
            assert_eq!(pages.take(page(json!("a")), "rows"), Ok(true));
            assert_eq!(pages.take(page(token), "rows"), Err(fault));
        }
    }

    #[test]
    fn a_server_that_always_names_a_next_page_ends_too() {
        let mut pages = Pages::default();
        let mut asked = 0;
        let fault = loop {
            asked += 1;
            if let Err(fault) = pages.take(page(json!(format!("token {asked}"))), "rows") {
                break fault;
            }
        };
        assert_eq!((asked, fault), (MOST_PAGES, Fault::Endless));
    }
}
