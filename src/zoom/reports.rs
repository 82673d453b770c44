//! Meetings and sessions from Zoom's reports, for accounts without dashboards. Each active host has its own lists, which are converted to the form
//! of the dashboards' lists.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};

use super::{
    Error, Fetched, HistoryUse, KnownOfWindow, ListingReader, PAGE_SIZE, Zoom, history,
    http::{encode, encode_uuid},
    lists::ListRequest,
    wire,
};
use crate::model::{
    DateBasis, Disposition, Host, HostId, Label, ListedMeeting, Listing, ListingPage, ListingType, Malformed,
    MeetingKind, MeetingUuid, News, Row, Shown, Source, Webinars, Window,
};

/// How many hosts' lists are read at the same time. Their requests share the limit of Heavy requests, ten per second on Pro.
const HOSTS_AT_ONCE: usize = 8;

/// The result of reading one host's lists.
enum HostListed {
    /// Both lists were read to the end.
    Whole(HostId, OneHost),
    /// Zoom does not know the host. There may be a note about it for the user.
    Unknown(Host, Option<String>),
    /// A list could not be read: which one, and why.
    Failed(String, Error),
}

/// What a host's lists show.
#[derive(Default)]
struct OneHost {
    shown: HashMap<MeetingUuid, Shown>,
    malformed: Vec<Malformed>,
    pages: u32,
    covered: Option<Window>,
}

impl Zoom {
    /// Lists the meetings of every active host in the window, or only of the hosts with news according to the account's history. Zoom does not
    /// document which of a meeting's times the reports select by. So the caller lists two days more than needed, and concludes nothing from absence
    /// at the edge.
    ///
    /// If the lists of one host fail, the others are still used and the days stay unsettled. If the lists of all hosts fail, it is
    /// an error.
    pub(super) async fn list_by_reports(
        &self,
        window: Window,
        basis: DateBasis,
        known: &KnownOfWindow,
        see: &dyn Fn(ListingPage),
    ) -> Result<Listing, Error> {
        if basis == DateBasis::EndTime {
            return Err(Error::ReportsByStart);
        }
        let mut listing = Listing {
            window,
            basis,
            shown: HashMap::new(),
            malformed: Vec::new(),
            pages: 0,
            hosts: Some(HashSet::new()),
            every_host: true,
            history: None,
            // The reports list webinars among the meetings.
            webinars: match self.settings.webinars {
                true => Webinars::Listed,
                false => Webinars::NotAsked,
            },
            notes: Vec::new(),
        };
        let guide = match &known.history {
            HistoryUse::Trusted(find_news) => self.guide(find_news, &mut listing).await?,
            HistoryUse::Ignored | HistoryUse::Compared => None,
        };
        if guide.as_ref().is_some_and(|(news, _)| news.is_empty()) {
            return Ok(listing);
        }
        let hosts = self.hosts_to_list(&known.hosts, guide, &mut listing).await?;
        let asked = hosts.len();
        let mut answers = stream::iter(hosts)
            .map(|(host, is_active)| self.list_host(window, host, is_active, see))
            .buffer_unordered(HOSTS_AT_ONCE);
        let (mut whole, mut unknown, mut failures) = (HashSet::new(), HashSet::new(), 0);
        while let Some(answer) = answers.next().await {
            match answer {
                HostListed::Whole(id, one) => {
                    let covered = one.covered.and_then(|days| days.intersection(listing.window));
                    listing.window = covered.ok_or_else(|| Error::Malformed {
                        what: format!("meetings of {window}"),
                        reason: "it is for other days than asked, by its own from and to".to_owned(),
                    })?;
                    listing.shown.extend(one.shown);
                    listing.pages += one.pages;
                    if one.malformed.is_empty() {
                        whole.insert(id);
                    }
                    listing.malformed.extend(one.malformed);
                }
                HostListed::Unknown(host, note) => {
                    listing.pages += 1;
                    unknown.insert(history::email(&host.email));
                    listing.notes.extend(note);
                }
                HostListed::Failed(_, error) if error.disposition() == Disposition::Stop => {
                    return Err(error);
                }
                HostListed::Failed(place, error) => {
                    failures += 1;
                    if failures == asked && listing.every_host {
                        return Err(error);
                    }
                    listing.malformed.push(Malformed {
                        place,
                        reason: error.to_string(),
                    });
                }
            }
        }
        drop(answers);
        listing.hosts = Some(whole);
        let is_whole = listing.malformed.is_empty() && listing.window == window;
        if matches!(known.history, HistoryUse::Compared) && is_whole {
            let read = self.history_to_compare(window, asked - unknown.len()).await;
            listing.history = read.map(|read| {
                let mut read = read?;
                listing.pages += read.pages;
                // Meetings of unknown hosts are not compared: no host's list can confirm them.
                let is_known = |one: &ListedMeeting| !unknown.contains(&history::email(&one.host_email));
                read.meetings.retain(is_known);
                Ok(read.meetings)
            });
        }
        Ok(listing)
    }

    /// The hosts whose lists are to be read: the active ones and the known ones. With a guide, only those that may have the news. Each comes with
    /// whether Zoom names it as active.
    async fn hosts_to_list(
        &self,
        known: &[Host],
        guide: Option<(News, Vec<ListedMeeting>)>,
        listing: &mut Listing,
    ) -> Result<Vec<(Host, bool)>, Error> {
        let (active, all_active) = self
            .report_hosts(listing.window)
            .await
            .map_err(|error| match error {
                Error::NoDashboard { message } => Error::NoReports { message },
                error => error,
            })?;
        listing.pages += 1;
        let ids: HashSet<HostId> = active.iter().map(|host| host.host_id.clone()).collect();
        let others = known.iter().filter(|host| !ids.contains(&host.host_id));
        let others = others.map(|host| (host.clone(), false));
        let mut hosts: Vec<(Host, bool)> = active
            .into_iter()
            .map(|host| (host, true))
            .chain(others)
            .collect();
        if let Some((news, meetings)) = guide {
            match history::hosts_with(&news, &meetings, &hosts) {
                Some(with_news) => hosts.retain(|(host, _)| with_news.contains(&host.host_id)),
                // It is not known which hosts have the news, so every host's lists are read.
                None => (listing.every_host, listing.shown) = (true, HashMap::new()),
            }
        }
        if listing.every_host && !all_active {
            listing.malformed.push(Malformed {
                place: format!("active hosts of {}", listing.window),
                reason: "Zoom counts more than it shows; nothing is concluded from who is missing".to_owned(),
            });
        }
        Ok(hosts)
    }

    /// Reads both lists of a host. `is_active`: whether Zoom names the host as active.
    async fn list_host(
        &self,
        window: Window,
        host: Host,
        is_active: bool,
        see: &dyn Fn(ListingPage),
    ) -> HostListed {
        let mut one = OneHost {
            covered: Some(window),
            ..OneHost::default()
        };
        for listing_type in ListingType::ALL {
            let what = format!(
                "meetings ({}) of host {} in {window}",
                listing_type.as_str(),
                host.host_id
            );
            match self
                .list_host_type(window, &host, listing_type, &what, &one, see)
                .await
            {
                Ok(read) => {
                    one.pages += read.pages;
                    one.covered = one
                        .covered
                        .zip(read.covered)
                        .and_then(|(before, now)| before.intersection(now));
                    one.shown.extend(read.shown);
                    one.malformed.extend(read.malformed);
                }
                Err(Error::NotFound { .. } | Error::HostNotAllowed { .. }) => {
                    let name = &host.host_id;
                    // Nothing is concluded from an unknown host: its stored meetings stay.
                    let note = is_active.then(|| {
                        format!(
                            "Zoom reports host {name} as active in {window}, and knows no meetings of theirs: they are left out"
                        )
                    });
                    return HostListed::Unknown(host, note);
                }
                Err(error) => return HostListed::Failed(what, error),
            }
        }
        if is_active {
            // Sent after the meetings, so that they get their host.
            see(ListingPage {
                window,
                meetings: Vec::new(),
                hosts: vec![host.clone()],
            });
        }
        HostListed::Whole(host.host_id, one)
    }

    async fn list_host_type(
        &self,
        window: Window,
        host: &Host,
        listing_type: ListingType,
        what: &str,
        before: &OneHost,
        see: &dyn Fn(ListingPage),
    ) -> Result<OneHost, Error> {
        let query = [
            ("type", listing_type.as_str().to_owned()),
            ("from", window.from.to_string()),
            ("to", window.to.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
        ];
        let request = ListRequest {
            label: Label::Heavy,
            what,
            path: &format!("/report/users/{}/meetings", encode(host.host_id.as_str())),
            query: &query,
            array: "meetings",
            may_be_split: false,
        };
        let row = |row: Row| wire::reported_meeting(&row, listing_type, host, self.settings.webinars);
        let reader = || ListingReader {
            what,
            asked: window,
            covered: None,
            row: &row,
            elsewhere: &before.shown,
            see,
            rows: 0,
            shown: HashMap::new(),
            malformed: Vec::new(),
        };
        let (pages, mut read) = self.list(&request, reader).await?;
        if pages.missing() > 0 {
            read.malformed.push(Malformed {
                place: what.to_owned(),
                reason: format!("Zoom counts {} and shows {}", pages.counted, pages.shown),
            });
        }
        Ok(OneHost {
            shown: read.shown,
            malformed: read.malformed,
            pages: pages.read,
            covered: read.covered,
        })
    }

    /// Fetches all sessions of a meeting or webinar from its report.
    pub(super) async fn detail_by_reports(
        &self,
        uuid: &MeetingUuid,
        kind: MeetingKind,
    ) -> Result<Fetched, Error> {
        let query = [
            ("page_size", PAGE_SIZE.to_string()),
            ("include_fields", "registrant_id".to_owned()),
        ];
        let what = super::sessions_of(uuid, kind);
        let request = ListRequest {
            label: Label::Heavy,
            what: &what,
            path: &format!(
                "/report/{}/{}/participants",
                super::plural(kind),
                encode_uuid(uuid)
            ),
            query: &query,
            array: "participants",
            may_be_split: false,
        };
        let (pages, rows) = self.list(&request, Vec::new).await?;
        let all = super::readable(rows, &what)?;
        let rows: Vec<Row> = all.iter().filter_map(wire::reported_session).collect();
        let waited = (all.len() - rows.len()) as u64;
        Ok(Fetched {
            uuid: uuid.clone(),
            rows,
            counted: pages.counted.saturating_sub(waited),
            source: Source::Reports,
        })
    }
}
