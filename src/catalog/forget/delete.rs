//! Deleting all that ended before a day, with a note of every document that may be in the index.

use chrono::{DateTime, NaiveDate, Utc};
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, IntoIden, OnConflict, Query};

use super::Erased;
use crate::{
    catalog::{
        Error,
        meetings::next_revision,
        schema::{
            Changes, DoomedDocuments, HostLookups, LostSessions, Meetings, Payloads, Series, Sessions,
            Windows,
        },
        sessions,
        sql::{all, execute},
    },
    model::IndexKind,
};

pub(super) fn delete_before(
    tx: &Connection,
    day: NaiveDate,
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
        .from(Meetings::Table)
        .and_where(Expr::col(Meetings::ListedDay).lt(day.as_str()))
        .take();
    let old = all(tx, &select, |row| {
        Ok((
            row.get::<_, i64>("meeting_id")?,
            row.get::<_, String>("meeting_uuid")?,
            row.get::<_, i64>("revision")?,
            row.get::<_, Option<String>>("document_checksum")?.is_some(),
            row.get::<_, Option<i64>>("sessions")?.unwrap_or(0),
        ))
    })?;
    for (id, uuid, revision, may_be_sent, kept) in old {
        erased.deleted_meetings += 1;
        erased.deleted_sessions += u64::try_from(kept).unwrap_or(0);
        let version = next_revision(revision, now);
        for session in sessions::of_meeting(tx, id)? {
            doom(tx, IndexKind::Sessions, &sessions::hex(&session), version)?;
        }
        for session in sessions::lost(tx, id)? {
            doom(tx, IndexKind::Sessions, session.as_str(), version)?;
        }
        if may_be_sent {
            doom(tx, IndexKind::Meetings, &uuid, version)?;
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
fn doom(tx: &Connection, kind: IndexKind, id: &str, version: i64) -> Result<(), Error> {
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
