//! Occurrences: which instances of a series belong together. When the place of an instance in its series changes, the occurrences around it are
//! recomputed. The documents of every instance whose occurrence changes become due.

use std::{collections::BTreeSet, sync::LazyLock};

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::{Expr, Query};

use super::{
    Error,
    meetings::MeetingState,
    schema::Meetings,
    sql::{all, columns, text},
};
use crate::model::{
    HostId, Instance, LONGEST_MEETING, LONGEST_PAUSE, ListedMeeting, MeetingUuid, SeriesId, from_iso, iso,
    occurrences,
};

/// The place of an instance in its series: the series, its start and end, and its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    series: SeriesId,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    host: Option<HostId>,
}

impl Place {
    /// The place of a meeting. `None` if its series or start is not known: then it continues no other instance.
    pub fn of(state: &MeetingState) -> Option<Self> {
        let [start, end] = [&state.start_time, &state.end_time].map(|at| at.as_deref().and_then(from_iso));
        Self::new(state.series_id.map(SeriesId), start, end, state.host_id.clone())
    }

    /// The place of a meeting as a listing shows it.
    pub fn of_listed(meeting: &ListedMeeting, host: Option<HostId>) -> Option<Self> {
        Self::new(meeting.series_id, meeting.start_time, meeting.end_time, host)
    }

    fn new(
        series: Option<SeriesId>,
        start: Option<DateTime<Utc>>,
        end: Option<DateTime<Utc>>,
        host: Option<HostId>,
    ) -> Option<Self> {
        let start = start?;
        Some(Self {
            series: series?,
            start,
            end: end.map_or(start, |end| Ord::max(start, end)),
            host,
        })
    }

    /// The place of a meeting in a personal room, where host and participants decide on the occurrence. `None` for all other meetings.
    pub fn in_personal_room(state: &MeetingState) -> Option<Self> {
        Self::of(state).filter(|place| place.series.is_personal_room())
    }
}

columns! {
    /// An instance as the catalog knows it.
    #[derive(Debug)]
    InstanceColumns {
        meeting_id: i64,
        meeting_uuid: MeetingUuid,
        host_id: Option<HostId>,
        host_name: String,
        host_email: String,
        start_time: String,
        end_time: Option<String>,
        occurrence_id: Option<MeetingUuid>,
    }
}

static NEAR: LazyLock<String> = LazyLock::new(|| {
    let mut select = Query::select()
        .from(Meetings::Table)
        .and_where(Expr::cust(
            "series_id = :series AND start_time BETWEEN :from AND :to",
        ))
        .take();
    for name in InstanceColumns::COLUMNS {
        select.expr(Expr::cust(*name));
    }
    format!("{} ORDER BY start_time, meeting_uuid", text(&select))
});

/// Recomputes the occurrences of the instances around a place.
pub(super) fn settle(conn: &Connection, place: &Place, now: DateTime<Utc>) -> Result<(), Error> {
    let (mut from, mut to) = (place.start, place.end);
    loop {
        let near = near(conn, place.series, from, to)?;
        let first = near.iter().map(|(_, instance)| instance.start).min();
        let last = near.iter().map(|(_, instance)| instance.end).max();
        let wider = (
            first.map_or(from, |first| Ord::min(first, from)),
            last.map_or(to, |last| Ord::max(last, to)),
        );
        if wider == (from, to) {
            return settle_all(conn, place.series, near, now);
        }
        (from, to) = wider;
    }
}

/// Recomputes the occurrences around the place that a meeting left, and around its new one.
pub(super) fn moved(
    conn: &Connection,
    uuid: &MeetingUuid,
    places: [Option<Place>; 2],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let [_, after] = &places;
    if after.is_none() {
        change(conn, uuid, None, now)?;
    }
    for place in places.iter().flatten() {
        settle(conn, place, now)?;
    }
    Ok(())
}

/// The instances of a series in this time, or at most [`LONGEST_PAUSE`] away from it.
fn near(
    conn: &Connection,
    series: SeriesId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<(InstanceColumns, Instance)>, Error> {
    let (first, last) = (
        iso(from - LONGEST_MEETING - LONGEST_PAUSE),
        iso(to + LONGEST_PAUSE),
    );
    let params: [(&str, &dyn rusqlite::ToSql); 3] =
        [(":series", &series.0), (":from", &first), (":to", &last)];
    let mut prepared = conn.prepare_cached(&NEAR)?;
    let rows = prepared.query_map(&params[..], InstanceColumns::read)?;
    let mut near = Vec::new();
    for columns in rows {
        let columns = columns?;
        let Some(start) = from_iso(&columns.start_time) else {
            continue;
        };
        let end = columns.end_time.as_deref().and_then(from_iso).unwrap_or(start);
        if end + LONGEST_PAUSE >= from {
            let instance = Instance {
                start,
                end: Ord::max(start, end),
                host: columns.host_id.clone(),
                guests: BTreeSet::new(),
            };
            near.push((columns, instance));
        }
    }
    Ok(near)
}

fn settle_all(
    conn: &Connection,
    series: SeriesId,
    mut near: Vec<(InstanceColumns, Instance)>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if near.len() > 1 && series.is_personal_room() {
        for (columns, instance) in &mut near {
            instance.guests = guests(conn, columns)?;
        }
    }
    let (columns, instances): (Vec<_>, Vec<_>) = near.into_iter().unzip();
    let firsts = occurrences(series, &instances);
    for (place, (one, first)) in columns.iter().zip(firsts).enumerate() {
        let occurrence = columns
            .get(first)
            .filter(|_| first != place)
            .map(|first| first.meeting_uuid.clone());
        if occurrence != one.occurrence_id {
            change(conn, &one.meeting_uuid, occurrence, now)?;
        }
    }
    Ok(())
}

/// Changes the occurrence of a meeting and updates its documents.
fn change(
    conn: &Connection,
    uuid: &MeetingUuid,
    occurrence: Option<MeetingUuid>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(mut state) = MeetingState::of(conn, uuid)? else {
        return Ok(());
    };
    if state.occurrence_id == occurrence {
        return Ok(());
    }
    state.occurrence_id = occurrence;
    state.documents_are_others(now);
    state.save(conn)
}

const GUESTS: &str =
    "SELECT DISTINCT lower(user_name), lower(email) FROM sessions WHERE meeting_id = :meeting";

/// The names and emails of the participants except the host, as the privacy policy keeps them.
fn guests(conn: &Connection, of: &InstanceColumns) -> Result<BTreeSet<String>, Error> {
    let host = [&of.host_name, &of.host_email].map(|said| said.to_lowercase());
    let mut prepared = conn.prepare_cached(GUESTS)?;
    let mut rows = prepared.query(&[(":meeting", &of.meeting_id)])?;
    let mut guests = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let said: [Option<String>; 2] = [row.get(0)?, row.get(1)?];
        let is_host = said.iter().flatten().any(|said| host.contains(said));
        if !is_host {
            guests.extend(said.into_iter().flatten().filter(|said| !said.is_empty()));
        }
    }
    Ok(guests)
}

/// Recomputes the occurrences of instances whose first one was deleted.
pub(super) fn settle_orphans(conn: &Connection, now: DateTime<Utc>) -> Result<(), Error> {
    const ORPHANED: &str = "occurrence_id IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM meetings f WHERE f.meeting_uuid = meetings.occurrence_id)";
    settle_those(conn, ORPHANED, now)
}

/// Computes the occurrences of every series. Used after the upgrade of a catalog without them.
pub(super) fn settle_every_series(conn: &Connection, now: DateTime<Utc>) -> Result<(), Error> {
    // A single instance has nothing to join.
    const OF_SEVERAL: &str =
        "series_id IN (SELECT series_id FROM meetings GROUP BY series_id HAVING count(*) > 1)";
    settle_those(conn, OF_SEVERAL, now)
}

/// Recomputes the occurrences around each meeting for which the SQL condition holds.
fn settle_those(conn: &Connection, condition: &'static str, now: DateTime<Utc>) -> Result<(), Error> {
    let select = Query::select()
        .column(Meetings::MeetingUuid)
        .from(Meetings::Table)
        .and_where(Expr::cust(condition))
        .take();
    let uuids: Vec<MeetingUuid> = all(conn, &select, |row| row.get("meeting_uuid"))?;
    for uuid in uuids {
        if let Some(place) = MeetingState::of(conn, &uuid)?.as_ref().and_then(Place::of) {
            settle(conn, &place, now)?;
        }
    }
    Ok(())
}
