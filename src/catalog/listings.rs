//! Records listings: the days that they cover, the meetings that they show, and what changed.

use std::{collections::BTreeMap, sync::LazyLock};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use rusqlite::Connection;
use sea_query::{Alias, Expr, ExprTrait, OnConflict, Order, Query, SelectStatement};

use super::{
    Catalog, Error, PackedKind, Packer, RunId, Tally, changes,
    lookups::{note_host, note_series},
    meetings::MeetingState,
    occurrences::{self, Place},
    schema::{Account, Hosts, Meetings, Windows},
    sql::{all, execute, first, one, run, text, var},
};
use crate::model::{
    Change, DateBasis, Event, HeldMeeting, Host, HostId, Known, KnownMeeting, ListedMeeting, Listing,
    MeetingKind, MeetingUuid, Shown, Source, Status, Webinars, Window, iso,
};

/// A day is listed again until it has been over for this long and a listing, not its first, has changed nothing.
const SETTLES_AFTER: TimeDelta = TimeDelta::hours(24);

/// Whether a day is old enough to be settled.
pub fn can_settle(day: NaiveDate, now: DateTime<Utc>) -> bool {
    let over = (day + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    over + SETTLES_AFTER <= now
}

/// The number of changes that listings brought, by the day that they count for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayChanges(BTreeMap<NaiveDate, i64>);

impl DayChanges {
    /// Adds the changes of `others`.
    pub fn merge(&mut self, others: Self) {
        for (day, changes) in others.0 {
            *self.0.entry(day).or_default() += changes;
        }
    }

    fn add(&mut self, day: NaiveDate, window: Window) {
        // A meeting that extends beyond the window counts as a change of the nearest day inside.
        let day = Ord::clamp(day, window.from, window.to);
        *self.0.entry(day).or_default() += 1;
    }

    fn of(&self, day: NaiveDate) -> i64 {
        self.0.get(&day).copied().unwrap_or(0)
    }
}

impl Catalog {
    /// Marks days to be listed by the next sync, even if they are settled. Used when a webhook reports something new about them.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn list_days_again(&mut self, days: &std::collections::BTreeSet<NaiveDate>) -> Result<(), Error> {
        let update = Query::update()
            .table(Windows::Table)
            .value(Windows::SettledAt, Option::<String>::None)
            .and_where(Expr::col(Windows::Day).is_in(days.iter().map(NaiveDate::to_string)))
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// The source of the meeting that was added last.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn last_source(&self) -> Result<Option<Source>, Error> {
        let select = Query::select()
            .column(Meetings::Source)
            .from(Meetings::Table)
            .and_where(Expr::cust("meeting_id = (SELECT max(meeting_id) FROM meetings)"))
            .take();
        first(&self.conn, &select, |row| row.get("source"))
    }

    /// The first day that was ever listed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn first_day(&self) -> Result<Option<NaiveDate>, Error> {
        let select = Query::select()
            .expr(Expr::col(Windows::Day).min())
            .from(Windows::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, Option<String>>(0))?
            .flatten()
            .and_then(|day| day.parse().ok()))
    }

    /// The days inside the window that no sync needs to list again. With `webinars`, only those whose last listing covered webinars too.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn settled_days(&self, window: Window, webinars: bool) -> Result<Vec<NaiveDate>, Error> {
        let mut select = Query::select()
            .column(Windows::Day)
            .from(Windows::Table)
            .and_where(Expr::col(Windows::Day).between(window.from.to_string(), window.to.to_string()))
            .and_where(Expr::col(Windows::SettledAt).is_not_null())
            .order_by(Windows::Day, Order::Asc)
            .take();
        if webinars {
            select.and_where(Expr::col(Windows::Webinars).is_not_null());
        }
        let days = all(&self.conn, &select, |row| row.get::<_, String>(0))?;
        Ok(days.iter().filter_map(|day| day.parse().ok()).collect())
    }

    /// Makes the next sync list every settled day from `from` on again. Returns the number of these days.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn unsettle(&mut self, from: NaiveDate) -> Result<usize, Error> {
        let update = Query::update()
            .table(Windows::Table)
            .value(Windows::SettledAt, Option::<String>::None)
            .and_where(Expr::col(Windows::Day).gte(from.to_string()))
            .and_where(Expr::col(Windows::SettledAt).is_not_null())
            .take();
        execute(&self.conn, &update)
    }

    /// What the catalog knows of these meetings.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn known_of(&self, meetings: &[ListedMeeting]) -> Result<Known, Error> {
        let mut known = Known::with_capacity(meetings.len());
        for meeting in meetings {
            let found = one(&self.conn, &KNOWN, &[(":uuid", &meeting.uuid)], |row| {
                Ok(KnownMeeting {
                    listed_checksum: row.get("listed_checksum")?,
                    shown_checksum: row.get("shown_checksum")?,
                    source: row.get("source")?,
                    times: [row.get("start_time")?, row.get("end_time")?],
                    detail_kept: row.get("detail_kept")?,
                    vanished: row.get::<_, Option<String>>("vanished_at")?.is_some(),
                    gone: row.get::<_, Status>("status")? == Status::Gone,
                })
            })?;
            known.extend(found.map(|found| (meeting.uuid.clone(), found)));
        }
        Ok(known)
    }

    /// The meetings of a kind that a listing should show, except those that have vanished already. If the listing was put together host by host,
    /// these are only meetings of its hosts whose start and end both lie inside its days: it is not known by which of the two Zoom selects.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn expected(&self, listing: &Listing, kind: MeetingKind) -> Result<Vec<MeetingUuid>, Error> {
        let window = listing.window;
        let (from, to) = (window.from.to_string(), (window.to + Days::new(1)).to_string());
        let mut select = expected_query(listing.basis, &from, &to);
        select.and_where(Expr::col(Meetings::Kind).eq(kind.as_str()));
        let Some(hosts) = &listing.hosts else {
            return all(&self.conn, &select, |row| row.get("meeting_uuid"));
        };
        select
            .column(Meetings::HostId)
            .and_where(Expr::col(Meetings::StartTime).gte(from))
            .and_where(Expr::col(Meetings::EndTime).lt(to));
        let found = all(&self.conn, &select, |row| {
            Ok((row.get("meeting_uuid")?, row.get::<_, Option<HostId>>("host_id")?))
        })?;
        let theirs = found
            .into_iter()
            .filter(|(_, host)| host.as_ref().is_some_and(|host| hosts.contains(host)));
        Ok(theirs.map(|(uuid, _)| uuid).collect())
    }

    /// The meetings of these kinds that began on these days and have not vanished, as the account's history should show them.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn held_within(&self, window: Window, kinds: &[MeetingKind]) -> Result<Vec<HeldMeeting>, Error> {
        let select = Query::select()
            .columns([
                Meetings::MeetingUuid,
                Meetings::HostId,
                Meetings::Topic,
                Meetings::StartTime,
                Meetings::EndTime,
                Meetings::Participants,
                Meetings::Source,
            ])
            .from(Meetings::Table)
            .and_where(Expr::col(Meetings::VanishedAt).is_null())
            .and_where(Expr::col(Meetings::StartTime).gte(window.from.to_string()))
            .and_where(Expr::col(Meetings::StartTime).lt((window.to + Days::new(1)).to_string()))
            .and_where(Expr::col(Meetings::Kind).is_in(kinds.iter().map(|kind| kind.as_str())))
            .take();
        all(&self.conn, &select, |row| {
            let counted: Option<i64> = row.get("participants")?;
            let source: Source = row.get("source")?;
            Ok(HeldMeeting {
                uuid: row.get("meeting_uuid")?,
                host_id: row.get("host_id")?,
                topic: row.get("topic")?,
                times: [row.get("start_time")?, row.get("end_time")?],
                participants: counted.filter(|_| source == Source::Reports),
            })
        })
    }

    /// The hosts of meetings that lie inside these days and have not vanished.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn hosts_within(&self, window: Window) -> Result<Vec<Host>, Error> {
        let (from, to) = (window.from.to_string(), (window.to + Days::new(1)).to_string());
        let theirs = Query::select()
            .expr(Expr::cust("1"))
            .from(Meetings::Table)
            .and_where(Expr::cust(
                "meetings.host_id = hosts.host_id AND vanished_at IS NULL",
            ))
            .and_where(Expr::col(Meetings::StartTime).gte(from.as_str()))
            .and_where(Expr::col(Meetings::StartTime).lt(to.as_str()))
            .and_where(Expr::col(Meetings::EndTime).lt(to.as_str()))
            .take();
        let select = Query::select()
            .columns([
                Hosts::HostId,
                Hosts::Email,
                Hosts::Name,
                Hosts::Dept,
                Hosts::UserType,
            ])
            .from(Hosts::Table)
            .and_where(Expr::exists(theirs))
            .take();
        all(&self.conn, &select, |row| {
            Ok(Host {
                host_id: row.get("host_id")?,
                email: row.get("email")?,
                name: row.get("name")?,
                dept: row.get("dept")?,
                user_type: row.get("user_type")?,
            })
        })
    }

    /// How many meetings of a kind the last listing of each of these days showed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn shown_last(&self, window: Window, kind: MeetingKind) -> Result<u64, Error> {
        let sum = match kind {
            MeetingKind::Meeting => "coalesce(sum(meetings), 0)",
            MeetingKind::Webinar => "coalesce(sum(webinars), 0)",
        };
        let select = Query::select()
            .expr(Expr::cust(sum))
            .from(Windows::Table)
            .and_where(Expr::col(Windows::Day).between(window.from.to_string(), window.to.to_string()))
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or(0))
    }

    /// Records the new and changed meetings of a page, while its listing is still being read. It does not mark their days as listed:
    /// [`Catalog::record`] does. Returns the changes by day.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    pub fn record_page(
        &mut self,
        run: RunId,
        window: Window,
        changes: &[Change<'_>],
        now: DateTime<Utc>,
        tally: &mut Tally,
    ) -> Result<DayChanges, Error> {
        let mut changed = DayChanges::default();
        if changes
            .iter()
            .all(|change| matches!(change, Change::Unchanged(_)))
        {
            return Ok(changed);
        }
        let packer = self.packers.present(PackedKind::Listing);
        let tx = self.transaction()?;
        let mut counted = tally.clone();
        for change in changes {
            let meeting = match change {
                Change::New(meeting) => {
                    counted.new += 1;
                    insert_meeting(&tx, run, &packer, meeting, window, now)?;
                    meeting
                }
                Change::Changed {
                    meeting,
                    detail,
                    reappeared,
                } => {
                    counted.changed += 1;
                    update_meeting(&tx, run, &packer, meeting, window, (*detail, *reappeared), now)?;
                    meeting
                }
                // A meeting that is absent from a page may be on the next one.
                Change::Unchanged(_) | Change::Vanished(_) => continue,
            };
            changed.add(meeting.listed_day(window), window);
        }
        tx.commit()?;
        *tally = counted;
        Ok(changed)
    }

    /// Records that a listing is complete: which meetings vanished, and that those of the `days` that it covers are listed. `changed` holds the
    /// changes of its pages. A day is settled if it is old enough and the listing changed nothing in it.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is recorded.
    #[allow(clippy::too_many_arguments, reason = "one transaction tells one truth")]
    pub fn record(
        &mut self,
        run: RunId,
        listing: &Listing,
        vanished: &[MeetingUuid],
        days: &[NaiveDate],
        mut changed: DayChanges,
        now: DateTime<Utc>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let tx = self.transaction()?;
        let mut counted = tally.clone();
        for uuid in vanished {
            counted.vanished += 1;
            if let Some(day) = mark_vanished(&tx, run, uuid, now)? {
                changed.add(day, listing.window);
            }
        }
        let mut shown: BTreeMap<(NaiveDate, MeetingKind), i64> = BTreeMap::new();
        for Shown { day, kind } in listing.shown.values() {
            *shown.entry((*day, *kind)).or_default() += 1;
        }
        for day in days.iter().copied().filter(|day| listing.window.contains(*day)) {
            let counts = MeetingKind::ALL.map(|kind| shown.get(&(day, kind)).copied().unwrap_or(0));
            record_day(&tx, day, listing, counts, changed.of(day), now)?;
        }
        record_webinars(&tx, &listing.webinars, now)?;
        tx.commit()?;
        counted.listings += 1;
        *tally = counted;
        Ok(())
    }
}

fn record_day(
    conn: &Connection,
    day: NaiveDate,
    listing: &Listing,
    [meetings, webinars]: [i64; 2],
    changes: i64,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // A first listing may be empty by mistake, so it does not settle the day.
    let heard_before = first(conn, &listed_query(day), |_| Ok(()))?.is_some();
    let settled = changes == 0
        && can_settle(day, now)
        && heard_before
        && listing.every_host
        && listing.malformed.is_empty();
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
            Windows::Webinars,
        ])
        .values_panic([
            day.to_string().into(),
            listing.basis.as_str().into(),
            meetings.into(),
            changes.into(),
            1.into(),
            iso(now).into(),
            iso(now).into(),
            settled.then(|| iso(now)).into(),
            Some(webinars)
                .filter(|_| listing.webinars != Webinars::NotAsked)
                .into(),
        ])
        .on_conflict(
            OnConflict::column(Windows::Day)
                .update_columns([
                    Windows::Basis,
                    Windows::Meetings,
                    Windows::Changes,
                    Windows::LastListedAt,
                    Windows::SettledAt,
                    Windows::Webinars,
                ])
                .value(
                    Windows::Listings,
                    Expr::col((Windows::Table, Windows::Listings)).add(1),
                )
                .to_owned(),
        )
        .take();
    execute(conn, &insert)?;
    Ok(())
}

/// Records whether Zoom refused to list webinars.
fn record_webinars(conn: &Connection, webinars: &Webinars, now: DateTime<Utc>) -> Result<(), Error> {
    let refused_at = match webinars {
        Webinars::NotInPlan { refusal: Some(_) } => Some(iso(now)),
        Webinars::Listed => None,
        Webinars::NotAsked | Webinars::NotInPlan { refusal: None } => return Ok(()),
    };
    let update = Query::update()
        .table(Account::Table)
        .value(Account::WebinarsRefusedAt, refused_at)
        .take();
    execute(conn, &update)?;
    Ok(())
}

fn listed_query(day: NaiveDate) -> SelectStatement {
    Query::select()
        .column(Windows::Day)
        .from(Windows::Table)
        .and_where(Expr::col(Windows::Day).eq(day.to_string()))
        .take()
}

static KNOWN: LazyLock<String> = LazyLock::new(|| {
    let select = Query::select()
        .columns([
            Meetings::ListedChecksum,
            Meetings::ShownChecksum,
            Meetings::VanishedAt,
            Meetings::Status,
            Meetings::Source,
            Meetings::StartTime,
            Meetings::EndTime,
        ])
        .expr_as(
            Expr::cust("fetched_for IS listed_checksum"),
            Alias::new("detail_kept"),
        )
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::MeetingUuid).eq(var(":uuid")))
        .take();
    text(&select)
});

/// The meetings that a listing from `from` to before `to` should show.
fn expected_query(basis: DateBasis, from: &str, to: &str) -> SelectStatement {
    let time = match basis {
        DateBasis::EndTime => Meetings::EndTime,
        DateBasis::StartTime => Meetings::StartTime,
    };
    Query::select()
        .column(Meetings::MeetingUuid)
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::VanishedAt).is_null())
        .and_where(Expr::col(time).gte(from))
        .and_where(Expr::col(time).lt(to))
        // Zoom selects one-person meetings by their start, whatever is requested. Only those whose start and end both lie inside should be there.
        .and_where(Expr::cust_with_values(
            "(listing_type = 'past' OR (start_time >= ? AND end_time < ?))",
            [from, to],
        ))
        .take()
}

/// The columns that a listing fills, of new meetings and of changed ones.
const LISTED: [(Meetings, &str); 17] = [
    (Meetings::Kind, ":kind"),
    (Meetings::SeriesId, ":series"),
    (Meetings::HostKey, ":host_key"),
    (Meetings::ListingType, ":listing_type"),
    (Meetings::Source, ":source"),
    (Meetings::Topic, ":topic"),
    (Meetings::HostName, ":host_name"),
    (Meetings::HostEmail, ":host_email"),
    (Meetings::StartTime, ":start_time"),
    (Meetings::EndTime, ":end_time"),
    (Meetings::DurationS, ":duration_s"),
    (Meetings::Participants, ":participants"),
    (Meetings::ListedDay, ":listed_day"),
    (Meetings::ChangedAt, ":now"),
    (Meetings::Listing, ":listing"),
    (Meetings::ListingBytes, ":listing_bytes"),
    (Meetings::ListingDictionary, ":dictionary"),
];

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let only_new = [
        (Meetings::MeetingUuid, ":uuid"),
        (Meetings::HostId, ":host_id"),
        (Meetings::Status, ":status"),
        (Meetings::ListedChecksum, ":listed_checksum"),
        (Meetings::ShownChecksum, ":shown_checksum"),
        (Meetings::Revision, ":revision"),
        (Meetings::FirstListedAt, ":now"),
    ];
    let (columns, vars): (Vec<_>, Vec<_>) = only_new.into_iter().chain(LISTED).unzip();
    let insert = Query::insert()
        .into_table(Meetings::Table)
        .columns(columns)
        .values_panic(vars.into_iter().map(var))
        .take();
    text(&insert)
});

static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let update = Query::update()
        .table(Meetings::Table)
        .values(LISTED.map(|(column, name)| (column, var(name))))
        .value(Meetings::VanishedAt, Expr::cust("NULL"))
        .and_where(Expr::col(Meetings::MeetingUuid).eq(var(":uuid")))
        .take();
    text(&update)
});

/// What a listing says of a meeting, as stored in the columns.
struct Listed<'a> {
    meeting: &'a ListedMeeting,
    host_key: String,
    start_time: Option<String>,
    end_time: Option<String>,
    listed_day: String,
    listing: Vec<u8>,
    dictionary: Option<i64>,
    now: String,
}

impl<'a> Listed<'a> {
    fn new(
        meeting: &'a ListedMeeting,
        host_key: String,
        window: Window,
        packer: &Packer,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let packed = packer.compress(meeting.row.as_str().as_bytes());
        Ok(Self {
            host_key,
            start_time: meeting.start_time.map(iso),
            end_time: meeting.end_time.map(iso),
            listed_day: meeting.listed_day(window).to_string(),
            listing: packed.map_err(|source| Error::Payload {
                uuid: meeting.uuid.to_string(),
                source,
            })?,
            dictionary: packer.dictionary_id(),
            now: iso(now),
            meeting,
        })
    }

    /// Runs one of the two statements, with the additional parameters `more`.
    fn write(
        &self,
        conn: &Connection,
        sql: &str,
        more: &[(&str, &dyn rusqlite::ToSql)],
    ) -> Result<(), Error> {
        let meeting = self.meeting;
        let series = meeting.series_id.map(|id| id.0);
        let listing_bytes = meeting.row.as_str().len() as i64;
        let mut params: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
            (":uuid", &meeting.uuid),
            (":kind", &meeting.kind),
            (":series", &series),
            (":host_key", &self.host_key),
            (":listing_type", &meeting.listing_type),
            (":source", &meeting.source),
            (":topic", &meeting.topic),
            (":host_name", &meeting.host_name),
            (":host_email", &meeting.host_email),
            (":start_time", &self.start_time),
            (":end_time", &self.end_time),
            (":duration_s", &meeting.duration_s),
            (":participants", &meeting.participants),
            (":listed_day", &self.listed_day),
            (":now", &self.now),
            (":listing", &self.listing),
            (":listing_bytes", &listing_bytes),
            (":dictionary", &self.dictionary),
        ];
        params.extend(more);
        run(conn, sql, &params)?;
        Ok(())
    }
}

fn insert_meeting(
    conn: &Connection,
    run: RunId,
    packer: &Packer,
    meeting: &ListedMeeting,
    window: Window,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (host_key, host_id) = note_host(conn, meeting)?;
    note_series(conn, meeting, host_id.as_ref(), now)?;
    let revision = now.timestamp_millis();
    Listed::new(meeting, host_key, window, packer, now)?.write(
        conn,
        &INSERT,
        &[
            (":listed_checksum", &meeting.listed_checksum()),
            (":shown_checksum", &meeting.shown_checksum()),
            (":host_id", &host_id),
            (":status", &Status::Listed),
            (":revision", &revision),
        ],
    )?;
    changes::note(conn, run, conn.last_insert_rowid(), "new", None, now)?;
    match Place::of_listed(meeting, host_id) {
        Some(place) => occurrences::settle(conn, &place, now),
        None => Ok(()),
    }
}

fn update_meeting(
    conn: &Connection,
    run: RunId,
    packer: &Packer,
    meeting: &ListedMeeting,
    window: Window,
    (detail, reappeared): (bool, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(mut state) = MeetingState::of(conn, &meeting.uuid)? else {
        return insert_meeting(conn, run, packer, meeting, window, now);
    };
    let place = Place::of(&state);
    let (host_key, looked_up) = note_host(conn, meeting)?;
    // A known host stays: the email may have been given to somebody else since.
    if host_key != state.host_key || state.host_id.is_none() {
        state.host_id = looked_up;
    }
    note_series(conn, meeting, state.host_id.as_ref(), now)?;
    Listed::new(meeting, host_key, window, packer, now)?.write(conn, &UPDATE, &[])?;
    state.source = meeting.source;
    let listed = std::mem::replace(&mut state.listed_checksum, meeting.listed_checksum());
    let shown = std::mem::replace(&mut state.shown_checksum, meeting.shown_checksum());
    if detail {
        (state.attempts, state.last_attempt_run) = (0, None);
        (state.look_again_step, state.look_again_at) = (0, None);
        (state.incomplete, state.doubt) = (false, None);
    }
    // The listing may have changed back to the one that the kept detail was fetched for.
    if detail && !state.detail_kept() {
        state.status = state.status.next(Event::DetailChanged);
    } else {
        // The documents follow. If the detail is due as well, they wait for it: sent now, they would pair the new listing with the old sessions.
        let event = if detail {
            Event::DetailKept
        } else {
            Event::DocumentsDue
        };
        state.documents_follow(event, now);
    }
    state.save_with_host(conn)?;
    if reappeared {
        changes::note(conn, run, state.meeting_id, "reappeared", None, now)?;
    }
    if listed != state.listed_checksum {
        changes::note(conn, run, state.meeting_id, "listing", Some(&listed), now)?;
    }
    if shown != state.shown_checksum {
        changes::note(conn, run, state.meeting_id, "shown", Some(&shown), now)?;
    }
    let after = Place::of_listed(meeting, state.host_id.clone());
    if after != place {
        occurrences::moved(conn, &meeting.uuid, [place, after], now)?;
    }
    Ok(())
}

fn mark_vanished(
    conn: &Connection,
    run: RunId,
    uuid: &MeetingUuid,
    now: DateTime<Utc>,
) -> Result<Option<NaiveDate>, Error> {
    let select = Query::select()
        .columns([Meetings::MeetingId, Meetings::ListedDay])
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::MeetingUuid).eq(uuid.as_str()))
        .and_where(Expr::col(Meetings::VanishedAt).is_null())
        .take();
    let found = first(conn, &select, |row| {
        Ok((
            row.get::<_, i64>("meeting_id")?,
            row.get::<_, String>("listed_day")?,
        ))
    })?;
    let Some((id, day)) = found else { return Ok(None) };
    let update = Query::update()
        .table(Meetings::Table)
        .value(Meetings::VanishedAt, iso(now))
        .and_where(Expr::col(Meetings::MeetingId).eq(id))
        .take();
    execute(conn, &update)?;
    changes::note(conn, run, id, "vanished", None, now)?;
    Ok(day.parse().ok())
}
