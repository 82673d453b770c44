//! Details: every session of one meeting.

use std::{borrow::Cow, collections::HashMap};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Checksum, Json, MeetingUuid, Row, RowView, SessionId, checksum::hex};

/// All that is fetched for one meeting. Like a [`super::Listing`] it exists only once the last page has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The meeting it belongs to.
    pub uuid: MeetingUuid,
    /// Sessions that Zoom counts but does not show. If there are any, this detail may remove no sessions.
    pub missing: u64,
    /// Sessions that Zoom shows but does not count.
    pub surplus: u64,
    /// Rows that came twice; each is kept once.
    pub repeated: u64,
    payload: Box<str>,
    /// Where each row ends in the payload.
    ends: Vec<usize>,
}

/// One stay of one participant: the fields that the program uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The `_id` of its document.
    pub id: SessionId,
    /// The display name, possibly empty.
    pub user_name: Cow<'a, str>,
    /// The email, possibly empty: guests have none.
    pub email: Cow<'a, str>,
    /// When it began, if Zoom says so.
    pub join_time: Option<DateTime<Utc>>,
    /// When it ended, if Zoom says so.
    pub leave_time: Option<DateTime<Utc>>,
    /// Whether Zoom gives a leave time, readable or not.
    pub left: bool,
}

impl Detail {
    /// Puts the sessions in canonical order (by join time, then by their whole text), so that the order of pages changes no checksum and no id.
    pub fn new(uuid: MeetingUuid, rows: Vec<Row>) -> Self {
        Self::put_in_order(uuid, in_order(&rows))
    }

    /// The same for an answer of Zoom with its count of sessions. `counted` is 0 if Zoom gives no count.
    ///
    /// Identical rows that name a participant are one session: a list that changes while it is read shows a row on two pages. Identical rows that
    /// name nobody may be two telephones. Of these, as many are kept as Zoom counts.
    pub fn answered(uuid: MeetingUuid, rows: Vec<Row>, counted: u64) -> Self {
        let mut order = in_order(&rows);
        let shown = order.len();
        order.dedup_by(|row, before| row == before && names_somebody(row.1));
        let counted = usize::try_from(counted).unwrap_or(usize::MAX);
        if counted > 0 {
            let mut surplus = order.len().saturating_sub(counted);
            order.dedup_by(|row, before| {
                let drop = surplus > 0 && row == before;
                surplus -= usize::from(drop);
                drop
            });
        }
        let kept = order.len();
        let mut detail = Self::put_in_order(uuid, order);
        detail.repeated = (shown - kept) as u64;
        if counted > 0 {
            detail.missing = counted.saturating_sub(kept) as u64;
            detail.surplus = kept.saturating_sub(counted) as u64;
        }
        detail
    }

    fn put_in_order(uuid: MeetingUuid, order: Vec<(Cow<'_, str>, &str)>) -> Self {
        let bytes: usize = order.iter().map(|(_, row)| row.len() + 1).sum();
        let mut payload = String::with_capacity(bytes + 2);
        let mut ends = Vec::with_capacity(order.len());
        payload.push('[');
        for (_, row) in &order {
            if !ends.is_empty() {
                payload.push(',');
            }
            payload.push_str(row);
            ends.push(payload.len());
        }
        payload.push(']');
        Self {
            uuid,
            missing: 0,
            surplus: 0,
            repeated: 0,
            payload: payload.into(),
            ends,
        }
    }

    /// A detail as it was kept, already in canonical order. `None` if the payload is no list of objects.
    pub fn kept(uuid: MeetingUuid, payload: String) -> Option<Self> {
        let json = Json::kept(&payload);
        let (mut ends, mut end) = (Vec::new(), 0);
        for item in json.items() {
            // A bracket or a comma precedes each item.
            end += 1 + item.object()?.as_str().len();
            ends.push(end);
        }
        json.is_list().then(|| Self {
            uuid,
            missing: 0,
            surplus: 0,
            repeated: 0,
            ends,
            payload: payload.into(),
        })
    }

    /// Canonical JSON of the sessions: what the catalog keeps.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The checksum of [`Detail::payload`].
    pub fn checksum(&self) -> Checksum {
        Checksum::of_bytes(self.payload.as_bytes())
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each session as Zoom sent it, in canonical order.
    pub fn rows(&self) -> impl Iterator<Item = RowView<'_>> {
        let starts = std::iter::once(1).chain(self.ends.iter().map(|end| end + 1));
        starts
            .zip(&self.ends)
            .filter_map(|(start, end)| Json::kept(self.payload.get(start..*end)?).object())
    }

    /// Each session with the fields that the program uses, in the order of [`Detail::rows`].
    ///
    /// The id is a digest of meeting, participant, join time, and an ordinal among the sessions that share all three. The participant is
    /// `participant_uuid`, else `user_id`. Both are Zoom's, valid inside the meeting only, and not always present.
    pub fn sessions(&self) -> Vec<Session<'_>> {
        let mut ids = Ids::of(self);
        self.rows()
            .map(|row| {
                let mut session = Session {
                    id: SessionId::new(""),
                    user_name: "".into(),
                    email: "".into(),
                    join_time: None,
                    leave_time: None,
                    left: false,
                };
                let mut key = Key::default();
                for (name, value) in row.members() {
                    match name {
                        "email" => session.email = value.text().unwrap_or_default(),
                        "join_time" => session.join_time = value.time(),
                        "leave_time" => {
                            session.leave_time = value.time();
                            session.left = value.text().is_some_and(|text| !text.is_empty());
                        }
                        "user_name" => session.user_name = value.text().unwrap_or_default(),
                        _ => {}
                    }
                    key.see(name, value);
                }
                session.id = ids.next(key);
                session
            })
            .collect()
    }

    /// The `_id` of each session's document, in the order of [`Detail::rows`].
    pub fn session_ids(&self) -> Vec<SessionId> {
        let mut ids = Ids::of(self);
        self.rows()
            .map(|row| {
                let mut key = Key::default();
                row.members().for_each(|(name, value)| key.see(name, value));
                ids.next(key)
            })
            .collect()
    }
}

/// The rows, sorted by join time and then by their whole text.
fn in_order(rows: &[Row]) -> Vec<(Cow<'_, str>, &str)> {
    let mut order: Vec<_> = rows
        .iter()
        .map(|row| (row.text("join_time"), row.as_str()))
        .collect();
    order.sort_unstable();
    order
}

/// Whether a session's row names its participant.
fn names_somebody(row: &str) -> bool {
    let row = Json::kept(row).object();
    ["participant_uuid", "user_id"].iter().any(|name| {
        let value = row.and_then(|row| row.get(name)).map(said);
        value.is_some_and(|said| !said.is_empty())
    })
}

/// The parts of a session's id, as its row gives them.
#[derive(Default)]
struct Key<'a> {
    participant: Option<Cow<'a, str>>,
    user: Option<Json<'a>>,
    joined: Option<Json<'a>>,
}

impl<'a> Key<'a> {
    fn see(&mut self, name: &str, value: Json<'a>) {
        match name {
            "join_time" => self.joined = Some(value),
            "participant_uuid" => self.participant = value.text().filter(|text| !text.is_empty()),
            "user_id" => self.user = Some(value),
            _ => {}
        }
    }
}

/// Makes the ids of a detail's sessions, one after another.
struct Ids<'a> {
    uuid: &'a str,
    seen: HashMap<(Cow<'a, str>, Cow<'a, str>), u32>,
}

impl<'a> Ids<'a> {
    fn of(detail: &'a Detail) -> Self {
        Self {
            uuid: detail.uuid.as_str(),
            seen: HashMap::with_capacity(detail.len()),
        }
    }

    fn next(&mut self, key: Key<'a>) -> SessionId {
        let participant = key
            .participant
            .unwrap_or_else(|| key.user.map(said).unwrap_or_default());
        let joined = key.joined.map(said).unwrap_or_default();
        // Texts and a number can always be written as JSON.
        let written = |ordinal: u32| {
            serde_json::to_vec(&(self.uuid, &participant, &joined, ordinal)).unwrap_or_default()
        };
        let ordinal = self
            .seen
            .get(&(participant.clone(), joined.clone()))
            .map_or(0, |n| n + 1);
        let digest = Sha256::digest(written(ordinal));
        self.seen.insert((participant, joined), ordinal);
        SessionId::new(hex(digest.get(..16).unwrap_or_default()))
    }
}

/// The text of a value, or its JSON form if it is no text. Empty for `null`.
fn said(value: Json<'_>) -> Cow<'_, str> {
    match value.as_str() {
        "null" => "".into(),
        written => value.text().unwrap_or(written.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        Row::read(json).unwrap()
    }

    #[test]
    fn session_ids_do_not_depend_on_the_order_of_pages() {
        let a = row(r#"{"user_id": "1", "join_time": "2026-03-01T10:00:00Z", "leave_time": "x"}"#);
        let b = row(r#"{"user_id": "1", "join_time": "2026-03-01T10:00:00Z", "leave_time": "y"}"#);
        let uuid = MeetingUuid::new("u==");
        let one = Detail::new(uuid.clone(), vec![a.clone(), b.clone()]);
        let other = Detail::new(uuid, vec![b, a]);
        assert_eq!(one, other);
        let ids = one.session_ids();
        assert_ne!(ids[0], ids[1]);
    }

    /// Tests what is kept of rows that Zoom shows twice, and what is reported of counts that do not match.
    #[test]
    fn repeated_rows_are_kept_once_and_wrong_counts_are_reported() {
        let named = r#"{"join_time":"2026-03-01T10:00:00Z","user_id":"1"}"#;
        let other = r#"{"join_time":"2026-03-01T10:00:00Z","user_id":"2"}"#;
        let nobody = r#"{"join_time":"2026-03-01T10:00:00Z","user_id":"","user_name":"Phone"}"#;
        let answered = |rows: &[&str], counted| {
            let rows = rows.iter().map(|json| row(json)).collect();
            let detail = Detail::answered(MeetingUuid::new("u"), rows, counted);
            (detail.len(), detail.repeated, detail.missing, detail.surplus)
        };
        assert_eq!(answered(&[named, other], 2), (2, 0, 0, 0));
        // More rows than counted: because of a repeat, or for another reason.
        assert_eq!(answered(&[named, other, named], 2), (2, 1, 0, 0));
        assert_eq!(answered(&[named, other, nobody], 2), (3, 0, 0, 1));
        // The repeat takes the place of a row that was not shown.
        assert_eq!(answered(&[named, named], 2), (1, 1, 1, 0));
        // Two identical telephones; then one of them is repeated.
        assert_eq!(answered(&[nobody, nobody], 2), (2, 0, 0, 0));
        assert_eq!(answered(&[nobody, nobody, nobody], 2), (2, 1, 0, 0));
        // Without a count, only rows that name somebody are merged.
        assert_eq!(answered(&[named, named, nobody, nobody], 0), (3, 1, 0, 0));
        assert_eq!(answered(&[], 3), (0, 0, 3, 0));
    }

    /// Other ids would duplicate every document of an index that an older version of the program filled.
    #[test]
    fn session_ids_are_stable() {
        let uuid = MeetingUuid::new("gm8s9L+PTEC+FG3sFbd1Cw==");
        let detail = Detail::new(
            uuid,
            vec![
                row(r#"{"participant_uuid": "P-1", "user_id": "7", "join_time": "2026-03-04T10:00:05Z"}"#),
                row(r#"{"participant_uuid": "", "user_id": 16778240, "join_time": 5, "user_name": "x"}"#),
                row(r#"{"participant_uuid": null, "user_id": "a \" b"}"#),
            ],
        );
        let ids: Vec<String> = detail.session_ids().iter().map(ToString::to_string).collect();
        assert_eq!(ids, IDS);
    }

    /// The first 32 digits that `sha256sum` computes of `["gm8s9L+PTEC+FG3sFbd1Cw==",PARTICIPANT,JOIN_TIME,0]`.
    const IDS: [&str; 3] = [
        "997015e1d8a3c45b57f523ef47627295",
        "f34ab9054c33cca8db4375c88acb4c9f",
        "c2a2acfe541da82602498620b0914077",
    ];

    #[test]
    fn a_stored_detail_reads_back_unchanged() {
        let detail = Detail::new(
            MeetingUuid::new("u"),
            vec![row(
                r#"{"leave_time": "2026-03-04T10:30:00Z", "user_name": "\u00e9", "email": "x@example.edu"}"#,
            )],
        );
        let kept = Detail::kept(MeetingUuid::new("u"), detail.payload().to_owned()).unwrap();
        assert_eq!((&kept, kept.len()), (&detail, 1));
        let session = &kept.sessions()[0];
        assert!(session.left);
        assert_eq!((&*session.user_name, &*session.email), ("é", "x@example.edu"));
        assert!(session.join_time.is_none() && session.leave_time.is_some());
        for bad in ["", "{}", "[1]", "7"] {
            assert_eq!(Detail::kept(MeetingUuid::new("u"), bad.to_owned()), None, "{bad}");
        }
        assert!(
            Detail::kept(MeetingUuid::new("u"), "[]".to_owned())
                .unwrap()
                .is_empty()
        );
    }
}
