//! Repairs times in the future. A clock that ran ahead and was set back leaves such times, and they would delay work until then.

use chrono::{DateTime, Days, TimeDelta, Utc};
use rusqlite::Transaction;
use sea_query::{Expr, ExprTrait, Query};

use super::{
    Error,
    schema::{Account, ApiUse, Hosts, Meetings, RecentRequests, Windows},
    sql::execute,
};
use crate::model::iso;

/// The longest wait before a detail is looked at again.
const LONGEST_LOOK: TimeDelta = TimeDelta::hours(24);

/// Sets times in the future back to now. Revisions stay unchanged: they may only grow, and they grow whatever the clock says.
pub(super) fn set_back_to(tx: &Transaction<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    let (at, ms) = (iso(now), now.timestamp_millis());
    let today = now.date_naive();
    // A day that was settled before it was over is listed again. Older days were settled correctly by either clock.
    let unsettle = Query::update()
        .table(Windows::Table)
        .value(Windows::SettledAt, Option::<String>::None)
        .and_where(Expr::col(Windows::Day).gte((today - Days::new(1)).to_string()))
        .and_where(Expr::col(Windows::SettledAt).gt(at.as_str()))
        .take();
    let whole = Query::update()
        .table(Account::Table)
        .value(Account::WholeListedAt, at.as_str())
        .and_where(Expr::col(Account::WholeListedAt).gt(at.as_str()))
        .take();
    let lists = Query::update()
        .table(Hosts::Table)
        .value(Hosts::SeriesListedAt, at.as_str())
        .and_where(Expr::cust("status = 'known'"))
        .and_where(Expr::col(Hosts::SeriesListedAt).gt(at.as_str()))
        .take();
    let looks = Query::update()
        .table(Meetings::Table)
        .value(Meetings::LookAgainAt, at.as_str())
        .and_where(Expr::col(Meetings::LookAgainAt).gt(iso(now + LONGEST_LOOK)))
        .take();
    // Requests count as made now. Waiting a little too long is better than sending requests too fast.
    let requests = Query::update()
        .table(RecentRequests::Table)
        .value(RecentRequests::SentMs, ms)
        .and_where(Expr::col(RecentRequests::SentMs).gt(ms))
        .take();
    let counted = Query::update()
        .table(ApiUse::Table)
        .value(ApiUse::CountedMs, ms)
        .and_where(Expr::col(ApiUse::Day).eq(today.to_string()))
        .and_where(Expr::col(ApiUse::CountedMs).gt(ms))
        .take();
    for update in [unsettle, whole, lists, looks, requests, counted] {
        execute(tx, &update)?;
    }
    Ok(())
}
