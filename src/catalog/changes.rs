//! The history of every meeting.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use sea_query::Query;

use super::{
    Error, RunId,
    schema::Changes,
    sql::{run, text, var},
};
use crate::model::{Checksum, iso};

static NOTE: LazyLock<String> = LazyLock::new(|| {
    let insert = Query::insert()
        .into_table(Changes::Table)
        .columns([
            Changes::At,
            Changes::RunId,
            Changes::MeetingId,
            Changes::What,
            Changes::OldChecksum,
        ])
        .values_panic([
            var(":at"),
            var(":run"),
            var(":meeting"),
            var(":what"),
            var(":old"),
        ])
        .take();
    text(&insert)
});

/// Adds a line to a meeting's history, with the old checksum. The new checksum is in the next such line, or in the meeting.
pub(super) fn note(
    conn: &Connection,
    in_run: RunId,
    meeting_id: i64,
    what: &str,
    old: Option<&Checksum>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    run(
        conn,
        &NOTE,
        &[
            (":at", &iso(now)),
            (":run", &in_run.0),
            (":meeting", &meeting_id),
            (":what", &what),
            (":old", &old),
        ],
    )?;
    Ok(())
}
