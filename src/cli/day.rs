//! Days as users write them: `2026-03-04`, `2026-03`, `7d`, `2w`, `today`, `yesterday`. All are UTC.

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::{
    model::Window,
    sync::{Scope, earliest_day},
};

/// A day as the user wrote it. Which day that is may depend on today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaySpec {
    /// A fixed day.
    Day(NaiveDate),
    /// A month, by its first day.
    Month(NaiveDate),
    /// This many days ago.
    Ago(u64),
}

/// Ten years, in days. More is a typing error.
const FARTHEST_AGO: u64 = 3_660;

impl DaySpec {
    /// Parses a day.
    ///
    /// # Errors
    /// A message with the accepted forms, or that there is no such day or month.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ago = |unit: char, days: u64| {
            let count = text.strip_suffix(unit)?.parse::<u64>().ok()?;
            count.checked_mul(days).filter(|days| *days <= FARTHEST_AGO)
        };
        match text {
            "today" => return Ok(Self::Ago(0)),
            "yesterday" => return Ok(Self::Ago(1)),
            _ => {}
        }
        if let Some(days) = ago('d', 1).or_else(|| ago('w', 7)) {
            return Ok(Self::Ago(days));
        }
        // Days must be zero-padded: Zoom answers an unpadded day with an empty list instead of an error.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<(usize, bool)> = text.split('-').map(|part| (part.len(), digits(part))).collect();
        let no_such = |what: &str| format!("there is no such {what}");
        match parts.as_slice() {
            [(4, true), (2, true), (2, true)] => NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .map(Self::Day)
                .map_err(|_| no_such("day")),
            [(4, true), (2, true)] => NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d")
                .map(Self::Month)
                .map_err(|_| no_such("month")),
            _ => Err(
                "write a day as 2026-03-04, a month as 2026-03, or 7d, 2w (ago), today, yesterday".to_owned(),
            ),
        }
    }

    /// The first day that this stands for.
    pub fn first(self, today: NaiveDate) -> NaiveDate {
        match self {
            Self::Day(day) | Self::Month(day) => day,
            Self::Ago(days) => today.checked_sub_days(Days::new(days)).unwrap_or(today),
        }
    }

    /// The last day that this stands for. For the current month that is today.
    pub fn last(self, today: NaiveDate) -> NaiveDate {
        match self {
            Self::Day(_) | Self::Ago(_) => self.first(today),
            Self::Month(first) => {
                let next = first.checked_add_months(Months::new(1));
                let last = next.and_then(|next| next.pred_opt()).unwrap_or(first);
                let is_under_way = (first.year(), first.month()) == (today.year(), today.month());
                if is_under_way { today } else { last }
            }
        }
    }
}

/// The scope that `--from` and `--to` give. `uncertain` is how far the clock may be off.
///
/// # Errors
/// Which of the two is wrong, and why.
pub fn scope(
    from: Option<DaySpec>,
    to: Option<DaySpec>,
    today: NaiveDate,
    uncertain: Days,
) -> Result<Scope, String> {
    // clap refuses `--to` without `--from`.
    let Some(from) = from.map(|from| from.first(today)) else {
        return Ok(Scope::Resume);
    };
    let to = to.map(|to| to.last(today));
    for (name, day) in [("--from", Some(from)), ("--to", to)] {
        if let Some(day) = day.filter(|day| *day > today + uncertain) {
            return Err(format!("{name} {day} lies in the future; today is {today} (UTC)"));
        }
    }
    let earliest = earliest_day(today);
    if from < earliest - uncertain {
        return Err(format!(
            "--from {from} is too early: Zoom lists meetings of the last six months only, so {earliest} is the earliest day"
        ));
    }
    let to = to.unwrap_or(today.max(from));
    Window::new(from, to)
        .map(Scope::Days)
        .ok_or_else(|| format!("--from {from} is after --to {to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn days_are_read_in_every_documented_form() {
        let today = day("2026-03-10");
        for (text, first, last) in [
            ("2026-03-04", "2026-03-04", "2026-03-04"),
            ("today", "2026-03-10", "2026-03-10"),
            ("0d", "2026-03-10", "2026-03-10"),
            ("yesterday", "2026-03-09", "2026-03-09"),
            ("7d", "2026-03-03", "2026-03-03"),
            ("2w", "2026-02-24", "2026-02-24"),
            ("2026-02", "2026-02-01", "2026-02-28"),
            ("2025-12", "2025-12-01", "2025-12-31"),
            ("2026-03", "2026-03-01", "2026-03-10"),
            ("2026-04", "2026-04-01", "2026-04-30"),
        ] {
            let spec = DaySpec::parse(text).unwrap();
            assert_eq!(
                (spec.first(today), spec.last(today)),
                (day(first), day(last)),
                "{text}"
            );
        }
        for text in [
            "2026-3-4",
            "04.03.2026",
            "2026-13",
            "2026-02-30",
            "d",
            "-7d",
            "7",
            "7 d",
            "7m",
            "9999999d",
            "99999999999999999999w",
            "Today",
            "",
            "2026",
            "２０２６-03-04",
        ] {
            let error = DaySpec::parse(text).unwrap_err();
            assert!(
                error.contains("2026-03-04") || error.starts_with("there is no such"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn impossible_days_are_refused_with_a_reason() {
        let today = day("2026-03-10");
        let read = |text: &str| DaySpec::parse(text).unwrap();
        let said =
            |from: Option<&str>, to: Option<&str>| scope(from.map(read), to.map(read), today, Days::new(0));
        assert_eq!(said(None, None), Ok(Scope::Resume));
        let window = |from, to| {
            Ok(Scope::Days(Window {
                from: day(from),
                to: day(to),
            }))
        };
        assert_eq!(said(Some("2026-03-01"), None), window("2026-03-01", "2026-03-10"));
        assert_eq!(
            said(Some("2026-02"), Some("2026-02")),
            window("2026-02-01", "2026-02-28")
        );
        assert_eq!(
            said(Some("1w"), Some("yesterday")),
            window("2026-03-03", "2026-03-09")
        );
        for (from, to, word) in [
            (Some("2026-03-05"), Some("2026-03-01"), "after"),
            (
                Some("2026-03-01"),
                Some("2026-03-11"),
                "--to 2026-03-11 lies in the future",
            ),
            (Some("2026-03-11"), None, "--from 2026-03-11 lies in the future"),
            (Some("2026-04"), None, "--from 2026-04-01 lies in the future"),
            (Some("2025-09-09"), None, "2025-09-10 is the earliest"),
            (Some("30w"), None, "2025-09-10 is the earliest"),
        ] {
            let error = said(from, to).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
