//! The account's history (`GET /report/history_meetings`): one list of the meetings of all hosts. Zoom does not document its page size, how far it
//! reaches or which plans have it. So it is used only to find the hosts whose own lists are worth reading.

use std::collections::{HashMap, HashSet};

use super::{Error, PAGE_SIZE, Zoom, lists::ListRequest, wire};
use crate::model::{
    Disposition, Host, HostId, Label, ListedMeeting, Listing, MeetingUuid, News, Shown, Window,
};

/// The number of hosts from which reading the history pays off. The lists of fewer hosts cost hardly more than the history.
const PAYS_FROM_HOSTS: usize = 3;

/// What is known of a window before it is listed host by host.
#[derive(Default)]
pub struct KnownOfWindow {
    /// The hosts of the meetings known in the window. Zoom no longer calls a host active once its last meeting was deleted.
    pub hosts: Vec<Host>,
    /// How the account's history is used.
    pub history: HistoryUse,
}

/// Finds the news among the rows of the account's history.
pub type FindNews = Box<dyn Fn(&[ListedMeeting]) -> News>;

/// How the account's history is used in one listing.
#[derive(Default)]
pub enum HistoryUse {
    /// It is not read.
    #[default]
    Ignored,
    /// It is read after the lists of every host and compared with them.
    Compared,
    /// It shows which hosts have news. Only their lists are read.
    Trusted(FindNews),
}

/// The account's history of a window.
pub(super) struct History {
    /// Its rows.
    pub meetings: Vec<ListedMeeting>,
    pub pages: u32,
}

impl Zoom {
    /// Reads all rows of the account's history of a window.
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

    /// The news according to the account's history, and the history's rows, which are also added to the listing. `None` if the history cannot be
    /// read: then every host's lists are read.
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

    /// Reads the account's history, to be compared with the lists of this many hosts. `None` if that does not pay off or if the run has to stop. In
    /// the latter case the next request returns the error.
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

/// Whether the error would affect any other request too. A missing scope or plan affects only the history.
fn ends_run(error: &Error) -> bool {
    error.disposition() == Disposition::Stop
        && !matches!(error, Error::Scopes { .. } | Error::NoDashboard { .. })
}

/// The reason why there is no history.
fn refusal(error: Error) -> String {
    match error {
        Error::Scopes { message } | Error::NoDashboard { message } => message,
        error => error.to_string(),
    }
}

/// The hosts whose lists may contain the news. `None` if the host of some of the news cannot be determined.
pub(super) fn hosts_with(
    news: &News,
    history: &[ListedMeeting],
    hosts: &[(Host, bool)],
) -> Option<HashSet<HostId>> {
    // An email may have belonged to another host before.
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

/// The form of an email in which emails are compared.
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
        // An empty email matches no host, not even one without an email.
        assert_eq!(with(&[], &["2"]), None);
        assert_eq!(with(&[], &["3"]), None);
    }
}
