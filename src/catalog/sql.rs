//! SQL helpers: statements built once, parameters and columns by name, and the model's types as values.

use rusqlite::{
    Connection, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use sea_query::{Expr, QueryStatementWriter, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

use super::Error;
use crate::model::{
    Checksum, HostId, IndexKind, IndexYear, ListingType, MeetingKind, MeetingUuid, Source, Status,
};

/// A value in the file that this program never writes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UnexpectedValue(pub String);

macro_rules! text_columns {
    ($($type:ty),*) => {
        $(
            impl FromSql for $type {
                fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                    value.as_str().map(Self::new)
                }
            }

            impl ToSql for $type {
                fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                    Ok(self.as_str().into())
                }
            }
        )*
    };
}

text_columns!(MeetingUuid, HostId);

/// Types whose values have names. `$what` describes the value in the error for an unknown name.
macro_rules! named_columns {
    ($($type:ty, $what:literal;)*) => {
        $(
            impl FromSql for $type {
                fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                    let text = value.as_str()?;
                    Self::parse(text).ok_or_else(|| strange(format!(concat!($what, " {:?}"), text)))
                }
            }

            impl ToSql for $type {
                fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                    Ok(self.as_str().into())
                }
            }
        )*
    };
}

named_columns! {
    Status, "the status";
    ListingType, "the listing type";
    MeetingKind, "a meeting of the kind";
    Source, "the source";
}

impl FromSql for Checksum {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::from_hex)
    }
}

impl ToSql for Checksum {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for IndexKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| strange(format!("an index of the kind {text:?}")))
    }
}

impl FromSql for IndexYear {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u16::try_from(number)
            .map(Self::new)
            .map_err(|_| strange(format!("the year {number} of an index")))
    }
}

impl ToSql for IndexYear {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::from(self.number()).into())
    }
}

fn strange(what: String) -> FromSqlError {
    FromSqlError::Other(Box::new(UnexpectedValue(what)))
}

/// Defines a struct whose fields are the columns of the same names, so that the two cannot drift apart.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        pub(super) struct $name {
            $($(#[$field_doc])* pub $field: $type),*
        }

        impl $name {
            /// The columns, in the order in which [`Self::read`] takes them.
            pub const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                let mut column = 0..;
                Ok(Self { $($field: row.get(column.next().unwrap_or_default())?),* })
            }
        }
    };
}
pub(super) use columns;

/// A placeholder for a bound value, for example `:uuid`.
pub(super) fn var(name: &'static str) -> Expr {
    Expr::cust(name)
}

/// The SQL text of a statement whose only values are [`var`]s and constants. It is built once and kept in a `LazyLock`.
pub(super) fn text(statement: &impl QueryStatementWriter) -> String {
    statement.to_string(SqliteQueryBuilder)
}

/// The parameters of a statement, by name.
pub(super) type Params<'a> = &'a [(&'a str, &'a dyn ToSql)];

/// Runs a prebuilt statement. Returns the number of changed rows.
pub(super) fn run(conn: &Connection, sql: &str, params: Params<'_>) -> Result<usize, Error> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// The first row of a prebuilt query, if there is one.
pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: Params<'_>,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let mut prepared = conn.prepare_cached(sql)?;
    let mut rows = prepared.query(params)?;
    match rows.next()? {
        Some(row) => Ok(Some(read(row)?)),
        None => Ok(None),
    }
}

/// Runs a statement. Returns the number of changed rows.
pub(super) fn execute(conn: &Connection, statement: &impl RusqliteBinder) -> Result<usize, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    Ok(conn.prepare_cached(&sql)?.execute(&*values.as_params())?)
}

/// All rows of a query.
pub(super) fn all<T>(
    conn: &Connection,
    statement: &impl RusqliteBinder,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    let mut prepared = conn.prepare_cached(&sql)?;
    let rows = prepared.query_map(&*values.as_params(), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The first row of a query, if there is one.
pub(super) fn first<T>(
    conn: &Connection,
    statement: &impl RusqliteBinder,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
    let mut prepared = conn.prepare_cached(&sql)?;
    let mut rows = prepared.query(&*values.as_params())?;
    match rows.next()? {
        Some(row) => Ok(Some(read(row)?)),
        None => Ok(None),
    }
}
