//! The use of the account's history, where meetings are listed host by host. While no day can be settled, it makes the lists of hosts without news
//! unnecessary. Whether it can be trusted is found out by comparing it with the lists of every host.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::{
    catalog::{self, Catalog, HistoryChecked, can_settle},
    model::{HeldMeeting, ListedMeeting, Listing, MeetingKind, MeetingUuid, News, Window, from_iso, iso},
    privacy::Screen,
    zoom::{HistoryUse, KnownOfWindow},
};

/// How often the history is compared again: about once a day, because then a day is settled and all lists are read anyway.
const COMPARED_AGAIN: TimeDelta = TimeDelta::hours(20);

/// How long a comparison is valid.
const TRUSTED_FOR: TimeDelta = TimeDelta::hours(48);

/// A meeting that ended so shortly before a comparison may be in only one of the two.
const TOO_FRESH: TimeDelta = TimeDelta::hours(1);

/// What is known of a window to be listed host by host. `wanted` holds all open days, which may be settled by the listing. It is `None` if the user
/// requested particular days.
pub(super) fn known_of(
    catalog: &Catalog,
    screen: &Screen,
    window: Window,
    wanted: Option<&BTreeSet<NaiveDate>>,
    kinds: &'static [MeetingKind],
    now: DateTime<Utc>,
) -> Result<KnownOfWindow, catalog::Error> {
    let hosts = catalog.hosts_within(window)?;
    let mut known = KnownOfWindow {
        hosts,
        history: HistoryUse::Ignored,
    };
    // If the user requested particular days, the lists of every host are read.
    let Some(wanted) = wanted else { return Ok(known) };
    // A comparison in the future was made before the clock was set back.
    let checked = catalog.history()?.filter(|last| last.at <= now);
    let every_host = wanted
        .iter()
        .any(|day| window.contains(*day) && can_settle(*day, now));
    let is_trusted = checked.is_some_and(|last| last.agrees && now - last.at < TRUSTED_FOR);
    known.history = if is_trusted && !every_host {
        let (held, screen) = (catalog.held_within(window, kinds)?, screen.clone());
        HistoryUse::Trusted(Box::new(move |history| {
            news(history, &held, &screen, window, DateTime::<Utc>::MAX_UTC)
        }))
    } else if window.contains(now.date_naive()) && checked.is_none_or(|last| now - last.at >= COMPARED_AGAIN)
    {
        HistoryUse::Compared
    } else {
        HistoryUse::Ignored
    };
    Ok(known)
}

/// Compares the history that came with a listing with the catalog after the listing's pages were recorded, and records the result. Returns a message
/// for the user if the result differs from the one before.
pub(super) fn compare(
    catalog: &mut Catalog,
    screen: &Screen,
    listing: &Listing,
    now: DateTime<Utc>,
) -> Result<Option<String>, catalog::Error> {
    let Some(history) = &listing.history else {
        return Ok(None);
    };
    let different = match history {
        Err(refusal) => Some(refusal.clone()),
        Ok(history) => {
            let held = catalog.held_within(listing.window, listing.kinds())?;
            let news = news(history, &held, screen, listing.window, now - TOO_FRESH);
            let count = news.hosts.len() + news.meetings.len();
            (count > 0).then(|| format!("it differs from the hosts' lists in {count} places"))
        }
    };
    let before = catalog.history()?.map(|last| last.agrees);
    let agrees = different.is_none();
    catalog.record_history(HistoryChecked { at: now, agrees })?;
    Ok(match different {
        None if before != Some(true) => Some(
            "the account's history agrees with the hosts' lists: until the next day can be settled, only hosts with news are listed"
                .to_owned(),
        ),
        Some(why) if before != Some(false) => Some(format!(
            "the account's history is not used ({why}): every run reads two lists a host; it is tried again once a day"
        )),
        _ => None,
    })
}

/// The news of a history: where it differs from the catalog, among meetings that ended by `until`.
fn news(
    history: &[ListedMeeting],
    held: &[HeldMeeting],
    screen: &Screen,
    window: Window,
    until: DateTime<Utc>,
) -> News {
    let mut history = history.to_vec();
    screen.meetings(window, &mut history);
    let shown: HashSet<&MeetingUuid> = history.iter().map(|one| &one.uuid).collect();
    let known: HashMap<&MeetingUuid, &HeldMeeting> = held.iter().map(|one| (&one.uuid, one)).collect();
    let mut news = News::default();
    let ended = |end: Option<DateTime<Utc>>| end.unwrap_or(DateTime::<Utc>::MAX_UTC) <= until;
    for one in history.iter().filter(|one| ended(one.end_time)) {
        match known.get(&one.uuid) {
            Some(held) if is_same(one, held) => {}
            Some(HeldMeeting {
                host_id: Some(host), ..
            }) => drop(news.hosts.insert(host.clone())),
            Some(_) | None => drop(news.meetings.insert(one.uuid.clone())),
        }
    }
    // The history may count a meeting that ends after the last day for another day.
    let missing = held.iter().filter(|one| {
        let end = one.times[1].as_deref().and_then(from_iso);
        ended(end) && end.is_some_and(|end| window.contains(end.date_naive())) && !shown.contains(&one.uuid)
    });
    news.hosts.extend(missing.filter_map(|one| one.host_id.clone()));
    news
}

/// Whether the history shows a meeting as the catalog holds it.
fn is_same(shown: &ListedMeeting, held: &HeldMeeting) -> bool {
    let times = [shown.start_time, shown.end_time].map(|at| at.map(iso));
    times == held.times
        && shown.topic == held.topic
        && (held.participants.is_none() || held.participants == shown.participants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{HostId, Source},
        sync::plan::tests::meeting,
    };

    fn held(meeting: &ListedMeeting, host: Option<&str>) -> HeldMeeting {
        HeldMeeting {
            uuid: meeting.uuid.clone(),
            host_id: host.map(HostId::new),
            topic: meeting.topic.clone(),
            times: [meeting.start_time, meeting.end_time].map(|at| at.map(iso)),
            participants: meeting.participants,
        }
    }

    /// The news among meetings that ended by 11:00:01: each host, and each meeting whose host is not known.
    fn found(history: &[ListedMeeting], known: &[HeldMeeting]) -> Vec<String> {
        let window = Window::day("2026-03-04".parse().unwrap());
        let until = from_iso("2026-03-04T11:00:01Z").unwrap();
        let news = news(history, known, &Screen::default(), window, until);
        let hosts = news.hosts.iter().map(|host| format!("host {host}"));
        let meetings = news.meetings.iter().map(|uuid| format!("meeting {uuid}"));
        let mut found: Vec<String> = hosts.chain(meetings).collect();
        found.sort();
        found
    }

    #[test]
    fn each_difference_is_news_of_its_host() {
        let one = meeting("one", "a", 2);
        let known = [held(&one, Some("h"))];
        assert_eq!(found(std::slice::from_ref(&one), &known), [""; 0]);
        for other in [
            meeting("one", "b", 2),
            meeting("one", "a", 3),
            ListedMeeting {
                start_time: None,
                ..one.clone()
            },
            ListedMeeting {
                end_time: from_iso("2026-03-04T10:59:59Z"),
                ..one.clone()
            },
        ] {
            assert_eq!(found(&[other], &known), ["host h"]);
        }
        assert_eq!(found(&[], &known), ["host h"], "it is missing");
        assert_eq!(
            found(&[one.clone(), meeting("two", "a", 2)], &known),
            ["meeting two"]
        );
        assert_eq!(
            found(&[meeting("one", "b", 2)], &[held(&one, None)]),
            ["meeting one"]
        );
    }

    #[test]
    fn what_the_dashboards_counted_is_not_compared() {
        let one = ListedMeeting {
            source: Source::Dashboard,
            ..meeting("one", "a", 2)
        };
        let known = HeldMeeting {
            participants: None,
            ..held(&one, Some("h"))
        };
        assert_eq!(found(&[meeting("one", "a", 9)], &[known]), [""; 0]);
    }

    #[test]
    fn recent_meetings_and_those_over_the_edge_are_not_reported_missing() {
        let ends = |at: &str| ListedMeeting {
            end_time: from_iso(at),
            ..meeting("one", "a", 2)
        };
        for end in ["2026-03-04T11:00:02Z", "2026-03-05T00:30:00Z"] {
            let known = [held(&ends(end), Some("h"))];
            assert_eq!(found(&[], &known), [""; 0], "{end}");
            assert_eq!(
                found(&[ends(end), meeting("two", "a", 2)], &known),
                ["meeting two"]
            );
        }
        // A meeting without an end is not compared.
        let endless = ListedMeeting {
            end_time: None,
            ..meeting("two", "a", 2)
        };
        assert_eq!(found(&[endless], &[]), [""; 0]);
    }
}
