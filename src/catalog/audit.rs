//! Read-only queries behind `status` and `show`: coverage, counts by status, failures, runs.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use sea_query::{Alias, Expr, ExprTrait, Order, Query};
use serde::Serialize;

use super::{
    Catalog, Error,
    details::TROUBLED,
    packing::unpacked,
    schema::{Changes, Hosts, Meetings, Runs, Series, UnlistedDays, Windows},
    sql::{all, first},
};
use crate::model::{HostId, Label, MeetingUuid, Row, RowView, SeriesId, Status};

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// The Zoom account, once known.
    pub account_id: Option<String>,
    /// The days that the catalog covers.
    pub coverage: Coverage,
    /// Meetings and webinars by status.
    pub meetings: BTreeMap<&'static str, u64>,
    /// How many of them are webinars.
    pub webinars: u64,
    /// Meetings no longer listed.
    pub vanished: u64,
    /// Meetings accepted although their detail stayed unfinished.
    pub incomplete: u64,
    /// Meetings whose detail contradicts itself or the listing, or is unfinished. The view `doubted_meetings` shows why.
    pub doubted: u64,
    /// Sessions in the kept details.
    pub sessions: u64,
    /// Details due at the next sync.
    pub details_due: u64,
    /// Meetings whose documents are due.
    pub documents_due: u64,
    /// Meetings that failed and are tried again, or are dead. At most the first hundred.
    pub troubled: Vec<Troubled>,
    /// Today's requests, by label.
    pub api_use_today: ApiUse,
    /// The last ten runs, newest first.
    pub runs: Vec<RunShown>,
}

/// The days that the catalog covers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The first day listed.
    pub from: Option<NaiveDate>,
    /// The last day listed.
    pub to: Option<NaiveDate>,
    /// Days listed.
    pub days: u64,
    /// How many of these are settled.
    pub settled: u64,
    /// Days that no listing ever covered, from the first day that was listed or requested to the last listed day.
    pub missing: Vec<NaiveDate>,
}

/// A meeting that failed or is dead.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Troubled {
    /// The meeting's UUID.
    pub meeting_uuid: String,
    /// `failed` or `dead`.
    pub status: String,
    /// Its topic, as Zoom has it.
    pub topic: String,
    /// Failed attempts.
    pub attempts: i64,
    /// Why it failed.
    pub reason: String,
    /// When the next attempt is made.
    pub next_attempt: String,
}

/// Requests counted for a UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiUse {
    /// Requests by label.
    pub requests: BTreeMap<&'static str, u64>,
    /// Heavy and Resource-intensive together: what Zoom's daily quota counts.
    pub daily_quota_used: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunShown {
    /// Its number.
    pub run_id: i64,
    /// The command.
    pub command: String,
    /// When it began.
    pub started_at: String,
    /// When it ended. `None` while it is running, or if it was killed.
    pub ended_at: Option<String>,
    /// Its exit code.
    pub exit_code: Option<i64>,
    /// Why it ended as it did, if there is something to report.
    pub message: Option<String>,
    /// New meetings.
    pub new: i64,
    /// Changed meetings.
    pub changed: i64,
    /// Details kept.
    pub details: i64,
    /// Meetings published.
    pub published: i64,
    /// Items that failed.
    pub failed: i64,
}

/// What an id refers to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A meeting.
    Meeting(Box<MeetingShown>),
    /// A series.
    Series(SeriesShown),
    /// A host.
    Host(HostShown),
}

/// All that is known of a meeting. The values are the catalog's columns, by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeetingShown {
    /// The row of `meetings`, except the listing.
    pub meeting: BTreeMap<String, serde_json::Value>,
    /// The row of Zoom's listing.
    pub listing: Row,
    /// Its history, oldest first.
    pub history: Vec<String>,
    /// Its sessions, as Zoom sent them.
    pub sessions: Vec<Row>,
}

/// All that is known of a series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesShown {
    /// The row of `series`.
    pub series: BTreeMap<String, serde_json::Value>,
    /// Its meetings, oldest first.
    pub meetings: Vec<Finding>,
}

/// All that is known of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostShown {
    /// The row of `hosts`.
    pub host: BTreeMap<String, serde_json::Value>,
    /// Its meetings, oldest first.
    pub meetings: Vec<Finding>,
}

/// A meeting in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The meeting's UUID.
    pub meeting_uuid: String,
    /// Its status.
    pub status: String,
    /// When it began.
    pub start_time: Option<String>,
    /// Its topic.
    pub topic: String,
    /// The number of its sessions.
    pub sessions: Option<i64>,
}

impl Catalog {
    /// Everything `status` shows.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn overview(&self, now: DateTime<Utc>) -> Result<Overview, Error> {
        let sums = Query::select()
            .exprs([
                Expr::cust("count(vanished_at)"),
                Expr::cust("coalesce(sum(incomplete), 0)"),
                Expr::cust("count(doubt)"),
                Expr::cust("coalesce(sum(sessions), 0)"),
                Expr::cust("coalesce(sum(kind = 'webinar'), 0)"),
            ])
            .from(Meetings::Table)
            .take();
        let (vanished, incomplete, doubted, sessions, webinars) = first(&self.conn, &sums, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .unwrap_or_default();
        Ok(Overview {
            account_id: self.account()?.map(|id| id.as_str().to_owned()),
            coverage: self.coverage()?,
            meetings: self.count_by_status()?,
            webinars,
            vanished,
            incomplete,
            doubted,
            sessions,
            details_due: self.count_due_details(now)?,
            documents_due: self.count_due_documents()?,
            troubled: self.troubled(100)?,
            api_use_today: self.api_use_today(now)?,
            runs: self.last_runs(10)?,
        })
    }

    /// The number of meetings that failed or are dead. It decides the exit code of a run.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_troubled(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Meetings::Table)
            .and_where(Expr::cust(TROUBLED))
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// The number of meetings with a kept detail. A rebuilt index must hold as many.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn count_kept(&self) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("count(*)"))
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::DetailChecksum).is_not_null())
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// Which of these meetings have no kept detail here.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn not_kept(&self, uuids: &[MeetingUuid]) -> Result<Vec<MeetingUuid>, Error> {
        let mut missing = Vec::new();
        for uuid in uuids {
            let select = Query::select()
                .expr(Expr::cust("1"))
                .from(Meetings::Table)
                .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
                .and_where(Expr::col(Meetings::DetailChecksum).is_not_null())
                .take();
            if first(&self.conn, &select, |_| Ok(()))?.is_none() {
                missing.push(uuid.clone());
            }
        }
        Ok(missing)
    }

    /// SQLite's own check of the whole file: `ok`, or what is wrong.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn integrity(&self) -> Result<String, Error> {
        Ok(self
            .conn
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?)
    }

    /// The meetings that failed or are dead.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn troubled(&self, limit: u64) -> Result<Vec<Troubled>, Error> {
        let select = Query::select()
            .columns(
                [
                    "meeting_uuid",
                    "status",
                    "topic",
                    "attempts",
                    "reason",
                    "next_attempt",
                ]
                .map(Alias::new),
            )
            .from(Alias::new("failures"))
            .and_where(Expr::cust(TROUBLED))
            .limit(limit)
            .take();
        all(&self.conn, &select, |row| {
            Ok(Troubled {
                meeting_uuid: row.get("meeting_uuid")?,
                status: row.get("status")?,
                topic: row.get("topic")?,
                attempts: row.get("attempts")?,
                reason: row.get("reason")?,
                next_attempt: row.get("next_attempt")?,
            })
        })
    }

    /// Everything known of an id: a meeting's UUID, a series' number, a host's id or email.
    ///
    /// # Errors
    /// If SQLite fails, or if a payload cannot be read back.
    pub fn find(&self, id: &str) -> Result<Option<Found>, Error> {
        if let Some(meeting) = self.named_row(Meetings::Table, Expr::col(Meetings::MeetingUuid).eq(id))? {
            return Ok(Some(Found::Meeting(Box::new(self.show_meeting(id, meeting)?))));
        }
        let digits: String = id.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if let Ok(series_id) = digits.parse::<i64>()
            && let Some(series) = self.named_row(Series::Table, Expr::col(Series::SeriesId).eq(series_id))?
        {
            let meetings = self.list(Expr::col(Meetings::SeriesId).eq(SeriesId(series_id).0))?;
            return Ok(Some(Found::Series(SeriesShown { series, meetings })));
        }
        let host = match self.named_row(Hosts::Table, Expr::col(Hosts::HostId).eq(id))? {
            Some(host) => Some(host),
            None => self.named_row(
                Hosts::Table,
                Expr::cust_with_values("lower(email) = lower(?)", [id]),
            )?,
        };
        let Some(host) = host else { return Ok(None) };
        let host_id = HostId::new(host.get("host_id").and_then(|id| id.as_str()).unwrap_or_default());
        let meetings = self.list(Expr::col(Meetings::HostId).eq(host_id.as_str()))?;
        Ok(Some(Found::Host(HostShown { host, meetings })))
    }

    fn show_meeting(
        &self,
        uuid: &str,
        mut meeting: BTreeMap<String, serde_json::Value>,
    ) -> Result<MeetingShown, Error> {
        let listing = self.listing(uuid)?;
        for name in ["listing", "listing_bytes", "listing_dictionary"] {
            meeting.remove(name);
        }
        let meeting_id = meeting.remove("meeting_id").and_then(|id| id.as_i64());
        let history = Query::select()
            .columns([Changes::At, Changes::What])
            .column(Changes::RunId)
            .from(Changes::Table)
            .and_where(Expr::col(Changes::MeetingId).eq(meeting_id))
            .order_by(Changes::ChangeId, Order::Asc)
            .take();
        let history = all(&self.conn, &history, |row| {
            Ok(format!(
                "{} {} (run {})",
                row.get::<_, String>("at")?,
                row.get::<_, String>("what")?,
                row.get::<_, i64>("run_id")?
            ))
        })?;
        let sessions = self
            .kept(&MeetingUuid::new(uuid))?
            .map(|kept| kept.detail.rows().map(RowView::to_row).collect())
            .unwrap_or_default();
        Ok(MeetingShown {
            meeting,
            listing,
            history,
            sessions,
        })
    }

    /// The row of a meeting in Zoom's listing.
    fn listing(&self, uuid: &str) -> Result<Row, Error> {
        let select = Query::select()
            .columns([
                Meetings::Listing,
                Meetings::ListingBytes,
                Meetings::ListingDictionary,
            ])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid))
            .take();
        let found = first(&self.conn, &select, |row| {
            Ok((
                row.get::<_, Vec<u8>>("listing")?,
                row.get("listing_bytes")?,
                row.get("listing_dictionary")?,
            ))
        })?;
        let Some((packed, bytes, dictionary)) = found else {
            return Ok(Row::empty());
        };
        let packer = self.packers.by_id(&self.conn, dictionary)?;
        Ok(Row::kept(&unpacked(&packer, &packed, bytes, uuid)?))
    }

    fn named_row(
        &self,
        table: impl sea_query::IntoTableRef,
        condition: Expr,
    ) -> Result<Option<BTreeMap<String, serde_json::Value>>, Error> {
        use rusqlite::types::ValueRef;
        let select = Query::select()
            .expr(Expr::cust("*"))
            .from(table)
            .and_where(condition)
            .take();
        first(&self.conn, &select, |row| {
            let statement = row.as_ref();
            (0..statement.column_count())
                .map(|index| {
                    let value = match row.get_ref(index)? {
                        ValueRef::Null | ValueRef::Blob(_) => serde_json::Value::Null,
                        ValueRef::Integer(number) => number.into(),
                        ValueRef::Real(number) => number.into(),
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                    };
                    Ok((statement.column_name(index)?.to_owned(), value))
                })
                .collect()
        })
    }

    fn list(&self, condition: Expr) -> Result<Vec<Finding>, Error> {
        let select = Query::select()
            .columns([
                Meetings::MeetingUuid,
                Meetings::Status,
                Meetings::StartTime,
                Meetings::Topic,
                Meetings::Sessions,
            ])
            .from(Meetings::Table)
            .and_where(condition)
            .order_by(Meetings::StartTime, Order::Asc)
            .take();
        all(&self.conn, &select, |row| {
            Ok(Finding {
                meeting_uuid: row.get("meeting_uuid")?,
                status: row.get("status")?,
                start_time: row.get("start_time")?,
                topic: row.get("topic")?,
                sessions: row.get("sessions")?,
            })
        })
    }

    fn coverage(&self) -> Result<Coverage, Error> {
        let select = Query::select()
            .columns([Windows::Day, Windows::SettledAt])
            .from(Windows::Table)
            .order_by(Windows::Day, Order::Asc)
            .take();
        let rows = all(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        let days: BTreeMap<NaiveDate, bool> = rows
            .into_iter()
            .filter_map(|(day, settled)| Some((day.parse().ok()?, settled.is_some())))
            .collect();
        let (from, to) = (days.keys().next().copied(), days.keys().next_back().copied());
        let select = Query::select()
            .column(UnlistedDays::Day)
            .from(UnlistedDays::Table)
            .take();
        let unlisted = all(&self.conn, &select, |row| row.get::<_, String>(0))?;
        let missing = unlisted.iter().filter_map(|day| day.parse().ok()).collect();
        Ok(Coverage {
            from,
            to,
            days: days.len() as u64,
            settled: days.values().filter(|settled| **settled).count() as u64,
            missing,
        })
    }

    pub(super) fn count_by_status(&self) -> Result<BTreeMap<&'static str, u64>, Error> {
        let select = Query::select()
            .column(Meetings::Status)
            .expr(Expr::cust("count(*)"))
            .from(Meetings::Table)
            .group_by_col(Meetings::Status)
            .take();
        let rows = all(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
        })?;
        let mut counts: BTreeMap<&'static str, u64> = Status::ALL
            .into_iter()
            .map(|status| (status.as_str(), 0))
            .collect();
        counts.extend(
            rows.into_iter()
                .filter_map(|(name, count)| Some((Status::parse(&name)?.as_str(), count))),
        );
        Ok(counts)
    }

    /// Today's requests that count against Zoom's daily quota.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn daily_quota_used(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        Ok(self.api_use_today(now)?.daily_quota_used)
    }

    pub(super) fn api_use_today(&self, now: DateTime<Utc>) -> Result<ApiUse, Error> {
        let requests = Label::ALL.into_iter().map(|label| (label.as_str(), 0)).collect();
        let mut shown = ApiUse {
            requests,
            daily_quota_used: 0,
        };
        for (label, used) in self.quota_used(now)? {
            shown.requests.insert(label.as_str(), used);
            if label.has_daily_quota() {
                shown.daily_quota_used += used;
            }
        }
        Ok(shown)
    }

    pub(super) fn last_runs(&self, limit: u64) -> Result<Vec<RunShown>, Error> {
        let select = Query::select()
            .columns([
                Runs::RunId,
                Runs::Command,
                Runs::StartedAt,
                Runs::EndedAt,
                Runs::ExitCode,
                Runs::Message,
                Runs::New,
                Runs::Changed,
                Runs::Details,
                Runs::Published,
                Runs::Failed,
            ])
            .from(Runs::Table)
            .order_by(Runs::RunId, Order::Desc)
            .limit(limit)
            .take();
        all(&self.conn, &select, |row| {
            Ok(RunShown {
                run_id: row.get("run_id")?,
                command: row.get("command")?,
                started_at: row.get("started_at")?,
                ended_at: row.get("ended_at")?,
                exit_code: row.get("exit_code")?,
                message: row.get("message")?,
                new: row.get("new")?,
                changed: row.get("changed")?,
                details: row.get("details")?,
                published: row.get("published")?,
                failed: row.get("failed")?,
            })
        })
    }
}
