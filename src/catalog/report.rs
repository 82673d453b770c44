//! The figures of the report, counted by SQL. Read-only.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Row, named_params};

use super::{Catalog, Error, audit::RunShown};
use crate::model::{Window, parse_time};

/// How many of the largest items are listed.
const LARGEST: i64 = 10;

/// The figures of some days.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The Zoom account.
    pub account_id: Option<String>,
    /// Every day of the window, in order.
    pub days: Vec<DayFigures>,
    /// Meetings by the hour of the week in which they began.
    pub hours: Vec<HourFigures>,
    /// What failed, by reason; the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Requests by day.
    pub quota: Vec<QuotaDay>,
    /// The last runs, newest first.
    pub runs: Vec<RunShown>,
    /// The largest meetings, by sessions.
    pub meetings: Vec<Largest>,
    /// The largest series.
    pub series: Vec<Largest>,
    /// The hosts with most sessions.
    pub hosts: Vec<Largest>,
    /// The number of changes since a given time, by kind of change.
    pub changes: Vec<(String, u64)>,
    /// Whether documents were ever published. If not, a day can be complete without the index.
    pub published: bool,
}

/// The figures of one day: a row of the view `coverage`, or a day that no listing covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayFigures {
    /// The day, UTC.
    pub day: String,
    /// `complete`, `partial`, `failed`, `unsettled` or `missing`.
    pub state: String,
    /// Meetings and webinars that Zoom listed.
    pub listed: u64,
    /// Of these, webinars.
    pub webinars: u64,
    /// Of these, meetings with their detail as listed.
    pub fetched: u64,
    /// Of these, meetings acknowledged by Elasticsearch.
    pub indexed: u64,
    /// Meetings that failed or are dead.
    pub failed: u64,
    /// Meetings whose detail Zoom no longer has.
    pub gone: u64,
    /// Meetings accepted although their detail stayed unfinished.
    pub incomplete: u64,
    /// Sessions in the kept details.
    pub sessions: u64,
}

/// An hour of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourFigures {
    /// The weekday; 0 is Monday.
    pub weekday: u8,
    /// The hour, 0 to 23, UTC.
    pub hour: u8,
    /// Meetings that began in it.
    pub meetings: u64,
}

/// Meetings that failed for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureGroup {
    /// `failed`, `dead` or `gone`.
    pub status: String,
    /// The error of the last attempt.
    pub reason: String,
    /// What happens next.
    pub next_attempt: String,
    /// The number of meetings.
    pub meetings: u64,
}

/// Requests of a day: the view `api_use_by_day`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaDay {
    /// The UTC day.
    pub day: String,
    /// Requests by label, in the order of [`Label::ALL`](crate::model::Label::ALL).
    pub requests: [u64; 4],
    /// Requests that count against Zoom's daily quota.
    pub used: u64,
}

/// A meeting, series or host with many sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Largest {
    /// Its UUID, number or id.
    pub id: String,
    /// Its topic or name, as the privacy policy keeps it.
    pub name: String,
    /// Meetings.
    pub meetings: u64,
    /// Sessions.
    pub sessions: u64,
}

/// The health of a harvester.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// When a sync last ended with exit code 0.
    pub last_success: Option<DateTime<Utc>>,
    /// When a sync last ended.
    pub last_run: Option<DateTime<Utc>>,
    /// The exit code of that sync.
    pub last_exit_code: Option<i64>,
    /// Meetings by status.
    pub meetings: BTreeMap<&'static str, u64>,
    /// Days by state. `missing` are days that no listing ever covered.
    pub days: BTreeMap<String, u64>,
    /// Details due at the next sync.
    pub details_due: u64,
    /// Meetings whose documents are due.
    pub documents_due: u64,
    /// Today's requests that count against Zoom's daily quota.
    pub quota_used: u64,
}

const STATES: &str = "
    SELECT state, count(*) AS days FROM coverage GROUP BY state
    UNION ALL SELECT 'missing', count(*) FROM unlisted_days";
const LAST_SUCCESS: &str =
    "SELECT max(ended_at) AS at, NULL AS exit_code FROM runs WHERE command = 'sync' AND exit_code = 0";
const LAST_RUN: &str = "SELECT ended_at AS at, exit_code FROM runs WHERE command = 'sync' AND ended_at IS NOT NULL ORDER BY run_id DESC LIMIT 1";

const DAYS: &str = "
    SELECT day, state, listed, webinars, fetched, indexed, failed, gone, incomplete, sessions FROM coverage WHERE day BETWEEN :from AND :to
    UNION ALL
    SELECT day, 'missing', 0, 0, 0, 0, 0, 0, 0, 0 FROM unlisted_days WHERE day BETWEEN :from AND :to
    ORDER BY day";
const HOURS: &str = "
    SELECT (strftime('%w', start_time) + 6) % 7 AS weekday, CAST(strftime('%H', start_time) AS INTEGER) AS hour, count(*) AS meetings
    FROM meetings WHERE listed_day BETWEEN :from AND :to AND start_time IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2";
const FAILURES: &str = "
    SELECT f.status, replace(f.reason, f.meeting_uuid, '…') AS reason, min(f.next_attempt) AS next_attempt, count(*) AS meetings
    FROM failures f JOIN meetings m USING (meeting_uuid) WHERE m.listed_day BETWEEN :from AND :to
    GROUP BY 1, 2 ORDER BY count(*) DESC, 2 LIMIT 50";
const QUOTA: &str = "
    SELECT day, light, medium, heavy, resource_intensive, daily_quota_used AS used FROM api_use_by_day
    WHERE day BETWEEN :from AND :to ORDER BY day";
const MEETINGS: &str = "
    SELECT meeting_uuid AS id, coalesce(topic, '') AS name, 1 AS meetings, coalesce(sessions, 0) AS sessions
    FROM meetings WHERE listed_day BETWEEN :from AND :to ORDER BY sessions DESC, meeting_uuid LIMIT :most";
const SERIES: &str = "
    SELECT CAST(m.series_id AS TEXT) AS id, coalesce(s.topic, max(m.topic), '') AS name, count(*) AS meetings, coalesce(sum(m.sessions), 0) AS sessions
    FROM meetings m LEFT JOIN series s ON s.series_id = m.series_id
    WHERE m.listed_day BETWEEN :from AND :to AND m.series_id IS NOT NULL GROUP BY m.series_id ORDER BY 4 DESC, 3 DESC, 1 LIMIT :most";
const HOSTS: &str = "
    SELECT m.host_id AS id, coalesce(h.name, max(m.host_name), '') AS name, count(*) AS meetings, coalesce(sum(m.sessions), 0) AS sessions
    FROM meetings m LEFT JOIN hosts h ON h.host_id = m.host_id
    WHERE m.listed_day BETWEEN :from AND :to AND m.host_id IS NOT NULL GROUP BY m.host_id ORDER BY 4 DESC, 3 DESC, 1 LIMIT :most";
const CHANGES: &str =
    "SELECT what, count(*) AS meetings FROM changes WHERE at > :since GROUP BY what ORDER BY 2 DESC";

impl Catalog {
    /// The figures of these days. With `since`, changes after that time (as the catalog writes times) are counted.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn figures(&self, window: Window, since: Option<&str>) -> Result<Figures, Error> {
        let (from, to) = (window.from.to_string(), window.to.to_string());
        // One consistent state, whatever a run writes meanwhile.
        let _snapshot = self.conn.unchecked_transaction()?;
        let overview = self.last_runs(10)?;
        let changes = match since {
            Some(since) => {
                let mut statement = self.conn.prepare(CHANGES)?;
                let rows = statement.query_map(named_params! {":since": since}, |row| {
                    Ok((row.get("what")?, row.get("meetings")?))
                })?;
                rows.collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        let largest = |sql| self.counted(sql, &from, &to, Some(LARGEST), largest);
        Ok(Figures {
            account_id: self.account()?.map(|account| account.as_str().to_owned()),
            days: self.counted(DAYS, &from, &to, None, day)?,
            hours: self.counted(HOURS, &from, &to, None, |row| {
                Ok(HourFigures {
                    weekday: row.get("weekday")?,
                    hour: row.get("hour")?,
                    meetings: row.get("meetings")?,
                })
            })?,
            failures: self.counted(FAILURES, &from, &to, None, |row| {
                Ok(FailureGroup {
                    status: row.get("status")?,
                    reason: row.get("reason")?,
                    next_attempt: row.get("next_attempt")?,
                    meetings: row.get("meetings")?,
                })
            })?,
            quota: self.counted(QUOTA, &from, &to, None, |row| {
                Ok(QuotaDay {
                    day: row.get("day")?,
                    requests: [
                        row.get("light")?,
                        row.get("medium")?,
                        row.get("heavy")?,
                        row.get("resource_intensive")?,
                    ],
                    used: row.get("used")?,
                })
            })?,
            runs: overview,
            meetings: largest(MEETINGS)?,
            series: largest(SERIES)?,
            hosts: largest(HOSTS)?,
            changes,
            published: self
                .conn
                .query_row("SELECT EXISTS (SELECT 1 FROM indices)", [], |row| row.get(0))?,
        })
    }

    /// The health of the harvester that fills this catalog.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn health(&self, now: DateTime<Utc>) -> Result<Health, Error> {
        let _snapshot = self.conn.unchecked_transaction()?;
        let ended = |sql: &str| -> Result<(Option<DateTime<Utc>>, Option<i64>), Error> {
            let mut statement = self.conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else {
                return Ok((None, None));
            };
            let at: Option<String> = row.get("at")?;
            Ok((at.and_then(|at| parse_time(&at)), row.get("exit_code")?))
        };
        let (last_success, _) = ended(LAST_SUCCESS)?;
        let (last_run, last_exit_code) = ended(LAST_RUN)?;
        let mut statement = self.conn.prepare(STATES)?;
        let days = statement.query_map([], |row| Ok((row.get("state")?, row.get("days")?)))?;
        Ok(Health {
            last_success,
            last_run,
            last_exit_code,
            meetings: self.count_by_status()?,
            days: days.collect::<Result<_, _>>()?,
            details_due: self.count_due_details(now)?,
            documents_due: self.count_due_documents()?,
            quota_used: self.api_use_today(now)?.daily_quota_used,
        })
    }

    fn counted<T>(
        &self,
        sql: &str,
        from: &str,
        to: &str,
        most: Option<i64>,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.conn.prepare(sql)?;
        let rows = match most {
            Some(most) => {
                statement.query_map(named_params! {":from": from, ":to": to, ":most": most}, read)?
            }
            None => statement.query_map(named_params! {":from": from, ":to": to}, read)?,
        };
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn day(row: &Row<'_>) -> rusqlite::Result<DayFigures> {
    Ok(DayFigures {
        day: row.get("day")?,
        state: row.get("state")?,
        listed: row.get("listed")?,
        webinars: row.get("webinars")?,
        fetched: row.get("fetched")?,
        indexed: row.get("indexed")?,
        failed: row.get("failed")?,
        gone: row.get("gone")?,
        incomplete: row.get("incomplete")?,
        sessions: row.get("sessions")?,
    })
}

fn largest(row: &Row<'_>) -> rusqlite::Result<Largest> {
    Ok(Largest {
        id: row.get("id")?,
        name: row.get("name")?,
        meetings: row.get("meetings")?,
        sessions: row.get("sessions")?,
    })
}
