//! Erasing: people out of what is stored, and all that ended before a day.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::Transaction;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    Catalog, Error, RunId, all, detail, execute, first,
    listing::host_key,
    publish,
    schema::{
        Backups, Changes, DoomedDocuments, Forgetting, Forgotten as ForgottenTable, HostLookups, Hosts,
        Meetings, Payloads, PublishedSessions, Runs, Series, Windows,
    },
};
use crate::model::{
    Checksum, Deletion, Detail, Event, Forgotten, ForgottenKind, Host, HostId, IndexKind, Kept,
    ListedMeeting, MeetingUuid, Row, iso, text,
};

/// What is to become of what is stored. The catalog knows where it lies, not what may stay.
pub trait Rules {
    /// A listing's row.
    fn meeting(&self, uuid: &MeetingUuid, host_id: Option<&HostId>, row: &mut Row);
    /// A kept detail.
    fn detail(&self, detail: Detail) -> Detail;
    /// A host.
    fn host(&self, host: &mut Host);
    /// A series' topic; the host if it is known, whether the host of one of its meetings was erased, and the names they had.
    fn series_topic(
        &self,
        host_id: Option<&HostId>,
        host_erased: bool,
        names: &BTreeSet<String>,
        topic: &mut String,
    );
    /// What was said of failures and runs; the words that were erased elsewhere.
    fn remark(&self, erased: &BTreeSet<String>, remark: &mut String);
}

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// Meetings in which something was erased.
    pub meetings: u64,
    /// Sessions of theirs in which something was erased.
    pub sessions: u64,
    /// Hosts.
    pub hosts: u64,
    /// Topics of series.
    pub series: u64,
    /// Meetings that were deleted for their age.
    pub deleted_meetings: u64,
    /// Sessions of theirs.
    pub deleted_sessions: u64,
}

/// A host as the catalog knows it, for whoever has to tell whether it is somebody: its id and every email it had.
pub type HostEmails = BTreeMap<HostId, BTreeSet<String>>;

/// A copy of the catalog that may still hold what was erased here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KnownBackup {
    /// Where it was written to.
    pub path: String,
    /// When.
    pub made_at: String,
}

impl Catalog {
    /// What must not be kept if it comes again.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn forgotten(&self) -> Result<Forgotten, Error> {
        let select = Query::select()
            .columns([Forgetting::Salt, Forgetting::BeforeDay])
            .from(Forgetting::Table)
            .take();
        let (salt, before) = first(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })?
        .unwrap_or_default();
        let select = Query::select()
            .columns([ForgottenTable::Kind, ForgottenTable::Digest])
            .from(ForgottenTable::Table)
            .take();
        let rows = all(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let digests = rows
            .into_iter()
            .map(|(kind, digest)| {
                let known = ForgottenKind::parse(&kind)
                    .ok_or_else(|| Error::Nonsense(format!("something forgotten of the kind {kind:?}")))?;
                Ok((known, Checksum::from_hex(digest)))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Forgotten {
            salt,
            digests,
            before: before.and_then(|day| day.parse().ok()),
        })
    }

    /// Every host with every email under which it is or was known.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn host_emails(&self) -> Result<HostEmails, Error> {
        let mut hosts = HostEmails::new();
        for select in [
            Query::select()
                .columns([Hosts::HostId, Hosts::Email])
                .from(Hosts::Table)
                .take(),
            Query::select()
                .distinct()
                .columns([Meetings::HostId, Meetings::HostEmail])
                .from(Meetings::Table)
                .and_where(Expr::col(Meetings::HostId).is_not_null())
                .take(),
            Query::select()
                .columns([HostLookups::HostId, HostLookups::HostKey])
                .from(HostLookups::Table)
                .and_where(Expr::col(HostLookups::HostId).is_not_null())
                .and_where(Expr::col(HostLookups::HostKey).not_like("meeting:%"))
                .take(),
        ] {
            for (id, email) in all(&self.conn, &select, |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })? {
                let emails = hosts.entry(HostId::new(id)).or_default();
                if !email.trim().is_empty() {
                    emails.insert(email.trim().to_lowercase());
                }
            }
        }
        Ok(hosts)
    }

    /// Meetings of these hosts that Zoom lists without an email.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn meetings_without_email(&self, hosts: &BTreeSet<HostId>) -> Result<Vec<MeetingUuid>, Error> {
        let mut uuids = Vec::new();
        for host in hosts {
            let select = Query::select()
                .column(Meetings::MeetingUuid)
                .from(Meetings::Table)
                .and_where(Expr::col(Meetings::HostId).eq(host.as_str()))
                .and_where(Expr::col(Meetings::HostEmail).eq(""))
                .take();
            uuids.extend(all(&self.conn, &select, |row| {
                Ok(MeetingUuid::new(row.get::<_, String>(0)?))
            })?);
        }
        Ok(uuids)
    }

    /// Remembers what is forgotten, deletes what ended before the day, and puts everything else through the rules: one transaction,
    /// so that no instant knows half of it. With `dry` nothing of it stays.
    ///
    /// # Errors
    /// As SQLite fails; then nothing of it is done.
    pub fn forget(
        &mut self,
        run: RunId,
        forgotten: &Forgotten,
        rules: &dyn Rules,
        dry: bool,
        now: DateTime<Utc>,
    ) -> Result<Erased, Error> {
        let tx = self.transaction()?;
        let mut erased = Erased::default();
        remember(&tx, forgotten, now)?;
        if let Some(day) = forgotten.before {
            delete_before(&tx, day, now, &mut erased)?;
        }
        let mut words = BTreeSet::new();
        let mut names: BTreeMap<i64, (bool, BTreeSet<String>)> = BTreeMap::new();
        let hosts_names = rewrite_hosts(&tx, rules, now, &mut words, &mut erased)?;
        rewrite_meetings(&tx, run, rules, now, &mut words, &mut names, &mut erased)?;
        rewrite_series(&tx, rules, &hosts_names, &names, &mut erased)?;
        words.retain(|word| word.chars().count() > 2);
        rewrite_remarks(&tx, rules, &words)?;
        if dry {
            tx.rollback()?;
        } else {
            tx.commit()?;
        }
        Ok(erased)
    }

    /// Remembers one more that must not be kept if it comes again.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn remember(
        &mut self,
        kind: ForgottenKind,
        digest: &Checksum,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let one = Forgotten {
            digests: BTreeSet::from([(kind, digest.clone())]),
            ..Forgotten::default()
        };
        remember(&tx, &one, now)?;
        tx.commit()?;
        Ok(())
    }

    /// Rewrites the file without anything that was deleted, and empties the log beside it. Answers whether it could: somebody
    /// who reads the catalog just now keeps the log.
    ///
    /// # Errors
    /// As SQLite fails; what was erased is erased all the same.
    pub fn scrub(&mut self) -> Result<bool, Error> {
        self.conn.execute_batch("VACUUM")?;
        let busy: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(busy == 0)
    }

    /// Documents of forgotten meetings whose deletion was not acknowledged yet.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn doomed_documents(&self, limit: u64) -> Result<Vec<Deletion>, Error> {
        let select = Query::select()
            .columns([
                DoomedDocuments::Kind,
                DoomedDocuments::DocumentId,
                DoomedDocuments::Version,
            ])
            .from(DoomedDocuments::Table)
            .order_by(DoomedDocuments::Kind, Order::Asc)
            .order_by(DoomedDocuments::DocumentId, Order::Asc)
            .limit(limit)
            .take();
        let rows = all(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
        })?;
        rows.into_iter()
            .map(|(kind, id, version)| {
                let index = IndexKind::ALL
                    .into_iter()
                    .find(|index| index.as_str() == kind)
                    .ok_or_else(|| Error::Nonsense(format!("a document of the kind {kind:?}")))?;
                Ok(Deletion { index, id, version })
            })
            .collect()
    }

    /// How many those are.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn count_doomed_documents(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(DoomedDocuments::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Records which deletions Elasticsearch acknowledged.
    ///
    /// # Errors
    /// As SQLite fails; then a replay will change nothing.
    pub fn acknowledge_deletions(&mut self, deleted: &[Deletion]) -> Result<(), Error> {
        let tx = self.transaction()?;
        for one in deleted {
            let delete = Query::delete()
                .from_table(DoomedDocuments::Table)
                .and_where(Expr::col(DoomedDocuments::Kind).eq(one.index.as_str()))
                .and_where(Expr::col(DoomedDocuments::DocumentId).eq(one.id.as_str()))
                .and_where(Expr::col(DoomedDocuments::Version).lte(one.version))
                .take();
            execute(&tx, &delete)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Whether an index was ever filled from here.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn was_published(&self) -> Result<bool, Error> {
        let select = Query::select()
            .expr(Expr::cust("1"))
            .from(super::schema::Indices::Table)
            .limit(1)
            .take();
        Ok(first(&self.conn, &select, |_| Ok(()))?.is_some())
    }

    /// The backups that this catalog knows of, oldest first.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn known_backups(&self) -> Result<Vec<KnownBackup>, Error> {
        let select = Query::select()
            .columns([Backups::Path, Backups::MadeAt])
            .from(Backups::Table)
            .order_by(Backups::MadeAt, Order::Asc)
            .take();
        all(&self.conn, &select, |row| {
            Ok(KnownBackup {
                path: row.get(0)?,
                made_at: row.get(1)?,
            })
        })
    }
}

fn remember(tx: &Transaction<'_>, forgotten: &Forgotten, now: DateTime<Utc>) -> Result<(), Error> {
    for (kind, digest) in &forgotten.digests {
        let insert = Query::insert()
            .into_table(ForgottenTable::Table)
            .columns([
                ForgottenTable::Kind,
                ForgottenTable::Digest,
                ForgottenTable::ForgottenAt,
            ])
            .values_panic([kind.as_str().into(), digest.as_str().into(), iso(now).into()])
            .on_conflict(
                OnConflict::columns([ForgottenTable::Kind, ForgottenTable::Digest])
                    .do_nothing()
                    .to_owned(),
            )
            .take();
        execute(tx, &insert)?;
    }
    if let Some(day) = forgotten.before {
        let update = Query::update()
            .table(Forgetting::Table)
            .value(Forgetting::BeforeDay, day.to_string())
            .take();
        execute(tx, &update)?;
    }
    Ok(())
}

fn delete_before(
    tx: &Transaction<'_>,
    day: NaiveDate,
    now: DateTime<Utc>,
    erased: &mut Erased,
) -> Result<(), Error> {
    let day = day.to_string();
    let select = Query::select()
        .columns([Meetings::MeetingUuid, Meetings::Revision])
        .columns([Meetings::DocumentChecksum, Meetings::Sessions])
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::ListedDay).lt(day.as_str()))
        .take();
    let old = all(tx, &select, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, Option<String>>(2)?.is_some(),
            row.get::<_, Option<i64>>(3)?.unwrap_or(0),
        ))
    })?;
    for (uuid, revision, may_be_sent, sessions) in old {
        erased.deleted_meetings += 1;
        erased.deleted_sessions += u64::try_from(sessions).unwrap_or(0);
        let version = detail::next_revision(revision, now);
        let select = Query::select()
            .column(PublishedSessions::SessionId)
            .from(PublishedSessions::Table)
            .and_where(Expr::col(PublishedSessions::MeetingUuid).eq(uuid.as_str()))
            .take();
        let sent = all(tx, &select, |row| row.get::<_, String>(0))?;
        for id in sent {
            doom(tx, IndexKind::Sessions, &id, version)?;
        }
        if may_be_sent {
            doom(tx, IndexKind::Meetings, &uuid, version)?;
        }
        let gone = |table: sea_query::DynIden, column: sea_query::DynIden| {
            Query::delete()
                .from_table(table)
                .and_where(Expr::col(column).eq(uuid.as_str()))
                .take()
        };
        use sea_query::IntoIden;
        for delete in [
            gone(
                PublishedSessions::Table.into_iden(),
                PublishedSessions::MeetingUuid.into_iden(),
            ),
            gone(Payloads::Table.into_iden(), Payloads::MeetingUuid.into_iden()),
            gone(Changes::Table.into_iden(), Changes::MeetingUuid.into_iden()),
            gone(Meetings::Table.into_iden(), Meetings::MeetingUuid.into_iden()),
        ] {
            execute(tx, &delete)?;
        }
    }
    let windows = Query::delete()
        .from_table(Windows::Table)
        .and_where(Expr::col(Windows::Day).lt(day.as_str()))
        .take();
    execute(tx, &windows)?;
    // Questions about meetings that are no more; where their host has others, one of those is asked about.
    const UNUSED: &str = "NOT EXISTS (SELECT 1 FROM meetings m WHERE m.host_key = host_lookups.host_key) \
                          AND (status <> 'known' OR host_key LIKE 'meeting:%')";
    let lookups = Query::delete()
        .from_table(HostLookups::Table)
        .and_where(Expr::cust(UNUSED))
        .take();
    execute(tx, &lookups)?;
    let asked = Query::update()
        .table(HostLookups::Table)
        .value(
            HostLookups::MeetingUuid,
            Expr::cust(
                "coalesce((SELECT min(m.meeting_uuid) FROM meetings m WHERE m.host_key = host_lookups.host_key), '')",
            ),
        )
        .and_where(Expr::cust(
            "NOT EXISTS (SELECT 1 FROM meetings m WHERE m.meeting_uuid = host_lookups.meeting_uuid)",
        ))
        .take();
    execute(tx, &asked)?;
    // Series that were only met through those meetings; what a host's list says of others stays.
    let series = Query::delete()
        .from_table(Series::Table)
        .and_where(Expr::cust(
            "status <> 'known' AND NOT EXISTS (SELECT 1 FROM meetings m WHERE m.series_id = series.series_id)",
        ))
        .take();
    execute(tx, &series)?;
    Ok(())
}

/// Notes that a document is to be deleted, whether or not it was ever sent: deleting what is not there is no error.
fn doom(tx: &Transaction<'_>, kind: IndexKind, id: &str, version: i64) -> Result<(), Error> {
    let insert = Query::insert()
        .into_table(DoomedDocuments::Table)
        .columns([
            DoomedDocuments::Kind,
            DoomedDocuments::DocumentId,
            DoomedDocuments::Version,
        ])
        .values_panic([kind.as_str().into(), id.into(), version.into()])
        .on_conflict(
            OnConflict::columns([DoomedDocuments::Kind, DoomedDocuments::DocumentId])
                .update_column(DoomedDocuments::Version)
                .to_owned(),
        )
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Puts the hosts through the rules; answers the names they had.
fn rewrite_hosts(
    tx: &Transaction<'_>,
    rules: &dyn Rules,
    now: DateTime<Utc>,
    words: &mut BTreeSet<String>,
    erased: &mut Erased,
) -> Result<BTreeMap<HostId, String>, Error> {
    let select = Query::select()
        .columns([Hosts::HostId, Hosts::Email, Hosts::Name, Hosts::Dept])
        .from(Hosts::Table)
        .take();
    let hosts = all(tx, &select, |row| {
        Ok(Host {
            host_id: HostId::new(row.get::<_, String>(0)?),
            email: row.get(1)?,
            name: row.get(2)?,
            dept: row.get(3)?,
            user_type: None,
        })
    })?;
    let mut names = BTreeMap::new();
    for host in hosts {
        let mut treated = host.clone();
        rules.host(&mut treated);
        if treated != host {
            erased.hosts += 1;
            words.extend([host.email, host.name.clone()]);
            let update = Query::update()
                .table(Hosts::Table)
                .values([
                    (Hosts::Email, treated.email.into()),
                    (Hosts::Name, treated.name.into()),
                    (Hosts::Dept, treated.dept.into()),
                    (Hosts::RecordedAt, iso(now).into()),
                ])
                .and_where(Expr::col(Hosts::HostId).eq(host.host_id.as_str()))
                .take();
            execute(tx, &update)?;
        }
        names.insert(host.host_id, host.name);
    }
    Ok(names)
}

/// A meeting as far as the rules are about it.
struct Stored {
    uuid: MeetingUuid,
    host_id: Option<HostId>,
    series_id: Option<i64>,
    host_key: String,
    row: Row,
}

fn rewrite_meetings(
    tx: &Transaction<'_>,
    run: RunId,
    rules: &dyn Rules,
    now: DateTime<Utc>,
    words: &mut BTreeSet<String>,
    names: &mut BTreeMap<i64, (bool, BTreeSet<String>)>,
    erased: &mut Erased,
) -> Result<(), Error> {
    let mut after = String::new();
    let mut left_keys = HashSet::new();
    // Batch by batch: the listings of a large account do not fit into memory.
    loop {
        let select = Query::select()
            .columns([
                Meetings::MeetingUuid,
                Meetings::HostId,
                Meetings::SeriesId,
                Meetings::HostKey,
                Meetings::Listing,
            ])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::MeetingUuid).gt(after.as_str()))
            .order_by(Meetings::MeetingUuid, Order::Asc)
            .limit(500)
            .take();
        let rows = all(tx, &select, |row| {
            Ok((
                Stored {
                    uuid: MeetingUuid::new(row.get::<_, String>(0)?),
                    host_id: row.get::<_, Option<String>>(1)?.map(HostId::new),
                    series_id: row.get(2)?,
                    host_key: row.get(3)?,
                    row: Row::new(),
                },
                row.get::<_, String>(4)?,
            ))
        })?;
        let Some((last, _)) = rows.last() else { break };
        after = last.uuid.as_str().to_owned();
        for (stored, listing) in rows {
            let row = serde_json::from_str(&listing).map_err(|error| {
                Error::Nonsense(format!(
                    "a listing of meeting {} that is no object ({error})",
                    stored.uuid
                ))
            })?;
            let stored = Stored { row, ..stored };
            if let Some(series) = stored.series_id {
                let host = text(&stored.row, "host").trim();
                if !host.is_empty() {
                    names.entry(series).or_default().1.insert(host.to_owned());
                }
            }
            if let Some(key) = rewrite_meeting(tx, run, rules, &stored, now, words, erased)? {
                if let Some(series) = stored.series_id {
                    names.entry(series).or_default().0 = true;
                }
                left_keys.insert(key);
            }
        }
    }
    for key in left_keys {
        let delete = Query::delete()
            .from_table(HostLookups::Table)
            .and_where(Expr::col(HostLookups::HostKey).eq(key.as_str()))
            .and_where(Expr::cust(
                "NOT EXISTS (SELECT 1 FROM meetings m WHERE m.host_key = host_lookups.host_key)",
            ))
            .take();
        execute(tx, &delete)?;
    }
    // Keys of hosts that were reported but never seen to host a meeting that is kept.
    let select = Query::select()
        .columns([HostLookups::HostKey, HostLookups::HostId])
        .from(HostLookups::Table)
        .and_where(Expr::col(HostLookups::HostId).is_not_null())
        .and_where(Expr::cust(
            "host_key NOT LIKE 'meeting:%' AND NOT EXISTS (SELECT 1 FROM meetings m WHERE m.host_key = host_lookups.host_key)",
        ))
        .take();
    let unused = all(tx, &select, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    for (key, host_id) in unused {
        let mut host = Host {
            host_id: HostId::new(host_id),
            email: key.clone(),
            name: String::new(),
            dept: String::new(),
            user_type: None,
        };
        rules.host(&mut host);
        if host.email != key {
            let delete = Query::delete()
                .from_table(HostLookups::Table)
                .and_where(Expr::col(HostLookups::HostKey).eq(key.as_str()))
                .take();
            execute(tx, &delete)?;
        }
    }
    Ok(())
}

/// Puts one meeting through the rules. Answers the key of its host, if that one is no longer its.
fn rewrite_meeting(
    tx: &Transaction<'_>,
    run: RunId,
    rules: &dyn Rules,
    stored: &Stored,
    now: DateTime<Utc>,
    words: &mut BTreeSet<String>,
    erased: &mut Erased,
) -> Result<Option<String>, Error> {
    let uuid = &stored.uuid;
    let Some(before) = detail::Row::read(tx, uuid)? else {
        return Ok(None);
    };
    let mut row = stored.row.clone();
    rules.meeting(uuid, stored.host_id.as_ref(), &mut row);
    let kept = publish::kept_detail(tx, uuid)?;
    let treated = kept.clone().map(|detail| rules.detail(detail));
    if row == stored.row && treated == kept {
        return Ok(None);
    }
    erased.meetings += 1;
    lost_words(&stored.row, &row, &["host", "email"], words);
    let mut update = Query::update()
        .table(Meetings::Table)
        .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
        .take();
    let said = |name: &str| text(&row, name).trim().to_owned();
    let key = host_key(&said("email"), uuid);
    if row != stored.row {
        if key != stored.host_key {
            move_lookup(tx, &stored.host_key, &key, stored.host_id.as_ref(), uuid)?;
        }
        update.values([
            (Meetings::HostKey, key.as_str().into()),
            (Meetings::Topic, said("topic").into()),
            (Meetings::HostName, said("host").into()),
            (Meetings::HostEmail, said("email").into()),
            (
                Meetings::Listing,
                serde_json::Value::Object(row.clone()).to_string().into(),
            ),
            (
                Meetings::ShownChecksum,
                ListedMeeting::shown_checksum_of(&row).as_str().into(),
            ),
        ]);
    }
    let shown = ListedMeeting::shown_checksum_of(&row);
    let shown = if row == stored.row {
        before.shown_checksum.clone()
    } else {
        shown
    };
    let mut detail_checksum = before.detail_checksum.clone();
    if let (Some(kept), Some(treated)) = (&kept, &treated)
        && treated != kept
    {
        erased.sessions += changed_sessions(kept, treated, words);
        let payload = treated.payload();
        let checksum = Checksum::of_bytes(&payload);
        detail::put_payload(tx, uuid, &payload, now)?;
        detail::put_session_ids(tx, uuid, &treated.session_ids(), true)?;
        update.value(Meetings::DetailChecksum, checksum.as_str());
        detail_checksum = Some(checksum);
    }
    if let Some(detail) = &detail_checksum {
        let document =
            Kept::document_checksum(&before.listed_checksum, &shown, detail, before.host_id.as_ref());
        before.put_document(&mut update, Event::DocumentsDue, &document, now);
    }
    execute(tx, &update)?;
    if before.detail_checksum != detail_checksum {
        let (old, new) = (before.detail_checksum.as_ref(), detail_checksum.as_ref());
        super::listing::note_change(
            tx,
            run,
            uuid,
            "detail",
            old.map(Checksum::as_str),
            new.map(Checksum::as_str),
            now,
        )?;
    }
    if before.shown_checksum != shown {
        let (old, new) = (before.shown_checksum.as_str(), shown.as_str());
        super::listing::note_change(tx, run, uuid, "shown", Some(old), Some(new), now)?;
    }
    Ok((key != stored.host_key).then(|| stored.host_key.clone()))
}

/// The meeting's new key, which knows as much of its host as the old one did: so nothing is asked for it again.
fn move_lookup(
    tx: &Transaction<'_>,
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

/// How many sessions differ; the words that they lost.
fn changed_sessions(kept: &Detail, treated: &Detail, words: &mut BTreeSet<String>) -> u64 {
    // By id: the canonical order may be another now.
    let before: BTreeMap<_, _> = kept.session_ids().into_iter().zip(&kept.sessions).collect();
    let mut changed = 0;
    for (id, row) in treated.session_ids().into_iter().zip(&treated.sessions) {
        if let Some(before) = before.get(&id).filter(|before| **before != row) {
            changed += 1;
            lost_words(before, row, &["user_name", "email"], words);
        }
    }
    changed
}

fn lost_words(before: &Row, after: &Row, fields: &[&str], words: &mut BTreeSet<String>) {
    for field in fields {
        let word = text(before, field).trim();
        if !word.is_empty() && before.get(*field) != after.get(*field) {
            words.insert(word.to_owned());
        }
    }
}

fn rewrite_series(
    tx: &Transaction<'_>,
    rules: &dyn Rules,
    hosts_names: &BTreeMap<HostId, String>,
    names: &BTreeMap<i64, (bool, BTreeSet<String>)>,
    erased: &mut Erased,
) -> Result<(), Error> {
    let select = Query::select()
        .columns([Series::SeriesId, Series::Topic, Series::HostId])
        .from(Series::Table)
        .take();
    let series = all(tx, &select, |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<String>>(2)?.map(HostId::new),
        ))
    })?;
    for (id, topic, host_id) in series {
        let (host_erased, mut known) = names.get(&id).cloned().unwrap_or_default();
        known.extend(host_id.as_ref().and_then(|host| hosts_names.get(host)).cloned());
        let mut treated = topic.clone();
        rules.series_topic(host_id.as_ref(), host_erased, &known, &mut treated);
        if treated != topic {
            erased.series += 1;
            let update = Query::update()
                .table(Series::Table)
                .value(Series::Topic, treated)
                .and_where(Expr::col(Series::SeriesId).eq(id))
                .take();
            execute(tx, &update)?;
        }
    }
    Ok(())
}

/// What was written down of failures may quote what Zoom or Elasticsearch said, and that may quote a value.
fn rewrite_remarks(tx: &Transaction<'_>, rules: &dyn Rules, words: &BTreeSet<String>) -> Result<(), Error> {
    let select = Query::select()
        .columns([Meetings::MeetingUuid, Meetings::Failure])
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::Failure).is_not_null())
        .take();
    for (uuid, said) in all(tx, &select, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })? {
        let mut treated = said.clone();
        rules.remark(words, &mut treated);
        if treated != said {
            let update = Query::update()
                .table(Meetings::Table)
                .value(Meetings::Failure, treated)
                .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid))
                .take();
            execute(tx, &update)?;
        }
    }
    let select = Query::select()
        .columns([Runs::RunId, Runs::Message])
        .from(Runs::Table)
        .and_where(Expr::col(Runs::Message).is_not_null())
        .take();
    for (id, said) in all(tx, &select, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })? {
        let mut treated = said.clone();
        rules.remark(words, &mut treated);
        if treated != said {
            let update = Query::update()
                .table(Runs::Table)
                .value(Runs::Message, treated)
                .and_where(Expr::col(Runs::RunId).eq(id))
                .take();
            execute(tx, &update)?;
        }
    }
    Ok(())
}
