//! `catalog check`: SQLite's own checks, then this program's invariants as SQL, then every kept detail, which is read back and hashed again. The
//! check only reads, in one snapshot, so a run may continue at the same time.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::Serialize;

use super::{Catalog, Error, Packer, packing::Packers, sessions, sql::columns};
use crate::model::{Checksum, Detail, HostId, Kept, MeetingUuid};

/// The maximum number of flaws that a check lists. It counts all of them.
const LISTED: usize = 100;

/// A condition that must hold. The query returns each violation: the meeting (or other subject) and what is wrong.
struct Invariant {
    name: &'static str,
    meaning: &'static str,
    remedy: &'static str,
    sql: &'static str,
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: &'static str,
    /// What is true if it finds nothing.
    pub meaning: &'static str,
    /// What to do if it finds something.
    pub remedy: &'static str,
    /// How many flaws there are.
    pub count: u64,
    /// The first hundred of them.
    pub flaws: Vec<Flaw>,
}

/// A flaw that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The meeting, day, host or run that is concerned. `None` if it is the file.
    pub about: Option<String>,
    /// What is wrong.
    pub said: String,
}

const RESTORE: &str = "put a backup in its place; without one, move the catalog away: the next sync fills a new one, as far back \
                       as Zoom lists, and what the index holds stays";
const LIST_AGAIN: &str = "list the day again: `zoom-harvester sync --from DAY --to DAY`";
const HANDS: &str = "somebody else changed the catalog: put a backup in its place, or undo the change";

const INVARIANTS: [Invariant; 16] = [
    Invariant {
        name: "payload_there",
        meaning: "every meeting with a detail checksum keeps the detail, and no other does",
        remedy: RESTORE,
        sql: "SELECT m.meeting_uuid, 'its detail is vouched for and not kept' FROM meetings m
              WHERE m.detail_checksum IS NOT NULL AND NOT EXISTS (SELECT 1 FROM payloads p WHERE p.meeting_id = m.meeting_id)
              UNION ALL
              SELECT m.meeting_uuid, 'a detail is kept that nothing vouches for' FROM payloads p
              JOIN meetings m ON m.meeting_id = p.meeting_id WHERE m.detail_checksum IS NULL",
    },
    Invariant {
        name: "status",
        meaning: "the status of a meeting is what its checksums say",
        remedy: HANDS,
        sql: "SELECT meeting_uuid, 'it is ' || status || ', which its checksums contradict' FROM meetings WHERE
              (status = 'listed' AND fetched_for IS listed_checksum)
              OR (status = 'fetched' AND (fetched_for IS NOT listed_checksum OR document_checksum IS indexed_checksum))
              OR (status = 'indexed' AND (fetched_for IS NOT listed_checksum OR document_checksum IS NOT indexed_checksum))
              OR (status IN ('failed', 'dead', 'gone') AND failure IS NULL)
              OR status NOT IN ('listed', 'fetched', 'indexed', 'failed', 'dead', 'gone')",
    },
    Invariant {
        name: "checksums",
        meaning: "every checksum is 64 hex digits",
        remedy: HANDS,
        sql: "SELECT meeting_uuid, 'a checksum is none' FROM meetings WHERE EXISTS (
                SELECT 1 FROM (SELECT listed_checksum AS c UNION ALL SELECT shown_checksum UNION ALL SELECT fetched_for
                  UNION ALL SELECT detail_checksum UNION ALL SELECT document_checksum UNION ALL SELECT indexed_checksum
                  UNION ALL SELECT rejected_checksum) WHERE length(c) <> 64 OR c GLOB '*[^0-9a-f]*')",
    },
    Invariant {
        name: "revision",
        meaning: "a revision is a millisecond, none before the meeting was first listed: so later documents win",
        remedy: RESTORE,
        sql: "SELECT meeting_uuid, 'its revision ' || revision || ' is before ' || first_listed_at FROM meetings
              WHERE revision <= 0 OR revision < 1000 * unixepoch(first_listed_at)",
    },
    Invariant {
        name: "times",
        meaning: "every time is written as ISO-8601 UTC in whole seconds",
        remedy: HANDS,
        sql: "SELECT meeting_uuid, 'a time is none' FROM meetings WHERE EXISTS (
                SELECT 1 FROM (SELECT start_time AS t UNION ALL SELECT end_time UNION ALL SELECT first_listed_at
                  UNION ALL SELECT changed_at UNION ALL SELECT fetched_at UNION ALL SELECT indexed_at UNION ALL SELECT vanished_at
                  UNION ALL SELECT look_again_at) WHERE t IS NOT NULL AND t IS NOT strftime('%Y-%m-%dT%H:%M:%SZ', t))
              UNION ALL SELECT meeting_uuid, 'it has a detail and no time of fetching, or the reverse' FROM meetings
              WHERE (detail_checksum IS NULL) <> (fetched_at IS NULL)",
    },
    Invariant {
        name: "look_again",
        meaning: "a meeting that will be looked at again has a step, and is not yet accepted as incomplete",
        remedy: HANDS,
        sql: "SELECT meeting_uuid, 'it will be looked at again at ' || look_again_at || ', step ' || look_again_step FROM meetings
              WHERE look_again_at IS NOT NULL AND (look_again_step = 0 OR incomplete = 1)",
    },
    Invariant {
        name: "listed_day",
        meaning: "a meeting counts for the day of its end, else of its start",
        remedy: LIST_AGAIN,
        sql: "SELECT meeting_uuid, 'it counts for ' || listed_day FROM meetings
              WHERE listed_day IS NOT coalesce(date(end_time), date(start_time), listed_day)",
    },
    Invariant {
        name: "occurrence",
        meaning: "an instance goes on an earlier one of its series, which goes on none itself",
        remedy: HANDS,
        sql: "SELECT meeting_uuid, 'it goes on ' || occurrence_id || ', which is no such instance' FROM meetings m
              WHERE occurrence_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM meetings f WHERE f.meeting_uuid = m.occurrence_id
                AND f.series_id = m.series_id AND f.occurrence_id IS NULL AND f.start_time <= m.start_time)",
    },
    Invariant {
        name: "windows",
        meaning: "a settled day was over for a day, and its last listing changed nothing",
        remedy: LIST_AGAIN,
        sql: "SELECT day, 'it is settled, by a listing of ' || last_listed_at || ' that brought ' || changes || ' changes'
              FROM windows WHERE settled_at IS NOT NULL
              AND (changes <> 0 OR settled_at IS NOT last_listed_at OR date(settled_at) < date(day, '+2 days'))",
    },
    Invariant {
        // A meeting may have moved to another day since that listing. A meeting without times counts for the day where it was last listed.
        name: "window_meetings",
        meaning: "what the last listing of a settled day showed is in the catalog",
        remedy: LIST_AGAIN,
        sql: "SELECT w.day, 'its listing showed ' || w.meetings || ' meetings, and fewer are known' FROM windows w
              WHERE w.settled_at IS NOT NULL AND w.meetings > (SELECT count(*) FROM meetings m WHERE m.listed_day = w.day)
                + (SELECT count(*) FROM meetings m WHERE m.end_time IS NULL AND m.start_time IS NULL)
                + (SELECT count(*) FROM changes c WHERE c.at >= w.last_listed_at AND c.what = 'listing')",
    },
    Invariant {
        name: "hosts",
        meaning: "a meeting whose host is known says so, and whom to ask about an unknown host is known",
        remedy: HANDS,
        sql: "SELECT m.meeting_uuid, 'its host is known as ' || l.host_id || ', and it does not say so' FROM meetings m
              JOIN host_lookups l ON l.host_key = m.host_key WHERE m.host_id IS NULL AND l.status = 'known'
              UNION ALL
              SELECT l.meeting_uuid, 'it is to be asked for its host, and is not there' FROM host_lookups l
              WHERE l.status = 'pending' AND NOT EXISTS (SELECT 1 FROM meetings m WHERE m.meeting_uuid = l.meeting_uuid)",
    },
    Invariant {
        name: "sessions_without_detail",
        meaning: "only a meeting with a kept detail has sessions that may be in the index",
        remedy: RESTORE,
        sql: "SELECT DISTINCT m.meeting_uuid, 'it has sessions and no detail' FROM sessions s
              JOIN meetings m ON m.meeting_id = s.meeting_id WHERE m.detail_checksum IS NULL",
    },
    Invariant {
        name: "account",
        meaning: "a catalog with meetings says whose it is",
        remedy: RESTORE,
        sql: "SELECT NULL, 'it holds meetings and no account' WHERE EXISTS (SELECT 1 FROM meetings)
              AND (SELECT count(*) FROM account WHERE account_id <> '' AND catalog_id <> '') <> 1",
    },
    Invariant {
        name: "indices",
        meaning: "both indices acknowledged, or neither",
        remedy: "run `zoom-harvester publish`: it meets the indices anew",
        sql: "SELECT NULL, 'it knows one index only' WHERE (SELECT count(*) FROM indices) = 1",
    },
    Invariant {
        name: "api_use",
        meaning: "requests are counted, none below zero, each on its own day",
        remedy: HANDS,
        sql: "SELECT day, label || ': ' || requests || ' requests, the last at ' || counted_ms FROM api_use
              WHERE requests < 0 OR date(counted_ms / 1000, 'unixepoch') <> day",
    },
    Invariant {
        name: "runs",
        meaning: "a run that ended says how, counts nothing below zero, and is known wherever it is named",
        remedy: HANDS,
        sql: "SELECT 'run ' || run_id, 'it ended with ' || coalesce(exit_code, 'nothing') || ', or counts below zero' FROM runs
              WHERE exit_code NOT IN (0, 1, 2, 3, 4, 70, 130, 143) OR (ended_at IS NULL) <> (exit_code IS NULL)
              OR min(listings, new, changed, vanished, details, sessions, failed, published) < 0
              UNION ALL
              SELECT meeting_uuid, 'it was last tried by run ' || last_attempt_run || ', which is not known' FROM meetings
              WHERE last_attempt_run IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runs WHERE run_id = last_attempt_run)",
    },
];

impl Catalog {
    /// Runs every check, in order. A check that cannot run because the file is damaged counts as a flaw.
    ///
    /// # Errors
    /// Only errors that do not concern the content of the file.
    pub fn check(&self) -> Result<Vec<Checked>, Error> {
        let snapshot = Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred)?;
        let mut all = vec![
            asked(
                "integrity",
                "SQLite finds every page, index and constraint in order",
                RESTORE,
                |flaws| integrity(&snapshot, flaws),
            )?,
            asked(
                "references",
                "every row that names another one finds it",
                RESTORE,
                |flaws| references(&snapshot, flaws),
            )?,
        ];
        for one in &INVARIANTS {
            all.push(asked(one.name, one.meaning, one.remedy, |flaws| {
                let mut statement = snapshot.prepare(one.sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    flaws.add(row.get(0)?, row.get(1)?);
                }
                Ok(())
            })?);
        }
        all.push(asked(
            "payloads",
            "every kept detail can be read, is what its checksum says, and has the sessions that the catalog counts and lists",
            RESTORE,
            |flaws| payloads(&snapshot, &self.packers, flaws),
        )?);
        Ok(all)
    }
}

/// Collects what a check finds.
#[derive(Default)]
struct Flaws {
    count: u64,
    first: Vec<Flaw>,
}

impl Flaws {
    fn add(&mut self, about: Option<String>, said: String) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(Flaw { about, said });
        }
    }
}

fn asked(
    name: &'static str,
    meaning: &'static str,
    remedy: &'static str,
    ask: impl FnOnce(&mut Flaws) -> Result<(), Error>,
) -> Result<Checked, Error> {
    let mut flaws = Flaws::default();
    match ask(&mut flaws) {
        Ok(()) => {}
        Err(error @ (Error::Damaged(_) | Error::Sqlite(_))) => {
            flaws.add(None, format!("it could not be asked: {error}"));
        }
        Err(error) => return Err(error),
    }
    Ok(Checked {
        name,
        meaning,
        remedy,
        count: flaws.count,
        flaws: flaws.first,
    })
}

fn integrity(conn: &Connection, flaws: &mut Flaws) -> Result<(), Error> {
    let mut statement = conn.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        // One row may hold several lines.
        for line in said.lines().filter(|line| *line != "ok" && !line.is_empty()) {
            flaws.add(None, line.to_owned());
        }
    }
    Ok(())
}

fn references(conn: &Connection, flaws: &mut Flaws) -> Result<(), Error> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, rowid, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // The table names are the harvester's own.
        let about = match (table.as_str(), rowid) {
            ("meetings" | "payloads" | "changes", Some(rowid)) => conn
                .query_row(
                    &format!(
                        "SELECT meeting_uuid FROM meetings WHERE meeting_id = (SELECT meeting_id FROM {table} WHERE rowid = ?)"
                    ),
                    [rowid],
                    |row| row.get(0),
                )
                .ok(),
            _ => None,
        };
        flaws.add(
            about,
            format!("a row of {table} names one of {parent} that is not there"),
        );
    }
    Ok(())
}

columns! {
    /// A kept detail and the columns that it is checked against.
    Vouched {
        meeting_id: i64,
        meeting_uuid: MeetingUuid,
        detail_checksum: Checksum,
        sessions: i64,
        fetched_for: Option<Checksum>,
        listed_checksum: Checksum,
        shown_checksum: Checksum,
        document_checksum: Option<Checksum>,
        host_id: Option<HostId>,
        occurrence_id: Option<MeetingUuid>,
        listing: Vec<u8>,
        listing_bytes: i64,
        listing_dictionary: Option<i64>,
        payload: Vec<u8>,
        payload_bytes: i64,
        dictionary_id: Option<i64>,
    }
}

/// Checks row by row: the payloads of a large account do not fit into memory.
fn payloads(conn: &Connection, packers: &Packers, flaws: &mut Flaws) -> Result<(), Error> {
    let mut statement = conn.prepare(&format!(
        "SELECT {} FROM payloads p JOIN meetings m ON m.meeting_id = p.meeting_id WHERE m.detail_checksum IS NOT NULL",
        Vouched::COLUMNS
            .iter()
            .map(|name| if *name == "meeting_id" { "m.meeting_id" } else { *name })
            .collect::<Vec<_>>()
            .join(", ")
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let vouched = Vouched::read(row)?;
        if let Some(said) = payload_flaw(conn, packers, &vouched)? {
            flaws.add(Some(vouched.meeting_uuid.to_string()), said);
        }
    }
    Ok(())
}

fn payload_flaw(conn: &Connection, packers: &Packers, kept: &Vouched) -> Result<Option<String>, Error> {
    let listing = packers.by_id(conn, kept.listing_dictionary)?;
    if let Err(error) = unpack(&listing, &kept.listing, kept.listing_bytes) {
        return Ok(Some(format!("its listing cannot be unpacked: {error}")));
    }
    let packer = packers.by_id(conn, kept.dictionary_id)?;
    let payload = match unpack(&packer, &kept.payload, kept.payload_bytes) {
        Ok(payload) => payload,
        Err(error) => return Ok(Some(format!("its detail cannot be unpacked: {error}"))),
    };
    if i64::try_from(payload.len()).ok() != Some(kept.payload_bytes) {
        let bytes = kept.payload_bytes;
        return Ok(Some(format!(
            "its detail has not the {bytes} bytes that the catalog counts"
        )));
    }
    if Checksum::of_bytes(payload.as_bytes()) != kept.detail_checksum {
        return Ok(Some("its detail is not what its checksum says".to_owned()));
    }
    let Some(detail) = Detail::kept(kept.meeting_uuid.clone(), payload) else {
        return Ok(Some("its detail is no list of sessions".to_owned()));
    };
    if i64::try_from(detail.len()).ok() != Some(kept.sessions) {
        return Ok(Some(format!(
            "its detail has {} sessions, and {} are counted",
            detail.len(),
            kept.sessions
        )));
    }
    let known = sessions::of_meeting(conn, kept.meeting_id)?;
    let known: BTreeSet<String> = known.iter().map(sessions::hex).collect();
    let ids: BTreeSet<String> = detail.session_ids().iter().map(ToString::to_string).collect();
    if ids != known {
        return Ok(Some(
            "the sessions that may be in the index are not those of its detail".to_owned(),
        ));
    }
    if kept.fetched_for.as_ref() == Some(&kept.listed_checksum) {
        let document = Kept::document_checksum(
            &kept.listed_checksum,
            &kept.shown_checksum,
            &kept.detail_checksum,
            kept.host_id.as_ref(),
            kept.occurrence_id.as_ref(),
        );
        if kept.document_checksum.as_ref() != Some(&document) {
            return Ok(Some(
                "its document checksum is not over what its documents are built from".to_owned(),
            ));
        }
    }
    Ok(None)
}

/// Data that cannot be unpacked is a flaw to report, not an error that ends the check.
fn unpack(packer: &Packer, packed: &[u8], bytes: i64) -> std::io::Result<String> {
    packer.decompress(packed, usize::try_from(bytes).unwrap_or_default())
}
