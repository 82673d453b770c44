//! An upgrade that changes the form of documents makes all documents due again; they are built from the kept details.

use chrono::DateTime;
use rusqlite::Connection;
use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Catalog, Error,
    meetings::MeetingState,
    occurrences,
    schema::{Account, Meetings},
    sql::{all, execute, first},
};
use crate::model::{Kept, MeetingUuid};

/// Meetings read at a time.
const BATCH: u64 = 1_000;

impl Catalog {
    /// Makes every document due whose checksum is for an older form, all or none.
    pub(super) fn renew_documents(&mut self) -> Result<(), Error> {
        let form = Query::select()
            .column(Account::DocumentForm)
            .from(Account::Table)
            .take();
        let form = first(&self.conn, &form, |row| row.get::<_, u32>("document_form"))?;
        // Without an account there are no meetings.
        if form.is_none_or(|form| form == Kept::DOCUMENT_FORM) {
            return Ok(());
        }
        let tx = self.transaction()?;
        // The current time is not known here, so revisions grow by one.
        occurrences::settle_every_series(&tx, DateTime::UNIX_EPOCH)?;
        let mut after = MeetingUuid::new("");
        loop {
            let select = Query::select()
                .column(Meetings::MeetingUuid)
                .from(Meetings::Table)
                .and_where(Expr::col(Meetings::DocumentChecksum).is_not_null())
                .and_where(Expr::col(Meetings::MeetingUuid).gt(after.as_str()))
                .order_by(Meetings::MeetingUuid, Order::Asc)
                .limit(BATCH)
                .take();
            let batch: Vec<MeetingUuid> = all(&tx, &select, |row| row.get("meeting_uuid"))?;
            let Some(last) = batch.last() else { break };
            after.clone_from(last);
            for uuid in &batch {
                renew(&tx, uuid)?;
            }
        }
        let update = Query::update()
            .table(Account::Table)
            .value(Account::DocumentForm, Kept::DOCUMENT_FORM)
            .take();
        execute(&tx, &update)?;
        tx.commit()?;
        Ok(())
    }
}

fn renew(conn: &Connection, uuid: &MeetingUuid) -> Result<(), Error> {
    let Some(mut state) = MeetingState::of(conn, uuid)? else {
        return Ok(());
    };
    state.documents_are_others(DateTime::UNIX_EPOCH);
    state.save(conn)
}
