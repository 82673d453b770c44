//! Which days to list, and in which windows. Pure.

use std::collections::BTreeSet;

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::model::{DateBasis, Window};

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Exactly these days.
    Days(Window),
    /// The days that are not settled, up to today.
    Resume,
    /// No days: only work that is due already.
    Nothing,
}

impl Scope {
    /// The days that a meeting must touch to be of interest. `None` if every meeting is.
    pub(super) fn inside(self) -> Option<Window> {
        match self {
            Self::Days(window) => Some(window),
            Self::Resume | Self::Nothing => None,
        }
    }
}

/// A meeting lasts at most 30 hours (Zoom's limit for licensed hosts), so it may extend this many days beyond those on which it is listed.
const MARGIN_DAYS: u64 = 2;

/// The lookback window of the weekly whole listing, in days.
pub const WHOLE_LISTING_DAYS: u64 = 30;

/// The earliest day that Zoom still lists: its dashboards reach back six months.
pub fn earliest_day(today: NaiveDate) -> NaiveDate {
    today.checked_sub_months(Months::new(6)).unwrap_or(today)
}

/// The days that a sync without dates lists: those not settled since the first day that was ever listed or requested. If `whole`, the last 30 of them
/// are listed too, settled or not. If nothing was listed yet: yesterday and today.
pub fn days_to_resume(
    first_day: Option<NaiveDate>,
    settled: &BTreeSet<NaiveDate>,
    whole: bool,
    today: NaiveDate,
) -> BTreeSet<NaiveDate> {
    let Some(first_day) = first_day else {
        return (today - Days::new(1))
            .iter_days()
            .take_while(|day| *day <= today)
            .collect();
    };
    let whole_from = today - Days::new(WHOLE_LISTING_DAYS - 1);
    first_day
        .max(earliest_day(today))
        .iter_days()
        .take_while(|day| *day <= today)
        .filter(|day| !settled.contains(day) || (whole && *day >= whole_from))
        .collect()
}

/// The days to request from Zoom, so that every meeting that began or ended on the wanted days is found.
///
/// Zoom selects by one time only. If it selects by end, a meeting that began on a wanted day may have ended up to 30 hours later, and one-person
/// meetings are still selected by start. Both matter only if no other days are listed (`alone`). Otherwise the neighbouring days are listed too, now
/// or earlier. If Zoom selects by start, a meeting that ended on a wanted day may have begun before it. The listing of that earlier day did not show
/// it while it went on.
pub fn with_margin(
    wanted: &BTreeSet<NaiveDate>,
    basis: DateBasis,
    alone: bool,
    today: NaiveDate,
) -> BTreeSet<NaiveDate> {
    let earliest = earliest_day(today);
    wanted
        .iter()
        .flat_map(|day| {
            let (back, ahead) = match basis {
                DateBasis::StartTime => (MARGIN_DAYS, 0),
                DateBasis::EndTime if alone => (MARGIN_DAYS, MARGIN_DAYS),
                DateBasis::EndTime => (0, 0),
            };
            let last = *day + Days::new(ahead);
            (*day - Days::new(back))
                .iter_days()
                .take_while(move |one| *one <= last)
        })
        .filter(|day| (earliest..=today).contains(day))
        .collect()
}

/// The fewest windows that hold exactly these days. None is longer than a calendar month, the most that Zoom allows in one listing.
pub fn windows(days: &BTreeSet<NaiveDate>) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for day in days {
        match windows.last_mut() {
            Some(last) if last.to + Days::new(1) == *day && last.to.month() == day.month() => last.to = *day,
            _ => windows.push(Window::day(*day)),
        }
    }
    windows
}

/// The parts of a window that another does not cover.
pub fn without(window: Window, covered: Window) -> Vec<Window> {
    let before = covered
        .from
        .pred_opt()
        .and_then(|to| Window::new(window.from, to.min(window.to)));
    let after = covered
        .to
        .succ_opt()
        .and_then(|from| Window::new(from.max(window.from), window.to));
    before.into_iter().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn days(from: &str, to: &str) -> BTreeSet<NaiveDate> {
        Window::new(day(from), day(to)).unwrap().days().collect()
    }

    #[test]
    fn windows_end_with_the_month_and_leave_settled_days_out() {
        let mut wanted = days("2026-02-25", "2026-03-10");
        wanted.remove(&day("2026-03-05"));
        let shown: Vec<String> = windows(&wanted).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "2026-02-25..2026-02-28",
                "2026-03-01..2026-03-04",
                "2026-03-06..2026-03-10"
            ]
        );
    }

    #[test]
    fn an_empty_catalog_begins_with_yesterday() {
        assert_eq!(
            days_to_resume(None, &BTreeSet::new(), false, day("2026-03-10")),
            days("2026-03-09", "2026-03-10")
        );
    }

    #[test]
    fn once_a_week_settled_days_are_listed_too_but_none_before_the_first() {
        let settled = days("2026-03-01", "2026-03-08");
        let today = day("2026-03-10");
        let resume = |whole| days_to_resume(Some(day("2026-03-01")), &settled, whole, today);
        assert_eq!(resume(false), days("2026-03-09", "2026-03-10"));
        assert_eq!(resume(true), days("2026-03-01", "2026-03-10"));
    }

    #[test]
    fn a_catalog_left_alone_for_a_year_resumes_where_zoom_still_answers() {
        let resumed = days_to_resume(
            Some(day("2025-01-01")),
            &BTreeSet::new(),
            false,
            day("2026-03-10"),
        );
        assert_eq!(resumed.first(), Some(&day("2025-09-10")));
    }

    #[test]
    fn margins_cross_midnight_but_stay_within_reach() {
        let today = day("2026-03-10");
        let one = days("2026-03-04", "2026-03-04");
        assert_eq!(
            with_margin(&one, DateBasis::EndTime, true, today),
            days("2026-03-02", "2026-03-06")
        );
        assert_eq!(with_margin(&one, DateBasis::EndTime, false, today), one);
        assert_eq!(
            with_margin(&one, DateBasis::StartTime, true, today),
            days("2026-03-02", "2026-03-04")
        );
        let last = days("2026-03-10", "2026-03-10");
        assert_eq!(
            with_margin(&last, DateBasis::EndTime, true, today),
            days("2026-03-08", "2026-03-10")
        );
        let first = days("2025-09-10", "2025-09-10");
        assert_eq!(with_margin(&first, DateBasis::StartTime, true, today), first);
    }

    proptest! {
        #[test]
        fn windows_hold_every_day_once_and_stay_inside_a_month(offsets in prop::collection::btree_set(0_u64..400, 0..200)) {
            let wanted: BTreeSet<NaiveDate> =
                offsets.iter().map(|offset| day("2025-01-01") + Days::new(*offset)).collect();
            let made = windows(&wanted);
            let listed: Vec<NaiveDate> = made.iter().flat_map(|window| window.days()).collect();
            prop_assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>());
            for window in made {
                prop_assert_eq!((window.from.year(), window.from.month()), (window.to.year(), window.to.month()));
            }
        }
    }
}
