//! What a listing means: a pure function from what Zoom says and what the catalog knows to a list of changes.

use std::collections::HashSet;

use crate::model::{Change, Known, Listing, MeetingUuid, Window};

/// Compares a complete listing with what is known. Meetings that are neither known nor inside `scope` (if there is one) are none
/// of our business: they are there because the listing reaches a little further than what was asked for.
pub fn plan(listing: &Listing, known: &Known, scope: Option<Window>) -> Vec<Change> {
    let listed: HashSet<&MeetingUuid> = listing.meetings.iter().map(|meeting| &meeting.uuid).collect();
    let shown = listing
        .meetings
        .iter()
        .filter_map(|meeting| match known.get(&meeting.uuid) {
            None if scope.is_some_and(|scope| !meeting.is_inside(scope)) => None,
            None => Some(Change::New(Box::new(meeting.clone()))),
            Some(before) => {
                // Zoom had neither its detail nor, for a while, the meeting: as it lists it again, it may have both.
                let back = before.vanished && before.gone;
                let detail = back || before.listed_checksum != meeting.listed_checksum();
                let differs = detail || before.vanished || before.shown_checksum != meeting.shown_checksum();
                Some(if differs {
                    Change::Changed {
                        meeting: Box::new(meeting.clone()),
                        detail,
                        reappeared: before.vanished,
                    }
                } else {
                    Change::Unchanged(meeting.uuid.clone())
                })
            }
        });
    // A row that could not be read may be any meeting: then absence proves nothing.
    let absence_counts = listing.malformed.is_empty();
    let mut vanished: Vec<&MeetingUuid> = known
        .iter()
        .filter(|(uuid, before)| {
            absence_counts && before.expected && !before.vanished && !listed.contains(uuid)
        })
        .map(|(uuid, _)| uuid)
        .collect();
    vanished.sort();
    shown
        .chain(vanished.into_iter().cloned().map(Change::Vanished))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{DateBasis, KnownMeeting, ListedMeeting, ListingType, Malformed, SeriesId};

    pub fn meeting(uuid: &str, topic: &str, participants: i64) -> ListedMeeting {
        let at = |text: &str| crate::model::from_iso(text);
        ListedMeeting {
            uuid: MeetingUuid::new(uuid),
            series_id: Some(SeriesId(91_234_567_890)),
            listing_type: ListingType::Past,
            topic: topic.into(),
            host_name: "Host 001".into(),
            host_email: "host001@example.edu".into(),
            start_time: at("2026-03-04T10:00:00Z"),
            end_time: at("2026-03-04T11:00:00Z"),
            duration_s: Some(3600),
            participants: Some(participants),
            row: json!({"uuid": uuid, "topic": topic, "participants": participants, "audio_quality": "good"})
                .as_object()
                .unwrap()
                .clone(),
        }
    }

    pub fn listing(meetings: Vec<ListedMeeting>) -> Listing {
        Listing {
            window: Window::day("2026-03-04".parse().unwrap()),
            basis: DateBasis::EndTime,
            meetings,
            malformed: Vec::new(),
            pages: 2,
        }
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
                        vanished,
                        gone: false,
                        expected: true,
                    },
                )
            })
            .collect()
    }

    fn shown(changes: &[Change]) -> Vec<String> {
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
    fn every_kind_of_change_is_told_apart() {
        let before = [
            meeting("same", "a", 2),
            meeting("longer", "b", 2),
            meeting("renamed", "c", 2),
            meeting("lost", "d", 2),
        ];
        let now = vec![
            meeting("same", "a", 2),
            meeting("longer", "b", 3),
            meeting("renamed", "C", 2),
            meeting("fresh", "e", 2),
        ];
        assert_eq!(
            shown(&plan(&listing(now), &known(&before, false), None)),
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
        now.row.insert("audio_quality".into(), json!("bad"));
        assert_eq!(
            shown(&plan(&listing(vec![now]), &known(&before, false), None)),
            ["unchanged m"]
        );
    }

    #[test]
    fn a_vanished_meeting_that_is_listed_again_is_back() {
        let before = [meeting("m", "a", 2)];
        assert_eq!(
            shown(&plan(&listing(before.to_vec()), &known(&before, true), None)),
            ["changed m detail=false reappeared=true"]
        );
    }

    #[test]
    fn nothing_vanishes_from_a_listing_with_unreadable_rows() {
        let mut answer = listing(Vec::new());
        answer.malformed.push(Malformed {
            place: "meetings[0]".into(),
            reason: "no uuid".into(),
        });
        assert_eq!(
            shown(&plan(&answer, &known(&[meeting("m", "a", 2)], false), None)),
            [""; 0]
        );
    }

    #[test]
    fn new_meetings_outside_what_was_asked_for_are_left_alone() {
        let scope = Some(Window::day("2026-03-03".parse().unwrap()));
        assert_eq!(
            shown(&plan(&listing(vec![meeting("m", "a", 2)]), &Known::new(), scope)),
            [""; 0]
        );
    }
}
