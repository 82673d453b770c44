//! Which instances of a series belong together. If the host leaves a meeting and restarts it, Zoom gives it another UUID.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{HostId, SeriesId};

/// The longest pause between two instances that belong together.
pub const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(15);

/// The longest duration of a meeting: Zoom's limit for licensed hosts.
pub const LONGEST_MEETING: TimeDelta = TimeDelta::hours(30);

/// An instance of a series, with the fields that decide which occurrence it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended, or when it began if the end is not known.
    pub end: DateTime<Utc>,
    /// Its host, if known.
    pub host: Option<HostId>,
    /// The names and emails of the participants other than the host. Empty if they are not known or not requested.
    pub guests: BTreeSet<String>,
}

/// Returns, for each instance of one series, the place of the first instance of its occurrence. The instances must be in the order of their start. An
/// instance that begins an occurrence gets its own place.
///
/// An instance joins the occurrence before it if it begins at most [`LONGEST_PAUSE`] after that ended. In a personal room one number serves for all
/// meetings. There it does not join if its host is another, or if both had guests and no guest was in both.
pub fn occurrences(series: SeriesId, instances: &[Instance]) -> Vec<usize> {
    let mut before: Option<(usize, Instance)> = None;
    let of_each = instances.iter().enumerate().map(|(place, instance)| {
        let goes_on = before.as_mut().filter(|(_, before)| {
            instance.start <= before.end + LONGEST_PAUSE
                && !(series.is_personal_room() && are_others(before, instance))
        });
        match goes_on {
            Some((first, before)) => {
                before.end = Ord::max(before.end, instance.end);
                before.guests.extend(instance.guests.iter().cloned());
                *first
            }
            None => {
                before = Some((place, instance.clone()));
                place
            }
        }
    });
    of_each.collect()
}

fn are_others(before: &Instance, now: &Instance) -> bool {
    let hosts = before.host.as_ref().zip(now.host.as_ref());
    let guests = !before.guests.is_empty() && !now.guests.is_empty();
    hosts.is_some_and(|(before, now)| before != now) || guests && before.guests.is_disjoint(&now.guests)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERIES: SeriesId = SeriesId(91_234_567_890);
    const ROOM: SeriesId = SeriesId(5_551_234_567);

    fn instance(start: i64, end: i64, host: &str, guests: &[&str]) -> Instance {
        let at = |minute: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        Instance {
            start: at(start),
            end: at(end),
            host: Some(HostId::new(host)),
            guests: guests.iter().map(|guest| (*guest).to_owned()).collect(),
        }
    }

    #[test]
    fn instances_that_go_on_within_fifteen_minutes_belong_together() {
        let instances = [
            instance(0, 30, "h", &["a"]),
            instance(45, 60, "h", &["b"]),
            // The first begins while the one before goes on. The last begins after a longer pause.
            instance(50, 55, "h", &[]),
            instance(75, 90, "x", &["c"]),
            instance(106, 120, "h", &["a"]),
        ];
        assert_eq!(occurrences(SERIES, &instances), [0, 0, 0, 0, 4]);
        assert!(occurrences(SERIES, &[]).is_empty());
    }

    #[test]
    fn meetings_in_a_personal_room_are_told_apart_by_host_and_guests() {
        let office_hours = [
            instance(0, 20, "h", &["a"]),
            instance(22, 40, "h", &["b"]),
            // An instance with the host alone joins, and so does one with a guest who returns.
            instance(41, 42, "h", &[]),
            instance(43, 60, "h", &["b", "c"]),
            instance(61, 70, "h", &["a"]),
            instance(71, 80, "another", &["a"]),
        ];
        assert_eq!(occurrences(ROOM, &office_hours), [0, 1, 1, 1, 4, 5]);
        assert_eq!(occurrences(SERIES, &office_hours), [0; 6]);
    }

    proptest! {
        /// The naive model compares each instance with every one before it.
        #[test]
        fn occurrences_agree_with_the_naive_model(minutes in prop::collection::vec((0_i64..400, 0_i64..60), 0..12)) {
            let mut instances: Vec<Instance> =
                minutes.iter().map(|(start, length)| instance(*start, start + length, "h", &[])).collect();
            instances.sort_by_key(|one| one.start);
            let found = occurrences(SERIES, &instances);
            for (place, one) in instances.iter().enumerate() {
                let near = (0..place).find(|earlier| one.start <= instances[*earlier].end + LONGEST_PAUSE);
                let expected = near.map_or(place, |near| found[near]);
                prop_assert_eq!(found[place], expected);
            }
        }
    }
}
