//! What may be kept of people: the owner's policy, field by field, and what was forgotten for good. Pure: it knows [`crate::model`]
//! only, and changes what arrives before anything is planned, summed up or stored.
//!
//! Whatever arrives or is stored ends the same: treating it twice changes nothing more, and what is forgotten after it was treated
//! equals what is treated after it was forgotten. So the checksums of what is stored and of what arrives agree, and nothing is
//! fetched or sent again for having been erased.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::model::{
    Checksum, Detail, Forgotten, ForgottenKind, Host, HostId, ListedMeeting, Listing, MeetingUuid, PSEUDONYM,
    Row, SeriesRow, is_pseudonym,
};

/// The shortest key that a policy takes, in bytes: 128 bits, if they are random.
pub const KEY_BYTES: usize = 16;

/// Stands where a name stood in a text; Zoom's own documentation writes it so.
const NAME: &str = "$name";

/// What becomes of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// It is kept as Zoom sends it.
    #[default]
    Keep,
    /// It is left out.
    Drop,
    /// HMAC-SHA-256 under the owner's key takes its place: the same value always gets the same, and nobody without the key can
    /// tell which value that was.
    Pseudonymise,
}

impl Treatment {
    /// The treatment of that name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "keep" => Some(Self::Keep),
            "drop" => Some(Self::Drop),
            "pseudonymise" => Some(Self::Pseudonymise),
            _ => None,
        }
    }
}

/// What a policy tells apart. Fields of Zoom's that always say the same thing of a person share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A participant's display name, also where a reason for leaving names it.
    UserName,
    /// A participant's email.
    Email,
    /// `id`, `participant_user_id`, `registrant_id`, `customer_key`: they tell a person again in another meeting.
    ParticipantId,
    /// The public address.
    IpAddress,
    /// The addresses behind it.
    InternalIpAddresses,
    /// The network card.
    MacAddr,
    /// The hard disk.
    HarddiskId,
    /// The computer's name.
    PcName,
    /// The computer's domain.
    Domain,
    /// The device's name.
    DeviceName,
    /// `camera`, `microphone`, `speaker`: headsets are called `Jill's AirPods`.
    AudioVideo,
    /// City and country.
    Location,
    /// `sip_uri`, `from_sip_uri`.
    SipUri,
    /// The number of a caller.
    AudioCall,
    /// The host's display name, also where a topic names it.
    HostName,
    /// The host's email.
    HostEmail,
    /// The host's department.
    Dept,
    /// A meeting's topic, and its series'.
    Topic,
    /// The values of `tracking_fields` and `custom_keys`.
    TrackingFields,
}

impl Field {
    /// All, each with its name in the configuration.
    pub const ALL: [(Self, &'static str); 19] = [
        (Self::UserName, "user_name"),
        (Self::Email, "email"),
        (Self::ParticipantId, "participant_id"),
        (Self::IpAddress, "ip_address"),
        (Self::InternalIpAddresses, "internal_ip_addresses"),
        (Self::MacAddr, "mac_addr"),
        (Self::HarddiskId, "harddisk_id"),
        (Self::PcName, "pc_name"),
        (Self::Domain, "domain"),
        (Self::DeviceName, "device_name"),
        (Self::AudioVideo, "audio_video"),
        (Self::Location, "location"),
        (Self::SipUri, "sip_uri"),
        (Self::AudioCall, "audio_call"),
        (Self::HostName, "host_name"),
        (Self::HostEmail, "host_email"),
        (Self::Dept, "dept"),
        (Self::Topic, "topic"),
        (Self::TrackingFields, "tracking_fields"),
    ];
}

/// A participant's fields that a policy may treat, by Zoom's names; `leave_reason` and `audio_call` have rules of their own.
const OF_PARTICIPANTS: [(&str, Field); 19] = [
    ("user_name", Field::UserName),
    ("email", Field::Email),
    ("id", Field::ParticipantId),
    ("participant_user_id", Field::ParticipantId),
    ("registrant_id", Field::ParticipantId),
    ("customer_key", Field::ParticipantId),
    ("ip_address", Field::IpAddress),
    ("internal_ip_addresses", Field::InternalIpAddresses),
    ("mac_addr", Field::MacAddr),
    ("harddisk_id", Field::HarddiskId),
    ("pc_name", Field::PcName),
    ("domain", Field::Domain),
    ("device_name", Field::DeviceName),
    ("camera", Field::AudioVideo),
    ("microphone", Field::AudioVideo),
    ("speaker", Field::AudioVideo),
    ("location", Field::Location),
    ("sip_uri", Field::SipUri),
    ("from_sip_uri", Field::SipUri),
];

/// A participant's other fields that Zoom documents: they say nothing of who it was. `user_id` and `participant_uuid` are made
/// for one stay and are valid in that meeting only.
const OF_STAYS: [&str; 37] = [
    "aic_disclaimer",
    "as_connection_type",
    "audio_call",
    "audio_quality",
    "bo_mtg_id",
    "browser_name",
    "browser_version",
    "client",
    "connection_type",
    "data_center",
    "device",
    "full_data_center",
    "groupId",
    "has_archiving",
    "in_room_participants",
    "is_original_host",
    "join_time",
    "leave_reason",
    "leave_time",
    "network_type",
    "optional_archiving",
    "os",
    "os_version",
    "participant_uuid",
    "recording",
    "role",
    "screen_share_quality",
    "share_application",
    "share_desktop",
    "share_whiteboard",
    "status",
    "total_jointime_cost",
    "user_id",
    "version",
    "video_connection_type",
    "video_quality",
    "zoom_thin_client_plugin_version",
];

/// A listed meeting's fields that a policy may treat, by Zoom's names.
const OF_HOSTS: [(&str, Field); 6] = [
    ("host", Field::HostName),
    ("email", Field::HostEmail),
    ("dept", Field::Dept),
    ("topic", Field::Topic),
    ("tracking_fields", Field::TrackingFields),
    ("custom_keys", Field::TrackingFields),
];

/// Its other fields that Zoom documents.
const OF_MEETINGS: [&str; 26] = [
    "audio_quality",
    "avg_jointime_cost",
    "duration",
    "end_time",
    "has_3rd_party_audio",
    "has_archiving",
    "has_automated_captions",
    "has_manual_captions",
    "has_meeting_summary",
    "has_poll",
    "has_pstn",
    "has_qa",
    "has_recording",
    "has_screen_share",
    "has_sip",
    "has_survey",
    "has_video",
    "has_voip",
    "id",
    "participants",
    "screen_share_quality",
    "session_key",
    "start_time",
    "user_type",
    "uuid",
    "video_quality",
];

/// Reasons for leaving that name nobody. Source: Zoom's OpenAPI description, 2026-03.
const NAMELESS_REASONS: [&str; 10] = [
    "Host ended the meeting.",
    "Host closed the meeting.",
    "Host started a new meeting.",
    "Network connection error.",
    "Host did not join.",
    "Exceeded free meeting minutes limit.",
    "Removed by host.",
    "Unknown reason.",
    "Leave waiting room.",
    "Removed by host from waiting room.",
];

/// What follows the name in the reasons that begin with one. Same source.
const AFTER_THE_NAME: [&str; 2] = ["left the meeting.", "got disconnected from the meeting."];

/// How Zoom names a meeting that nobody named: after its host.
const AFTER_THE_HOST: [&str; 4] = [
    "'s Personal Meeting Room",
    "’s Personal Meeting Room",
    "'s Zoom Meeting",
    "’s Zoom Meeting",
];

/// The owner's policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    treatments: BTreeMap<Field, Treatment>,
    drop_unknown: bool,
    key: Option<SecretString>,
}

impl Policy {
    /// A policy; fields that are not named are kept. Nothing if one is to be pseudonymised and there is no key of
    /// [`KEY_BYTES`] at least.
    pub fn new(
        treatments: BTreeMap<Field, Treatment>,
        drop_unknown: bool,
        key: Option<SecretString>,
    ) -> Option<Self> {
        let needed = treatments
            .values()
            .any(|treatment| *treatment == Treatment::Pseudonymise);
        let long_enough = key
            .as_ref()
            .is_some_and(|key| key.expose_secret().len() >= KEY_BYTES);
        (long_enough || !needed).then_some(Self {
            treatments,
            drop_unknown,
            key,
        })
    }

    /// What becomes of a field.
    pub fn of(&self, field: Field) -> Treatment {
        self.treatments.get(&field).copied().unwrap_or_default()
    }

    /// Whether everything is kept.
    pub fn keeps_all(&self) -> bool {
        !self.drop_unknown
            && self
                .treatments
                .values()
                .all(|treatment| *treatment == Treatment::Keep)
    }

    /// What stands in for an email, if there is a key; what stands in already stays.
    pub fn email_pseudonym(&self, email: &str) -> Option<String> {
        self.pseudonym(&email.trim().to_lowercase())
    }

    /// What stands in for any other value, if there is a key.
    pub fn pseudonym(&self, value: &str) -> Option<String> {
        let value = value.trim();
        if is_pseudonym(value) {
            return Some(value.to_owned());
        }
        let digest = keyed(self.key.as_ref()?.expose_secret(), value);
        Some(format!("{PSEUDONYM}{}", digest.as_str().get(..32)?))
    }
}

/// HMAC-SHA-256.
fn keyed(key: &str, value: &str) -> Checksum {
    // A key of any length will do, so this cannot fail; without one nothing may match.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return Checksum::from_hex("");
    };
    mac.update(value.as_bytes());
    Checksum::from_digest(&mac.finalize().into_bytes())
}

/// The policy and what was forgotten, together: what everything must pass before it is stored.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    policy: Policy,
    forgotten: Forgotten,
}

impl Screen {
    /// Puts the two together.
    pub fn new(policy: Policy, forgotten: Forgotten) -> Self {
        Self { policy, forgotten }
    }

    /// Whether everything passes as it is.
    pub fn is_open(&self) -> bool {
        self.policy.keeps_all() && self.forgotten.digests.is_empty() && self.forgotten.before.is_none()
    }

    /// How a value is remembered that must not be kept if it comes again.
    pub fn digest(&self, kind: ForgottenKind, value: &str) -> Checksum {
        let value = match kind {
            ForgottenKind::Email => value.trim().to_lowercase(),
            _ => value.trim().to_owned(),
        };
        keyed(&self.forgotten.salt, &format!("{}:{value}", kind.as_str()))
    }

    fn is_forgotten(&self, kind: ForgottenKind, value: &str) -> bool {
        !self.forgotten.digests.is_empty()
            && !value.trim().is_empty()
            && self.forgotten.digests.contains(&(kind, self.digest(kind, value)))
    }

    /// Whether a host is forgotten.
    pub fn is_forgotten_host(&self, host_id: &HostId) -> bool {
        self.is_forgotten(ForgottenKind::Host, host_id.as_str())
    }

    /// A listing: what ended before the day up to which everything is forgotten is taken out, the rest is treated. Answers how
    /// many were taken out.
    pub fn listing(&self, listing: &mut Listing) -> usize {
        let before = listing.meetings.len();
        if let Some(day) = self.forgotten.before {
            let window = listing.window;
            listing
                .meetings
                .retain(|meeting| meeting.listed_day(window) >= day);
        }
        if !self.is_open() {
            for meeting in &mut listing.meetings {
                self.listed(meeting);
            }
        }
        before - listing.meetings.len()
    }

    fn listed(&self, meeting: &mut ListedMeeting) {
        self.meeting(&meeting.uuid, None, &mut meeting.row);
        let said = |name: &str| plain(meeting.row.get(name)).trim().to_owned();
        (meeting.topic, meeting.host_name, meeting.host_email) = (said("topic"), said("host"), said("email"));
    }

    /// A listing's row; the host's id, where it is known.
    pub fn meeting(&self, uuid: &MeetingUuid, host_id: Option<&HostId>, row: &mut Row) {
        if self.is_open() {
            return;
        }
        let erased = self.is_forgotten(ForgottenKind::Email, &plain(row.get("email")))
            || self.is_forgotten(ForgottenKind::Meeting, uuid.as_str())
            || host_id.is_some_and(|id| self.is_forgotten_host(id));
        let treatment = |field| match field {
            Field::HostName | Field::HostEmail if erased => Treatment::Drop,
            field => self.policy.of(field),
        };
        let name = treatment(Field::HostName);
        if name != Treatment::Keep && self.policy.of(Field::Topic) == Treatment::Keep {
            let host = plain(row.get("host"));
            if let Some(topic) = row.get("topic").and_then(Value::as_str) {
                let topic = without_names(topic, &[&host], &self.stand_in(name, &host));
                row.insert("topic".to_owned(), topic.into());
            }
        }
        for (name, field) in OF_HOSTS {
            self.treat(row, name, field, treatment(field));
        }
        if self.policy.drop_unknown {
            row.retain(|name, _| is_known_of_meetings(name));
        }
    }

    /// A detail, put in canonical order anew.
    pub fn detail(&self, detail: Detail) -> Detail {
        if self.is_open() {
            return detail;
        }
        let Detail {
            uuid,
            mut sessions,
            missing,
        } = detail;
        for row in &mut sessions {
            self.session(row);
        }
        Detail {
            missing,
            ..Detail::new(uuid, sessions)
        }
    }

    fn session(&self, row: &mut Row) {
        let known = |kind, names: &[&str]| {
            names
                .iter()
                .any(|name| self.is_forgotten(kind, &plain(row.get(*name))))
        };
        let ids = ["id", "participant_user_id", "participant_uuid", "registrant_id"];
        let erased = known(ForgottenKind::Email, &["email"]) || known(ForgottenKind::Participant, &ids);
        let treatment = |field| {
            if erased {
                Treatment::Drop
            } else {
                self.policy.of(field)
            }
        };
        let name = treatment(Field::UserName);
        if name != Treatment::Keep
            && let Some(said) = row.remove("leave_reason")
        {
            let stand_in = self.stand_in(name, &plain(row.get("user_name")));
            if let Some(reason) = said.as_str().and_then(|said| reason(said, &stand_in)) {
                row.insert("leave_reason".to_owned(), reason.into());
            }
        }
        for (name, field) in OF_PARTICIPANTS {
            self.treat(row, name, field, treatment(field));
        }
        match treatment(Field::AudioCall) {
            Treatment::Keep => {}
            Treatment::Drop => {
                row.remove("audio_call");
            }
            Treatment::Pseudonymise => self.calls(row),
        }
        // Of somebody forgotten nothing may stay of which it is not known what it says.
        if erased || self.policy.drop_unknown {
            row.retain(|name, _| is_known_of_sessions(name));
        }
    }

    fn calls(&self, row: &mut Row) {
        let Some(Value::Array(calls)) = row.get_mut("audio_call") else {
            row.remove("audio_call");
            return;
        };
        for call in calls {
            match call.as_object_mut() {
                Some(call) => {
                    call.retain(|name, _| {
                        matches!(name.as_str(), "call_number" | "call_type" | "zoom_number")
                    });
                    self.treat(call, "call_number", Field::AudioCall, Treatment::Pseudonymise);
                }
                None => *call = Value::Null,
            }
        }
    }

    /// Adds to what is forgotten.
    pub fn remember(&mut self, kind: ForgottenKind, digest: Checksum) {
        self.forgotten.digests.insert((kind, digest));
    }

    /// A host of the account's report, or of a question's answer. Tells whether it is forgotten.
    pub fn host(&self, host: &mut Host) -> bool {
        let erased =
            self.is_forgotten(ForgottenKind::Email, &host.email) || self.is_forgotten_host(&host.host_id);
        self.person(erased, &mut host.email, &mut host.name);
        self.text(Field::Dept, self.policy.of(Field::Dept), &mut host.dept);
        erased
    }

    fn person(&self, erased: bool, email: &mut String, name: &mut String) {
        for (field, value) in [(Field::HostEmail, email), (Field::HostName, name)] {
            let treatment = if erased {
                Treatment::Drop
            } else {
                self.policy.of(field)
            };
            self.text(field, treatment, value);
        }
    }

    /// A host's list of series. It does not say the host's name, which the topics may hold: where that may not be kept they
    /// are left out, and each series keeps the topic that its first meeting had.
    pub fn series(&self, host_id: &HostId, rows: &mut [SeriesRow]) {
        let nameless = self.policy.of(Field::HostName) != Treatment::Keep || self.is_forgotten_host(host_id);
        for row in rows {
            if nameless {
                row.topic.clear();
            }
            self.text(Field::Topic, self.policy.of(Field::Topic), &mut row.topic);
        }
    }

    /// The topic that is stored of a series, whose host had these names.
    pub fn series_topic(&self, erased: bool, names: &BTreeSet<String>, topic: &mut String) {
        let name = if erased {
            Treatment::Drop
        } else {
            self.policy.of(Field::HostName)
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if name != Treatment::Keep && self.policy.of(Field::Topic) == Treatment::Keep {
            let host = names.first().copied().unwrap_or_default();
            *topic = without_names(topic, &names, &self.stand_in(name, host));
        }
        self.text(Field::Topic, self.policy.of(Field::Topic), topic);
    }

    fn text(&self, field: Field, treatment: Treatment, text: &mut String) {
        if treatment != Treatment::Keep {
            let treated = self.value(field, treatment, &Value::String(std::mem::take(text)));
            *text = plain(treated.as_ref());
        }
    }

    fn treat(&self, row: &mut Map<String, Value>, name: &str, field: Field, treatment: Treatment) {
        if treatment != Treatment::Keep
            && let Some(value) = row.remove(name)
            && let Some(treated) = self.value(field, treatment, &value)
        {
            row.insert(name.to_owned(), treated);
        }
    }

    /// What stands in for a value, if anything does; for a list, one for each of its items. Of a field and its value only the
    /// value is somebody's.
    fn value(&self, field: Field, treatment: Treatment, value: &Value) -> Option<Value> {
        if treatment == Treatment::Drop {
            return None;
        }
        match value {
            Value::String(text) if text.trim().is_empty() => Some("".into()),
            Value::String(_) | Value::Number(_) => {
                let text = plain(Some(value));
                let pseudonym = match field {
                    Field::Email | Field::HostEmail => self.policy.email_pseudonym(&text),
                    _ => self.policy.pseudonym(&text),
                };
                pseudonym.map(Value::from)
            }
            Value::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|item| self.value(field, treatment, item))
                    .collect(),
            ),
            Value::Object(pair) if field == Field::TrackingFields => {
                let mut pair = pair.clone();
                pair.retain(|name, _| matches!(name.as_str(), "field" | "key" | "value"));
                self.treat(&mut pair, "value", field, treatment);
                Some(pair.into())
            }
            _ => None,
        }
    }

    fn stand_in(&self, treatment: Treatment, name: &str) -> String {
        let pseudonym = || self.policy.pseudonym(name).filter(|_| !name.trim().is_empty());
        match treatment {
            Treatment::Pseudonymise => pseudonym().unwrap_or_else(|| NAME.to_owned()),
            Treatment::Keep | Treatment::Drop => NAME.to_owned(),
        }
    }
}

/// Whether Zoom documents such a field of a listed meeting.
pub fn is_known_of_meetings(name: &str) -> bool {
    OF_MEETINGS.contains(&name) || OF_HOSTS.iter().any(|(known, _)| *known == name)
}

/// Whether Zoom documents such a field of a participant.
pub fn is_known_of_sessions(name: &str) -> bool {
    OF_STAYS.contains(&name) || OF_PARTICIPANTS.iter().any(|(known, _)| *known == name)
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A reason for leaving, with something in place of the name; nothing of one whose wording is not known, for nobody can tell
/// where the name is in it.
fn reason(said: &str, stand_in: &str) -> Option<String> {
    let said = said.trim();
    if said.is_empty() || NAMELESS_REASONS.contains(&said) {
        return Some(said.to_owned());
    }
    // The last one: a name may say anything, what follows the name may not.
    let (at, verb) = AFTER_THE_NAME
        .iter()
        .filter_map(|verb| Some((said.rfind(verb)?, *verb)))
        .max()?;
    let (name, rest) = (&said[..at], &said[at + verb.len()..]);
    let named = if name.trim().is_empty() {
        verb.to_owned()
    } else {
        format!("{stand_in} {verb}")
    };
    let why = rest
        .strip_prefix("<br>Reason:")
        .map(str::trim)
        .filter(|why| NAMELESS_REASONS.contains(why));
    Some(match why {
        Some(why) => format!("{named}<br>Reason: {why}"),
        None => named,
    })
}

/// A topic with something in place of its host's names, and of whatever stands where Zoom puts the host's name.
fn without_names(topic: &str, names: &[&str], stand_in: &str) -> String {
    let mut topic = topic.to_owned();
    for name in names {
        topic = replace_words(&topic, name, stand_in);
    }
    let default = AFTER_THE_HOST
        .iter()
        .find(|after| topic.trim_end().ends_with(*after));
    match default {
        Some(after) => format!("{stand_in}{after}"),
        None => topic,
    }
}

/// Puts `by` wherever `words` stand in a text, in whatever case, but not inside longer words: `Jo` is not in `Jonas`.
pub fn replace_words(text: &str, words: &str, by: &str) -> String {
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    // Scripts without case are written without spaces, or with endings; there a name may begin or end anywhere.
    let in_word =
        |c: Option<&char>| c.is_some_and(|c| c.is_lowercase() || c.is_uppercase() || c.is_numeric());
    let words: Vec<char> = words.trim().chars().collect();
    if words.is_empty() {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(c) = chars.get(at) {
        let end = at + words.len();
        let same = chars.get(at..end).is_some_and(|here| {
            here.iter()
                .zip(&words)
                .all(|(one, other)| lower(*one) == lower(*other))
        });
        let inside = (at > 0 && in_word(words.first()) && in_word(chars.get(at - 1)))
            || (in_word(words.last()) && in_word(chars.get(end)));
        if same && !inside {
            out.push_str(by);
            at = end;
        } else {
            out.push(*c);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::sim::world::{Spec, World};

    fn policy(treatment: Treatment) -> Policy {
        let key = SecretString::from("0123456789abcdef");
        Policy::new(
            Field::ALL.map(|(field, _)| (field, treatment)).into(),
            treatment != Treatment::Keep,
            Some(key),
        )
        .unwrap()
    }

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    fn forgotten(kind: ForgottenKind, value: &str) -> Forgotten {
        let mut forgotten = Forgotten {
            salt: "salt".into(),
            ..Forgotten::default()
        };
        let digest = Screen::new(Policy::default(), forgotten.clone()).digest(kind, value);
        forgotten.digests.insert((kind, digest));
        forgotten
    }

    #[test]
    fn a_reason_for_leaving_never_keeps_the_name() {
        for (said, wanted) in [
            ("Jill Chill left the meeting.", Some("$name left the meeting.")),
            (
                "Jill got disconnected from the meeting.",
                Some("$name got disconnected from the meeting."),
            ),
            (
                "Jill left the meeting.<br>Reason: Host ended the meeting.",
                Some("$name left the meeting.<br>Reason: Host ended the meeting."),
            ),
            (
                "left the meeting.<br>Reason: Host ended the meeting.",
                Some("left the meeting.<br>Reason: Host ended the meeting."),
            ),
            (
                "Jill left the meeting. left the meeting.<br>Reason: Jill wished so.",
                Some("$name left the meeting."),
            ),
            ("Removed by host.", Some("Removed by host.")),
            ("Jill went for tea.", None),
            ("", Some("")),
        ] {
            assert_eq!(reason(said, NAME).as_deref(), wanted, "{said}");
        }
    }

    #[test]
    fn names_go_from_topics_but_not_from_inside_words() {
        for (topic, name, wanted) in [
            (
                "Jill Chill's Personal Meeting Room",
                "Jill Chill",
                "$name's Personal Meeting Room",
            ),
            ("Jilly's Zoom Meeting", "Jill Chill", "$name's Zoom Meeting"),
            ("1:1 JILL CHILL / Bob", "Jill Chill", "1:1 $name / Bob"),
            ("Jonas on Jo", "Jo", "Jonas on $name"),
            ("王伟的会议", "王伟", "$name的会议"),
            ("Algebra", "", "Algebra"),
        ] {
            assert_eq!(without_names(topic, &[name], NAME), wanted);
        }
    }

    #[test]
    fn one_person_is_one_pseudonym_everywhere() {
        let screen = Screen::new(policy(Treatment::Pseudonymise), Forgotten::default());
        let mut host = Host {
            host_id: HostId::new("h"),
            email: "Jill@Example.edu ".into(),
            name: "Jill".into(),
            dept: String::new(),
            user_type: None,
        };
        screen.host(&mut host);
        let mut meeting =
            row(json!({"uuid": "u", "email": " jill@example.EDU", "host": "Jill", "id": 91_234_567_890_i64}));
        screen.meeting(&MeetingUuid::new("u"), None, &mut meeting);
        let mut session = row(
            json!({"email": "jill@example.edu", "user_name": "Jill", "id": "p", "participant_user_id": "p",
            "ip_address": "192.0.2.1", "internal_ip_addresses": ["198.51.100.7"], "leave_reason": "Jill left the meeting.",
            "audio_call": [{"call_number": "5550100", "call_type": "call-in", "caller": "Jill"}], "new": "Jill"}),
        );
        screen.session(&mut session);
        assert!(is_pseudonym(&host.email), "{}", host.email);
        assert_eq!(
            (&meeting["email"], &session["email"]),
            (&host.email.clone().into(), &host.email.into())
        );
        assert_eq!(
            (&meeting["host"], &session["user_name"]),
            (&host.name.clone().into(), &host.name.clone().into())
        );
        assert_eq!(session["id"], session["participant_user_id"]);
        assert_eq!(
            session["leave_reason"],
            format!("{} left the meeting.", host.name)
        );
        assert_eq!(meeting["id"], 91_234_567_890_i64, "a series is nobody");
        let all = serde_json::to_string(&[&session, &meeting]).unwrap();
        for value in ["ill", "192.0.2.1", "198.51.100.7", "5550100", "\"p\""] {
            assert!(!all.contains(value), "{value}: {all}");
        }
        // Known from outside: HMAC-SHA-256 of the key and the value, as `openssl dgst -sha256 -hmac` computes it.
        assert_eq!(session["email"], "pseudonym-af7973b035bb80c9ab618af2fc53e174");
    }

    #[test]
    fn a_key_is_needed_and_may_not_be_short() {
        let make = |key: Option<&str>| {
            Policy::new(
                [(Field::Email, Treatment::Pseudonymise)].into(),
                false,
                key.map(SecretString::from),
            )
        };
        assert!(make(None).is_none() && make(Some("fifteen bytes..")).is_none());
        assert!(make(Some("sixteen bytes...")).is_some());
    }

    #[test]
    fn no_field_that_the_simulated_account_serves_is_unknown() {
        let world = World::generate(&Spec::week(chrono::DateTime::UNIX_EPOCH));
        for session in world.meetings.iter().flat_map(|meeting| &meeting.sessions) {
            for name in session.row.keys() {
                assert!(is_known_of_sessions(name), "{name}");
            }
        }
    }

    /// Rows with every personal field, some of them of the person who is forgotten.
    fn any_session() -> impl Strategy<Value = Row> {
        let word = "[a-zA-Z]{1,6}";
        (word, prop::bool::ANY, word, "[0-9]{1,3}").prop_map(|(name, hers, device, n)| {
            row(json!({"user_name": name, "email": if hers { "Jill@example.edu".to_owned() } else { format!("{name}@x") },
                "id": n, "join_time": "2026-03-04T10:00:00Z", "user_id": n, "leave_reason": format!("{name} left the meeting."),
                "device_name": device, "camera": device, "audio_call": [{"call_number": n}], "something": name}))
        })
    }

    proptest! {
        #[test]
        fn what_arrives_and_what_is_stored_end_the_same(
            sessions in prop::collection::vec(any_session(), 0..5),
            host in "[a-zA-Z]{1,6}",
            hers in prop::bool::ANY,
        ) {
            let gone = forgotten(ForgottenKind::Email, "jill@example.edu");
            let detail = Detail::new(MeetingUuid::new("u"), sessions);
            let email = if hers { "JILL@example.edu" } else { "other@example.edu" };
            let listed = row(json!({"host": host, "email": email, "topic": format!("{host}'s Zoom Meeting"), "dept": "d"}));
            for treatment in [Treatment::Keep, Treatment::Drop, Treatment::Pseudonymise] {
                let policy = policy(treatment);
                // What is stored bears pseudonyms, so they are forgotten too; under `drop` nobody can be told apart any more.
                let mut both = gone.clone();
                if let Some(email) = policy.email_pseudonym("jill@example.edu") {
                    let digest = Screen::new(Policy::default(), gone.clone()).digest(ForgottenKind::Email, &email);
                    both.digests.insert((ForgottenKind::Email, digest));
                }
                let now = Screen::new(policy.clone(), both.clone());
                let arrived = now.detail(detail.clone());
                prop_assert_eq!(&now.detail(arrived.clone()), &arrived);
                let stored = Screen::new(policy.clone(), Forgotten::default()).detail(detail.clone());
                let later = Screen::new(Policy::default(), both.clone());
                let meeting = |screens: &[&Screen]| {
                    screens.iter().fold(listed.clone(), |mut row, screen| {
                        screen.meeting(&MeetingUuid::new("u"), None, &mut row);
                        row
                    })
                };
                let first = Screen::new(policy, Forgotten::default());
                prop_assert_eq!(meeting(&[&now, &now]), meeting(&[&now]));
                if treatment != Treatment::Drop {
                    prop_assert_eq!(later.detail(stored), arrived.clone());
                    prop_assert_eq!(meeting(&[&first, &later]), meeting(&[&now]));
                }
                prop_assert!(!String::from_utf8(arrived.payload()).unwrap().to_lowercase().contains("jill@"));
            }
        }
    }
}
