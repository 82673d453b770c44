//! The screen: the policy and what was forgotten, together. Everything passes it before it is stored.

use std::{borrow::Cow, collections::BTreeSet};

use chrono::NaiveDate;

use super::{
    fields::{OF_HOSTS, OF_PARTICIPANTS, OF_STAYS, is_known_of_meetings, is_known_of_sessions},
    names::{NAME, reason, without_names},
    policy::{Field, Policy, Treatment, keyed},
};
use crate::model::{
    Checksum, Detail, Forgotten, ForgottenKind, Host, HostId, Json, ListedMeeting, MeetingUuid, Row, RowEdit,
    RowView, SeriesRow, Window, json_text,
};

/// The fields by which a participant may be forgotten, in addition to the email.
const PARTICIPANT_IDS: [&str; 4] = ["id", "participant_user_id", "participant_uuid", "registrant_id"];

/// The policy and what was forgotten, together.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    policy: Policy,
    forgotten: Forgotten,
}

impl Screen {
    /// Makes a screen of a policy and of what was forgotten.
    pub fn new(policy: Policy, forgotten: Forgotten) -> Self {
        Self { policy, forgotten }
    }

    /// Whether everything passes unchanged.
    pub fn is_open(&self) -> bool {
        self.policy.keeps_all() && self.forgotten.digests.is_empty() && self.forgotten.before.is_none()
    }

    /// The digest by which a forgotten value is recognised.
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

    /// Whether everything that ended on this day is forgotten.
    pub fn is_forgotten_day(&self, day: NaiveDate) -> bool {
        self.forgotten.before.is_some_and(|before| day < before)
    }

    /// Screens the rows of a listing. Removes what ended before the day up to which everything is forgotten, and treats the rest.
    pub fn meetings(&self, window: Window, meetings: &mut Vec<ListedMeeting>) {
        if self.is_open() {
            return;
        }
        meetings.retain(|meeting| !self.is_forgotten_day(meeting.listed_day(window)));
        for meeting in meetings {
            meeting.row = self.meeting(&meeting.uuid, None, &meeting.row);
            let said = |name| plain(meeting.row.get(name)).trim().to_owned();
            (meeting.topic, meeting.host_name, meeting.host_email) =
                (said("topic"), said("host"), said("email"));
        }
    }

    /// Screens a row of a listing. `host_id` is the host's id, if it is known.
    pub fn meeting(&self, uuid: &MeetingUuid, host_id: Option<&HostId>, row: &Row) -> Row {
        if self.is_open() {
            return row.clone();
        }
        let erased = self.is_forgotten(ForgottenKind::Email, &plain(row.get("email")))
            || self.is_forgotten(ForgottenKind::Meeting, uuid.as_str())
            || host_id.is_some_and(|id| self.is_forgotten_host(id));
        let treatment = |field| match field {
            Field::HostName | Field::HostEmail if erased => Treatment::Drop,
            field => self.policy.of(field),
        };
        let mut edit = RowEdit::new(row.view());
        let name = treatment(Field::HostName);
        if name != Treatment::Keep && self.policy.of(Field::Topic) == Treatment::Keep {
            let host = plain(row.get("host"));
            if let Some(topic) = row.get("topic").and_then(Json::text) {
                edit.set_text(
                    "topic",
                    &without_names(&topic, &[&host], &self.replacement(name, &host)),
                );
            }
        }
        for (name, field) in OF_HOSTS {
            self.treat(&mut edit, name, field, treatment(field));
        }
        if self.policy.drops_unknown() {
            edit.retain(is_known_of_meetings);
        }
        edit.finish()
    }

    /// Screens a detail and puts it in canonical order again.
    pub fn detail(&self, detail: Detail) -> Detail {
        if self.is_open() {
            return detail;
        }
        let rows = detail.rows().map(|row| self.session(row)).collect();
        let mut treated = Detail::new(detail.uuid, rows);
        (treated.missing, treated.surplus, treated.repeated) =
            (detail.missing, detail.surplus, detail.repeated);
        treated
    }

    /// Screens a participant's row.
    pub(super) fn session(&self, row: RowView<'_>) -> Row {
        let known = |kind, name: &str| self.is_forgotten(kind, &plain(row.get(name)));
        let erased = known(ForgottenKind::Email, "email")
            || PARTICIPANT_IDS
                .iter()
                .any(|name| known(ForgottenKind::Participant, name));
        let treatment = |field| match erased {
            true => Treatment::Drop,
            false => self.policy.of(field),
        };
        let mut edit = RowEdit::new(row);
        let name = treatment(Field::UserName);
        if name != Treatment::Keep
            && let Some(said) = edit.remove("leave_reason")
        {
            let replacement = self.replacement(name, &plain(row.get("user_name")));
            let said = Json::kept(&said).text();
            if let Some(reason) = said.and_then(|said| reason(&said, &replacement)) {
                edit.set_text("leave_reason", &reason);
            }
        }
        for (name, field) in OF_PARTICIPANTS {
            self.treat(&mut edit, name, field, treatment(field));
        }
        match treatment(Field::AudioCall) {
            Treatment::Keep => {}
            Treatment::Drop => drop(edit.remove("audio_call")),
            Treatment::Pseudonymise => {
                let calls = edit.remove("audio_call");
                if let Some(calls) = calls.as_deref().map(Json::kept).filter(|calls| calls.is_list()) {
                    edit.set("audio_call", self.calls(calls));
                }
            }
        }
        // No unknown field of a forgotten person may stay.
        if erased || self.policy.drops_unknown() {
            edit.retain(is_known_of_sessions);
        }
        edit.finish()
    }

    fn calls(&self, calls: Json<'_>) -> String {
        list(calls.items().map(|call| match call.object() {
            Some(call) => {
                let mut call = RowEdit::new(call);
                call.retain(|name| matches!(name, "call_number" | "call_type" | "zoom_number"));
                self.treat(
                    &mut call,
                    "call_number",
                    Field::AudioCall,
                    Treatment::Pseudonymise,
                );
                call.finish().as_str().to_owned()
            }
            None => "null".to_owned(),
        }))
    }

    /// Adds a digest to what is forgotten.
    pub fn remember(&mut self, kind: ForgottenKind, digest: Checksum) {
        self.forgotten.digests.insert((kind, digest));
    }

    /// Screens a host. Returns whether the host is forgotten.
    pub fn host(&self, host: &mut Host) -> bool {
        let erased =
            self.is_forgotten(ForgottenKind::Email, &host.email) || self.is_forgotten_host(&host.host_id);
        for (field, value) in [
            (Field::HostEmail, &mut host.email),
            (Field::HostName, &mut host.name),
        ] {
            let treatment = if erased {
                Treatment::Drop
            } else {
                self.policy.of(field)
            };
            self.text(field, treatment, value);
        }
        self.text(Field::Dept, self.policy.of(Field::Dept), &mut host.dept);
        erased
    }

    /// Screens a host's list of series. The list does not contain the host's name, but the topics may. If the name may not be kept, the topics are
    /// left out, and each series keeps the topic that its first meeting had.
    pub fn series(&self, host_id: &HostId, rows: &mut [SeriesRow]) {
        let nameless = self.policy.of(Field::HostName) != Treatment::Keep || self.is_forgotten_host(host_id);
        for row in rows {
            if nameless {
                row.topic.clear();
            }
            self.text(Field::Topic, self.policy.of(Field::Topic), &mut row.topic);
        }
    }

    /// Screens the stored topic of a series. `names` are the names that its host had.
    pub fn series_topic(&self, erased: bool, names: &BTreeSet<String>, topic: &mut String) {
        let name = if erased {
            Treatment::Drop
        } else {
            self.policy.of(Field::HostName)
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if name != Treatment::Keep && self.policy.of(Field::Topic) == Treatment::Keep {
            let host = names.first().copied().unwrap_or_default();
            *topic = without_names(topic, &names, &self.replacement(name, host));
        }
        self.text(Field::Topic, self.policy.of(Field::Topic), topic);
    }

    fn text(&self, field: Field, treatment: Treatment, text: &mut String) {
        if treatment != Treatment::Keep {
            let treated = self.value(field, treatment, Json::kept(&json_text(text)));
            *text = plain(treated.as_deref().map(Json::kept)).into_owned();
        }
    }

    fn treat(&self, row: &mut RowEdit<'_>, name: &'static str, field: Field, treatment: Treatment) {
        if treatment != Treatment::Keep
            && let Some(value) = row.remove(name)
            && let Some(treated) = self.value(field, treatment, Json::kept(&value))
        {
            row.set(name, treated);
        }
    }

    /// The replacement of a value as canonical JSON, if there is one. Each item of a list is replaced. In a pair of field and value, only the value
    /// is personal data.
    fn value(&self, field: Field, treatment: Treatment, value: Json<'_>) -> Option<String> {
        if treatment == Treatment::Drop {
            return None;
        }
        if let Some(text) = value.text_or_number() {
            if text.trim().is_empty() {
                return Some(json_text(""));
            }
            let pseudonym = match field {
                Field::Email | Field::HostEmail => self.policy.email_pseudonym(&text),
                _ => self.policy.pseudonym(&text),
            };
            return pseudonym.map(|pseudonym| json_text(&pseudonym));
        }
        if value.is_list() {
            return Some(list(
                value
                    .items()
                    .filter_map(|item| self.value(field, treatment, item)),
            ));
        }
        let mut pair = RowEdit::new(value.object().filter(|_| field == Field::TrackingFields)?);
        pair.retain(|name| matches!(name, "field" | "key" | "value"));
        self.treat(&mut pair, "value", field, treatment);
        Some(pair.finish().as_str().to_owned())
    }

    fn replacement(&self, treatment: Treatment, name: &str) -> String {
        let pseudonym = || self.policy.pseudonym(name).filter(|_| !name.trim().is_empty());
        match treatment {
            Treatment::Pseudonymise => pseudonym().unwrap_or_else(|| NAME.to_owned()),
            Treatment::Keep | Treatment::Drop => NAME.to_owned(),
        }
    }
}

/// A row of a listing or a detail without anything that may identify a person. Every personal value is empty, and unknown fields are removed. It
/// shows what an account's rows look like, for work on storing them in fewer bytes.
pub fn nameless(row: RowView<'_>) -> Row {
    let mut edit = RowEdit::default();
    for (name, value) in row.members() {
        // A nested value in a field that is documented as plain may contain anything.
        let is_plain = !value.is_list() && value.object().is_none();
        let personal = OF_PARTICIPANTS
            .iter()
            .chain(&OF_HOSTS)
            .any(|(known, _)| *known == name)
            || matches!(name, "leave_reason" | "audio_call");
        if personal {
            let empty = if value.is_list() { "[]" } else { "\"\"" };
            edit.set(name, empty);
        } else if is_plain && (OF_STAYS.contains(&name) || is_known_of_meetings(name)) {
            edit.set(name, value.as_str());
        }
    }
    edit.finish()
}

/// A list in canonical JSON.
fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn plain(value: Option<Json<'_>>) -> Cow<'_, str> {
    value.and_then(Json::text_or_number).unwrap_or_default()
}
