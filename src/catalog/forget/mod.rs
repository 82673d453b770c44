//! Erases people from all stored rows, and deletes everything that ended before a day.

mod delete;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rusqlite::Transaction;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    Catalog, Error, RunId,
    schema::{Backups, Forgetting, Forgotten as ForgottenTable, HostLookups, Hosts, Indices, Meetings},
    sql::{all, execute, first},
};
use crate::model::{Checksum, Detail, Forgotten, ForgottenKind, Host, HostId, MeetingUuid, Row, iso};

/// Decides what may stay of the stored values. The catalog only knows where they are stored.
pub trait Rules {
    /// Treats a row of a listing.
    fn meeting(&self, uuid: &MeetingUuid, host_id: Option<&HostId>, row: &Row) -> Row;
    /// Treats a kept detail.
    fn detail(&self, detail: Detail) -> Detail;
    /// Treats a host.
    fn host(&self, host: &mut Host);
    /// Treats the topic of a series. The other arguments are its host if known, whether the host of one of its meetings was erased, and the names
    /// that these hosts had.
    fn series_topic(
        &self,
        host_id: Option<&HostId>,
        host_erased: bool,
        names: &BTreeSet<String>,
        topic: &mut String,
    );
    /// Treats the message of a failure or a run. `erased` holds the words that were erased elsewhere.
    fn remark(&self, erased: &BTreeSet<String>, remark: &mut String);
}

/// Counts of what was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// Meetings in which something was erased.
    pub meetings: u64,
    /// Sessions of these meetings in which something was erased.
    pub sessions: u64,
    /// Hosts of which something was erased.
    pub hosts: u64,
    /// Series in whose topic something was erased.
    pub series: u64,
    /// Meetings that were deleted because of their age.
    pub deleted_meetings: u64,
    /// Sessions of the deleted meetings.
    pub deleted_sessions: u64,
}

/// Every email that each host has or had. It shows whether a host is a given person.
pub type HostEmails = BTreeMap<HostId, BTreeSet<String>>;

/// A copy of the catalog that may still hold what was erased here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KnownBackup {
    /// Where it was written to.
    pub path: String,
    /// When it was made.
    pub made_at: String,
}

impl Catalog {
    /// What was forgotten and must not be kept if it is received again.
    ///
    /// # Errors
    /// If SQLite fails.
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
    /// If SQLite fails.
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
    /// If SQLite fails.
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

    /// Records what is forgotten, deletes everything that ended before the day, and applies the rules to the rest. All of it is one transaction.
    /// With `dry` the transaction is rolled back.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is changed.
    pub fn forget(
        &mut self,
        run: RunId,
        forgotten: &Forgotten,
        rules: &dyn Rules,
        dry: bool,
        now: DateTime<Utc>,
    ) -> Result<Erased, Error> {
        self.still_there()?;
        let period = self.period;
        let packers = &self.packers;
        let tx = self.conn.transaction()?;
        let mut erased = Erased::default();
        remember(&tx, forgotten, now)?;
        if let Some(day) = forgotten.before {
            delete::delete_before(&tx, day, period, now, &mut erased)?;
        }
        let rewriter = rewrite::Rewriter::new(&tx, run, rules, packers, now, &mut erased);
        rewriter.rewrite()?;
        if dry {
            tx.rollback()?;
        } else {
            tx.commit()?;
        }
        Ok(erased)
    }

    /// Records one more value that must not be kept if it is received again.
    ///
    /// # Errors
    /// If SQLite fails.
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

    /// Rewrites the file without deleted content, and empties its log. Returns whether the log was emptied: a concurrent reader prevents that.
    ///
    /// # Errors
    /// If SQLite fails. What was erased stays erased.
    pub fn scrub(&mut self) -> Result<bool, Error> {
        self.conn.execute_batch("VACUUM")?;
        let busy: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(busy == 0)
    }

    /// Whether this catalog ever filled an index.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn was_published(&self) -> Result<bool, Error> {
        let select = Query::select()
            .expr(Expr::cust("1"))
            .from(Indices::Table)
            .limit(1)
            .take();
        Ok(first(&self.conn, &select, |_| Ok(()))?.is_some())
    }

    /// The backups that this catalog knows of, oldest first.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn known_backups(&self) -> Result<Vec<KnownBackup>, Error> {
        let select = Query::select()
            .columns([Backups::Path, Backups::MadeAt])
            .from(Backups::Table)
            .order_by(Backups::MadeAt, Order::Asc)
            .take();
        all(&self.conn, &select, |row| {
            Ok(KnownBackup {
                path: row.get("path")?,
                made_at: row.get("made_at")?,
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
