//! What listings said: the days they covered, the meetings they showed, and what that changed.

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use rusqlite::Transaction;
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error, RunId, Tally, all, execute, first,
    schema::{Account, Changes, HostLookups, Meetings, Series, Windows},
};
use crate::model::{
    Change, Checksum, DateBasis, Event, HostId, Kept, Known, KnownMeeting, ListedMeeting, Listing,
    MeetingUuid, Status, Window, from_iso, iso,
};

/// A day is listed again until it is this old and a listing, not its first, has changed nothing.
const SETTLES_AFTER: TimeDelta = TimeDelta::hours(24);

impl Catalog {
    /// The first day that was ever listed.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn first_day(&self) -> Result<Option<NaiveDate>, Error> {
        let select = Query::select()
            .expr(Expr::col(Windows::Day).min())
            .from(Windows::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, Option<String>>(0))?
            .flatten()
            .and_then(|day| day.parse().ok()))
    }

    /// The earliest day that a sync was asked for by its date, listed by now or not.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn wanted_from(&self) -> Result<Option<NaiveDate>, Error> {
        let select = Query::select()
            .column(Account::WantedFrom)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, Option<String>>(0))?
            .flatten()
            .and_then(|day| day.parse().ok()))
    }

    /// Notes that a sync is asked for this day: stopped before it was listed, later ones go on from there.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn want_from(&mut self, day: NaiveDate) -> Result<(), Error> {
        let update = Query::update()
            .table(Account::Table)
            .value(Account::WantedFrom, day.to_string())
            .and_where(
                Expr::col(Account::WantedFrom)
                    .is_null()
                    .or(Expr::col(Account::WantedFrom).gt(day.to_string())),
            )
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// The days inside the window that no sync needs to list again.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn settled_days(&self, window: Window) -> Result<Vec<NaiveDate>, Error> {
        let select = Query::select()
            .column(Windows::Day)
            .from(Windows::Table)
            .and_where(Expr::col(Windows::Day).between(window.from.to_string(), window.to.to_string()))
            .and_where(Expr::col(Windows::SettledAt).is_not_null())
            .order_by(Windows::Day, Order::Asc)
            .take();
        let days = all(&self.conn, &select, |row| row.get::<_, String>(0))?;
        Ok(days.iter().filter_map(|day| day.parse().ok()).collect())
    }

    /// When the last 30 days were last listed whole; nothing for a catalog that no account has claimed.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn whole_listed_at(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let select = Query::select()
            .column(Account::WholeListedAt)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, String>(0))?.and_then(|at| from_iso(&at)))
    }

    /// Writes down that the last 30 days were listed whole.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn record_whole_listing(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let update = Query::update()
            .table(Account::Table)
            .value(Account::WholeListedAt, iso(now))
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// Makes every settled day from `from` on wanted again by the next sync; answers how many those are.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn unsettle(&mut self, from: NaiveDate) -> Result<usize, Error> {
        let update = Query::update()
            .table(Windows::Table)
            .value(Windows::SettledAt, Option::<String>::None)
            .and_where(Expr::col(Windows::Day).gte(from.to_string()))
            .and_where(Expr::col(Windows::SettledAt).is_not_null())
            .take();
        execute(&self.conn, &update)
    }

    /// What is known of the meetings that a listing shows, and of those it would have to show.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn known(&self, listing: &Listing) -> Result<Known, Error> {
        let read = |expected: bool| {
            move |row: &rusqlite::Row<'_>| {
                Ok((
                    MeetingUuid::new(row.get::<_, String>(0)?),
                    KnownMeeting {
                        listed_checksum: Checksum::from_hex(row.get::<_, String>(1)?),
                        shown_checksum: Checksum::from_hex(row.get::<_, String>(2)?),
                        vanished: row.get::<_, Option<String>>(3)?.is_some(),
                        gone: row.get::<_, String>(4)? == Status::Gone.as_str(),
                        expected,
                    },
                ))
            }
        };
        let (from, to) = (
            listing.window.from.to_string(),
            (listing.window.to + Days::new(1)).to_string(),
        );
        let select = expected_query(listing.basis, &from, &to);
        let mut known: Known = all(&self.conn, &select, read(true))?.into_iter().collect();
        for meeting in &listing.meetings {
            if !known.contains_key(&meeting.uuid) {
                let select = Query::select()
                    .columns(KNOWN)
                    .from(Meetings::Table)
                    .and_where(Expr::col(Meetings::MeetingUuid).eq(meeting.uuid.as_str()))
                    .take();
                known.extend(first(&self.conn, &select, read(false))?);
            }
        }
        Ok(known)
    }

    /// How many meetings the last listing of each of these days showed.
    ///
    /// # Errors
    /// As SQLite fails.
    pub fn shown_last(&self, window: Window) -> Result<u64, Error> {
        let select = Query::select()
            .expr(Expr::cust("coalesce(sum(meetings), 0)"))
            .from(Windows::Table)
            .and_where(Expr::col(Windows::Day).between(window.from.to_string(), window.to.to_string()))
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or(0))
    }

    /// Records what a listing changed, and marks those of the `days` that it speaks for as listed. A day old enough to which
    /// it changed nothing is settled.
    ///
    /// # Errors
    /// As SQLite fails; then nothing of it is recorded.
    pub fn record(
        &mut self,
        run: RunId,
        listing: &Listing,
        changes: &[Change],
        days: &[NaiveDate],
        now: DateTime<Utc>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let mut changed_days: HashMap<NaiveDate, i64> = HashMap::new();
        let mut counted = tally.clone();
        for change in changes {
            let day = match change {
                Change::New(meeting) => {
                    counted.new += 1;
                    insert_meeting(&tx, run, meeting, listing.window, now)?;
                    meeting.listed_day(listing.window)
                }
                Change::Changed {
                    meeting,
                    detail,
                    reappeared,
                } => {
                    counted.changed += 1;
                    update_meeting(&tx, run, meeting, listing.window, *detail, *reappeared, now)?;
                    meeting.listed_day(listing.window)
                }
                Change::Unchanged(_) => continue,
                Change::Vanished(uuid) => {
                    counted.vanished += 1;
                    match mark_vanished(&tx, run, uuid, now)? {
                        Some(day) => day,
                        None => continue,
                    }
                }
            };
            // A meeting that reaches over the window's edge is a change of the day inside.
            let day = Ord::clamp(day, listing.window.from, listing.window.to);
            *changed_days.entry(day).or_default() += 1;
        }
        let mut shown: HashMap<NaiveDate, i64> = HashMap::new();
        for meeting in &listing.meetings {
            *shown.entry(meeting.listed_day(listing.window)).or_default() += 1;
        }
        for day in days.iter().copied().filter(|day| listing.window.contains(*day)) {
            let changes = changed_days.get(&day).copied().unwrap_or(0);
            let old_enough =
                (day + Days::new(1)).and_time(chrono::NaiveTime::MIN).and_utc() + SETTLES_AFTER <= now;
            // One empty answer to a day never listed before proves little.
            let heard_before = first(&tx, &listed_query(day), |_| Ok(()))?.is_some();
            let settled = changes == 0 && old_enough && heard_before && listing.malformed.is_empty();
            let insert = Query::insert()
                .into_table(Windows::Table)
                .columns([
                    Windows::Day,
                    Windows::Basis,
                    Windows::Meetings,
                    Windows::Changes,
                    Windows::Listings,
                    Windows::FirstListedAt,
                    Windows::LastListedAt,
                    Windows::SettledAt,
                ])
                .values_panic([
                    day.to_string().into(),
                    listing.basis.as_str().into(),
                    shown.get(&day).copied().unwrap_or(0).into(),
                    changes.into(),
                    1.into(),
                    iso(now).into(),
                    iso(now).into(),
                    settled.then(|| iso(now)).into(),
                ])
                .on_conflict(
                    OnConflict::column(Windows::Day)
                        .update_columns([
                            Windows::Basis,
                            Windows::Meetings,
                            Windows::Changes,
                            Windows::LastListedAt,
                            Windows::SettledAt,
                        ])
                        .value(
                            Windows::Listings,
                            Expr::col((Windows::Table, Windows::Listings)).add(1),
                        )
                        .to_owned(),
                )
                .take();
            execute(&tx, &insert)?;
        }
        tx.commit()?;
        counted.listings += 1;
        *tally = counted;
        Ok(())
    }
}

fn listed_query(day: NaiveDate) -> SelectStatement {
    Query::select()
        .column(Windows::Day)
        .from(Windows::Table)
        .and_where(Expr::col(Windows::Day).eq(day.to_string()))
        .take()
}

const KNOWN: [Meetings; 5] = [
    Meetings::MeetingUuid,
    Meetings::ListedChecksum,
    Meetings::ShownChecksum,
    Meetings::VanishedAt,
    Meetings::Status,
];

/// The meetings that a listing from `from` to before `to` would have to show.
pub(super) fn expected_query(basis: DateBasis, from: &str, to: &str) -> SelectStatement {
    let time = match basis {
        DateBasis::EndTime => Meetings::EndTime,
        DateBasis::StartTime => Meetings::StartTime,
    };
    Query::select()
        .columns(KNOWN)
        .from(Meetings::Table)
        .and_where(Expr::col(time).gte(from))
        .and_where(Expr::col(time).lt(to))
        // Zoom selects one-person meetings by their start, whatever is asked: only those that lie inside by both times would
        // have to be there.
        .and_where(Expr::cust_with_values(
            "(listing_type = 'past' OR (start_time >= ? AND end_time < ?))",
            [from, to],
        ))
        .take()
}

/// The email in lower case: hosts and meetings are joined by it. Without one, the meeting itself stands in.
pub(super) fn host_key(email: &str, uuid: &MeetingUuid) -> String {
    match email.trim() {
        "" => format!("meeting:{uuid}"),
        email => email.to_lowercase(),
    }
}

fn insert_meeting(
    tx: &Transaction<'_>,
    run: RunId,
    meeting: &ListedMeeting,
    window: Window,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (key, host_id) = note_host(tx, meeting)?;
    note_series(tx, meeting, host_id.as_ref(), now)?;
    let listed = meeting.listed_checksum();
    let insert = Query::insert()
        .into_table(Meetings::Table)
        .columns([
            Meetings::MeetingUuid,
            Meetings::SeriesId,
            Meetings::HostKey,
            Meetings::HostId,
            Meetings::ListingType,
            Meetings::Topic,
            Meetings::HostName,
            Meetings::HostEmail,
            Meetings::StartTime,
            Meetings::EndTime,
            Meetings::DurationS,
            Meetings::Participants,
            Meetings::ListedDay,
            Meetings::Listing,
            Meetings::Status,
            Meetings::ListedChecksum,
            Meetings::ShownChecksum,
            Meetings::Revision,
            Meetings::FirstListedAt,
            Meetings::ChangedAt,
        ])
        .values_panic([
            meeting.uuid.as_str().into(),
            meeting.series_id.map(|id| id.0).into(),
            key.into(),
            host_id.as_ref().map(|id| id.as_str().to_owned()).into(),
            meeting.listing_type.as_str().into(),
            meeting.topic.as_str().into(),
            meeting.host_name.as_str().into(),
            meeting.host_email.as_str().into(),
            meeting.start_time.map(iso).into(),
            meeting.end_time.map(iso).into(),
            meeting.duration_s.into(),
            meeting.participants.into(),
            meeting.listed_day(window).to_string().into(),
            serde_json::Value::Object(meeting.row.clone()).to_string().into(),
            Status::Listed.as_str().into(),
            listed.as_str().into(),
            meeting.shown_checksum().as_str().into(),
            now.timestamp_millis().into(),
            iso(now).into(),
            iso(now).into(),
        ])
        .take();
    execute(tx, &insert)?;
    note_change(tx, run, &meeting.uuid, "new", None, Some(listed.as_str()), now)
}

fn update_meeting(
    tx: &Transaction<'_>,
    run: RunId,
    meeting: &ListedMeeting,
    window: Window,
    detail: bool,
    reappeared: bool,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(before) = super::detail::Row::read(tx, &meeting.uuid)? else {
        return insert_meeting(tx, run, meeting, window, now);
    };
    let (key, looked_up) = note_host(tx, meeting)?;
    // A host once known stays: the email may have been given to somebody else since.
    let host_id = if key == before.host_key {
        before.host_id.clone().or(looked_up)
    } else {
        looked_up
    };
    note_series(tx, meeting, host_id.as_ref(), now)?;
    let (listed, shown) = (meeting.listed_checksum(), meeting.shown_checksum());
    let mut update = Query::update()
        .table(Meetings::Table)
        .values([
            (Meetings::SeriesId, meeting.series_id.map(|id| id.0).into()),
            (Meetings::HostKey, key.into()),
            (
                Meetings::HostId,
                host_id.as_ref().map(|id| id.as_str().to_owned()).into(),
            ),
            (Meetings::ListingType, meeting.listing_type.as_str().into()),
            (Meetings::Topic, meeting.topic.as_str().into()),
            (Meetings::HostName, meeting.host_name.as_str().into()),
            (Meetings::HostEmail, meeting.host_email.as_str().into()),
            (Meetings::StartTime, meeting.start_time.map(iso).into()),
            (Meetings::EndTime, meeting.end_time.map(iso).into()),
            (Meetings::DurationS, meeting.duration_s.into()),
            (Meetings::Participants, meeting.participants.into()),
            (Meetings::ListedDay, meeting.listed_day(window).to_string().into()),
            (
                Meetings::Listing,
                serde_json::Value::Object(meeting.row.clone()).to_string().into(),
            ),
            (Meetings::ListedChecksum, listed.as_str().into()),
            (Meetings::ShownChecksum, shown.as_str().into()),
            (Meetings::ChangedAt, iso(now).into()),
            (Meetings::VanishedAt, Option::<String>::None.into()),
        ])
        .and_where(Expr::col(Meetings::MeetingUuid).eq(meeting.uuid.as_str()))
        .take();
    // What it says now may be what the kept detail was fetched for, after something else in between.
    let kept_fits = before.fetched_for.as_ref() == Some(&listed);
    if detail {
        update.values([
            (Meetings::Attempts, 0.into()),
            (Meetings::LastAttemptRun, Option::<i64>::None.into()),
            (Meetings::LookAgainStep, 0.into()),
            (Meetings::LookAgainAt, Option::<String>::None.into()),
            (Meetings::Incomplete, 0.into()),
        ]);
    }
    if detail && !kept_fits {
        update.value(
            Meetings::Status,
            before.status.next(Event::DetailChanged).as_str(),
        );
    } else if let Some(detail_checksum) = &before.detail_checksum {
        // The documents follow. If the detail is due as well, they wait for it: sent now they would pair the new
        // listing with the old sessions.
        let document = Kept::document_checksum(&listed, &shown, detail_checksum, host_id.as_ref());
        let event = if detail {
            Event::DetailKept
        } else {
            Event::DocumentsDue
        };
        before.put_document(&mut update, event, &document, now);
    }
    execute(tx, &update)?;
    let at = |what, old: &Checksum, new: &Checksum| {
        note_change(
            tx,
            run,
            &meeting.uuid,
            what,
            Some(old.as_str()),
            Some(new.as_str()),
            now,
        )
    };
    if reappeared {
        note_change(
            tx,
            run,
            &meeting.uuid,
            "reappeared",
            None,
            Some(listed.as_str()),
            now,
        )?;
    }
    if before.listed_checksum != listed {
        at("listing", &before.listed_checksum, &listed)?;
    }
    if before.shown_checksum != shown {
        at("shown", &before.shown_checksum, &shown)?;
    }
    Ok(())
}

fn mark_vanished(
    tx: &Transaction<'_>,
    run: RunId,
    uuid: &MeetingUuid,
    now: DateTime<Utc>,
) -> Result<Option<NaiveDate>, Error> {
    let update = Query::update()
        .table(Meetings::Table)
        .value(Meetings::VanishedAt, iso(now))
        .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
        .and_where(Expr::col(Meetings::VanishedAt).is_null())
        .take();
    if execute(tx, &update)? == 0 {
        return Ok(None);
    }
    note_change(tx, run, uuid, "vanished", None, None, now)?;
    let select = Query::select()
        .column(Meetings::ListedDay)
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
        .take();
    Ok(first(tx, &select, |row| row.get::<_, String>(0))?.and_then(|day| day.parse().ok()))
}

/// Makes sure that the host's key stands among the lookups; answers it with the host's id, if that is known already.
fn note_host(tx: &Transaction<'_>, meeting: &ListedMeeting) -> Result<(String, Option<HostId>), Error> {
    let key = host_key(&meeting.host_email, &meeting.uuid);
    let select = Query::select()
        .column(HostLookups::HostId)
        .from(HostLookups::Table)
        .and_where(Expr::col(HostLookups::HostKey).eq(key.as_str()))
        .take();
    match first(tx, &select, |row| row.get::<_, Option<String>>(0))? {
        Some(host_id) => Ok((key, host_id.map(HostId::new))),
        None => {
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
            execute(tx, &insert)?;
            Ok((key, None))
        }
    }
}

fn note_series(
    tx: &Transaction<'_>,
    meeting: &ListedMeeting,
    host_id: Option<&HostId>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(series_id) = meeting.series_id else {
        return Ok(());
    };
    let insert = Query::insert()
        .into_table(Series::Table)
        .columns([
            Series::SeriesId,
            Series::Kind,
            Series::Status,
            Series::Topic,
            Series::HostId,
            Series::FirstSeenAt,
        ])
        .values_panic([
            series_id.0.into(),
            "unknown".into(),
            "pending".into(),
            meeting.topic.as_str().into(),
            host_id.map(|id| id.as_str().to_owned()).into(),
            iso(now).into(),
        ])
        .on_conflict(OnConflict::column(Series::SeriesId).do_nothing().to_owned())
        .take();
    execute(tx, &insert)?;
    Ok(())
}

/// Adds a line to the history.
pub(super) fn note_change(
    tx: &Transaction<'_>,
    run: RunId,
    uuid: &MeetingUuid,
    what: &str,
    old: Option<&str>,
    new: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let insert = Query::insert()
        .into_table(Changes::Table)
        .columns([
            Changes::At,
            Changes::RunId,
            Changes::MeetingUuid,
            Changes::What,
            Changes::OldChecksum,
            Changes::NewChecksum,
        ])
        .values_panic([
            iso(now).into(),
            run.0.into(),
            uuid.as_str().into(),
            what.into(),
            old.map(str::to_owned).into(),
            new.map(str::to_owned).into(),
        ])
        .take();
    execute(tx, &insert)?;
    Ok(())
}
