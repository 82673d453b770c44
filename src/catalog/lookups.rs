//! Look-ups of hosts and series: which are pending, and recording Zoom's answers.

use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, Transaction};
use sea_query::{Cond, Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error,
    meetings::MeetingState,
    occurrences::{self, Place},
    schema::{HostLookups, Hosts, Meetings, Series},
    sql::{all, execute, first, one, run, text, var},
};
use crate::model::{
    Event, Host, HostId, ListedMeeting, Listing, MeetingKind, MeetingUuid, SeriesId, SeriesKind, SeriesRow,
    iso,
};

/// How long a host's list of series counts as current.
const SERIES_LIST_LASTS: TimeDelta = TimeDelta::days(7);

/// A host that no report named. Zoom is asked for it through one of its meetings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLookup {
    /// The key under which the answer is recorded.
    pub host_key: String,
    /// The meeting to ask about.
    pub uuid: MeetingUuid,
}

/// The requests that a new meeting would cause in a sync, in addition to its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLookups {
    /// The key of its host. Meetings of one host cause a request only once.
    pub host_key: String,
    /// Whether its host must be looked up: it is listed without an email, so no report of hosts can name the host.
    pub host: bool,
    /// Whether its host's list of series would be read.
    pub series: bool,
}

impl Catalog {
    /// The look-ups that a new meeting would cause in a sync.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn lookups_of_new(&self, meeting: &ListedMeeting) -> Result<NewLookups, Error> {
        let host_key = host_key(&meeting.host_email, &meeting.uuid);
        let lookup = Query::select()
            .column(HostLookups::Status)
            .from(HostLookups::Table)
            .and_where(Expr::col(HostLookups::HostKey).eq(host_key.as_str()))
            .take();
        let status = first(&self.conn, &lookup, |row| row.get::<_, String>(0))?;
        let series_known = match meeting.series_id {
            Some(series_id) => {
                let select = Query::select()
                    .column(Series::SeriesId)
                    .from(Series::Table)
                    .and_where(Expr::col(Series::SeriesId).eq(series_id.0))
                    .take();
                first(&self.conn, &select, |_| Ok(()))?.is_some()
            }
            None => true,
        };
        Ok(NewLookups {
            host: status.is_none() && meeting.host_email.trim().is_empty(),
            series: !series_known
                && meeting.kind == MeetingKind::Meeting
                && status.as_deref() != Some("not_found"),
            host_key,
        })
    }

    /// Hosts whose id is not known yet and whose look-up is pending.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn unknown_hosts(&self, limit: u64) -> Result<Vec<HostLookup>, Error> {
        all(&self.conn, &unknown_query(limit), |row| {
            Ok(HostLookup {
                host_key: row.get("host_key")?,
                uuid: MeetingUuid::new(row.get::<_, String>("meeting_uuid")?),
            })
        })
    }

    /// Whether a listing shows a meeting through which a host is to be looked up.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn asks_for_hosts(&self, listing: &Listing) -> Result<bool, Error> {
        let pending = Query::select()
            .column(HostLookups::MeetingUuid)
            .from(HostLookups::Table)
            .and_where(Expr::cust("status = 'pending'"))
            .take();
        let (sql, mut asked) = (text(&pending), false);
        let mut prepared = self.conn.prepare_cached(&sql)?;
        let mut rows = prepared.query([])?;
        while let Some(row) = rows.next()? {
            asked |= listing
                .shown
                .contains_key(&row.get::<_, MeetingUuid>("meeting_uuid")?);
        }
        Ok(asked)
    }

    /// Records the account's report of active hosts, and assigns each host to its meetings. Documents that show a newly assigned host become due.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    pub fn record_hosts(&mut self, hosts: &[Host], now: DateTime<Utc>) -> Result<(), Error> {
        let tx = self.transaction()?;
        for host in hosts {
            put_host(&tx, host, now)?;
            if !host.email.trim().is_empty() {
                resolve(&tx, &host.email.trim().to_lowercase(), &host.host_id, now)?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// Records Zoom's answer to a host look-up. `None` means that Zoom does not know the host. The reason may be that the meeting of the look-up
    /// was deleted. So Zoom is asked once more, about the host's newest meeting, and after that no more.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn record_host_lookup(
        &mut self,
        question: &HostLookup,
        host: Option<&Host>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        match host {
            Some(host) => {
                // A known host is not overwritten: the report has more data of a host than this answer.
                let known = Query::select()
                    .column(Hosts::HostId)
                    .from(Hosts::Table)
                    .and_where(Expr::col(Hosts::HostId).eq(host.host_id.as_str()))
                    .take();
                if first(&tx, &known, |_| Ok(()))?.is_none() {
                    put_host(&tx, host, now)?;
                }
                resolve(&tx, &question.host_key, &host.host_id, now)?;
            }
            None => {
                let newest = Query::select()
                    .column(Meetings::MeetingUuid)
                    .from(Meetings::Table)
                    .and_where(Expr::cust("host_id IS NULL AND kind = 'meeting'"))
                    .and_where(Expr::col(Meetings::HostKey).eq(question.host_key.as_str()))
                    .and_where(Expr::col(Meetings::VanishedAt).is_null())
                    .order_by(Meetings::EndTime, Order::Desc)
                    .limit(1)
                    .take();
                let newest = first(&tx, &newest, |row| row.get::<_, String>(0))?;
                let mut update = Query::update()
                    .table(HostLookups::Table)
                    .value(HostLookups::AskedAt, iso(now))
                    .and_where(Expr::col(HostLookups::HostKey).eq(question.host_key.as_str()))
                    .take();
                match newest.filter(|newest| newest != question.uuid.as_str()) {
                    Some(newest) => update.value(HostLookups::MeetingUuid, newest),
                    None => update.value(HostLookups::Status, "not_found"),
                };
                execute(&tx, &update)?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// Hosts whose list of series must be read: they have a series that was never looked up, or the list was last read more than a week ago.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn hosts_wanting_series(&self, now: DateTime<Utc>, limit: u64) -> Result<Vec<HostId>, Error> {
        // Two queries, so that each can use its own index.
        let mut hosts = all(&self.conn, &pending_series_query(limit), |row| {
            Ok(HostId::new(row.get::<_, String>(0)?))
        })?;
        for host in all(&self.conn, &old_lists_query(now, limit), |row| {
            Ok(HostId::new(row.get::<_, String>(0)?))
        })? {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(hosts)
    }

    /// Records a host's complete list of series. Known series of the host that are not in the list get their kind from their absence.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    pub fn record_series(
        &mut self,
        host: &HostId,
        rows: &[SeriesRow],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        for row in rows {
            let insert = Query::insert()
                .into_table(Series::Table)
                .columns([
                    Series::SeriesId,
                    Series::Kind,
                    Series::Status,
                    Series::Topic,
                    Series::HostId,
                    Series::FirstSeenAt,
                    Series::LookedUpAt,
                ])
                .values_panic([
                    row.series_id.0.into(),
                    row.kind.as_str().into(),
                    "known".into(),
                    row.topic.as_str().into(),
                    host.as_str().into(),
                    iso(now).into(),
                    iso(now).into(),
                ])
                .on_conflict(
                    OnConflict::column(Series::SeriesId)
                        .update_columns([Series::Kind, Series::Status, Series::HostId, Series::LookedUpAt])
                        // An empty topic does not overwrite a known one.
                        .value(
                            Series::Topic,
                            Expr::cust(
                                "CASE excluded.topic WHEN '' THEN series.topic ELSE excluded.topic END",
                            ),
                        )
                        .to_owned(),
                )
                .take();
            execute(&tx, &insert)?;
        }
        close_pending_series(&tx, host, SeriesKind::of_unlisted, now)?;
        let update = Query::update()
            .table(Hosts::Table)
            .value(Hosts::SeriesListedAt, iso(now))
            .and_where(Expr::col(Hosts::HostId).eq(host.as_str()))
            .take();
        execute(&tx, &update)?;
        tx.commit()?;
        Ok(())
    }

    /// Records that Zoom has no list of series for a host: the host no longer exists, or may not host. The list is not requested again.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn record_no_series(
        &mut self,
        host: &HostId,
        licensed: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let status = if licensed { "not_found" } else { "not_licensed" };
        let update = Query::update()
            .table(Hosts::Table)
            .values([
                (Hosts::Status, status.into()),
                (Hosts::RecordedAt, iso(now).into()),
            ])
            .and_where(Expr::col(Hosts::HostId).eq(host.as_str()))
            .take();
        execute(&tx, &update)?;
        close_pending_series(&tx, host, |_| SeriesKind::Unknown, now)?;
        tx.commit()?;
        Ok(())
    }
}

fn unknown_query(limit: u64) -> SelectStatement {
    Query::select()
        .columns([HostLookups::HostKey, HostLookups::MeetingUuid])
        .from(HostLookups::Table)
        .and_where(Expr::cust("status = 'pending'"))
        .order_by(HostLookups::HostKey, Order::Asc)
        .limit(limit)
        .take()
}

fn pending_series_query(limit: u64) -> SelectStatement {
    Query::select()
        .distinct()
        .column((Series::Table, Series::HostId))
        .from(Series::Table)
        .inner_join(
            Hosts::Table,
            Expr::col((Hosts::Table, Hosts::HostId)).equals((Series::Table, Series::HostId)),
        )
        .and_where(Expr::cust("series.status = 'pending'"))
        .and_where(Expr::cust("hosts.status = 'known'"))
        .limit(limit)
        .take()
}

fn old_lists_query(now: DateTime<Utc>, limit: u64) -> SelectStatement {
    Query::select()
        .column(Hosts::HostId)
        .from(Hosts::Table)
        .and_where(Expr::cust("status = 'known'"))
        .and_where(Expr::col(Hosts::SeriesListedAt).lt(iso(now - SERIES_LIST_LASTS)))
        .limit(limit)
        .take()
}

/// The key that joins hosts and meetings: the email in lower case. Without an email, it is made of the meeting's UUID.
pub(super) fn host_key(email: &str, uuid: &MeetingUuid) -> String {
    match email.trim() {
        "" => format!("meeting:{uuid}"),
        email => email.to_lowercase(),
    }
}

static LOOKUP: LazyLock<String> = LazyLock::new(|| {
    let select = Query::select()
        .column(HostLookups::HostId)
        .from(HostLookups::Table)
        .and_where(Expr::col(HostLookups::HostKey).eq(var(":key")))
        .take();
    text(&select)
});

/// Makes sure that the host's key is among the look-ups. Returns the key, and the host's id if it is known already.
pub(super) fn note_host(
    conn: &Connection,
    meeting: &ListedMeeting,
) -> Result<(String, Option<HostId>), Error> {
    let key = host_key(&meeting.host_email, &meeting.uuid);
    let known = one(conn, &LOOKUP, &[(":key", &key)], |row| {
        row.get::<_, Option<HostId>>("host_id")
    })?;
    if let Some(host_id) = known {
        // Zoom may not name the host of a webinar, but it names the host of a meeting.
        if host_id.is_none() && meeting.kind == MeetingKind::Meeting {
            run(conn, &ASK_ABOUT, &[(":key", &key), (":uuid", &meeting.uuid)])?;
        }
        return Ok((key, host_id));
    }
    let insert = Query::insert()
        .into_table(HostLookups::Table)
        .columns([
            HostLookups::HostKey,
            HostLookups::Status,
            HostLookups::MeetingUuid,
        ])
        .values_panic([
            key.as_str().into(),
            "pending".into(),
            meeting.uuid.as_str().into(),
        ])
        .take();
    execute(conn, &insert)?;
    Ok((key, None))
}

static ASK_ABOUT: LazyLock<String> = LazyLock::new(|| {
    let update = Query::update()
        .table(HostLookups::Table)
        .value(HostLookups::Status, "pending")
        .value(HostLookups::MeetingUuid, var(":uuid"))
        .and_where(Expr::col(HostLookups::HostKey).eq(var(":key")))
        .and_where(Expr::cust(
            "EXISTS (SELECT 1 FROM meetings m WHERE m.meeting_uuid = host_lookups.meeting_uuid AND m.kind = 'webinar')",
        ))
        .take();
    text(&update)
});

static NOTE_SERIES: LazyLock<String> = LazyLock::new(|| {
    let insert = Query::insert()
        .into_table(Series::Table)
        .columns([
            Series::SeriesId,
            Series::Kind,
            Series::Status,
            Series::Topic,
            Series::HostId,
            Series::FirstSeenAt,
            Series::LookedUpAt,
        ])
        .values_panic([
            var(":series"),
            "unknown".into(),
            var(":status"),
            var(":topic"),
            var(":host_id"),
            var(":now"),
            var(":looked_up_at"),
        ])
        .on_conflict(OnConflict::column(Series::SeriesId).do_nothing().to_owned())
        .take();
    text(&insert)
});

/// Makes sure that the series of a meeting is in the catalog.
pub(super) fn note_series(
    conn: &Connection,
    meeting: &ListedMeeting,
    host_id: Option<&HostId>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(series_id) = meeting.series_id else {
        return Ok(());
    };
    let now = iso(now);
    // A host's list holds no webinars, so there is nothing to look up.
    let (status, looked_up_at) = match meeting.kind {
        MeetingKind::Meeting => ("pending", None),
        MeetingKind::Webinar => ("known", Some(&now)),
    };
    run(
        conn,
        &NOTE_SERIES,
        &[
            (":series", &series_id.0),
            (":status", &status),
            (":topic", &meeting.topic),
            (":host_id", &host_id),
            (":now", &now),
            (":looked_up_at", &looked_up_at),
        ],
    )?;
    Ok(())
}

/// Reopens the look-ups that Zoom could not answer: hosts that it did not know, or for which it had no list of series. A sync does not repeat them,
/// but a user who runs `retry` may know that the answer was an error.
pub(super) fn reopen(tx: &Transaction<'_>) -> Result<(), Error> {
    let hosts = Query::update()
        .table(HostLookups::Table)
        .value(HostLookups::Status, "pending")
        .and_where(Expr::cust("status = 'not_found'"))
        .take();
    execute(tx, &hosts)?;
    let lists = Query::update()
        .table(Hosts::Table)
        .value(Hosts::Status, "known")
        // A time long ago, so that the list is read again.
        .value(Hosts::SeriesListedAt, iso(DateTime::UNIX_EPOCH))
        .and_where(Expr::cust("status <> 'known'"))
        .take();
    execute(tx, &lists)?;
    // These were closed without a kind, because their host had no list.
    let series = Query::update()
        .table(Series::Table)
        .value(Series::Status, "pending")
        .value(Series::LookedUpAt, Option::<String>::None)
        .and_where(Expr::cust("status = 'not_found' AND kind = 'unknown'"))
        .take();
    execute(tx, &series)?;
    Ok(())
}

fn close_pending_series(
    tx: &Transaction<'_>,
    host: &HostId,
    kind: impl Fn(SeriesId) -> SeriesKind,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let select = Query::select()
        .column(Series::SeriesId)
        .from(Series::Table)
        .and_where(Expr::cust("status = 'pending'"))
        .and_where(Expr::col(Series::HostId).eq(host.as_str()))
        .take();
    for series_id in all(tx, &select, |row| Ok(SeriesId(row.get(0)?)))? {
        let update = Query::update()
            .table(Series::Table)
            .values([
                (Series::Kind, kind(series_id).as_str().into()),
                (Series::Status, "not_found".into()),
                (Series::LookedUpAt, iso(now).into()),
            ])
            .and_where(Expr::col(Series::SeriesId).eq(series_id.0))
            .take();
        execute(tx, &update)?;
    }
    Ok(())
}

fn put_host(tx: &Transaction<'_>, host: &Host, now: DateTime<Utc>) -> Result<(), Error> {
    let differs = |column: Hosts| {
        Expr::col((Hosts::Table, column)).is_not(Expr::cust(format!(
            "excluded.{}",
            sea_query::Iden::unquoted(&column)
        )))
    };
    let insert = Query::insert()
        .into_table(Hosts::Table)
        .columns([
            Hosts::HostId,
            Hosts::Email,
            Hosts::Name,
            Hosts::Dept,
            Hosts::UserType,
            Hosts::Status,
            Hosts::RecordedAt,
        ])
        .values_panic([
            host.host_id.as_str().into(),
            host.email.as_str().into(),
            host.name.as_str().into(),
            host.dept.as_str().into(),
            host.user_type.into(),
            "known".into(),
            iso(now).into(),
        ])
        .on_conflict(
            OnConflict::column(Hosts::HostId)
                .update_columns([
                    Hosts::Email,
                    Hosts::Name,
                    Hosts::Dept,
                    Hosts::UserType,
                    Hosts::RecordedAt,
                ])
                .action_cond_where(
                    Cond::any()
                        .add(differs(Hosts::Email))
                        .add(differs(Hosts::Name))
                        .add(differs(Hosts::Dept))
                        .add(differs(Hosts::UserType)),
                )
                .to_owned(),
        )
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Assigns a host to a key, for future meetings and for those that wait for it.
fn resolve(tx: &Transaction<'_>, key: &str, host_id: &HostId, now: DateTime<Utc>) -> Result<(), Error> {
    let select = Query::select()
        .column(HostLookups::HostId)
        .from(HostLookups::Table)
        .and_where(Expr::col(HostLookups::HostKey).eq(key))
        .take();
    match first(tx, &select, |row| row.get::<_, Option<String>>(0))? {
        // No meeting of this host is known yet. The first one that is listed uses this look-up.
        None => {
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
                    key.into(),
                    host_id.as_str().into(),
                    "known".into(),
                    "".into(),
                    iso(now).into(),
                ])
                .take();
            execute(tx, &insert)?;
            return Ok(());
        }
        Some(Some(known)) if known == host_id.as_str() => return Ok(()),
        Some(_) => {
            let update = Query::update()
                .table(HostLookups::Table)
                .values([
                    (HostLookups::HostId, host_id.as_str().into()),
                    (HostLookups::Status, "known".into()),
                    (HostLookups::AskedAt, iso(now).into()),
                ])
                .and_where(Expr::col(HostLookups::HostKey).eq(key))
                .take();
            execute(tx, &update)?;
        }
    }
    let select = Query::select()
        .columns([Meetings::MeetingUuid, Meetings::SeriesId])
        .from(Meetings::Table)
        .and_where(Expr::cust("host_id IS NULL"))
        .and_where(Expr::col(Meetings::HostKey).eq(key))
        .take();
    let waiting = all(tx, &select, |row| {
        Ok((
            MeetingUuid::new(row.get::<_, String>(0)?),
            row.get::<_, Option<i64>>(1)?,
        ))
    })?;
    for (uuid, series_id) in waiting {
        let Some(mut state) = MeetingState::of(tx, &uuid)? else {
            continue;
        };
        state.host_id = Some(host_id.clone());
        state.documents_follow(Event::DocumentsDue, now);
        state.save_with_host(tx)?;
        if let Some(place) = Place::in_personal_room(&state) {
            occurrences::settle(tx, &place, now)?;
        }
        if let Some(series_id) = series_id {
            let update = Query::update()
                .table(Series::Table)
                .value(Series::HostId, host_id.as_str())
                .and_where(Expr::col(Series::SeriesId).eq(series_id))
                .and_where(Expr::col(Series::HostId).is_null())
                .take();
            execute(tx, &update)?;
        }
    }
    Ok(())
}
