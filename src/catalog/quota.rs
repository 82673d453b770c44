//! API use by day and label. Requests are counted before they are made, so that the next run after a crash still keeps within the account's share.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    Catalog, Error,
    schema::{ApiUse, RecentRequests},
    sql::{all, execute, first},
};
use crate::model::Label;

/// How many requests are counted at once, for labels with a limit per second. After a crash, at most this many counted requests were never made.
const BLOCK: u32 = 32;

/// What the day still allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// This many requests are counted for this day, and may be made before it ends.
    Granted {
        /// The number of requests.
        requests: u32,
        /// When the next day begins.
        until: DateTime<Utc>,
    },
    /// The share of the day's quota is used up.
    Spent {
        /// When the next day begins: 00:00 UTC, by Zoom's rate-limits page.
        resets_at: DateTime<Utc>,
    },
}

impl Catalog {
    /// Counts the next requests of a label, as many as the daily share allows. `daily_share` covers Heavy and
    /// Resource-intensive requests together.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn reserve(
        &mut self,
        label: Label,
        daily_share: u64,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Error> {
        let tx = self.transaction()?;
        let day = now.date_naive().to_string();
        let midnight = (now.date_naive() + Days::new(1))
            .and_time(NaiveTime::MIN)
            .and_utc();
        let mut granted = if label == Label::ResourceIntensive {
            1
        } else {
            BLOCK
        };
        if label.has_daily_quota() {
            let used = Query::select()
                .expr(Expr::col(ApiUse::Requests).sum())
                .from(ApiUse::Table)
                .and_where(Expr::col(ApiUse::Day).eq(day.as_str()))
                .and_where(
                    Expr::col(ApiUse::Label)
                        .is_in([Label::Heavy.as_str(), Label::ResourceIntensive.as_str()]),
                )
                .take();
            let used = first(&tx, &used, |row| row.get::<_, Option<u64>>(0))?
                .flatten()
                .unwrap_or_default();
            let left = daily_share.saturating_sub(used);
            granted = Ord::min(granted, u32::try_from(left).unwrap_or(u32::MAX));
            if granted == 0 {
                return Ok(Reservation::Spent { resets_at: midnight });
            }
        }
        let insert = Query::insert()
            .into_table(ApiUse::Table)
            .columns([ApiUse::Day, ApiUse::Label, ApiUse::Requests, ApiUse::CountedMs])
            .values_panic([
                day.into(),
                label.as_str().into(),
                granted.into(),
                now.timestamp_millis().into(),
            ])
            .on_conflict(
                OnConflict::columns([ApiUse::Day, ApiUse::Label])
                    .value(
                        ApiUse::Requests,
                        Expr::col((ApiUse::Table, ApiUse::Requests)).add(granted),
                    )
                    .update_column(ApiUse::CountedMs)
                    .to_owned(),
            )
            .take();
        execute(&tx, &insert)?;
        if label == Label::ResourceIntensive {
            let forget = Query::delete()
                .from_table(RecentRequests::Table)
                .and_where(
                    Expr::col(RecentRequests::SentMs).lt((now - TimeDelta::minutes(5)).timestamp_millis()),
                )
                .take();
            execute(&tx, &forget)?;
            let insert = Query::insert()
                .into_table(RecentRequests::Table)
                .columns([RecentRequests::SentMs])
                .values_panic([now.timestamp_millis().into()])
                .take();
            execute(&tx, &insert)?;
        }
        tx.commit()?;
        Ok(Reservation::Granted {
            requests: granted,
            until: midnight,
        })
    }

    /// Takes back requests that were counted but not made.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn give_back(&mut self, unused: &[(Label, u32)], now: DateTime<Utc>) -> Result<(), Error> {
        let tx = self.transaction()?;
        for (label, requests) in unused.iter().filter(|(_, requests)| *requests > 0) {
            let update = Query::update()
                .table(ApiUse::Table)
                .value(
                    ApiUse::Requests,
                    Expr::cust_with_values("max(requests - ?, 0)", [i64::from(*requests)]),
                )
                .and_where(Expr::col(ApiUse::Day).eq(now.date_naive().to_string()))
                .and_where(Expr::col(ApiUse::Label).eq(label.as_str()))
                .take();
            execute(&tx, &update)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// The times of an earlier run's last requests, as far as they still matter for the label's limit: each Resource-intensive request of the last
    /// two minutes, or the time when the last block of another label was counted.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn recent_requests(&self, label: Label, now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, Error> {
        let select = if label == Label::ResourceIntensive {
            Query::select()
                .column(RecentRequests::SentMs)
                .from(RecentRequests::Table)
                .and_where(
                    Expr::col(RecentRequests::SentMs).gte((now - TimeDelta::minutes(2)).timestamp_millis()),
                )
                .order_by(RecentRequests::SentMs, Order::Asc)
                .take()
        } else {
            Query::select()
                .column(ApiUse::CountedMs)
                .from(ApiUse::Table)
                .and_where(Expr::col(ApiUse::Day).eq(now.date_naive().to_string()))
                .and_where(Expr::col(ApiUse::Label).eq(label.as_str()))
                .and_where(Expr::col(ApiUse::CountedMs).gte((now - TimeDelta::seconds(2)).timestamp_millis()))
                .take()
        };
        let times = all(&self.conn, &select, |row| row.get::<_, i64>(0))?;
        Ok(times
            .into_iter()
            .filter_map(DateTime::from_timestamp_millis)
            .collect())
    }

    /// Requests counted today, by label.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn quota_used(&self, now: DateTime<Utc>) -> Result<Vec<(Label, u64)>, Error> {
        let select = Query::select()
            .columns([ApiUse::Label, ApiUse::Requests])
            .from(ApiUse::Table)
            .and_where(Expr::col(ApiUse::Day).eq(now.date_naive().to_string()))
            .take();
        let rows = all(&self.conn, &select, |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
        })?;
        Ok(rows
            .into_iter()
            .filter_map(|(label, used)| Some((Label::parse(&label)?, used)))
            .collect())
    }
}
