//! Reads lists page by page, and restarts them where that helps.

use super::{
    Error, LISTING_MINUTES, PAGE_SIZE, Zoom,
    pages::{Fault, Pages},
};
use crate::model::{Json, Label, Row};

/// How often a list is restarted because its page tokens expired or its pages are inconsistent.
const RESTARTS: u32 = 2;

/// The request for a list.
pub(super) struct ListRequest<'a> {
    pub label: Label,
    /// The name of the list in messages.
    pub what: &'a str,
    pub path: &'a str,
    /// The same for every page: Zoom requires every parameter except the token to be repeated.
    pub query: &'a [(&'a str, String)],
    /// The member that holds the rows.
    pub array: &'a str,
    /// Whether the list can be split if it is too long to be read before its page tokens expire.
    pub may_be_split: bool,
}

/// Takes the rows of a list as its pages arrive.
pub(super) trait Sink {
    /// Takes the rows of a page. `page` counts from 1. `head` holds the other members of the list's first page.
    fn take(&mut self, page: u32, head: &Row, rows: Vec<Option<Row>>);
}

/// Keeps all rows, each with its page.
impl Sink for Vec<(u32, Option<Row>)> {
    fn take(&mut self, page: u32, _: &Row, rows: Vec<Option<Row>>) {
        self.extend(rows.into_iter().map(|row| (page, row)));
    }
}

impl Zoom {
    /// Reads a list to its last page, each attempt into a new sink. Expired page tokens and inconsistent pages restart it. A list that shows fewer
    /// rows than it counts, or unreadable rows, is read once more, and the better result is used.
    pub(super) async fn list<S: Sink>(
        &self,
        request: &ListRequest<'_>,
        sink: impl Fn() -> S,
    ) -> Result<(Pages, S), Error> {
        let what = request.what;
        let (mut restarts, mut before) = (0, None::<(Pages, S)>);
        loop {
            match self.read_pages(request, sink()).await {
                Err(
                    error
                    @ (Error::PageToken { .. } | Error::RepeatedToken { .. } | Error::Incoherent { .. }),
                ) if restarts < RESTARTS => {
                    restarts += 1;
                    tracing::warn!(what, restarts, %error, "reading the list again");
                }
                Ok((pages, rows)) if !pages.sound() => match before.take() {
                    None => {
                        let missing = pages.missing();
                        tracing::warn!(what, missing, "rows are missing; reading the list again");
                        before = Some((pages, rows));
                    }
                    Some(before) if before.0.shown > pages.shown => return Ok(before),
                    Some(_) => return Ok((pages, rows)),
                },
                Err(Error::PageToken { .. }) if request.may_be_split => {
                    return Err(Error::ListingTooLong {
                        what: what.to_owned(),
                        pages: 0,
                    });
                }
                other => return other,
            }
        }
    }

    async fn read_pages<S: Sink>(&self, request: &ListRequest<'_>, mut sink: S) -> Result<(Pages, S), Error> {
        let what = request.what;
        let mut pages = Pages::default();
        loop {
            let mut query = request.query.to_vec();
            query.extend(pages.token().map(|token| ("next_page_token", token.to_owned())));
            let page = self
                .get(request.label, what, request.path, &query, request.array)
                .await?;
            let (rows, more) = pages.take(page, request.array).map_err(|fault| match fault {
                Fault::Repeated => Error::RepeatedToken {
                    what: what.to_owned(),
                },
                Fault::Endless => Error::Malformed {
                    what: what.to_owned(),
                    reason: fault.to_string(),
                },
                fault => Error::Incoherent {
                    what: what.to_owned(),
                    reason: fault.to_string(),
                },
            })?;
            if pages.read == 1 && more && request.may_be_split {
                self.refuse_too_long(request, &pages)?;
            }
            if let Some(head) = &pages.first {
                sink.take(pages.read, head, rows);
            }
            if !more {
                return Ok((pages, sink));
            }
        }
    }

    /// Refuses a list that would take too long, so that it is split: page tokens live for 15 minutes.
    fn refuse_too_long(&self, request: &ListRequest<'_>, pages: &Pages) -> Result<(), Error> {
        let total = pages.first.as_ref().and_then(|head| head.get("total_records"));
        let total = total.and_then(Json::whole_number).unwrap_or(0);
        let pages = u64::try_from(total).unwrap_or(0).div_ceil(PAGE_SIZE);
        if pages > LISTING_MINUTES * u64::from(self.pacer.per_window(request.label)) {
            return Err(Error::ListingTooLong {
                what: request.what.to_owned(),
                pages,
            });
        }
        Ok(())
    }
}
