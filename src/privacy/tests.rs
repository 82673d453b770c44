//! Tests that a person has one pseudonym, that names do not stay where they may not, and that arriving and stored data end up the same.

mod naive;

use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    fields::{OF_HOSTS, OF_PARTICIPANTS},
    names::{NAME, reason, without_names},
    *,
};
use crate::model::{Detail, Forgotten, ForgottenKind, Host, HostId, Json, MeetingUuid, Row, is_pseudonym};
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
    Row::read(&value.to_string()).unwrap()
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
fn names_are_removed_from_topics_but_not_from_inside_words() {
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
fn a_person_has_the_same_pseudonym_everywhere() {
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
    meeting = screen.meeting(&MeetingUuid::new("u"), None, &meeting);
    let mut session = row(
        json!({"email": "jill@example.edu", "user_name": "Jill", "id": "p", "participant_user_id": "p",
        "ip_address": "192.0.2.1", "internal_ip_addresses": ["198.51.100.7"], "leave_reason": "Jill left the meeting.",
        "audio_call": [{"call_number": "5550100", "call_type": "call-in", "caller": "Jill"}], "new": "Jill"}),
    );
    session = screen.session(session.view());
    assert!(is_pseudonym(&host.email), "{}", host.email);
    assert_eq!(
        (&*meeting.text("email"), &*session.text("email")),
        (&*host.email, &*host.email)
    );
    assert_eq!(
        (&*meeting.text("host"), &*session.text("user_name")),
        (&*host.name, &*host.name)
    );
    assert_eq!(session.get("id"), session.get("participant_user_id"));
    assert_eq!(
        session.text("leave_reason"),
        format!("{} left the meeting.", host.name)
    );
    assert_eq!(
        meeting.get("id").and_then(Json::whole_number),
        Some(91_234_567_890),
        "a series is nobody"
    );
    let all = serde_json::to_string(&[&session, &meeting]).unwrap();
    for value in ["ill", "192.0.2.1", "198.51.100.7", "5550100", "\"p\""] {
        assert!(!all.contains(value), "{value}: {all}");
    }
    // Computed independently: HMAC-SHA-256 of the key and the value, by `openssl dgst -sha256 -hmac`.
    assert_eq!(
        session.text("email"),
        "pseudonym-af7973b035bb80c9ab618af2fc53e174"
    );
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

/// Rows with personal fields, some of them of the forgotten person.
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
    fn a_policy_gives_the_same_result_for_new_and_for_stored_rows(
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
            // Stored rows contain pseudonyms, so the pseudonyms are forgotten too. Under `drop`, persons can no longer be distinguished.
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
                screens.iter().fold(listed.clone(), |row, screen| {
                        screen.meeting(&MeetingUuid::new("u"), None, &row)
                    })
            };
            let first = Screen::new(policy, Forgotten::default());
            prop_assert_eq!(meeting(&[&now, &now]), meeting(&[&now]));
            if treatment != Treatment::Drop {
                prop_assert_eq!(later.detail(stored), arrived.clone());
                prop_assert_eq!(meeting(&[&first, &later]), meeting(&[&now]));
            }
            prop_assert!(!arrived.payload().to_lowercase().contains("jill@"));
        }
    }
}

/// Collects every text and number in a value.
fn said(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => out.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| said(item, out)),
        Value::Object(members) => members.values().for_each(|value| said(value, out)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Asserts that a treated row has only empty members and unchanged members that name nobody.
fn assert_nameless(tree: Value, personal: &[&str]) {
    let tree = tree.as_object().unwrap();
    let sample = nameless(row(Value::Object(tree.clone())).view());
    let left: Value = serde_json::from_str(sample.as_str()).unwrap();
    let mut texts = Vec::new();
    said(&left, &mut texts);
    for name in personal {
        let mut values = Vec::new();
        said(&tree[*name], &mut values);
        for value in values.iter().filter(|value| !value.trim().is_empty()) {
            assert!(!texts.contains(value), "{name}: {sample:?}");
        }
    }
    for (name, value) in left.as_object().unwrap() {
        let empty = *value == json!("") || *value == json!([]);
        assert!(is_known_of_sessions(name) || is_known_of_meetings(name), "{name}");
        assert!(
            empty || (!personal.contains(&&**name) && *value == tree[name]),
            "{name}"
        );
    }
}

#[test]
fn a_treated_sample_names_nobody() {
    let of_sessions: Vec<&str> = OF_PARTICIPANTS
        .iter()
        .map(|(name, _)| *name)
        .chain(["leave_reason", "audio_call", "new"])
        .collect();
    let of_meetings: Vec<&str> = OF_HOSTS.iter().map(|(name, _)| *name).chain(["new"]).collect();
    let world = World::generate(&Spec::week(chrono::DateTime::UNIX_EPOCH));
    let mut calls = 0;
    for meeting in &world.meetings {
        for session in &meeting.sessions {
            let mut tree = session.row.clone();
            calls += tree["audio_call"].as_array().unwrap().len();
            tree.insert(
                "new".into(),
                json!({"nickname": [format!("new {}", meeting.uuid)]}),
            );
            let device = tree["device"].clone();
            let sample = nameless(row(Value::Object(tree.clone())).view());
            assert_eq!(
                sample.text("device"),
                device.as_str().unwrap(),
                "what names nobody is kept"
            );
            assert_nameless(tree.into(), &of_sessions);
        }
        let host = &world.hosts[meeting.host];
        assert_nameless(
            json!({"uuid": meeting.uuid, "host": host.name, "email": host.email, "dept": format!("{} dept", host.dept),
                   "topic": meeting.topic, "tracking_fields": [{"field": "Term", "value": host.name}],
                   "custom_keys": [{"key": "k", "value": host.email}], "new": format!("new {}", host.name), "has_video": true}),
            &of_meetings,
        );
    }
    assert!(calls > 0, "somebody called in");
    let unknown = row(
        json!({"nickname": "Jill", "topic": "Jill's", "tracking_fields": [{"field": "f", "value": "Jill"}]}),
    );
    assert_eq!(
        nameless(unknown.view()).as_str(),
        r#"{"topic":"","tracking_fields":[]}"#
    );
    // A nested value in a field that is documented as plain may contain a name.
    let nested = row(json!({"device": {"owner": "Jill"}, "os": ["Jill"], "client": "Zoom"}));
    assert_eq!(nameless(nested.view()).as_str(), r#"{"client":"Zoom"}"#);
}

#[test]
fn a_policy_that_keeps_everything_changes_nothing() {
    let detail = Detail::new(MeetingUuid::new("u"), vec![row(json!({"user_name": "Jill"}))]);
    let (there, wanted) = (detail.payload().as_ptr(), detail.clone());
    let passed = Screen::default().detail(detail);
    assert_eq!(passed, wanted);
    assert_eq!(passed.payload().as_ptr(), there, "not even copied");
}
