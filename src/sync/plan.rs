//! Planning: a pure function from a listing and what the catalog knows to a list of changes.

use crate::model::{Change, Known, KnownMeeting, ListedMeeting, Listing, MeetingUuid, Window, iso};

/// Compares the rows of a page with what the catalog knows of them. Meetings that are neither known nor inside `scope` (if there is one) are ignored:
/// the listing reaches a little further than the request. With `enrich`, what came from the reports is fetched again from the dashboards, which know
/// more.
pub fn page<'p>(
    meetings: &'p [ListedMeeting],
    known: &Known,
    scope: Option<Window>,
    enrich: bool,
) -> Vec<Change<'p>> {
    meetings
        .iter()
        .filter_map(|meeting| {
            let Some(before) = known.get(&meeting.uuid) else {
                let wanted = scope.is_none_or(|scope| meeting.is_inside(scope));
                return wanted.then_some(Change::New(meeting));
            };
            if !enrich && told_by_another_source(meeting, before) {
                return Some(Change::Unchanged(&meeting.uuid));
            }
            // Zoom no longer had the detail and, for a while, did not list the meeting. Now that it lists it again, it may have both.
            let back = before.vanished && before.gone;
            let detail = back || before.listed_checksum != meeting.listed_checksum();
            let differs = detail || before.vanished || before.shown_checksum != meeting.shown_checksum();
            Some(if differs {
                Change::Changed {
                    meeting,
                    detail,
                    reappeared: before.vanished,
                }
            } else {
                Change::Unchanged(&meeting.uuid)
            })
        })
        .collect()
}

/// Whether a meeting whose detail is kept only comes from another source than before. The two sources count lengths and participants differently, so
/// only changed times are a change.
fn told_by_another_source(meeting: &ListedMeeting, before: &KnownMeeting) -> bool {
    let times = [meeting.start_time, meeting.end_time].map(|at| at.map(iso));
    meeting.source != before.source && before.detail_kept && !before.vanished && times == before.times
}

/// The meetings that a complete listing should show and does not. Empty if a row could not be read: that row may be any meeting, so absence proves
/// nothing.
pub fn absent(listing: &Listing, expected: Vec<MeetingUuid>) -> Vec<MeetingUuid> {
    let mut absent = expected;
    absent.retain(|uuid| listing.malformed.is_empty() && !listing.shown.contains_key(uuid));
    absent.sort();
    absent
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{
        DateBasis, ListingType, Malformed, MeetingKind, Row, SeriesId, Shown, Source, Webinars,
    };

    pub fn meeting(uuid: &str, topic: &str, participants: i64) -> ListedMeeting {
        let at = |text: &str| crate::model::from_iso(text);
        ListedMeeting {
            uuid: MeetingUuid::new(uuid),
            series_id: Some(SeriesId(91_234_567_890)),
            kind: MeetingKind::Meeting,
            listing_type: ListingType::Past,
            source: Source::Dashboard,
            topic: topic.into(),
            host_name: "Host 001".into(),
            host_email: "host001@example.edu".into(),
            start_time: at("2026-03-04T10:00:00Z"),
            end_time: at("2026-03-04T11:00:00Z"),
            duration_s: Some(3600),
            participants: Some(participants),
            row: row(uuid, topic, participants, "good"),
        }
    }

    fn row(uuid: &str, topic: &str, participants: i64, quality: &str) -> Row {
        let row =
            json!({"uuid": uuid, "topic": topic, "participants": participants, "audio_quality": quality});
        Row::read(&row.to_string()).unwrap()
    }

    pub fn listing(meetings: &[ListedMeeting]) -> Listing {
        let window = Window::day("2026-03-04".parse().unwrap());
        let shown = meetings.iter().map(|one| {
            let (day, kind) = (one.listed_day(window), one.kind);
            (one.uuid.clone(), Shown { day, kind })
        });
        Listing {
            window,
            basis: DateBasis::EndTime,
            shown: shown.collect(),
            malformed: Vec::new(),
            pages: 2,
            hosts: None,
            every_host: true,
            history: None,
            webinars: Webinars::NotAsked,
            notes: Vec::new(),
        }
    }

    /// The changes that a listing of one page leads to.
    fn plan(meetings: &[ListedMeeting], known: &Known, scope: Option<Window>) -> Vec<String> {
        let mut told = shown(&page(meetings, known, scope, false));
        let expected = known
            .iter()
            .filter(|(_, known)| !known.vanished)
            .map(|(uuid, _)| uuid.clone());
        let absent = absent(&listing(meetings), expected.collect());
        told.extend(absent.into_iter().map(|uuid| format!("vanished {uuid}")));
        told
    }

    fn known(meetings: &[ListedMeeting], vanished: bool) -> Known {
        meetings
            .iter()
            .map(|meeting| {
                (
                    meeting.uuid.clone(),
                    KnownMeeting {
                        listed_checksum: meeting.listed_checksum(),
                        shown_checksum: meeting.shown_checksum(),
                        source: meeting.source,
                        times: [meeting.start_time, meeting.end_time].map(|at| at.map(iso)),
                        detail_kept: true,
                        vanished,
                        gone: false,
                    },
                )
            })
            .collect()
    }

    fn shown(changes: &[Change<'_>]) -> Vec<String> {
        changes
            .iter()
            .map(|change| match change {
                Change::New(meeting) => format!("new {}", meeting.uuid),
                Change::Changed {
                    meeting,
                    detail,
                    reappeared,
                } => {
                    format!("changed {} detail={detail} reappeared={reappeared}", meeting.uuid)
                }
                Change::Unchanged(uuid) => format!("unchanged {uuid}"),
                Change::Vanished(uuid) => format!("vanished {uuid}"),
            })
            .collect()
    }

    #[test]
    fn each_kind_of_change_is_recognised() {
        let before = [
            meeting("same", "a", 2),
            meeting("longer", "b", 2),
            meeting("renamed", "c", 2),
            meeting("lost", "d", 2),
        ];
        let now = [
            meeting("same", "a", 2),
            meeting("longer", "b", 3),
            meeting("renamed", "C", 2),
            meeting("fresh", "e", 2),
        ];
        assert_eq!(
            plan(&now, &known(&before, false), None),
            [
                "unchanged same",
                "changed longer detail=true reappeared=false",
                "changed renamed detail=false reappeared=false",
                "new fresh",
                "vanished lost",
            ]
        );
    }

    #[test]
    fn quality_scores_change_nothing() {
        let before = [meeting("m", "a", 2)];
        let mut now = meeting("m", "a", 2);
        now.row = row("m", "a", 2, "bad");
        assert_eq!(plan(&[now], &known(&before, false), None), ["unchanged m"]);
    }

    #[test]
    fn a_vanished_meeting_that_is_listed_again_is_back() {
        let before = [meeting("m", "a", 2)];
        assert_eq!(
            plan(&before, &known(&before, true), None),
            ["changed m detail=false reappeared=true"]
        );
    }

    #[test]
    fn nothing_vanishes_from_a_listing_with_unreadable_rows() {
        let mut answer = listing(&[]);
        answer.malformed.push(Malformed {
            place: "meetings[0]".into(),
            reason: "no uuid".into(),
        });
        assert_eq!(absent(&answer, vec![MeetingUuid::new("m")]), []);
    }

    #[test]
    fn new_meetings_outside_the_requested_days_are_ignored() {
        let scope = Some(Window::day("2026-03-03".parse().unwrap()));
        assert_eq!(plan(&[meeting("m", "a", 2)], &Known::new(), scope), [""; 0]);
    }
}
