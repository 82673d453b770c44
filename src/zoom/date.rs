//! Zoom's `Date` header. A run follows its time, whatever this machine's clock says.

use std::fmt;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use reqwest::header::HeaderMap;

use crate::{
    model::{Clock, iso},
    untrusted::one_line,
};

/// The resolution of the header, which has whole seconds.
const RESOLUTION: TimeDelta = TimeDelta::seconds(1);

/// A larger difference is reported.
const WORTH_SAYING: TimeDelta = TimeDelta::minutes(2);

/// Beyond this difference the header is wrong, not the clock.
pub const FARTHEST: TimeDelta = TimeDelta::days(366);

/// The earliest year that is accepted. No answer of Zoom's is older.
const EARLIEST_YEAR: i32 = 2020;

/// The result of comparing an answer's `Date` header with this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoomDate {
    /// The header is missing: this machine's clock is followed.
    Missing,
    /// The header cannot be right: this machine's clock is followed.
    Absurd {
        /// The text of the header.
        said: String,
        /// This machine's time.
        machine: DateTime<Utc>,
    },
    /// The clocks agree to within two minutes.
    Agrees,
    /// The clocks differ: Zoom's is followed.
    Differs {
        /// This machine's time.
        machine: DateTime<Utc>,
        /// Zoom's time at the same moment.
        zoom: DateTime<Utc>,
    },
}

impl fmt::Display for ZoomDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Zoom's answer says no time; this machine's clock is followed"),
            Self::Absurd { said, machine } => write!(
                f,
                "Zoom's answer says that it is {said:?}, this machine's clock {}; Zoom's is ignored as absurd",
                iso(*machine)
            ),
            Self::Agrees => f.write_str("this machine's clock agrees with Zoom's"),
            Self::Differs { machine, zoom } => write!(
                f,
                "this machine's clock says {}, Zoom's {}; Zoom's is followed",
                iso(*machine),
                iso(*zoom)
            ),
        }
    }
}

/// Corrects the clock by an answer's `Date` header. It is corrected by no more than needed to put that time between the request (`asked`, by the
/// same clock) and now.
pub(super) fn follow(clock: &Clock, headers: &HeaderMap, asked: DateTime<Utc>) -> ZoomDate {
    let (answered, before) = (clock.now(), clock.correction());
    let machine = answered - before;
    let Some(header) = headers.get("date") else {
        return ZoomDate::Missing;
    };
    let date = header
        .to_str()
        .ok()
        .and_then(|text| DateTime::parse_from_rfc2822(text.trim()).ok())
        .map(|date| date.with_timezone(&Utc))
        .filter(|date| date.year() >= EARLIEST_YEAR && (*date - machine).abs() <= FARTHEST);
    let Some(date) = date else {
        return ZoomDate::Absurd {
            said: one_line(&String::from_utf8_lossy(header.as_bytes())),
            machine,
        };
    };
    if date > answered {
        clock.correct(date - answered);
    } else if date + RESOLUTION < asked {
        clock.correct(date + RESOLUTION - asked);
    }
    if clock.correction().abs() <= WORTH_SAYING {
        return ZoomDate::Agrees;
    }
    ZoomDate::Differs {
        machine,
        zoom: machine + clock.correction(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::parse_time;

    fn headers(date: &str) -> HeaderMap {
        [("date".parse().unwrap(), date.parse().unwrap())]
            .into_iter()
            .collect()
    }

    /// The verdict and the correction on a machine whose clock stands still, for a header that came `took` seconds after the request.
    fn met(date: &str, took: i64) -> (ZoomDate, TimeDelta) {
        let machine = parse_time("2026-03-04T10:00:00Z").unwrap();
        let clock = Clock::new(move || machine);
        let heard = follow(&clock, &headers(date), machine - TimeDelta::seconds(took));
        assert_eq!(clock.now(), machine + clock.correction());
        (heard, clock.correction())
    }

    #[test]
    fn each_date_header_has_its_verdict() {
        for (date, took, seconds) in [
            // Between the request and now, to the header's resolution of a second: no correction.
            ("Wed, 04 Mar 2026 10:00:00 GMT", 0, 0),
            ("Wed, 04 Mar 2026 09:59:59 GMT", 0, 0),
            ("Wed, 04 Mar 2026 09:59:30 GMT", 30, 0),
            ("Wed, 04 Mar 2026 09:59:29 GMT", 30, 0),
            // A correction of no more than needed.
            ("Wed, 04 Mar 2026 09:59:28 GMT", 30, -1),
            ("Wed, 04 Mar 2026 10:00:01 GMT", 30, 1),
            ("Wed, 04 Mar 2026 10:02:00 GMT", 0, 120),
        ] {
            assert_eq!(
                met(date, took),
                (ZoomDate::Agrees, TimeDelta::seconds(seconds)),
                "{date}"
            );
        }
        for (date, seconds) in [
            ("Wed, 04 Mar 2026 10:02:01 GMT", 121),
            ("Fri, 06 Mar 2026 10:00:00 GMT", 2 * 86_400),
            ("Mon, 02 Mar 2026 10:00:00 GMT", 1 - 2 * 86_400),
            ("Mon, 02 Mar 2026 12:00:00 +0200", 1 - 2 * 86_400),
        ] {
            let (heard, correction) = met(date, 0);
            assert!(matches!(heard, ZoomDate::Differs { .. }), "{date}: {heard}");
            assert_eq!(correction, TimeDelta::seconds(seconds), "{date}");
        }
        for date in [
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Tue, 31 Dec 2019 23:59:59 GMT",
            "Sat, 06 Mar 2027 10:00:00 GMT",
            "Mon, 02 Mar 2099 10:00:00 GMT",
            "2026-03-06T10:00:00Z",
            "soon",
            "",
        ] {
            let (heard, correction) = met(date, 0);
            assert!(matches!(heard, ZoomDate::Absurd { .. }), "{date}: {heard}");
            assert_eq!(correction, TimeDelta::zero(), "{date}");
        }
    }

    #[test]
    fn the_machine_clock_is_used_without_a_date_header_or_after_it_was_corrected() {
        let now = parse_time("2026-03-04T10:00:00Z").unwrap();
        let behind = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(2));
        let read = std::sync::Arc::clone(&behind);
        let clock =
            Clock::new(move || now - TimeDelta::days(read.load(std::sync::atomic::Ordering::Relaxed)));
        let other = clock.clone();
        assert_eq!(follow(&clock, &HeaderMap::new(), clock.now()), ZoomDate::Missing);
        assert_eq!(clock.correction(), TimeDelta::zero());
        let zoom = headers("Wed, 04 Mar 2026 10:00:00 GMT");
        let heard = follow(&clock, &zoom, clock.now());
        assert!(
            heard
                .to_string()
                .contains("2026-03-02T10:00:00Z, Zoom's 2026-03-04T10:00:00Z"),
            "{heard}"
        );
        assert_eq!(other.now(), now, "every copy of the clock follows");
        behind.store(0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(follow(&clock, &zoom, clock.now()), ZoomDate::Agrees);
        assert!((other.now() - now).abs() <= RESOLUTION);
    }

    proptest! {
        #[test]
        fn no_header_panics(date in "[ -~]{0,40}") {
            met(&date, 0);
        }
    }
}
