//! Rewrites all stored rows according to the privacy rules: hosts, meetings with their details and sessions, series, and failure messages.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{Erased, Rules};
use crate::{
    catalog::{
        Error, RunId, changes,
        details::put_payload,
        lookups::host_key,
        meetings::MeetingState,
        occurrences::{self, Place},
        outbox::kept_detail,
        packing::{PackedKind, Packers, unpacked},
        schema::{HostLookups, Hosts, Meetings, Runs, Series},
        sessions,
        sql::{all, execute, first},
    },
    model::{Detail, Event, Host, HostId, ListedMeeting, MeetingUuid, Row, iso},
};

/// Meetings per batch: the listings of a large account do not fit into memory.
const BATCH: u64 = 500;

/// One rewrite of all rows, inside one transaction.
pub(super) struct Rewriter<'a> {
    tx: &'a Connection,
    run: RunId,
    rules: &'a dyn Rules,
    packers: &'a Packers,
    now: DateTime<Utc>,
    erased: &'a mut Erased,
    /// Words that were erased. Remarks may quote them.
    words: BTreeSet<String>,
    /// Rewritten instances in personal rooms. There the participants decide which instances belong together.
    rewritten: Vec<Place>,
    /// For each series: whether a host of its meetings was erased, and the names that the hosts had.
    series: BTreeMap<i64, (bool, BTreeSet<String>)>,
}

/// The parts of a meeting that the rules apply to.
struct StoredMeeting {
    uuid: MeetingUuid,
    host_id: Option<HostId>,
    series_id: Option<i64>,
    host_key: String,
    row: Row,
}

impl<'a> Rewriter<'a> {
    pub fn new(
        tx: &'a Connection,
        run: RunId,
        rules: &'a dyn Rules,
        packers: &'a Packers,
        now: DateTime<Utc>,
        erased: &'a mut Erased,
    ) -> Self {
        Self {
            tx,
            run,
            rules,
            packers,
            now,
            erased,
            words: BTreeSet::new(),
            rewritten: Vec::new(),
            series: BTreeMap::new(),
        }
    }

    pub fn rewrite(mut self) -> Result<(), Error> {
        let hosts_names = self.hosts()?;
        self.meetings()?;
        for place in &self.rewritten {
            occurrences::settle(self.tx, place, self.now)?;
        }
        self.series(&hosts_names)?;
        self.words.retain(|word| word.chars().count() > 2);
        self.remarks()
    }

    /// Treats all hosts. Returns the names that they had.
    fn hosts(&mut self) -> Result<BTreeMap<HostId, String>, Error> {
        let select = Query::select()
            .columns([Hosts::HostId, Hosts::Email, Hosts::Name, Hosts::Dept])
            .from(Hosts::Table)
            .take();
        let hosts = all(self.tx, &select, |row| {
            Ok(Host {
                host_id: row.get("host_id")?,
                email: row.get("email")?,
                name: row.get("name")?,
                dept: row.get("dept")?,
                user_type: None,
            })
        })?;
        let mut names = BTreeMap::new();
        for host in hosts {
            let mut treated = host.clone();
            self.rules.host(&mut treated);
            if treated != host {
                self.erased.hosts += 1;
                self.words.extend([host.email, host.name.clone()]);
                let update = Query::update()
                    .table(Hosts::Table)
                    .values([
                        (Hosts::Email, treated.email.into()),
                        (Hosts::Name, treated.name.into()),
                        (Hosts::Dept, treated.dept.into()),
                        (Hosts::RecordedAt, iso(self.now).into()),
                    ])
                    .and_where(Expr::col(Hosts::HostId).eq(host.host_id.as_str()))
                    .take();
                execute(self.tx, &update)?;
            }
            names.insert(host.host_id, host.name);
        }
        Ok(names)
    }

    fn meetings(&mut self) -> Result<(), Error> {
        let mut after = String::new();
        let mut left_keys = HashSet::new();
        loop {
            let batch = self.batch(&after)?;
            let Some(last) = batch.last() else { break };
            after = last.uuid.as_str().to_owned();
            for stored in batch {
                let host = stored.row.text("host").trim().to_owned();
                if let Some(series) = stored.series_id.filter(|_| !host.is_empty()) {
                    self.series.entry(series).or_default().1.insert(host);
                }
                if let Some(key) = self.meeting(&stored)? {
                    if let Some(series) = stored.series_id {
                        self.series.entry(series).or_default().0 = true;
                    }
                    left_keys.insert(key);
                }
            }
        }
        for key in left_keys {
            let delete = Query::delete()
                .from_table(HostLookups::Table)
                .and_where(Expr::col(HostLookups::HostKey).eq(key.as_str()))
                .and_where(Expr::cust(UNUSED))
                .take();
            execute(self.tx, &delete)?;
        }
        self.unused_keys()
    }

    fn batch(&self, after: &str) -> Result<Vec<StoredMeeting>, Error> {
        let select = Query::select()
            .columns([
                Meetings::MeetingUuid,
                Meetings::HostId,
                Meetings::SeriesId,
                Meetings::HostKey,
                Meetings::Listing,
                Meetings::ListingBytes,
                Meetings::ListingDictionary,
            ])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::MeetingUuid).gt(after))
            .order_by(Meetings::MeetingUuid, Order::Asc)
            .limit(BATCH)
            .take();
        let rows = all(self.tx, &select, |row| {
            let stored = StoredMeeting {
                uuid: row.get("meeting_uuid")?,
                host_id: row.get("host_id")?,
                series_id: row.get("series_id")?,
                host_key: row.get("host_key")?,
                row: Row::empty(),
            };
            let packed: (Vec<u8>, i64, Option<i64>) = (
                row.get("listing")?,
                row.get("listing_bytes")?,
                row.get("listing_dictionary")?,
            );
            Ok((stored, packed))
        })?;
        rows.into_iter()
            .map(|(stored, (packed, bytes, dictionary))| {
                let packer = self.packers.by_id(self.tx, dictionary)?;
                let listing = unpacked(&packer, &packed, bytes, stored.uuid.as_str())?;
                Ok(StoredMeeting {
                    row: Row::kept(&listing),
                    ..stored
                })
            })
            .collect()
    }

    /// Applies the rules to one meeting. Returns the old key of its host if the key changed.
    fn meeting(&mut self, stored: &StoredMeeting) -> Result<Option<String>, Error> {
        let (tx, uuid) = (self.tx, &stored.uuid);
        let Some(mut state) = MeetingState::of(tx, uuid)? else {
            return Ok(None);
        };
        let row = self.rules.meeting(uuid, stored.host_id.as_ref(), &stored.row);
        let kept = kept_detail(tx, self.packers, state.meeting_id, uuid)?;
        let treated = kept.clone().map(|detail| self.rules.detail(detail));
        if row == stored.row && treated == kept {
            return Ok(None);
        }
        self.erased.meetings += 1;
        self.lost_words(&stored.row, &row, &["host", "email"]);
        let key = host_key(row.text("email").trim(), uuid);
        let mut shown = None;
        if row != stored.row {
            if key != stored.host_key {
                move_lookup(tx, &stored.host_key, &key, stored.host_id.as_ref(), uuid)?;
            }
            self.listing(state.meeting_id, &key, &row)?;
            let after = ListedMeeting::shown_checksum_of(&row);
            shown = Some(std::mem::replace(&mut state.shown_checksum, after));
        }
        let mut before = None;
        if let (Some(kept), Some(treated)) = (&kept, &treated)
            && treated != kept
        {
            self.erased.sessions += self.changed_sessions(kept, treated);
            let packer = self.packers.present(PackedKind::Detail);
            let packed = packer.pack(treated, &state.listed_checksum)?;
            put_payload(
                tx,
                state.meeting_id,
                &packed.payload,
                packed.payload_bytes,
                packed.dictionary_id,
            )?;
            sessions::put(tx, state.meeting_id, &packed.sessions, true)?;
            before = state.detail_checksum.replace(packed.checksum);
        }
        state.documents_follow(Event::DocumentsDue, self.now);
        state.save(tx)?;
        self.rewritten.extend(Place::in_personal_room(&state));
        if before.is_some() {
            changes::note(
                tx,
                self.run,
                state.meeting_id,
                "detail",
                before.as_ref(),
                self.now,
            )?;
        }
        if let Some(shown) = shown.filter(|shown| *shown != state.shown_checksum) {
            changes::note(tx, self.run, state.meeting_id, "shown", Some(&shown), self.now)?;
        }
        Ok((key != stored.host_key).then(|| stored.host_key.clone()))
    }

    fn listing(&self, meeting_id: i64, key: &str, row: &Row) -> Result<(), Error> {
        let packer = self.packers.present(PackedKind::Listing);
        let packed = packer
            .compress(row.as_str().as_bytes())
            .map_err(|source| Error::Payload {
                uuid: row.text("uuid").into_owned(),
                source,
            })?;
        let said = |name| row.text(name).trim().to_owned();
        let update = Query::update()
            .table(Meetings::Table)
            .values([
                (Meetings::HostKey, key.into()),
                (Meetings::Topic, said("topic").into()),
                (Meetings::HostName, said("host").into()),
                (Meetings::HostEmail, said("email").into()),
                (Meetings::Listing, packed.into()),
                (Meetings::ListingBytes, (row.as_str().len() as i64).into()),
                (Meetings::ListingDictionary, packer.dictionary_id().into()),
            ])
            .and_where(Expr::col(Meetings::MeetingId).eq(meeting_id))
            .take();
        execute(self.tx, &update)?;
        Ok(())
    }

    /// Treats the keys of reported hosts that host no kept meeting.
    fn unused_keys(&self) -> Result<(), Error> {
        let select = Query::select()
            .columns([HostLookups::HostKey, HostLookups::HostId])
            .from(HostLookups::Table)
            .and_where(Expr::col(HostLookups::HostId).is_not_null())
            .and_where(Expr::cust(format!("host_key NOT LIKE 'meeting:%' AND {UNUSED}")))
            .take();
        let unused = all(self.tx, &select, |row| {
            Ok((row.get::<_, String>("host_key")?, row.get("host_id")?))
        })?;
        for (key, host_id) in unused {
            let mut host = Host {
                host_id,
                email: key.clone(),
                name: String::new(),
                dept: String::new(),
                user_type: None,
            };
            self.rules.host(&mut host);
            if host.email != key {
                let delete = Query::delete()
                    .from_table(HostLookups::Table)
                    .and_where(Expr::col(HostLookups::HostKey).eq(key.as_str()))
                    .take();
                execute(self.tx, &delete)?;
            }
        }
        Ok(())
    }

    /// The number of sessions that differ. The words that they lost are recorded.
    fn changed_sessions(&mut self, kept: &Detail, treated: &Detail) -> u64 {
        // Matched by id: the canonical order may have changed.
        let before: BTreeMap<_, _> = kept.session_ids().into_iter().zip(kept.rows()).collect();
        let mut changed = 0;
        for (id, row) in treated.session_ids().into_iter().zip(treated.rows()) {
            if let Some(before) = before.get(&id).filter(|before| **before != row) {
                changed += 1;
                self.lost_words(&before.to_row(), &row.to_row(), &["user_name", "email"]);
            }
        }
        changed
    }

    fn lost_words(&mut self, before: &Row, after: &Row, fields: &[&str]) {
        for field in fields {
            let word = before.text(field).trim().to_owned();
            if !word.is_empty() && before.get(field) != after.get(field) {
                self.words.insert(word);
            }
        }
    }

    fn series(&mut self, hosts_names: &BTreeMap<HostId, String>) -> Result<(), Error> {
        let select = Query::select()
            .columns([Series::SeriesId, Series::Topic, Series::HostId])
            .from(Series::Table)
            .take();
        let series = all(self.tx, &select, |row| {
            Ok((
                row.get::<_, i64>("series_id")?,
                row.get::<_, String>("topic")?,
                row.get::<_, Option<HostId>>("host_id")?,
            ))
        })?;
        for (id, topic, host_id) in series {
            let (host_erased, mut known) = self.series.get(&id).cloned().unwrap_or_default();
            known.extend(host_id.as_ref().and_then(|host| hosts_names.get(host)).cloned());
            let mut treated = topic.clone();
            self.rules
                .series_topic(host_id.as_ref(), host_erased, &known, &mut treated);
            if treated != topic {
                self.erased.series += 1;
                let update = Query::update()
                    .table(Series::Table)
                    .value(Series::Topic, treated)
                    .and_where(Expr::col(Series::SeriesId).eq(id))
                    .take();
                execute(self.tx, &update)?;
            }
        }
        Ok(())
    }

    /// Treats failure and run messages. They may quote Zoom or Elasticsearch, whose messages may quote a value.
    fn remarks(&self) -> Result<(), Error> {
        let select = Query::select()
            .columns([Meetings::MeetingId, Meetings::Failure])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::Failure).is_not_null())
            .take();
        for (id, said) in all(self.tx, &select, read_remark)? {
            if let Some(treated) = self.remark(&said) {
                let update = Query::update()
                    .table(Meetings::Table)
                    .value(Meetings::Failure, treated)
                    .and_where(Expr::col(Meetings::MeetingId).eq(id))
                    .take();
                execute(self.tx, &update)?;
            }
        }
        let select = Query::select()
            .columns([Runs::RunId, Runs::Message])
            .from(Runs::Table)
            .and_where(Expr::col(Runs::Message).is_not_null())
            .take();
        for (id, said) in all(self.tx, &select, read_remark)? {
            if let Some(treated) = self.remark(&said) {
                let update = Query::update()
                    .table(Runs::Table)
                    .value(Runs::Message, treated)
                    .and_where(Expr::col(Runs::RunId).eq(id))
                    .take();
                execute(self.tx, &update)?;
            }
        }
        Ok(())
    }

    /// The remark after the rules. `None` if it is unchanged.
    fn remark(&self, said: &str) -> Option<String> {
        let mut treated = said.to_owned();
        self.rules.remark(&self.words, &mut treated);
        (treated != said).then_some(treated)
    }
}

const UNUSED: &str = "NOT EXISTS (SELECT 1 FROM meetings m WHERE m.host_key = host_lookups.host_key)";

fn read_remark(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Adds a look-up under the meeting's new key, with all that the old one knew of the host, so that nothing is requested again.
fn move_lookup(
    tx: &Connection,
    from: &str,
    to: &str,
    host_id: Option<&HostId>,
    uuid: &MeetingUuid,
) -> Result<(), Error> {
    let select = Query::select()
        .columns([HostLookups::Status, HostLookups::AskedAt])
        .from(HostLookups::Table)
        .and_where(Expr::col(HostLookups::HostKey).eq(from))
        .take();
    let (status, asked_at) = first(tx, &select, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
    })?
    .unwrap_or_else(|| ("pending".to_owned(), None));
    let status = match host_id {
        Some(_) => "known",
        None if status == "known" => "pending",
        None => status.as_str(),
    };
    let insert = Query::insert()
        .into_table(HostLookups::Table)
        .columns([
            HostLookups::HostKey,
            HostLookups::HostId,
            HostLookups::Status,
            HostLookups::MeetingUuid,
            HostLookups::AskedAt,
        ])
        .values_panic([
            to.into(),
            host_id.map(|id| id.as_str().to_owned()).into(),
            status.into(),
            uuid.as_str().into(),
            asked_at.into(),
        ])
        .on_conflict(OnConflict::column(HostLookups::HostKey).do_nothing().to_owned())
        .take();
    execute(tx, &insert)?;
    Ok(())
}
