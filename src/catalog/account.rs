//! The account that the catalog belongs to, and state that concerns the catalog as a whole.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sea_query::{Expr, ExprTrait, Query};

use super::{
    Catalog, Error, RunId,
    schema::Account,
    sql::{execute, first},
};
use crate::model::{AccountId, Kept, from_iso, iso};

/// How long Zoom's answer that an account has no webinars is trusted. The add-on can be bought on any day.
const WEBINARS_ASKED_AGAIN: TimeDelta = TimeDelta::days(1);

/// A comparison of the account's history with the lists of every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryChecked {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Whether history and lists agree.
    pub agrees: bool,
}

impl Catalog {
    /// Ties the catalog to a Zoom account. A new catalog gets the id `catalog_id`.
    ///
    /// # Errors
    /// [`Error::OtherAccount`] if the catalog belongs to another account.
    pub fn claim(&mut self, account: &AccountId, catalog_id: &str, now: DateTime<Utc>) -> Result<(), Error> {
        match self.account()? {
            Some(found) if found == *account => Ok(()),
            Some(found) => Err(Error::OtherAccount {
                found,
                asked: account.clone(),
            }),
            None => {
                let insert = Query::insert()
                    .into_table(Account::Table)
                    .columns([
                        Account::Singleton,
                        Account::AccountId,
                        Account::CatalogId,
                        Account::CreatedAt,
                        Account::WholeListedAt,
                        Account::DocumentForm,
                    ])
                    .values_panic([
                        1.into(),
                        account.as_str().into(),
                        catalog_id.into(),
                        iso(now).into(),
                        iso(now).into(),
                        Kept::DOCUMENT_FORM.into(),
                    ])
                    .take();
                execute(&self.conn, &insert)?;
                Ok(())
            }
        }
    }

    /// The account that the catalog belongs to. `None` until an account has claimed it.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn account(&self) -> Result<Option<AccountId>, Error> {
        let select = Query::select()
            .column(Account::AccountId)
            .from(Account::Table)
            .take();
        first(&self.conn, &select, |row| {
            Ok(AccountId::new(row.get::<_, String>(0)?))
        })
    }

    /// The unique id of this catalog. Empty until an account has claimed it.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn catalog_id(&self) -> Result<String, Error> {
        let select = Query::select()
            .column(Account::CatalogId)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get(0))?.unwrap_or_default())
    }

    /// A new stamp for the indices. It names the catalog that wrote to them last, the run and the time.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn new_stamp(&self, run: RunId, now: DateTime<Utc>) -> Result<String, Error> {
        Ok(format!(
            "{}/{}/{}",
            self.catalog_id()?,
            run.0,
            now.timestamp_millis()
        ))
    }

    /// The earliest day that was requested from a sync by date, whether or not it has been listed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn wanted_from(&self) -> Result<Option<NaiveDate>, Error> {
        let select = Query::select()
            .column(Account::WantedFrom)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, Option<String>>(0))?
            .flatten()
            .and_then(|day| day.parse().ok()))
    }

    /// Records that a sync was requested from this day on. If the sync stops before it has listed these days, later syncs continue from there.
    ///
    /// # Errors
    /// If SQLite fails.
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

    /// When the last 30 days were last listed in full. `None` for a catalog that no account has claimed.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn whole_listed_at(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let select = Query::select()
            .column(Account::WholeListedAt)
            .from(Account::Table)
            .take();
        Ok(first(&self.conn, &select, |row| row.get::<_, String>(0))?.and_then(|at| from_iso(&at)))
    }

    /// When Zoom last reported that the account has no webinars. `None` if it lists them or was not asked.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn no_webinars_since(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let select = Query::select()
            .column(Account::WebinarsRefusedAt)
            .from(Account::Table)
            .take();
        let at = first(&self.conn, &select, |row| {
            row.get::<_, Option<String>>("webinars_refused_at")
        })?;
        Ok(at.flatten().as_deref().and_then(from_iso))
    }

    /// Whether Zoom reported within the last day that the account has no webinars. Then it is not asked again yet.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn has_no_webinars(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        let since = self.no_webinars_since()?;
        Ok(since.is_some_and(|at| now - at < WEBINARS_ASKED_AGAIN))
    }

    /// The result of the last comparison of the account's history with the lists of every host.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn history(&self) -> Result<Option<HistoryChecked>, Error> {
        let select = Query::select()
            .columns([Account::HistoryCheckedAt, Account::HistoryAgrees])
            .from(Account::Table)
            .take();
        let found = first(&self.conn, &select, |row| {
            let at: Option<String> = row.get("history_checked_at")?;
            Ok((at, row.get::<_, Option<bool>>("history_agrees")?))
        })?;
        Ok(found.and_then(|(at, agrees)| {
            Some(HistoryChecked {
                at: from_iso(&at?)?,
                agrees: agrees?,
            })
        }))
    }

    /// Records whether the account's history agrees with the lists of every host.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn record_history(&mut self, checked: HistoryChecked) -> Result<(), Error> {
        let update = Query::update()
            .table(Account::Table)
            .value(Account::HistoryCheckedAt, iso(checked.at))
            .value(Account::HistoryAgrees, checked.agrees)
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }

    /// Records that the last 30 days were listed in full.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn record_whole_listing(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        let update = Query::update()
            .table(Account::Table)
            .value(Account::WholeListedAt, iso(now))
            .take();
        execute(&self.conn, &update)?;
        Ok(())
    }
}
