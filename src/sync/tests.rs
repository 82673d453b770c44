//! Plays events on a catalog with two meetings, in any order: listings that change and change back, details requested and answered late, documents
//! sent, lost and refused. No event may fail, every meeting recorded as indexed must be in the index, and the final state must be correct.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;

use super::plan::{
    absent, page,
    tests::{listing, meeting},
};
use crate::{
    catalog::{Acknowledgement, Catalog, DayChanges, Due, Found, IndexRecord, RunId, Tally},
    model::{
        AccountId, Checksum, Detail, IndexKind, IndexYear, Kept, MeetingKind, MeetingUuid, Row, from_iso,
    },
};

fn acknowledgement(kept: &Kept) -> Acknowledgement {
    Acknowledgement {
        uuid: kept.uuid.clone(),
        document_checksum: kept.document_checksum.clone(),
        deleted: kept.lost_sessions.clone(),
    }
}

const MEETINGS: [&str; 2] = ["first==", "second/+="];

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Zoom lists the meetings with these numbers of joins, under one of two topics. A meeting without joins is not listed.
    Listed([u8; 2], bool),
    /// Everything due is fetched as it is listed, sent and acknowledged.
    GoesWell,
    /// Everything due is requested, unless it is in flight.
    Ask,
    /// The first request is answered.
    Answered(Answer),
    /// What is due is sent, once the last batch has come back.
    Send,
    /// The fate of each meeting that was sent.
    Sent([Fate; 2]),
    /// Documents that were given up reach Elasticsearch after all.
    Arrives,
    IndexDeleted,
    NextRun,
    Retry,
    Later(u8),
}
use Event::{Answered, Arrives, Ask, GoesWell, IndexDeleted, Later, Listed, NextRun, Retry, Send, Sent};

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This many sessions. One may still be open, and Zoom may count one more than it shows.
    Detail {
        sessions: u8,
        open: bool,
        missing: bool,
    },
    Gone,
    Failed,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Acknowledged,
    /// Elasticsearch applied it, but its answer was lost.
    Unheard,
    /// Given up; it may still arrive.
    Late,
    Rejected,
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        6 => (0..5_u8, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(sessions, open, missing)| Answer::Detail { sessions, open, missing }),
        1 => Just(Answer::Gone),
        1 => Just(Answer::Failed),
    ];
    let fate = || {
        prop_oneof![
            3 => Just(Fate::Acknowledged),
            1 => Just(Fate::Unheard),
            1 => Just(Fate::Late),
            1 => Just(Fate::Rejected),
        ]
    };
    let joins = || prop::sample::select(&[1, 1, 1, 1, 2, 2, 3, 0][..]);
    prop_oneof![
        6 => ([joins(), joins()], any::<bool>()).prop_map(|(joins, renamed)| Listed(joins, renamed)),
        3 => Just(GoesWell),
        5 => Just(Ask),
        6 => answer.prop_map(Answered),
        4 => Just(Send),
        4 => [fate(), fate()].prop_map(Sent),
        1 => Just(Arrives),
        1 => Just(IndexDeleted),
        2 => Just(NextRun),
        1 => Just(Retry),
        2 => (1..200_u8).prop_map(Later),
    ]
}

/// Documents by id: the meeting they belong to, their version, and the document checksum they were sent with, or `None` if they were deleted.
type Documents = BTreeMap<String, (String, i64, Option<Checksum>)>;

/// A model of an index with only what the guarantees need: it refuses what is older than what was written or deleted.
#[derive(Default)]
struct Index {
    number: u32,
    meetings: Documents,
    sessions: Documents,
}

impl Index {
    fn take(&mut self, kept: &Kept) {
        let document = Some(kept.document_checksum.clone());
        let put = |documents: &mut Documents, id: &str, document: Option<Checksum>| {
            let old = documents.get(id).map_or(0, |(_, version, _)| *version);
            if old <= kept.revision {
                documents.insert(id.to_owned(), (kept.uuid.to_string(), kept.revision, document));
            }
        };
        put(&mut self.meetings, kept.uuid.as_str(), document.clone());
        for id in kept.detail.session_ids() {
            put(&mut self.sessions, id.as_str(), document.clone());
        }
        for id in &kept.lost_sessions {
            put(&mut self.sessions, id.as_str(), None);
        }
    }
}

struct Play {
    catalog: Catalog,
    run: RunId,
    now: DateTime<Utc>,
    asked: Vec<Due>,
    sending: Vec<Kept>,
    late: Vec<Kept>,
    index: Index,
    /// What Zoom listed last.
    listed: ([u8; 2], bool),
}

fn sessions(uuid: &MeetingUuid, count: u8, open: bool) -> Vec<Row> {
    (0..count)
        .map(|n| {
            let left = if open && n == 0 { "" } else { "2026-03-04T10:30:00Z" };
            let row = json!({
                "participant_uuid": format!("{uuid} {n}"), "join_time": "2026-03-04T10:00:00Z", "leave_time": left
            });
            Row::read(&row.to_string()).unwrap()
        })
        .collect()
}

impl Play {
    fn new() -> Self {
        let mut catalog = Catalog::in_memory().unwrap();
        let now = from_iso("2026-03-10T12:00:00Z").unwrap();
        catalog.claim(&AccountId::new("account"), "catalog", now).unwrap();
        let run = catalog.begin_run("sync", now).unwrap();
        let mut play = Self {
            catalog,
            run,
            now,
            asked: Vec::new(),
            sending: Vec::new(),
            late: Vec::new(),
            index: Index::default(),
            listed: ([0, 0], false),
        };
        play.meet_new_indices();
        play
    }

    fn meet_new_indices(&mut self) {
        let number = self.index.number + 1;
        // Late documents would go to the index that no longer exists.
        self.late.clear();
        self.index = Index {
            number,
            ..Index::default()
        };
        let records = IndexKind::ALL.map(|kind| IndexRecord {
            year: IndexYear::ALL,
            kind,
            name: format!("{} {number}", kind.as_str()),
            uuid: format!("{} {number}", kind.as_str()),
            created: true,
            stamp: None,
        });
        self.catalog.meet_indices(&records, self.now).unwrap();
    }

    /// Drops what was in flight.
    fn next_run(&mut self) {
        self.asked.clear();
        self.sending.clear();
        self.run = self.catalog.begin_run("sync", self.now).unwrap();
    }

    fn play(&mut self, event: Event) {
        match event {
            Listed(joins, renamed) => {
                self.listed = (joins, renamed);
                let shown = MEETINGS.iter().zip(joins).filter(|(_, joins)| *joins > 0);
                let topic = if renamed { "After" } else { "Before" };
                let meetings: Vec<_> = shown
                    .map(|(uuid, joins)| meeting(uuid, topic, joins.into()))
                    .collect();
                let listing = listing(&meetings);
                let (catalog, run, now, mut tally) =
                    (&mut self.catalog, self.run, self.now, Tally::default());
                // First page by page, then as a whole.
                let mut changed = DayChanges::default();
                for one in meetings.chunks(1) {
                    let changes = page(one, &catalog.known_of(one).unwrap(), None, false);
                    changed.merge(
                        catalog
                            .record_page(run, listing.window, &changes, now, &mut tally)
                            .unwrap(),
                    );
                }
                let expected = catalog.expected(&listing, MeetingKind::Meeting).unwrap();
                let vanished = absent(&listing, expected);
                let days = [listing.window.from];
                catalog
                    .record(run, &listing, &vanished, &days, changed, now, &mut tally)
                    .unwrap();
            }
            Ask => {
                for due in self.catalog.due_details(self.run, self.now, 10).unwrap() {
                    if !self.asked.iter().any(|one| one.uuid == due.uuid) {
                        self.asked.push(due);
                    }
                }
            }
            Answered(answer) if !self.asked.is_empty() => {
                let due = self.asked.remove(0);
                self.answered(&due, answer);
            }
            Answered(_) => {}
            Send if self.sending.is_empty() => {
                let due = self
                    .catalog
                    .due_documents(false, &HashSet::new(), &Default::default(), 10, 1 << 20)
                    .unwrap();
                self.sending = due.into_iter().map(|stored| stored.open().unwrap()).collect();
                let uuids = self.sending.iter().map(|kept| &kept.uuid);
                self.catalog.note_sending(IndexYear::ALL, uuids).unwrap();
            }
            Send => {}
            Sent(fates) => {
                for (kept, fate) in std::mem::take(&mut self.sending).iter().zip(fates) {
                    self.sent(kept, fate);
                }
            }
            Arrives => {
                for kept in std::mem::take(&mut self.late) {
                    self.index.take(&kept);
                }
            }
            GoesWell => self.goes_well(),
            IndexDeleted => {
                self.next_run();
                self.meet_new_indices();
            }
            NextRun => self.next_run(),
            Retry => {
                self.catalog.retry().unwrap();
            }
            Later(minutes) => self.now += TimeDelta::minutes(minutes.into()),
        }
        self.check();
    }

    fn answered(&mut self, due: &Due, answer: Answer) {
        let (catalog, uuid) = (&mut self.catalog, &due.uuid);
        match answer {
            Answer::Detail {
                sessions: count,
                open,
                missing,
            } => {
                let mut detail = Detail::new(uuid.clone(), sessions(uuid, count, open));
                detail.missing = missing.into();
                let packed = catalog.packer().pack(&detail, &due.listed_checksum).unwrap();
                catalog.keep(self.run, &[packed], self.now).unwrap();
            }
            Answer::Gone => catalog.detail_gone(self.run, uuid, "404", self.now).unwrap(),
            Answer::Failed => catalog
                .detail_failed(self.run, uuid, "500", true, self.now)
                .unwrap(),
        }
    }

    fn sent(&mut self, kept: &Kept, fate: Fate) {
        if matches!(fate, Fate::Acknowledged | Fate::Unheard) {
            self.index.take(kept);
        }
        match fate {
            Fate::Acknowledged => self
                .catalog
                .acknowledge(&[acknowledgement(kept)], self.now)
                .unwrap(),
            Fate::Rejected => self
                .catalog
                .reject(&kept.uuid, &kept.document_checksum, "mapping")
                .unwrap(),
            Fate::Late => self.late.push(kept.clone()),
            Fate::Unheard => {}
        }
    }

    /// The meeting's row.
    fn meeting(&self, uuid: &str) -> Option<BTreeMap<String, serde_json::Value>> {
        match self.catalog.find(uuid).unwrap()? {
            Found::Meeting(shown) => Some(shown.meeting),
            other => panic!("{other:?}"),
        }
    }

    /// Checks that the index holds exactly what is kept of each meeting with the status indexed.
    fn check(&self) {
        for uuid in MEETINGS {
            if self.meeting(uuid).is_some_and(|row| row["status"] == "indexed") {
                let kept = self.catalog.kept(&MeetingUuid::new(uuid)).unwrap().unwrap();
                let held = |documents: &Documents| -> BTreeSet<(String, Checksum)> {
                    documents
                        .iter()
                        .filter(|(_, (of, _, _))| of == uuid)
                        .filter_map(|(id, (_, _, checksum))| Some((id.clone(), checksum.clone()?)))
                        .collect()
                };
                let wanted = |ids: Vec<String>| -> BTreeSet<(String, Checksum)> {
                    ids.into_iter()
                        .map(|id| (id, kept.document_checksum.clone()))
                        .collect()
                };
                assert_eq!(held(&self.index.meetings), wanted(vec![uuid.to_owned()]));
                let ids = kept.detail.session_ids();
                let ids = ids.iter().map(|id| id.as_str().to_owned()).collect();
                assert_eq!(held(&self.index.sessions), wanted(ids));
            }
        }
    }

    fn goes_well(&mut self) {
        let (joins, renamed) = self.listed;
        self.play(Listed(joins, renamed));
        self.play(Ask);
        while let Some(due) = self.asked.first() {
            let place = MEETINGS.iter().position(|uuid| *uuid == due.uuid.as_str());
            self.play(match joins[place.unwrap()] {
                0 => Answered(Answer::Gone),
                joins => detail(joins),
            });
        }
        // What is in flight is answered first.
        self.play(Sent([Fate::Acknowledged; 2]));
        self.play(Send);
        self.play(Sent([Fate::Acknowledged; 2]));
    }

    fn ends_right(&mut self) {
        self.assert_in_order();
        // With the last listing, and everything dead retried, only what Zoom reported as gone may be missing.
        self.play(Retry);
        self.settles(&["gone"]);
        // A listing that cannot have occurred before.
        self.listed.0 = [5, 4];
        self.settles(&[]);
        for (uuid, joins) in MEETINGS.into_iter().zip([5, 4]) {
            let kept = self.catalog.kept(&MeetingUuid::new(uuid)).unwrap().unwrap();
            assert_eq!(kept.detail.len(), joins, "{uuid}");
        }
        self.assert_in_order();
    }

    /// Everything succeeds, for longer than the longest wait before an unfinished detail is looked at again.
    fn settles(&mut self, excused: &[&str]) {
        for minutes in [0, 11, 61, 361, 1_441] {
            self.now += TimeDelta::minutes(minutes);
            self.play(NextRun);
            self.goes_well();
        }
        self.play(Arrives);
        self.play(Send);
        assert!(self.sending.is_empty(), "an unchanged account costs nothing");
        for (uuid, joins) in MEETINGS.into_iter().zip(self.listed.0) {
            let Some(meeting) = self.meeting(uuid) else {
                assert_eq!(joins, 0, "{uuid}");
                continue;
            };
            let status = meeting["status"].as_str().unwrap();
            assert_eq!(meeting["vanished_at"].is_null(), joins > 0, "{uuid}");
            if joins > 0 && !excused.contains(&status) {
                assert_eq!(status, "indexed", "{uuid}");
            }
        }
    }

    fn assert_in_order(&self) {
        for checked in self.catalog.check().unwrap() {
            assert_eq!(checked.count, 0, "{checked:?}");
        }
    }
}

fn story(events: &[Event]) {
    let mut play = Play::new();
    for event in events {
        play.play(*event);
    }
    play.ends_right();
}

const fn detail(sessions: u8) -> Event {
    Answered(Answer::Detail {
        sessions,
        open: false,
        missing: false,
    })
}

/// Zoom had no detail of the meeting. Then it did not list the meeting either, until the harvester had stopped looking for the detail.
#[test]
fn a_meeting_that_was_gone_and_is_listed_again_is_fetched() {
    let mut play = Play::new();
    for event in [
        Listed([1, 0], false),
        Ask,
        Answered(Answer::Gone),
        Listed([0, 0], false),
    ] {
        play.play(event);
    }
    play.settles(&[]);
    assert_eq!(play.meeting(MEETINGS[0]).unwrap()["look_again_at"], json!(null));
    play.play(Listed([1, 0], false));
    play.goes_well();
    assert_eq!(play.meeting(MEETINGS[0]).unwrap()["status"], "indexed");
}

/// The listing changes and changes back while the detail for the changed listing is in flight.
#[test]
fn a_detail_that_comes_after_its_listing_changed_back_is_due_again() {
    story(&[
        Listed([1, 0], false),
        Ask,
        detail(1),
        Send,
        Sent([Fate::Acknowledged; 2]),
        Listed([2, 0], false),
        Ask,
        Listed([1, 0], false),
        detail(2),
    ]);
}

/// The deletion of a session is acknowledged after the session is back. The catalog must not forget that the index has it.
#[test]
fn a_session_that_comes_back_while_it_is_deleted_can_be_lost_again() {
    story(&[
        Listed([2, 0], false),
        GoesWell,
        Listed([1, 0], false),
        Ask,
        detail(1),
        Send,
        Listed([2, 0], false),
        Ask,
        detail(2),
        Sent([Fate::Acknowledged; 2]),
        GoesWell,
        Listed([1, 0], false),
        GoesWell,
    ]);
}

proptest! {
    #[test]
    fn answers_in_any_order_leave_the_catalog_correct(
        events in prop::collection::vec(event(), 1..60)
    ) {
        story(&events);
    }
}
