//! The simulated account: hosts, series, meetings and their sessions. It is made from a seed and can be edited while it is served.
//!
//! Persons have numbers instead of names. All addresses are reserved for documentation.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

/// The size of a world and its time.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The same seed makes the same world.
    pub seed: u64,
    /// The number of hosts that hold meetings.
    pub hosts: usize,
    /// The exact number of meetings.
    pub meetings: usize,
    /// The exact number of sessions of all meetings; at least one per meeting.
    pub sessions: usize,
    /// The number of days before `now` over which the meetings are spread.
    pub days: i64,
    /// The present time. All meetings have ended by then.
    pub now: DateTime<Utc>,
}

impl Spec {
    /// A month of a small university: 800 meetings.
    pub fn small_university(now: DateTime<Utc>) -> Self {
        Self {
            seed: 17,
            hosts: 120,
            meetings: 800,
            sessions: 6_400,
            days: 30,
            now,
        }
    }

    /// A week of a small university: small enough for an example.
    pub fn week(now: DateTime<Utc>) -> Self {
        Self {
            seed: 17,
            hosts: 40,
            meetings: 180,
            sessions: 1_260,
            days: 7,
            now,
        }
    }

    /// 40 hosts, 5,000 meetings, 60,000 sessions over 30 days.
    pub fn large(now: DateTime<Utc>) -> Self {
        Self {
            seed: 23,
            hosts: 40,
            meetings: 5_000,
            sessions: 60_000,
            days: 30,
            now,
        }
    }
}

/// A user who hosts.
#[derive(Clone, Debug)]
pub struct Host {
    pub id: String,
    pub email: String,
    pub name: String,
    pub dept: String,
    /// 1 Basic, 2 Licensed.
    pub user_type: i64,
    /// Whether `/report/users` names the user.
    pub reported: bool,
    /// Whether the user still exists. Otherwise the code is 1001.
    pub exists: bool,
    /// Whether the user may host. Otherwise the code is 3161.
    pub licensed: bool,
}

/// A series, identified by its meeting number.
#[derive(Clone, Debug)]
pub struct Series {
    pub id: i64,
    /// Index of its host.
    pub host: usize,
    pub topic: String,
    /// Zoom's type in a host's list: 2 scheduled, 3 and 8 recurring. `None`: instant or a personal room, and not in the list.
    pub scheduled_type: Option<i64>,
}

/// One meeting instance.
#[derive(Clone, Debug)]
pub struct Meeting {
    pub uuid: String,
    pub series: i64,
    /// Index of its host.
    pub host: usize,
    pub topic: String,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// Listings and details show the meeting from this time on.
    pub visible_from: DateTime<Utc>,
    /// Its sessions are available from this time on.
    pub sessions_from: DateTime<Utc>,
    /// Whether it is listed among the one-person meetings.
    pub one_person: bool,
    /// Whether it is a webinar, which has its own lists and details.
    pub webinar: bool,
    /// The volatile scores: `good`, `fair`, `poor`, `bad`.
    pub quality: String,
    pub sessions: Vec<Session>,
}

/// One stay of one participant.
#[derive(Clone, Debug)]
pub struct Session {
    /// The row as it is served.
    pub row: Map<String, Value>,
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub hosts: Vec<Host>,
    pub series: Vec<Series>,
    pub meetings: Vec<Meeting>,
    /// Counts additions, so that each one is unique.
    made: u64,
    seed: u64,
}

const SUBJECTS: [&str; 12] = [
    "Algebra",
    "Botany",
    "Chemistry",
    "Drawing",
    "Ecology",
    "Film",
    "Geology",
    "History",
    "Informatics",
    "Jazz",
    "Kinetics",
    "Linguistics",
];
const FORMS: [&str; 6] = [
    "lecture",
    "seminar",
    "lab, group 2",
    "office hour",
    "Übung",
    "研讨会",
];
const DEVICES: [&str; 8] = [
    "Windows",
    "Mac",
    "iOS",
    "Android",
    "Web Browser Chrome 129",
    "Zoom Rooms",
    "Windows + Phone",
    "H.323/SIP",
];
const PLACES: [&str; 5] = ["San Jose (US)", "Berlin (DE)", "United States", "Osaka (JP)", ""];

/// A time as Zoom writes it.
pub fn zoom_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl World {
    /// Makes the world that a spec describes.
    pub fn generate(spec: &Spec) -> Self {
        let mut dice = fastrand::Rng::with_seed(spec.seed);
        let mut world = Self {
            seed: spec.seed,
            ..Self::default()
        };
        for n in 0..spec.hosts {
            world.hosts.push(Host {
                id: format!("{}-{n:03}", token(&mut dice, 18)),
                email: format!("host{n:03}@example.edu"),
                // Hosts with the same name: only the email distinguishes them.
                name: if n % 11 == 10 {
                    "Host Twin".to_owned()
                } else {
                    format!("Host {n:03}")
                },
                dept: pick(&mut dice, &SUBJECTS).to_owned(),
                user_type: if n % 5 == 0 { 1 } else { 2 },
                reported: n % 29 != 7,
                exists: n % 31 != 13,
                licensed: n % 37 != 19,
            });
        }
        let mut series_of: Vec<Vec<usize>> = vec![Vec::new(); spec.hosts];
        for (host, own) in series_of.iter_mut().enumerate() {
            for n in 0..5_i64 {
                let personal = n == 4;
                let number = i64::try_from(host).unwrap_or(0) * 10 + n;
                own.push(world.series.len());
                world.series.push(Series {
                    id: if personal {
                        5_550_000_000 + number
                    } else {
                        91_000_000_000 + number * 7_919
                    },
                    host,
                    topic: if personal {
                        format!("Host {host:03}'s Personal Meeting Room")
                    } else {
                        format!("{} {}", pick(&mut dice, &SUBJECTS), pick(&mut dice, &FORMS))
                    },
                    scheduled_type: match n {
                        0 | 1 => Some(8),
                        2 => Some(3),
                        3 => Some(2),
                        _ => None,
                    },
                });
            }
        }
        let spread = spec.days * 86_400 - 4 * 3_600;
        let mut sessions_left = spec.sessions.saturating_sub(spec.meetings);
        for n in 0..spec.meetings {
            let host = dice.usize(0..spec.hosts.max(1));
            let kind = dice.u32(0..100);
            let series = match (kind, series_of.get(host)) {
                (0..75, Some(own)) => own.get(dice.usize(0..own.len())).copied(),
                _ => None,
            };
            let series = match series {
                Some(series) => series,
                None => {
                    world.series.push(Series {
                        id: 98_000_000_000 + i64::try_from(n).unwrap_or(0) * 131,
                        host,
                        topic: format!("Host {host:03}'s Zoom Meeting"),
                        scheduled_type: None,
                    });
                    world.series.len() - 1
                }
            };
            let (id, topic) = world
                .series
                .get(series)
                .map(|one| (one.id, one.topic.clone()))
                .unwrap_or_default();
            let length = Duration::seconds(dice.i64(60..2 * 3_600));
            let start = spec.now - Duration::seconds(dice.i64(3_600..spread)) - length;
            // Some meetings run past midnight.
            let start = if n % 40 == 3 {
                start.date_naive().and_time(chrono::NaiveTime::MIN).and_utc() - Duration::minutes(20)
            } else {
                start
            };
            let end = start + length.max(Duration::minutes(if n % 40 == 3 { 40 } else { 1 }));
            let end = end
                .min(spec.now - Duration::minutes(30))
                .max(start + Duration::seconds(30));
            let meetings_left = spec.meetings - n - 1;
            let one_person = dice.u32(0..100) < 8 && meetings_left > 0;
            let more = if meetings_left == 0 {
                sessions_left
            } else if one_person {
                0
            } else {
                let mean = (sessions_left / (meetings_left + 1)).max(1);
                dice.usize(1..=2 * mean).min(sessions_left)
            };
            sessions_left -= more;
            let uuid = uuid(&mut dice, n);
            let sessions = (0..=more)
                .map(|m| session(&mut dice, start, end, m, n, id))
                .collect();
            world.meetings.push(Meeting {
                uuid,
                series: id,
                host,
                topic,
                start,
                end,
                visible_from: DateTime::UNIX_EPOCH,
                sessions_from: DateTime::UNIX_EPOCH,
                one_person: more == 0,
                webinar: false,
                quality: "good".to_owned(),
                sessions,
            });
        }
        world
    }

    /// The meeting with this UUID.
    pub fn meeting(&self, uuid: &str) -> Option<&Meeting> {
        self.meetings.iter().find(|meeting| meeting.uuid == uuid)
    }

    /// The meeting with this UUID, to be changed.
    pub fn meeting_mut(&mut self, uuid: &str) -> Option<&mut Meeting> {
        self.meetings.iter_mut().find(|meeting| meeting.uuid == uuid)
    }

    /// The number of all sessions.
    pub fn count_sessions(&self) -> usize {
        self.meetings.iter().map(|meeting| meeting.sessions.len()).sum()
    }

    /// Adds a meeting of a new, instant series with this many sessions. Returns its UUID.
    pub fn add_meeting(
        &mut self,
        host: usize,
        start: DateTime<Utc>,
        minutes: i64,
        sessions: usize,
    ) -> String {
        self.made += 1;
        let mut dice = fastrand::Rng::with_seed(self.seed ^ (0xADD0_0000 + self.made));
        let n = 1_000_000 + usize::try_from(self.made).unwrap_or(0);
        let id = 97_000_000_000 + i64::try_from(self.made).unwrap_or(0);
        let topic = format!("Added {}", self.made);
        self.series.push(Series {
            id,
            host,
            topic: topic.clone(),
            scheduled_type: None,
        });
        let end = start + Duration::minutes(minutes);
        let uuid = uuid(&mut dice, n);
        self.meetings.push(Meeting {
            uuid: uuid.clone(),
            series: id,
            host,
            topic,
            start,
            end,
            visible_from: DateTime::UNIX_EPOCH,
            sessions_from: DateTime::UNIX_EPOCH,
            one_person: sessions == 1,
            webinar: false,
            quality: "good".to_owned(),
            sessions: (0..sessions)
                .map(|m| session(&mut dice, start, end, m, n, id))
                .collect(),
        });
        uuid
    }

    /// Adds a webinar with a host, a panelist and attendees. Returns its UUID.
    pub fn add_webinar(
        &mut self,
        host: usize,
        start: DateTime<Utc>,
        minutes: i64,
        sessions: usize,
    ) -> String {
        let uuid = self.add_meeting(host, start, minutes, sessions);
        self.rename_series(&uuid, &format!("Webinar {}", self.made));
        if let Some(webinar) = self.meeting_mut(&uuid) {
            webinar.webinar = true;
            webinar.one_person = false;
            for (index, session) in webinar.sessions.iter_mut().enumerate() {
                let role = match index {
                    0 => "host",
                    1 => "panelist",
                    _ => "attendee",
                };
                session.row.insert("role".to_owned(), role.into());
            }
        }
        uuid
    }

    /// Adds webinars, one for every other day before `now`, each by the next host.
    pub fn with_webinars(mut self, webinars: usize, now: DateTime<Utc>) -> Self {
        for n in 0..webinars {
            let start = now - Duration::hours(48 * i64::try_from(n).unwrap_or(0) + 5);
            self.add_webinar(n % self.hosts.len().max(1), start, 60, 12 + n);
        }
        self
    }

    /// Restarts a meeting after its host dropped out: the same series continues 20 seconds later under another UUID, which is returned.
    pub fn restart(&mut self, uuid: &str) -> Option<String> {
        let before = self.meeting(uuid)?.clone();
        let restarted = self.add_meeting(before.host, before.end + Duration::seconds(20), 10, 3);
        let meeting = self.meeting_mut(&restarted)?;
        meeting.series = before.series;
        meeting.topic = before.topic;
        meeting.webinar = before.webinar;
        Some(restarted)
    }

    /// Renames the series of a meeting, in all meetings of the series.
    pub fn rename_series(&mut self, uuid: &str, topic: &str) {
        let Some(id) = self.meeting(uuid).map(|meeting| meeting.series) else {
            return;
        };
        for series in self.series.iter_mut().filter(|series| series.id == id) {
            series.topic = topic.to_owned();
        }
        for meeting in self.meetings.iter_mut().filter(|meeting| meeting.series == id) {
            meeting.topic = topic.to_owned();
        }
    }

    /// Adds a session: a participant joins once more, and the count of joins grows.
    pub fn add_session(&mut self, uuid: &str) {
        self.made += 1;
        let mut dice = fastrand::Rng::with_seed(self.seed ^ (0x5E55_0000 + self.made));
        let n = 2_000_000 + usize::try_from(self.made).unwrap_or(0);
        if let Some(meeting) = self.meeting_mut(uuid) {
            let added = session(&mut dice, meeting.start, meeting.end, 9_000, n, meeting.series);
            meeting.sessions.push(added);
        }
    }

    /// Removes the last session of a meeting.
    pub fn remove_session(&mut self, uuid: &str) {
        if let Some(meeting) = self.meeting_mut(uuid) {
            meeting.sessions.pop();
        }
    }

    /// Makes a meeting longer than it was listed.
    pub fn extend(&mut self, uuid: &str, minutes: i64) {
        if let Some(meeting) = self.meeting_mut(uuid) {
            meeting.end += Duration::minutes(minutes);
            let end = zoom_time(meeting.end);
            if let Some(session) = meeting.sessions.last_mut() {
                session.row.insert("leave_time".to_owned(), end.into());
            }
        }
    }
}

fn pick<'a>(dice: &mut fastrand::Rng, from: &[&'a str]) -> &'a str {
    from.get(dice.usize(0..from.len())).copied().unwrap_or_default()
}

fn token(dice: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|_| dice.alphanumeric()).collect()
}

/// A UUID: 24 characters of base64. Some begin with a slash, or contain two slashes in a row or a plus.
fn uuid(dice: &mut fastrand::Rng, n: usize) -> String {
    // The number makes it unique; the rest is random.
    let mut text = format!("{}{n:07}{}", token(dice, 8), token(dice, 7));
    let put = |text: &mut String, at: usize, what: &str| text.replace_range(at..at + what.len(), what);
    match n % 16 {
        1 => put(&mut text, 0, "/"),
        2 => put(&mut text, 3, "//"),
        3 => put(&mut text, 4, "+"),
        4 => put(&mut text, 5, "/"),
        _ => {}
    }
    text + "=="
}

fn session(
    dice: &mut fastrand::Rng,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    m: usize,
    n: usize,
    series: i64,
) -> Session {
    let length = (end - start).num_seconds().max(2);
    let join = start + Duration::seconds(if m == 0 { 0 } else { dice.i64(0..length / 2 + 1) });
    let leave = if m == 0 {
        end
    } else {
        join + Duration::seconds(dice.i64(1..=(end - join).num_seconds().max(1)))
    };
    let host = m == 0;
    let guest = !host && dice.u32(0..3) == 0;
    // Every seventh participant was here before: the same person with another `user_id`.
    let person = if m % 7 == 6 { m - 1 } else { m };
    let known = |text: String| if guest { String::new() } else { text };
    let version6 = dice.u32(0..4) == 0;
    let address = if version6 {
        format!("2001:db8::{:x}", person + 1)
    } else {
        format!("192.0.2.{}", person % 250 + 1)
    };
    let mut row = json!({
        "id": known(format!("person-{}-{person}", n % 997)),
        "user_id": format!("{}", 16_778_240 + m * 1_024),
        "participant_uuid": format!("{:08X}-{m:04X}-4000-8000-{:012X}", n, dice.u32(..)),
        "participant_user_id": known(format!("person-{}-{person}", n % 997)),
        "user_name": if guest { format!("Guest {person}# visiting") } else { format!("Person {}-{person}", n % 997) },
        "email": known(format!("person{}-{person}@example.edu", n % 997)),
        "registrant_id": if m % 5 == 4 { format!("registrant-{m}") } else { String::new() },
        "device": pick(dice, &DEVICES),
        "ip_address": address,
        "internal_ip_addresses": [format!("198.51.100.{}", person % 250 + 1)],
        "location": pick(dice, &PLACES),
        "network_type": pick(dice, &["Wired", "Wifi", "Cellular", "Others"]),
        "join_time": zoom_time(join),
        "leave_time": zoom_time(leave),
        "leave_reason": if host { "Host ended the meeting.".to_owned() } else { "left the meeting.<br>Reason: Host ended the meeting.".to_owned() },
        "role": if host { "host" } else { "attendee" },
        "status": if m % 23 == 22 { "in_waiting_room" } else { "in_meeting" },
        "share_application": false,
        "share_desktop": m % 9 == 1,
        "share_whiteboard": false,
        "recording": host && n.is_multiple_of(3),
        "pc_name": known(format!("pc-{person}")),
        "domain": known("example.edu".to_owned()),
        "mac_addr": known("00-00-5E-00-53-01".to_owned()),
        "harddisk_id": known("disk-1".to_owned()),
        "version": "6.2.5.2440",
        "data_center": "United States (SC Top)",
        "full_data_center": "United States (SC Top);",
        "connection_type": "UDP",
        "video_connection_type": "UDP",
        "as_connection_type": "UDP",
        "microphone": known("Microphone (2)".to_owned()),
        "speaker": known("Speaker (2)".to_owned()),
        "camera": if dice.u32(0..4) == 0 { "Camera (2)" } else { "" },
        "audio_quality": "good",
        "video_quality": "good",
        "screen_share_quality": "",
        "customer_key": format!("key-{series}"),
        "sip_uri": "",
        "from_sip_uri": "",
        "in_room_participants": 0,
        "os": "Windows",
        "os_version": "11",
        "browser_name": "",
        "browser_version": "",
        "device_name": "",
        "groupId": "",
        "has_archiving": false,
        "optional_archiving": "no optional archiving",
        "client": "Zoom Workplace",
        "total_jointime_cost": 3.98,
        "aic_disclaimer": "no disclaimer",
        "zoom_thin_client_plugin_version": "",
        "audio_call": [],
    });
    if m % 13 == 12 {
        row["bo_mtg_id"] = json!(format!("bo{m}/+=="));
    }
    if m % 17 == 16 {
        row["device"] = json!("Phone");
        row["audio_call"] =
            json!([{"call_number": "5550100", "call_type": "call-in", "zoom_number": "5550199"}]);
    }
    match row {
        Value::Object(row) => Session { row },
        _ => Session { row: Map::new() },
    }
}
