//! Times and days: as the program reads, counts and writes them. All are UTC.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Timelike, Utc};

/// The library's clock. It never reads the operating system's clock itself: `cli` passes the wall clock in, tests pass their own. A correction
/// applies to all copies.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    correction_ms: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that returns the time of `read`.
    pub fn new(read: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            correction_ms: Arc::default(),
        }
    }

    /// The time now, UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.read)() + self.correction()
    }

    /// The correction that is added to the time it reads.
    pub fn correction(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.correction_ms.load(Ordering::Relaxed))
    }

    /// Adds to the correction, also for every copy.
    pub fn correct(&self, by: TimeDelta) {
        self.correction_ms
            .fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Whole UTC days, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first day.
    pub from: NaiveDate,
    /// The last day, never before `from`.
    pub to: NaiveDate,
}

impl Window {
    /// A window. `None` if it would end before it begins.
    pub fn new(from: NaiveDate, to: NaiveDate) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// One day.
    pub fn day(day: NaiveDate) -> Self {
        Self { from: day, to: day }
    }

    /// Whether the day is inside.
    pub fn contains(&self, day: NaiveDate) -> bool {
        self.from <= day && day <= self.to
    }

    /// Every day, in order.
    pub fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.from.iter_days().take_while(move |day| *day <= self.to)
    }

    /// The days that both have, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// Two halves of whole days. `None` if it is only one day.
    pub fn halves(self) -> Option<(Self, Self)> {
        let days = (self.to - self.from).num_days() as u64 + 1;
        if days < 2 {
            return None;
        }
        let middle = self.from + Days::new(days / 2 - 1);
        Some((
            Self {
                from: self.from,
                to: middle,
            },
            Self {
                from: middle + Days::new(1),
                to: self.to,
            },
        ))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// Reads what [`iso`] wrote, or any other RFC 3339 time.
pub fn from_iso(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.with_timezone(&Utc))
}

/// ISO-8601 UTC with whole seconds, as everything is stored: `2026-03-01T10:15:14Z`.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time as Zoom writes it: with or without fractions, with or without an offset. Without an offset it is UTC.
///
/// Accepts only times that [`iso`] writes with a four-digit year and an ordinary second. The catalog sorts times as text, and Elasticsearch refuses a
/// whole document for any other time. A leap second becomes the last ordinary second.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let at = from_iso(text).or_else(|| {
        [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S:%3f",
        ]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|at| at.and_utc())
    })?;
    let nanosecond = at.nanosecond().min(999_999_999);
    at.with_nanosecond(nanosecond)
        .filter(|at| (1..=9999).contains(&at.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_the_window_without_overlap() {
        let day = |d| NaiveDate::from_ymd_opt(2026, 3, d).unwrap();
        let window = Window::new(day(1), day(31)).unwrap();
        let (first, second) = window.halves().unwrap();
        assert_eq!(
            first.days().chain(second.days()).collect::<Vec<_>>(),
            window.days().collect::<Vec<_>>()
        );
        assert_eq!(Window::day(day(1)).halves(), None);
    }

    #[test]
    fn times_are_parsed_in_every_form_seen() {
        let iso = |text| parse_time(text).map(iso);
        let expected = Some("2026-03-04T10:15:14Z".to_owned());
        for text in [
            "2026-03-04T10:15:14Z",
            "2026-03-04T10:15:14.837Z",
            "2026-03-04T12:15:14+02:00",
            "2026-03-04T10:15:14",
            "2026-03-04 10:15:14",
            "2026-03-04 10:15:14:216",
            " 2026-03-04T10:15:14Z\n",
        ] {
            assert_eq!(iso(text), expected, "{text:?}");
        }
        for text in [
            "",
            "soon",
            "2026-13-04T10:15:14Z",
            "02020-04-01 15:02:01:040",
            "0000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00",
            "+10000-01-01T00:00:00",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(iso(text), None, "{text:?}");
        }
        for (text, shown) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso(text).as_deref(), Some(shown));
        }
    }
}
