//! A naive model of the screen, over JSON trees: slow and simple. It must agree with the screen on every row, however odd.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{policy, row};
use crate::{
    model::{Checksum, Detail, Forgotten, ForgottenKind, HostId, MeetingUuid, Row},
    privacy::{
        Field, Policy, Screen, Treatment,
        fields::{OF_HOSTS, OF_MEETINGS, OF_PARTICIPANTS, OF_STAYS},
        is_known_of_meetings, is_known_of_sessions,
        names::{NAME, reason, without_names},
    },
};

type Tree = Map<String, Value>;

struct Naive {
    policy: Policy,
    digests: BTreeSet<(ForgottenKind, Checksum)>,
    /// Used for digests only.
    screen: Screen,
}

impl Naive {
    fn is_forgotten(&self, kind: ForgottenKind, value: &str) -> bool {
        !value.trim().is_empty() && self.digests.contains(&(kind, self.screen.digest(kind, value)))
    }

    fn meeting(&self, uuid: &str, host_id: Option<&str>, row: &mut Tree) {
        let erased = self.is_forgotten(ForgottenKind::Email, &plain(row.get("email")))
            || self.is_forgotten(ForgottenKind::Meeting, uuid)
            || host_id.is_some_and(|id| self.is_forgotten(ForgottenKind::Host, id));
        let treatment = |field| match field {
            Field::HostName | Field::HostEmail if erased => Treatment::Drop,
            field => self.policy.of(field),
        };
        let name = treatment(Field::HostName);
        if name != Treatment::Keep && treatment(Field::Topic) == Treatment::Keep {
            let host = plain(row.get("host"));
            if let Some(Value::String(topic)) = row.get_mut("topic") {
                *topic = without_names(topic, &[&host], &self.replacement(name, &host));
            }
        }
        for (name, field) in OF_HOSTS {
            self.treat(row, name, field, treatment(field));
        }
        if self.policy.drops_unknown() {
            row.retain(|name, _| is_known_of_meetings(name));
        }
    }

    fn session(&self, row: &mut Tree) {
        let erased = self.is_forgotten(ForgottenKind::Email, &plain(row.get("email")))
            || ["id", "participant_user_id", "participant_uuid", "registrant_id"]
                .iter()
                .any(|name| self.is_forgotten(ForgottenKind::Participant, &plain(row.get(*name))));
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
            let replacement = self.replacement(name, &plain(row.get("user_name")));
            if let Some(reason) = said.as_str().and_then(|said| reason(said, &replacement)) {
                row.insert("leave_reason".into(), reason.into());
            }
        }
        for (name, field) in OF_PARTICIPANTS {
            self.treat(row, name, field, treatment(field));
        }
        match (treatment(Field::AudioCall), row.get_mut("audio_call")) {
            (Treatment::Keep, _) => {}
            (Treatment::Pseudonymise, Some(Value::Array(calls))) => {
                for call in calls {
                    match call {
                        Value::Object(call) => {
                            call.retain(|name, _| {
                                ["call_number", "call_type", "zoom_number"].contains(&&**name)
                            });
                            self.treat(call, "call_number", Field::AudioCall, Treatment::Pseudonymise);
                        }
                        other => *other = Value::Null,
                    }
                }
            }
            _ => drop(row.remove("audio_call")),
        }
        if erased || self.policy.drops_unknown() {
            row.retain(|name, _| is_known_of_sessions(name));
        }
    }

    fn treat(&self, row: &mut Tree, name: &str, field: Field, treatment: Treatment) {
        if treatment != Treatment::Keep
            && let Some(value) = row.remove(name)
            && let Some(treated) = self.value(field, treatment, value)
        {
            row.insert(name.into(), treated);
        }
    }

    fn value(&self, field: Field, treatment: Treatment, value: Value) -> Option<Value> {
        if treatment == Treatment::Drop {
            return None;
        }
        match value {
            Value::String(text) if text.trim().is_empty() => Some("".into()),
            Value::String(_) | Value::Number(_) => {
                let text = plain(Some(&value));
                let pseudonym = match field {
                    Field::Email | Field::HostEmail => self.policy.email_pseudonym(&text),
                    _ => self.policy.pseudonym(&text),
                };
                pseudonym.map(Value::from)
            }
            Value::Array(items) => {
                let treated = items
                    .into_iter()
                    .filter_map(|item| self.value(field, treatment, item));
                Some(treated.collect())
            }
            Value::Object(mut pair) if field == Field::TrackingFields => {
                pair.retain(|name, _| ["field", "key", "value"].contains(&&**name));
                self.treat(&mut pair, "value", field, treatment);
                Some(pair.into())
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => None,
        }
    }

    fn replacement(&self, treatment: Treatment, name: &str) -> String {
        let pseudonym = self.policy.pseudonym(name).filter(|_| !name.trim().is_empty());
        pseudonym
            .filter(|_| treatment == Treatment::Pseudonymise)
            .unwrap_or_else(|| NAME.into())
    }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Personal and other texts: names, emails in every case, pseudonyms, reasons, topics, numbers, and text that needs an escape.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(
            &[
                "", "  ", "Jill", " jill ", "JILL@example.edu", "jill@example.edu ", "p-7", "Jill \"Q\" \\ \u{1}",
                "王伟", "Jill left the meeting.", "Jill left the meeting.<br>Reason: Host ended the meeting.",
                "Host ended the meeting.", "Jill went for tea.", "Jill's Zoom Meeting", "Talk with Jill, jill", "7",
                "pseudonym-af7973b035bb80c9ab618af2fc53e174",
            ][..]
        ).prop_map(str::to_owned),
        1 => "(?s).{0,8}",
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => any_text().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(json!(7)),
        1 => (-1e9..1e9).prop_map(|number: f64| json!(number)),
    ];
    let names = [
        "field",
        "key",
        "value",
        "call_number",
        "call_type",
        "zoom_number",
        "caller",
        "val\u{1}ue",
        "a\"",
        "",
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(select(names.to_vec()).prop_map(str::to_owned), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Members of every kind: those that a policy treats, those that it leaves, unknown ones, and names that need an escape.
fn any_tree() -> impl Strategy<Value = Tree> {
    let treated = OF_PARTICIPANTS.iter().chain(&OF_HOSTS).map(|(name, _)| *name);
    let treated: Vec<&str> = treated
        .chain(["leave_reason", "audio_call", "topic", "host"])
        .collect();
    let mut others = [&OF_STAYS[..], &OF_MEETINGS[..]].concat();
    others.extend([
        "nickname",
        "email\n",
        "em\u{1}",
        "\"email\"",
        "\\",
        "_\u{2}",
        "host\u{0}",
        "Email",
        "",
    ]);
    let name = prop_oneof![3 => select(treated), 1 => select(others)];
    prop::collection::btree_map(name.prop_map(str::to_owned), any_value(), 0..16)
        .prop_map(|members| members.into_iter().collect())
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let treatment = select(&[Treatment::Keep, Treatment::Drop, Treatment::Pseudonymise][..]);
    let treatments = prop::collection::vec(treatment, Field::ALL.len());
    (treatments, any::<bool>()).prop_map(|(treatments, drop_unknown)| {
        let fields = Field::ALL.iter().map(|(field, _)| *field).zip(treatments);
        Policy::new(fields.collect(), drop_unknown, Some("0123456789abcdef".into())).unwrap()
    })
}

fn any_forgotten() -> impl Strategy<Value = Forgotten> {
    let values = [
        (ForgottenKind::Email, "jill@example.edu"),
        (ForgottenKind::Participant, "p-7"),
        (ForgottenKind::Participant, "7"),
        (ForgottenKind::Host, "h"),
        (ForgottenKind::Meeting, "u"),
    ];
    prop::sample::subsequence(values.to_vec(), 0..=values.len()).prop_map(|values| {
        let mut forgotten = Forgotten {
            salt: "salt".into(),
            ..Forgotten::default()
        };
        let screen = Screen::new(Policy::default(), forgotten.clone());
        forgotten.digests = values
            .into_iter()
            .map(|(kind, value)| (kind, screen.digest(kind, value)))
            .collect();
        forgotten
    })
}

fn both(policy: Policy, forgotten: Forgotten) -> (Screen, Naive) {
    let naive = Naive {
        policy: policy.clone(),
        digests: forgotten.digests.clone(),
        screen: Screen::new(Policy::default(), forgotten.clone()),
    };
    (Screen::new(policy, forgotten), naive)
}

fn read(tree: &Tree) -> Row {
    row(Value::Object(tree.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn sessions_are_treated_as_by_the_naive_model(
        policy in any_policy(),
        forgotten in any_forgotten(),
        trees in prop::collection::vec(any_tree(), 0..4),
    ) {
        let (screen, naive) = both(policy, forgotten);
        let mut treated = Vec::new();
        for tree in &trees {
            let mut wanted = tree.clone();
            naive.session(&mut wanted);
            let wanted = Value::Object(wanted).to_string();
            let row = screen.session(read(tree).view());
            prop_assert_eq!(row.as_str(), wanted);
            treated.push(row);
        }
        let mut detail = Detail::new(MeetingUuid::new("u"), trees.iter().map(read).collect());
        detail.missing = 3;
        let mut wanted = Detail::new(MeetingUuid::new("u"), treated);
        wanted.missing = 3;
        prop_assert_eq!(screen.detail(detail), wanted);
    }

    #[test]
    fn meetings_are_treated_as_by_the_naive_model(
        policy in any_policy(),
        forgotten in any_forgotten(),
        tree in any_tree(),
        (uuid, host_id) in select(vec![("u", None), ("v", None), ("v", Some("h")), ("v", Some("i"))]),
    ) {
        let (screen, naive) = both(policy, forgotten);
        let mut wanted = tree.clone();
        naive.meeting(uuid, host_id, &mut wanted);
        let host_id = host_id.map(HostId::new);
        let row = screen.meeting(&MeetingUuid::new(uuid), host_id.as_ref(), &read(&tree));
        prop_assert_eq!(row.as_str(), Value::Object(wanted).to_string());
    }
}

/// The properties above would also hold if nothing in the rows were ever treated.
#[test]
fn nested_values_are_treated() {
    let screen = Screen::new(policy(Treatment::Pseudonymise), Forgotten::default());
    let meeting =
        json!({"custom_keys": [{"key": "k", "value": "Jill", "note": "Jill"}, "Jill", null, ["Jill"]]});
    let session = json!({"audio_call": ["Jill", {"call_number": 5_550_100, "caller": "Jill", "zoom_number": "5550199"}]});
    let jill = policy(Treatment::Pseudonymise).pseudonym("Jill").unwrap();
    let number = policy(Treatment::Pseudonymise).pseudonym("5550100").unwrap();
    assert_eq!(
        screen.meeting(&MeetingUuid::new("u"), None, &row(meeting)),
        row(json!({"custom_keys": [{"key": "k", "value": jill}, jill, [jill]]}))
    );
    assert_eq!(
        screen.session(row(session).view()),
        row(json!({"audio_call": [null, {"call_number": number, "zoom_number": "5550199"}]}))
    );
}
