//! `forget --before`: deletes everything that ended before a day, and records the documents to delete from the index.

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::Connection;
use sea_query::{Alias, Expr, ExprTrait, IntoIden, Query};

use super::Erased;
use crate::{
    catalog::{
        Error,
        index_years::{doom_meeting, present},
        meetings::next_revision,
        occurrences,
        schema::{Changes, HostLookups, LostSessions, Meetings, Payloads, Series, Sessions, Windows},
        sql::{all, execute},
    },
    model::{IndexPeriod, IndexYear, MeetingUuid},
};

pub(super) fn delete_before(
    tx: &Connection,
    day: NaiveDate,
    period: IndexPeriod,
    now: DateTime<Utc>,
    erased: &mut Erased,
) -> Result<(), Error> {
    let day = day.to_string();
    let select = Query::select()
        .columns([
            Meetings::MeetingId,
            Meetings::MeetingUuid,
            Meetings::Revision,
            Meetings::DocumentChecksum,
            Meetings::Sessions,
        ])
        .expr_as(Expr::cust(present(period)), Alias::new("year"))
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::ListedDay).lt(day.as_str()))
        .take();
    let old = all(tx, &select, |row| {
        Ok((
            row.get::<_, i64>("meeting_id")?,
            row.get::<_, MeetingUuid>("meeting_uuid")?,
            row.get::<_, i64>("revision")?,
            row.get::<_, Option<String>>("document_checksum")?.is_some(),
            row.get::<_, Option<i64>>("sessions")?.unwrap_or(0),
            row.get::<_, IndexYear>("year")?,
        ))
    })?;
    for (id, uuid, revision, may_be_sent, kept, year) in old {
        erased.deleted_meetings += 1;
        erased.deleted_sessions += u64::try_from(kept).unwrap_or(0);
        let version = next_revision(revision, now);
        if may_be_sent {
            doom_meeting(tx, id, &uuid, year, version)?;
        }
        let gone = |table: sea_query::DynIden, column: sea_query::DynIden| {
            Query::delete()
                .from_table(table)
                .and_where(Expr::col(column).eq(id))
                .take()
        };
        for delete in [
            gone(Sessions::Table.into_iden(), Sessions::MeetingId.into_iden()),
            gone(
                LostSessions::Table.into_iden(),
                LostSessions::MeetingId.into_iden(),
            ),
            gone(Payloads::Table.into_iden(), Payloads::MeetingId.into_iden()),
            gone(Changes::Table.into_iden(), Changes::MeetingId.into_iden()),
            gone(Meetings::Table.into_iden(), Meetings::MeetingId.into_iden()),
        ] {
            execute(tx, &delete)?;
        }
    }
    let windows = Query::delete()
        .from_table(Windows::Table)
        .and_where(Expr::col(Windows::Day).lt(day.as_str()))
        .take();
    execute(tx, &windows)?;
    occurrences::settle_orphans(tx, now)?;
    // Deletes look-ups whose meetings no longer exist. If the host has other meetings, the look-up refers to one of those instead.
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
    // Deletes series that were known only through those meetings. Series from a host's list stay.
    let series = Query::delete()
        .from_table(Series::Table)
        .and_where(Expr::cust(
            "(status <> 'known' OR kind = 'unknown') AND NOT EXISTS (SELECT 1 FROM meetings m WHERE m.series_id = series.series_id)",
        ))
        .take();
    execute(tx, &series)?;
    Ok(())
}
