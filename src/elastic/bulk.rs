//! Bulk requests: several bodies in parallel, and one outcome for each item, matched by id.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use elasticsearch::http::Method;
use futures::{StreamExt, stream::FuturesUnordered};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Elastic, Error, LiveIndices, Target,
    bodies::{Body, Filler, Op, build, deletions, write_delete_line},
    client::{Answer, BLOCK, RawAnswer, pause},
};
use crate::{
    model::{Deletion, IndexKind, Kept, MeetingUuid, Outcome},
    untrusted::one_line,
};

/// The parts of a bulk answer that are read (`filter_path`).
const ANSWER_FIELDS: &str = "filter_path=items.*._id,items.*._index,items.*.status,items.*.error.type,items.*.error.reason,\
                             items.*.error.caused_by.reason";

/// The result of sending a batch.
#[derive(Debug, Default)]
pub struct Report {
    /// One outcome for each finished meeting. Meetings without an outcome are still due.
    pub outcomes: Vec<(MeetingUuid, Outcome)>,
    /// Bulk requests made, including retries.
    pub bulk_requests: u64,
    /// Documents sent, not counting retries.
    pub documents: u64,
    /// Deletions sent, not counting retries.
    pub deletes: u64,
    /// The error that kept the rest from being finished.
    pub error: Option<Error>,
}

/// The meaning of an item's answer.
#[derive(Debug)]
enum ItemOutcome {
    Done,
    Rejected(String),
    /// To be sent again; with the status, if it can be read.
    Again(Option<u16>),
    Stop(Error),
}

/// The result of sending one body.
#[derive(Debug, Default)]
struct Sent {
    done: Vec<Op>,
    rejected: Vec<(Op, String)>,
    requests: u64,
    error: Option<Error>,
}

/// What the meetings of a batch still lack.
struct Progress {
    /// Unacknowledged items of each meeting.
    missing: Vec<usize>,
    rejected: HashMap<usize, String>,
    report: Report,
}

impl Progress {
    /// Counts the result of a body. Returns whether to go on: an error that stopped one body would stop all.
    fn count(&mut self, sent: Sent) -> bool {
        self.report.bulk_requests += sent.requests;
        for op in sent.done {
            if let Some(missing) = self.missing.get_mut(op.meeting) {
                *missing = missing.saturating_sub(1);
            }
        }
        for (op, reason) in sent.rejected {
            self.rejected.entry(op.meeting).or_insert(reason);
        }
        let goes_on = sent.error.is_none();
        self.report.error = self.report.error.take().or(sent.error);
        goes_on
    }
}

impl Elastic {
    pub(super) async fn send(&self, batch: Arc<Vec<Kept>>, target: impl Fn(IndexKind) -> Target) -> Report {
        let mut progress = Progress {
            missing: Vec::with_capacity(batch.len()),
            rejected: HashMap::new(),
            report: Report::default(),
        };
        for kept in batch.iter() {
            let (sessions, lost) = (kept.detail.len(), kept.lost_sessions.len());
            progress.report.documents += sessions as u64;
            progress.report.deletes += lost as u64;
            progress.missing.push(sessions + lost);
        }
        let documents = self
            .send_sessions(Arc::clone(&batch), &target(IndexKind::Sessions), &mut progress)
            .await;
        if let (Some(documents), None) = (documents, &progress.report.error) {
            self.send_meetings(&batch, documents, &target(IndexKind::Meetings), &mut progress)
                .await;
        }
        let Progress {
            rejected, mut report, ..
        } = progress;
        for (n, reason) in rejected {
            if let Some(kept) = batch.get(n) {
                let rejected = Outcome::Rejected { reason };
                report.outcomes.push((kept.uuid.clone(), rejected));
            }
        }
        report
    }

    /// Sends the sessions' bodies while they are being built. Returns the documents of their meetings; `None` if something stopped it.
    async fn send_sessions(
        &self,
        batch: Arc<Vec<Kept>>,
        target: &Target,
        progress: &mut Progress,
    ) -> Option<Vec<String>> {
        let (limit, compress) = (self.settings.bulk_bytes, self.settings.compress);
        // One body ready and one being built: more would only take memory.
        let (hand_out, mut bodies) = mpsc::channel(1);
        let builder = spawn_blocking(move || build(&batch, limit, compress, &hand_out));
        let mut sending = FuturesUnordered::new();
        let mut salt = 0;
        loop {
            let may_send = sending.len() < self.settings.in_flight.max(1);
            tokio::select! {
                biased;
                Some(sent) = sending.next() => {
                    // Bodies under way are not awaited: sending them again is idempotent.
                    if !progress.count(sent) {
                        return None;
                    }
                }
                Some(body) = bodies.recv(), if may_send => {
                    sending.push(self.send_body(salt, body, target));
                    salt += 1;
                }
                else => break,
            }
        }
        builder.await.ok().flatten()
    }

    /// Sends the documents of meetings. A meeting's document vouches for its sessions, so it is sent only once all of them are acknowledged.
    async fn send_meetings(
        &self,
        batch: &[Kept],
        documents: Vec<String>,
        target: &Target,
        progress: &mut Progress,
    ) {
        let complete = |progress: &Progress, n: usize| {
            progress.missing.get(n) == Some(&0) && !progress.rejected.contains_key(&n)
        };
        let mut filler = Filler::new(self.settings.bulk_bytes, self.settings.compress);
        let (mut bodies, mut sent) = (Vec::new(), Vec::new());
        for (n, (kept, document)) in batch.iter().zip(documents).enumerate() {
            if complete(progress, n) {
                bodies.extend(filler.add(n, kept.uuid.as_str(), |out| out.push_str(&document)));
                sent.push((n, kept));
            }
        }
        bodies.extend(filler.take());
        progress.report.documents += sent.len() as u64;
        for (n, _) in &sent {
            if let Some(missing) = progress.missing.get_mut(*n) {
                *missing = 1;
            }
        }
        self.send_bodies(bodies, target, progress).await;
        for (n, kept) in sent {
            if complete(progress, n) {
                progress
                    .report
                    .outcomes
                    .push((kept.uuid.clone(), Outcome::Published));
            }
        }
    }

    /// Deletes documents by id from the live indices. Returns the deletions that are done. The others are still due.
    pub async fn erase(&self, live: &LiveIndices, batch: &[Deletion]) -> (Vec<Deletion>, Report) {
        let mut progress = Progress {
            missing: vec![1; batch.len()],
            rejected: HashMap::new(),
            report: Report {
                deletes: batch.len() as u64,
                ..Report::default()
            },
        };
        for kind in IndexKind::ALL {
            let documents = batch
                .iter()
                .enumerate()
                .filter(|(_, one)| one.index == kind)
                .map(|(n, one)| (n, one.id.as_str(), one.version));
            let bodies = deletions(documents, self.settings.bulk_bytes, self.settings.compress);
            if progress.report.error.is_none() {
                let target = self.target(live, kind);
                self.send_bodies(bodies, &target, &mut progress).await;
            }
        }
        let Progress {
            missing,
            rejected,
            mut report,
        } = progress;
        if let (None, Some(said)) = (&report.error, rejected.into_values().next()) {
            report.error = Some(Error::Refused {
                what: "deleting a document".to_owned(),
                status: 400,
                said,
            });
        }
        let gone = batch.iter().zip(missing).filter(|(_, missing)| *missing == 0);
        (gone.map(|(one, _)| one.clone()).collect(), report)
    }

    async fn send_bodies(&self, bodies: Vec<Body>, target: &Target, progress: &mut Progress) {
        let mut sending = futures::stream::iter(bodies.into_iter().enumerate())
            .map(|(n, body)| self.send_body(n as u64, body, target))
            .buffer_unordered(self.settings.in_flight.max(1));
        while let Some(sent) = sending.next().await {
            if !progress.count(sent) {
                return;
            }
        }
    }

    /// Deletes documents of an index by id, unless a newer version was written since.
    pub(super) async fn delete_from(&self, index: &str, documents: &[(String, i64)]) -> Result<(), Error> {
        let documents = documents.iter().map(|(id, version)| (0, id.as_str(), *version));
        let target = Target {
            name: index.to_owned(),
            is_alias: false,
            index: index.to_owned(),
        };
        let bodies = deletions(documents, self.settings.bulk_bytes, self.settings.compress);
        for (n, body) in bodies.into_iter().enumerate() {
            let sent = self.send_body(n as u64, body, &target).await;
            if let Some(error) = sent.error {
                return Err(error);
            }
            if let Some((op, said)) = sent.rejected.into_iter().next() {
                return Err(Error::Refused {
                    what: format!("to delete {} from {index}", op.id),
                    status: 400,
                    said,
                });
            }
        }
        Ok(())
    }

    /// Sends one bulk request. The number of requests in parallel is limited.
    async fn bulk(&self, path: &str, body: &Body) -> Result<RawAnswer, Error> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.ok();
        let (wire, compressed) = body.wire();
        self.call_once(Method::Post, path, Some(wire), compressed).await
    }

    /// Sends a body until every item has an outcome or no retry is left.
    async fn send_body(&self, salt: u64, body: Body, target: &Target) -> Sent {
        // Without this, a bulk request would create a deleted index again, with guessed types.
        let alias = if target.is_alias {
            "require_alias=true&"
        } else {
            ""
        };
        let path = format!("/{}/_bulk?{alias}{ANSWER_FIELDS}", target.name);
        let mut sent = Sent::default();
        let mut delays = self.delays(salt);
        // Whether a request of this form was ever accepted. If not, a 400 says nothing about the items in it.
        let mut taken = false;
        let mut waiting = vec![body];
        while let Some(mut body) = waiting.pop() {
            sent.requests += 1;
            let (mut wanted, mut shrunk) = (None, false);
            let failure = match self.bulk(&path, &body).await {
                Err(error @ (Error::Tls { .. } | Error::Redirected { .. })) => {
                    sent.error = Some(error);
                    return sent;
                }
                Err(error) => error,
                Ok(raw) if raw.status == 200 => {
                    let asked = body.ops.len();
                    let sorted = match read_items(&raw.text) {
                        Some(items) => {
                            taken = true;
                            sort_items(&items, std::mem::take(&mut body.ops), target, &mut sent)
                        }
                        None => {
                            let again = std::mem::take(&mut body.ops);
                            Ok(Some((again, malformed("it has no items".to_owned()))))
                        }
                    };
                    match sorted {
                        Ok(None) => {
                            // The body is finished: the backoff starts anew.
                            delays = self.delays(salt);
                            continue;
                        }
                        Ok(Some((again, failure))) => {
                            shrunk = again.len() < asked;
                            if shrunk {
                                // Some items were accepted, so there is progress: the backoff starts anew.
                                delays = self.delays(salt);
                            }
                            body = if shrunk {
                                body.of(again)
                            } else {
                                body.with_all(again)
                            };
                            failure
                        }
                        Err(error) => {
                            sent.error = Some(error);
                            return sent;
                        }
                    }
                }
                Ok(raw) => {
                    let refused = self
                        .refused_whole(&path, &mut body, target, raw.into(), &mut taken, &mut sent)
                        .await;
                    match refused {
                        Refused::Retry(error, after) => {
                            wanted = after;
                            error
                        }
                        Refused::Split => {
                            waiting.extend(body.halves());
                            continue;
                        }
                        Refused::Judged => continue,
                        Refused::Stop(error) => {
                            sent.error = Some(error);
                            return sent;
                        }
                    }
                }
            };
            let Some(pause) = pause(delays.next(), wanted) else {
                sent.error = Some(failure);
                return sent;
            };
            tracing::debug!(%failure, items = body.ops.len(), "sending again");
            tokio::time::sleep(pause).await;
            // Smaller bodies are refused less often when memory is short. A body that has shrunk already is not halved.
            if shrunk {
                waiting.push(body);
            } else {
                waiting.extend(body.halves());
            }
        }
        sent
    }

    /// Decides what to do with a body that was refused as a whole.
    async fn refused_whole(
        &self,
        path: &str,
        body: &mut Body,
        target: &Target,
        answer: Answer,
        taken: &mut bool,
        sent: &mut Sent,
    ) -> Refused {
        if answer.status == 413 || is_refusal(&answer) {
            if body.ops.len() > 1 {
                // One item can spoil a whole body (an id that is too long, for example). Halving finds it.
                return Refused::Split;
            }
            let reason = if answer.status == 413 {
                "larger than Elasticsearch takes at once (HTTP 413)".to_owned()
            } else {
                if !*taken {
                    sent.requests += 1;
                    match self.is_taken(path).await {
                        Ok(true) => *taken = true,
                        Ok(false) => {
                            let what = format!("every bulk request to {}", target.name);
                            return Refused::Stop(self.refused(&what, &answer));
                        }
                        Err(error) => return Refused::Retry(error, None),
                    }
                }
                answer.said()
            };
            let ops = std::mem::take(&mut body.ops).into_iter();
            sent.rejected.extend(ops.map(|op| (op, reason.clone())));
            return Refused::Judged;
        }
        if matches!(answer.status, 429 | 500..=599) && !answer.is_block() {
            let error = self.refused("", &answer);
            return Refused::Retry(error, answer.retry_after);
        }
        Refused::Stop(self.refused(&format!("a bulk request to {}", target.name), &answer))
    }

    /// Whether a request of this form is accepted. Tries it with the deletion of a document that never existed.
    async fn is_taken(&self, path: &str) -> Result<bool, Error> {
        let mut probe = String::new();
        write_delete_line(&mut probe, "zoom-harvester-probe", 1);
        let answer = self
            .call_once(Method::Post, path, Some(probe.into()), false)
            .await?;
        match answer.status {
            200 => Ok(true),
            400 => Ok(false),
            _ => Err(self.refused("a bulk request", &answer.into())),
        }
    }
}

/// What to do after a whole body was refused.
enum Refused {
    /// Send it again, after at least this pause.
    Retry(Error, Option<std::time::Duration>),
    /// Send its two halves.
    Split,
    /// Its only item is finished.
    Judged,
    /// Send nothing more.
    Stop(Error),
}

/// Whether Elasticsearch itself refused the whole body, and not a proxy before it.
fn is_refusal(answer: &Answer) -> bool {
    answer.status == 400 && answer.body["error"].is_object()
}

fn malformed(reason: String) -> Error {
    Error::Malformed {
        what: "a bulk request".into(),
        reason,
    }
}

/// The answer to one item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Item<'a> {
    id: Cow<'a, str>,
    index: Cow<'a, str>,
    /// 0 if it cannot be read.
    status: u16,
    /// The error, as JSON.
    error: Option<Cow<'a, str>>,
}

/// Reads the items of an answer; `None` if it has no list of items.
fn read_items(text: &str) -> Option<Vec<Item<'_>>> {
    #[derive(Deserialize)]
    struct Items<'a> {
        #[serde(borrow)]
        items: Vec<Action<'a>>,
    }
    #[derive(Deserialize)]
    struct Action<'a> {
        #[serde(borrow, alias = "delete")]
        index: Said<'a>,
    }
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow, rename = "_id")]
        id: Cow<'a, str>,
        #[serde(borrow, rename = "_index")]
        index: Cow<'a, str>,
        status: u16,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    if let Ok(Items { items }) = serde_json::from_str(text) {
        let items = items.into_iter().map(|Action { index: said }| Item {
            id: said.id,
            index: said.index,
            status: said.status,
            error: said.error.map(|error| error.get().into()),
        });
        return Some(items.collect());
    }
    // The answer does not have the expected form: read what can be read.
    let answer: Value = serde_json::from_str(text).ok()?;
    let items = answer["items"].as_array()?.iter();
    let said = items
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::values);
    let text = |value: &Value| Cow::Owned(value.as_str().unwrap_or_default().to_owned());
    let items = said.map(|said| Item {
        id: text(&said["_id"]),
        index: text(&said["_index"]),
        status: said["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0),
        error: Some(&said["error"])
            .filter(|error| !error.is_null())
            .map(|error| error.to_string().into()),
    });
    Some(items.collect())
}

/// Sorts items by their answers. Returns the items to send again, if any, and the reason.
fn sort_items(
    items: &[Item<'_>],
    ops: Vec<Op>,
    target: &Target,
    sent: &mut Sent,
) -> Result<Option<(Vec<Op>, Error)>, Error> {
    // Answers are in the order of the items, unless something on the way has shuffled them.
    let mut by_id: Option<HashMap<&str, &Item<'_>>> = None;
    let (mut again, mut unanswered, mut last) = (Vec::new(), 0, None);
    for (place, op) in ops.into_iter().enumerate() {
        let item = items.get(place).filter(|item| item.id == op.id).or_else(|| {
            let by_id = by_id.get_or_insert_with(|| items.iter().map(|item| (&*item.id, item)).collect());
            by_id.get(op.id.as_str()).copied()
        });
        match item.map(|item| judge(item, target)) {
            Some(ItemOutcome::Done) => sent.done.push(op),
            Some(ItemOutcome::Rejected(reason)) => sent.rejected.push((op, reason)),
            Some(ItemOutcome::Again(Some(status))) => {
                last = Some(status);
                again.push(op);
            }
            // An item without an answer is not acknowledged, whatever else the answer says.
            Some(ItemOutcome::Again(None)) | None => {
                unanswered += 1;
                again.push(op);
            }
            Some(ItemOutcome::Stop(error)) => return Err(error),
        }
    }
    let failure = match last {
        Some(status) => Error::Busy { status, after: None },
        None => malformed(format!("{unanswered} items have no answer in it")),
    };
    Ok((!again.is_empty()).then_some((again, failure)))
}

fn judge(item: &Item<'_>, target: &Target) -> ItemOutcome {
    let (status, index) = (item.status, &*item.index);
    // Parsed only if something went wrong.
    let error: Value = match &item.error {
        Some(error) => serde_json::from_str(error).unwrap_or_default(),
        None => Value::Null,
    };
    let kind = error["type"].as_str().unwrap_or_default();
    let said = || {
        let reason = error["reason"].as_str().unwrap_or_default();
        let cause = error["caused_by"]["reason"]
            .as_str()
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        one_line(&format!("{kind}: {reason}{cause}"))
    };
    let what = || format!("writing to {}", target.name);
    match status {
        // Not the document's fault, and a short wait does not help: a full disk answers 429 here.
        403 | 429 if kind == BLOCK => ItemOutcome::Stop(Error::ReadOnly { said: said() }),
        401 => ItemOutcome::Stop(Error::Unauthorised),
        403 => ItemOutcome::Stop(Error::Forbidden {
            what: what(),
            said: said(),
        }),
        404 if item.error.is_some() => ItemOutcome::Stop(Error::IndexMissing {
            alias: target.name.clone(),
        }),
        // No index was found for the request (it is closed, or one of several), so no document was looked at.
        200..=499 if status != 429 && target.is_alias && index == target.name => {
            ItemOutcome::Stop(Error::Refused {
                what: what(),
                status,
                said: said(),
            })
        }
        // The alias was moved: an answer from another index is no acknowledgement.
        200..=499 if status != 429 && !index.is_empty() && index != target.index => {
            ItemOutcome::Stop(Error::Moved {
                alias: target.name.clone(),
                index: one_line(index),
            })
        }
        200..=499 if status != 429 && index.is_empty() => ItemOutcome::Again(None),
        200..=299 => ItemOutcome::Done,
        // The document to delete is not there.
        404 => ItemOutcome::Done,
        // A newer version is there, so this one is done.
        409 if kind == "version_conflict_engine_exception" => ItemOutcome::Done,
        400..=499 if status != 429 => ItemOutcome::Rejected(said()),
        429 | 500..=599 => ItemOutcome::Again(Some(status)),
        _ => ItemOutcome::Again(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_item_status_has_its_outcome() {
        let target = Target {
            name: "zoom-sessions".into(),
            is_alias: true,
            index: "zoom-sessions-000001".into(),
        };
        let judged_in = |index: &str, status: u16, error: Value| {
            let answer = json!({"items": [{"index": {"_id": "x", "_index": index, "status": status, "error": error}}]});
            let answer = answer.to_string();
            let items = read_items(&answer).unwrap();
            format!("{status} {index} {:?}", judge(&items[0], &target))
        };
        let judged = |status, error| judged_in(&target.index, status, error);
        let why = |kind: &str| json!({"type": kind, "reason": "r"});
        insta::assert_snapshot!(
            [
                judged(201, Value::Null),
                judged(200, Value::Null),
                judged(404, Value::Null),
                judged(404, why("index_not_found_exception")),
                judged(409, why("version_conflict_engine_exception")),
                judged(409, why("some_other_conflict")),
                judged(400, why("document_parsing_exception")),
                judged(400, why("mapper_parsing_exception")),
                judged(403, why("cluster_block_exception")),
                judged(403, why("security_exception")),
                judged(429, why("cluster_block_exception")),
                judged(429, why("es_rejected_execution_exception")),
                judged(503, why("unavailable_shards_exception")),
                judged(0, Value::Null),
                judged_in("zoom-sessions-000002", 201, Value::Null),
                judged_in(
                    "zoom-sessions-000002",
                    409,
                    why("version_conflict_engine_exception")
                ),
                judged_in("zoom-sessions", 400, why("index_closed_exception")),
                judged_in("zoom-sessions", 429, why("es_rejected_execution_exception")),
                judged_in("", 200, Value::Null),
            ]
            .join("\n")
        );
    }

    fn ops(ids: &[&str]) -> Vec<Op> {
        let bodies = deletions(ids.iter().enumerate().map(|(n, id)| (n, *id, 1)), 1 << 20, false);
        bodies.into_iter().flat_map(|body| body.ops).collect()
    }

    /// The ids of acknowledged items, and of items to be sent again.
    fn sorted(answer: &Value, ids: &[&str]) -> (Vec<String>, Vec<String>) {
        let target = Target {
            name: "i".into(),
            is_alias: false,
            index: "i".into(),
        };
        let (answer, mut sent) = (answer.to_string(), Sent::default());
        let items = read_items(&answer).unwrap();
        let again = sort_items(&items, ops(ids), &target, &mut sent).unwrap();
        let ids = |ops: Vec<Op>| ops.into_iter().map(|op| op.id).collect();
        (ids(sent.done), ids(again.map(|(ops, _)| ops).unwrap_or_default()))
    }

    #[test]
    fn items_are_matched_by_id_in_any_order() {
        let item = |id: &str, status: u16| json!({"index": {"_id": id, "_index": "i", "status": status}});
        let all = |items: Vec<Value>| json!({"items": items});
        let told = |done: &[&str], again: &[&str]| {
            let owned = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
            (owned(done), owned(again))
        };
        for (items, expected) in [
            (vec![item("a", 201), item("b", 201)], told(&["a", "b"], &[])),
            // Shuffled; one missing; one of another item; the same answer twice.
            (vec![item("b", 429), item("a", 201)], told(&["a"], &["b"])),
            (vec![item("b", 201)], told(&["b"], &["a"])),
            (vec![item("x", 201), item("b", 201)], told(&["b"], &["a"])),
            (vec![item("a", 201), item("a", 201)], told(&["a"], &["b"])),
            (vec![], told(&[], &["a", "b"])),
            // An unreadable answer costs only its own item.
            (vec![json!(7), item("b", 201)], told(&["b"], &["a"])),
            (
                vec![json!({"index": {"_id": 5, "status": "x"}}), item("a", 200)],
                told(&["a"], &["b"]),
            ),
            (
                vec![json!({"delete": {"_id": "a", "_index": "i", "status": 404}})],
                told(&["a"], &["b"]),
            ),
        ] {
            assert_eq!(sorted(&all(items.clone()), &["a", "b"]), expected, "{items:?}");
        }
        for bad in ["", "{}", "[]", r#"{"items": 7}"#, "<html>"] {
            assert_eq!(read_items(bad), None, "{bad}");
        }
    }
}
