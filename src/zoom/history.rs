//! The account's history (`GET /report/history_meetings`): one list of everybody's meetings. Zoom documents neither its page size nor how far it
//! reaches nor which plan has it, so it only tells whose own lists are worth reading.

use std::collections::{HashMap, HashSet};

use super::{Error, PAGE_SIZE, Zoom, lists::ListRequest, wire};
use crate::model::{
    Disposition, Host, HostId, Label, ListedMeeting, Listing, MeetingUuid, News, Shown, Window,
};

/// The lists of fewer hosts cost hardly more than the history.
const PAYS_FROM_HOSTS: usize = 3;

/// What is known of a window before it is listed host by host.
#[derive(Default)]
pub struct KnownOfWindow {
    /// Hosts of meetings that are known of these days. A host whose last meeting was deleted is no longer among those that Zoom calls active.
    pub hosts: Vec<Host>,
    /// What the account's history is for.
    pub history: HistoryUse,
}

/// Finds the news among the rows of the account's history.
pub type FindNews = Box<dyn Fn(&[ListedMeeting]) -> News>;

/// What the account's history is for, in one listing.
#[derive(Default)]
pub enum HistoryUse {
    /// It is not read.
    #[default]
    Ignored,
    /// It is read after the lists of every host, to be compared with them.
    Compared,
    /// It tells which hosts have news; only their lists are read.
    Trusted(FindNews),
}

/// The account's history of a window.
pub(super) struct History {
    /// Its rows.
    pub meetings: Vec<ListedMeeting>,
    pub pages: u32,
}

impl Zoom {
    /// Reads the account's history of a window, every row of it.
    async fn history(&self, window: Window) -> Result<History, Error> {
        let kinds = if self.webinars() { "all" } else { "meeting" };
        let query = [
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("date_type", "start_time".to_owned()),
            ("meeting_type", kinds.to_owned()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let what = format!("history of {window}");
        let request = ListRequest {
            label: Label::Heavy,
            what: &what,
            path: "/report/history_meetings",
            query: &query,
            array: "history_meetings",
            may_be_split: false,
        };
        let (pages, rows) = self.list(&request, Vec::new).await?;
        let unusable = |reason: String| Error::Malformed {
            what: what.clone(),
            reason,
        };
        if pages.missing() > 0 {
            return Err(unusable(format!(
                "Zoom counts {} and shows {}",
                pages.counted, pages.shown
            )));
        }
        let mut meetings = Vec::with_capacity(rows.len());
        for (page, row) in rows {
            let read = row.ok_or_else(|| "it is no object".to_owned());
            let read = read.and_then(|row| wire::history_meeting(&row, self.webinars()));
            let read = read.map_err(|reason| unusable(format!("a row on page {page}: {reason}")))?;
            meetings.extend(read);
        }
        Ok(History {
            meetings,
            pages: pages.read,
        })
    }

    /// What is new by the account's history, and its rows; the listing shows them. Nothing if Zoom does not give the history: then every host's
    /// lists are read.
    pub(super) async fn guide(
        &self,
        find_news: &FindNews,
        listing: &mut Listing,
    ) -> Result<Option<(News, Vec<ListedMeeting>)>, Error> {
        let read = match self.history(listing.window).await {
            Ok(read) => read,
            Err(error) if ends_run(&error) => return Err(error),
            Err(error) => {
                listing.history = Some(Err(refusal(error)));
                return Ok(None);
            }
        };
        listing.pages += read.pages;
        listing.every_host = false;
        for one in &read.meetings {
            let (day, kind) = (one.listed_day(listing.window), one.kind);
            listing.shown.insert(one.uuid.clone(), Shown { day, kind });
        }
        Ok(Some((find_news(&read.meetings), read.meetings)))
    }

    /// Reads the account's history to be compared with the lists of so many hosts. Nothing if that is not worth it, or the run has to stop: the next
    /// request says why.
    pub(super) async fn history_to_compare(
        &self,
        window: Window,
        hosts: usize,
    ) -> Option<Result<History, String>> {
        if hosts < PAYS_FROM_HOSTS {
            return None;
        }
        match self.history(window).await {
            Ok(history) => Some(Ok(history)),
            Err(error) if ends_run(&error) => None,
            Err(error) => Some(Err(refusal(error))),
        }
    }
}

/// Whether an error would have met any other request as well. A missing scope or plan is the history's alone.
fn ends_run(error: &Error) -> bool {
    error.disposition() == Disposition::Stop
        && !matches!(error, Error::Scopes { .. } | Error::NoDashboard { .. })
}

/// Why there is no history, in words.
fn refusal(error: Error) -> String {
    match error {
        Error::Scopes { message } | Error::NoDashboard { message } => message,
        error => error.to_string(),
    }
}

/// Those of the hosts whose lists may hold the news. Nothing if it cannot be told whose some of it is.
pub(super) fn hosts_with(
    news: &News,
    history: &[ListedMeeting],
    hosts: &[(Host, bool)],
) -> Option<HashSet<HostId>> {
    // An email may have been another host's before.
    let mut by_email: HashMap<String, Vec<&HostId>> = HashMap::new();
    for (host, _) in hosts {
        by_email
            .entry(email(&host.email))
            .or_default()
            .push(&host.host_id);
    }
    let ids: HashSet<&HostId> = hosts.iter().map(|(host, _)| &host.host_id).collect();
    let mut found = news.hosts.clone();
    if !found.iter().all(|id| ids.contains(id)) {
        return None;
    }
    let emails: HashMap<&MeetingUuid, String> = history
        .iter()
        .map(|one| (&one.uuid, email(&one.host_email)))
        .collect();
    for uuid in &news.meetings {
        let email = emails.get(uuid).filter(|email| !email.is_empty())?;
        found.extend(by_email.get(email)?.iter().map(|id| (*id).clone()));
    }
    Some(found)
}

/// An email, as two of them are compared.
pub(super) fn email(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;

    fn host(id: &str, email: &str) -> (Host, bool) {
        let host = Host {
            host_id: HostId::new(id),
            email: email.to_owned(),
            name: String::new(),
            dept: String::new(),
            user_type: None,
        };
        (host, true)
    }

    fn row(uuid: &str, email: &str) -> ListedMeeting {
        let row =
            serde_json::json!({"meeting_uuid": uuid, "type": "Meeting", "host_email": email}).to_string();
        wire::history_meeting(&Row::read(&row).unwrap(), false)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn hosts_are_found_by_id_and_by_email_or_all_of_them_are_listed() {
        let hosts = [
            host("a", "A@example.edu"),
            host("b", "b@example.edu"),
            host("c", ""),
            host("e", "b@example.edu"),
        ];
        let rows = [
            row("1", " a@Example.edu"),
            row("2", ""),
            row("3", "d@example.edu"),
            row("4", "b@example.edu"),
        ];
        let with = |ids: &[&str], uuids: &[&str]| {
            let news = News {
                hosts: ids.iter().copied().map(HostId::new).collect(),
                meetings: uuids.iter().copied().map(MeetingUuid::new).collect(),
            };
            let found = hosts_with(&news, &rows, &hosts)?;
            let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
            found.sort();
            Some(found.join(" "))
        };
        assert_eq!(with(&["b"], &["1"]).as_deref(), Some("a b"));
        assert_eq!(with(&["c"], &[]).as_deref(), Some("c"));
        assert_eq!(with(&[], &["4"]).as_deref(), Some("b e"), "both had that email");
        assert_eq!(with(&["d"], &[]), None);
        // An empty email is nobody's, even if a host has none either.
        assert_eq!(with(&[], &["2"]), None);
        assert_eq!(with(&[], &["3"]), None);
    }
}
