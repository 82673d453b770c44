//! Reads a list page by page. The result is all rows or an error. It never loops, and never takes the beginning of a list for the whole. Pure.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::wire::Page;
use crate::model::{Json, Row};

/// The most pages of a list that are read: 600,000 rows, more than any account has in one list. Reading must end even if the server always names a
/// next page.
pub const MOST_PAGES: u32 = 2_000;

/// How many empty pages in a row make a list an error ([`Fault::Nowhere`]).
const EMPTY_PAGES: u32 = 10;

/// Why a list cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A page has no list of rows. This is not an empty list, which would be present but empty.
    #[error("page {page} has no {array:?}")]
    NoRows {
        /// The page, counted from 1.
        page: u32,
        /// The member that should hold them.
        array: String,
    },
    /// The token of the next page is neither text nor a number.
    #[error("page {page}: its next_page_token is neither text nor a number")]
    NoToken {
        /// The page, counted from 1.
        page: u32,
    },
    /// A page token was repeated: following it would never end.
    #[error("a page token comes twice")]
    Repeated,
    /// A page was repeated: tokens that are always new may still lead in a circle.
    #[error("page {page} repeats an earlier page")]
    Circle {
        /// The page, counted from 1.
        page: u32,
    },
    /// Too many empty pages in a row.
    #[error("{EMPTY_PAGES} pages in a row are empty")]
    Nowhere,
    /// The list has more than [`MOST_PAGES`] pages.
    #[error("it has more than {MOST_PAGES} pages")]
    Endless,
}

/// The progress of reading a list. The rows themselves go to the caller.
#[derive(Debug, Default)]
pub struct Pages {
    /// The first page without its rows.
    pub first: Option<Row>,
    /// Pages read.
    pub read: u32,
    /// The largest number of rows that a page reported.
    pub counted: u64,
    /// Rows that were shown.
    pub shown: u64,
    /// Of these, rows that are not objects or cannot be read.
    pub unreadable: u64,
    token: String,
    seen: HashSet<String>,
    contents: HashSet<[u8; 32]>,
    empty: u32,
}

impl Pages {
    /// The token to request the next page with. `None` before the first and after the last page.
    pub fn token(&self) -> Option<&str> {
        Some(self.token.as_str()).filter(|token| !token.is_empty())
    }

    /// Rows that Zoom counts but does not show.
    pub fn missing(&self) -> u64 {
        self.counted.saturating_sub(self.shown)
    }

    /// Whether every row that Zoom counts is present and an object. Otherwise nothing may be concluded from an absent row.
    pub fn sound(&self) -> bool {
        self.missing() == 0 && self.unreadable == 0
    }

    /// Takes the next page, whose rows are in `array`. Returns the rows and whether another page follows.
    ///
    /// # Errors
    /// What makes the list unusable. The rows read so far must not be taken for the list.
    pub fn take(&mut self, page: Page, array: &str) -> Result<(Vec<Option<Row>>, bool), Fault> {
        self.read += 1;
        let Page {
            rows: Some(rows),
            head,
        } = page
        else {
            return Err(Fault::NoRows {
                page: self.read,
                array: array.to_owned(),
            });
        };
        self.token = match head.get("next_page_token") {
            None => String::new(),
            Some(value) if value.as_str() == "null" => String::new(),
            Some(value) => value
                .text_or_number()
                .ok_or(Fault::NoToken { page: self.read })?
                .into_owned(),
        };
        if !self.token.is_empty() && !self.seen.insert(self.token.clone()) {
            return Err(Fault::Repeated);
        }
        self.empty = if rows.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= EMPTY_PAGES {
            return Err(Fault::Nowhere);
        }
        // The last page cannot lead in a circle, whatever it contains.
        if !self.token.is_empty() && !rows.is_empty() && !self.contents.insert(content(&rows)) {
            return Err(Fault::Circle { page: self.read });
        }
        let counted = head.get("total_records").and_then(Json::whole_number);
        self.counted = self
            .counted
            .max(counted.and_then(|n| u64::try_from(n).ok()).unwrap_or(0));
        self.shown += rows.len() as u64;
        self.unreadable += rows.iter().filter(|row| row.is_none()).count() as u64;
        self.first.get_or_insert(head);
        if self.token.is_empty() {
            return Ok((rows, false));
        }
        if self.read >= MOST_PAGES {
            return Err(Fault::Endless);
        }
        Ok((rows, true))
    }
}

/// A digest of the rows of a page.
fn content(rows: &[Option<Row>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for row in rows {
        digest.update(row.as_ref().map_or("null", Row::as_str));
        digest.update("\n");
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(token: Value) -> Page {
        let page = json!({"rows": [{"after": token}], "next_page_token": token, "page_size": 300});
        crate::zoom::wire::page(page.to_string().as_bytes(), "rows").unwrap()
    }

    fn take(pages: &mut Pages, token: Value) -> Result<bool, Fault> {
        pages.take(page(token), "rows").map(|(_, more)| more)
    }

    #[test]
    fn a_list_ends_with_its_last_page_or_with_an_error() {
        for last in [json!(""), json!(null)] {
            let mut pages = Pages::default();
            // A number is a valid token: ignoring it would end the list too early.
            for token in [json!("a"), json!(7)] {
                assert_eq!(take(&mut pages, token), Ok(true));
            }
            assert_eq!(pages.token(), Some("7"));
            assert_eq!(take(&mut pages, last), Ok(false));
            assert_eq!((pages.shown, pages.read, pages.token()), (3, 3, None));
            let first = pages.first.unwrap();
            assert!(first.get("rows").is_none() && first.get("page_size").is_some());
        }
        for (token, fault) in [
            (json!({"a": 1}), Fault::NoToken { page: 2 }),
            (json!("a"), Fault::Repeated),
        ] {
            let mut pages = Pages::default();
            assert_eq!(take(&mut pages, json!("a")), Ok(true));
            assert_eq!(take(&mut pages, token), Err(fault));
        }
    }

    #[test]
    fn a_server_that_always_names_a_next_page_ends_too() {
        let mut pages = Pages::default();
        let mut asked = 0;
        let fault = loop {
            asked += 1;
            if let Err(fault) = take(&mut pages, json!(format!("token {asked}"))) {
                break fault;
            }
        };
        assert_eq!((asked, fault), (MOST_PAGES, Fault::Endless));
    }
}
