//! The sessions of each meeting, and the sessions a meeting has lost, which are to be deleted from the index.

use std::{collections::BTreeSet, sync::LazyLock};

use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    Error,
    packing::{PackedSession, session_key},
    schema::{LostSessions, Sessions},
    sql::{all, execute, first, run, text, var},
};
use crate::model::SessionId;

static PUT: LazyLock<String> = LazyLock::new(|| {
    let insert = Query::insert()
        .into_table(Sessions::Table)
        .columns([
            Sessions::MeetingId,
            Sessions::SessionId,
            Sessions::UserName,
            Sessions::Email,
            Sessions::JoinTime,
            Sessions::LeaveTime,
        ])
        .values_panic([
            var(":meeting"),
            var(":session"),
            var(":name"),
            var(":email"),
            var(":joined"),
            var(":left"),
        ])
        .take();
    text(&insert)
});

/// Replaces the sessions of a meeting by those of a kept detail. All sessions, and those that the meeting has lost, are recorded before any
/// document is sent. So a session that was sent just before a crash and lost just after it is still deleted.
pub(super) fn put(
    conn: &Connection,
    meeting_id: i64,
    sessions: &[PackedSession],
    had_some: bool,
) -> Result<(), Error> {
    if had_some {
        lose_those_before(conn, meeting_id, sessions)?;
    }
    for session in sessions {
        run(
            conn,
            &PUT,
            &[
                (":meeting", &meeting_id),
                (":session", &session.id),
                (":name", &session.user_name),
                (":email", &session.email),
                (":joined", &session.join_time),
                (":left", &session.leave_time),
            ],
        )?;
    }
    Ok(())
}

fn lose_those_before(conn: &Connection, meeting_id: i64, sessions: &[PackedSession]) -> Result<(), Error> {
    let present: BTreeSet<[u8; 16]> = sessions.iter().map(|session| session.id).collect();
    for id in of_meeting(conn, meeting_id)? {
        if !present.contains(&id) {
            insert_lost(conn, meeting_id, &hex(&id))?;
        }
    }
    let before = Query::delete()
        .from_table(Sessions::Table)
        .and_where(Expr::col(Sessions::MeetingId).eq(meeting_id))
        .take();
    execute(conn, &before)?;
    // Sessions that are back are no longer lost.
    for lost in lost(conn, meeting_id)? {
        if session_key(lost.as_str()).is_some_and(|id| present.contains(&id)) {
            found_again(conn, meeting_id, &lost)?;
        }
    }
    Ok(())
}

/// The ids of a meeting's sessions.
pub(super) fn of_meeting(conn: &Connection, meeting_id: i64) -> Result<Vec<[u8; 16]>, Error> {
    let select = Query::select()
        .column(Sessions::SessionId)
        .from(Sessions::Table)
        .and_where(Expr::col(Sessions::MeetingId).eq(meeting_id))
        .take();
    all(conn, &select, |row| row.get(0))
}

/// The sessions that a meeting has lost.
pub(super) fn lost(conn: &Connection, meeting_id: i64) -> Result<Vec<SessionId>, Error> {
    static LOST: LazyLock<String> = LazyLock::new(|| {
        let select = Query::select()
            .column(LostSessions::SessionId)
            .from(LostSessions::Table)
            .and_where(Expr::col(LostSessions::MeetingId).eq(var(":meeting")))
            .take();
        text(&select)
    });
    let mut prepared = conn.prepare_cached(&LOST)?;
    let rows = prepared.query_map(&[(":meeting", &meeting_id)], |row| {
        row.get::<_, String>(0).map(SessionId::new)
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes a session from the lost ones: its document was deleted, or the session is back.
pub(super) fn found_again(conn: &Connection, meeting_id: i64, id: &SessionId) -> Result<(), Error> {
    let delete = Query::delete()
        .from_table(LostSessions::Table)
        .and_where(Expr::col(LostSessions::MeetingId).eq(meeting_id))
        .and_where(Expr::col(LostSessions::SessionId).eq(id.as_str()))
        .take();
    execute(conn, &delete)?;
    Ok(())
}

/// Records as lost a session that the index holds, unless the meeting still has a session of this id. Returns how many were recorded.
pub(super) fn note_lost(conn: &Connection, meeting_id: i64, id: &str) -> Result<usize, Error> {
    if let Some(key) = session_key(id) {
        let present = Query::select()
            .expr(Expr::cust("1"))
            .from(Sessions::Table)
            .and_where(Expr::col(Sessions::MeetingId).eq(meeting_id))
            .and_where(Expr::col(Sessions::SessionId).eq(key.to_vec()))
            .take();
        if first(conn, &present, |_| Ok(()))?.is_some() {
            return Ok(0);
        }
    }
    insert_lost(conn, meeting_id, id)
}

fn insert_lost(conn: &Connection, meeting_id: i64, id: &str) -> Result<usize, Error> {
    let insert = Query::insert()
        .into_table(LostSessions::Table)
        .columns([LostSessions::MeetingId, LostSessions::SessionId])
        .values_panic([meeting_id.into(), id.into()])
        .on_conflict(
            OnConflict::columns([LostSessions::MeetingId, LostSessions::SessionId])
                .do_nothing()
                .to_owned(),
        )
        .take();
    execute(conn, &insert)
}

/// The `_id` of a session's document.
pub(super) fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
