//! Bulk requests: bodies of bounded size, several at once, and one outcome an item, told apart by id.

use std::collections::HashMap;

use elasticsearch::http::Method;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{Answer, BLOCK, Elastic, Error, Standing, Target, document, pause};
use crate::{
    model::{Deletion, Document, IndexKind, Kept, MeetingUuid, Outcome},
    text::one_line,
};

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each meeting that is at its end; meetings without one are still due.
    pub outcomes: Vec<(MeetingUuid, Outcome)>,
    /// Bulk requests made, repetitions counted.
    pub bulk_requests: u64,
    /// Documents sent, repetitions not counted.
    pub documents: u64,
    /// Deletions sent, repetitions not counted.
    pub deletes: u64,
    /// What kept the rest from its end.
    pub error: Option<Error>,
}

/// One item: whose it is, its id, and the lines that ask for it.
#[derive(Clone, Debug)]
struct Op {
    meeting: usize,
    id: String,
    lines: Vec<u8>,
}

/// What an item's answer means.
#[derive(Debug)]
enum ItemOutcome {
    Done,
    Rejected(String),
    /// With the status, if there is one that can be read.
    Again(Option<u16>),
    Stop(Error),
}

/// The end of one body.
#[derive(Debug, Default)]
struct Sent {
    done: Vec<Op>,
    rejected: Vec<(Op, String)>,
    requests: u64,
    error: Option<Error>,
}

impl Elastic {
    pub(super) async fn send(&self, batch: &[Kept], target: impl Fn(IndexKind) -> Target) -> Report {
        let mut report = Report::default();
        let mut missing: Vec<usize> = vec![0; batch.len()];
        let mut rejected: HashMap<usize, String> = HashMap::new();
        let mut ops = Vec::new();
        for (meeting, kept) in batch.iter().enumerate() {
            let before = ops.len();
            ops.extend(document::sessions(kept).map(|document| index_op(meeting, &document)));
            report.documents += (ops.len() - before) as u64;
            report.deletes += kept.lost_sessions.len() as u64;
            let lost = kept.lost_sessions.iter();
            ops.extend(lost.map(|id| delete_op(meeting, id.as_str(), kept.revision)));
            if let Some(missing) = missing.get_mut(meeting) {
                *missing = ops.len() - before;
            }
        }
        self.send_ops(
            ops,
            &target(IndexKind::Sessions),
            &mut missing,
            &mut rejected,
            &mut report,
        )
        .await;

        // A meeting's document vouches for its sessions: it goes once all of them are acknowledged, and not before.
        let complete: Vec<usize> = (0..batch.len())
            .filter(|n| missing.get(*n) == Some(&0) && !rejected.contains_key(n))
            .collect();
        if report.error.is_none() {
            let ops: Vec<Op> = complete
                .iter()
                .filter_map(|n| batch.get(*n).map(|kept| index_op(*n, &document::meeting(kept))))
                .collect();
            report.documents += ops.len() as u64;
            for n in &complete {
                if let Some(missing) = missing.get_mut(*n) {
                    *missing = 1;
                }
            }
            self.send_ops(
                ops,
                &target(IndexKind::Meetings),
                &mut missing,
                &mut rejected,
                &mut report,
            )
            .await;
            for n in complete {
                if missing.get(n) == Some(&0)
                    && let Some(kept) = batch.get(n)
                {
                    report.outcomes.push((kept.uuid.clone(), Outcome::Published));
                }
            }
        }
        for (n, reason) in rejected {
            if let Some(kept) = batch.get(n) {
                report
                    .outcomes
                    .push((kept.uuid.clone(), Outcome::Rejected { reason }));
            }
        }
        report
    }

    /// Deletes documents by id from the indices that were met. Answers those that are gone; the rest is still due.
    pub async fn erase(&self, standing: &Standing, batch: &[Deletion]) -> (Vec<Deletion>, Report) {
        let mut report = Report {
            deletes: batch.len() as u64,
            ..Report::default()
        };
        let mut missing = vec![1; batch.len()];
        let mut rejected = HashMap::new();
        for kind in IndexKind::ALL {
            let ops: Vec<Op> = batch
                .iter()
                .enumerate()
                .filter(|(_, one)| one.index == kind)
                .map(|(n, one)| delete_op(n, &one.id, one.version))
                .collect();
            if report.error.is_none() && !ops.is_empty() {
                let target = self.target(standing, kind);
                self.send_ops(ops, &target, &mut missing, &mut rejected, &mut report)
                    .await;
            }
        }
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

    async fn send_ops(
        &self,
        ops: Vec<Op>,
        target: &Target,
        missing: &mut [usize],
        rejected: &mut HashMap<usize, String>,
        report: &mut Report,
    ) {
        let bodies = split(ops, self.settings.bulk_bytes);
        let mut sending = stream::iter(bodies.into_iter().enumerate())
            .map(|(n, body)| self.send_body(n as u64, body, target))
            .buffer_unordered(self.settings.in_flight.max(1));
        while let Some(sent) = sending.next().await {
            report.requests(&sent);
            for op in sent.done {
                if let Some(missing) = missing.get_mut(op.meeting) {
                    *missing -= 1;
                }
            }
            for (op, reason) in sent.rejected {
                rejected.entry(op.meeting).or_insert(reason);
            }
            if let Some(error) = sent.error {
                // Bodies not yet sent would meet the same; those under way are not waited for: a replay changes nothing.
                report.error = Some(error);
                return;
            }
        }
    }

    /// Deletes documents of an index by id, unless a newer version of one has come since.
    pub(super) async fn delete_from(&self, index: &str, documents: &[(String, i64)]) -> Result<(), Error> {
        let ops = documents.iter().map(|(id, version)| delete_op(0, id, *version));
        let target = Target {
            name: index.to_owned(),
            is_alias: false,
            index: index.to_owned(),
        };
        for (n, body) in split(ops.collect(), self.settings.bulk_bytes)
            .into_iter()
            .enumerate()
        {
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

    /// Sends a body until every item is at its end, or the tries are.
    async fn send_body(&self, salt: u64, ops: Vec<Op>, target: &Target) -> Sent {
        // Without this a deleted index would come back by itself, with guessed types.
        let alias = if target.is_alias {
            "?require_alias=true"
        } else {
            ""
        };
        let path = format!("/{}/_bulk{alias}", target.name);
        let mut sent = Sent::default();
        let mut delays = self.delays(salt);
        // Whether a request of this form was ever taken; if not, a 400 says nothing about the items in it.
        let mut taken = false;
        let mut waiting = vec![ops];
        while let Some(mut body) = waiting.pop() {
            let bytes = body.iter().flat_map(|op| op.lines.iter().copied()).collect();
            sent.requests += 1;
            let (mut wanted, mut shrunk) = (None, false);
            let failure = match self.call_once(Method::Post, &path, Some(bytes)).await {
                Ok(answer) if answer.status == 200 && answer.body["items"].is_array() => {
                    taken = true;
                    let items = body.len();
                    match read_items(&answer.body, body, target, &mut sent) {
                        Ok(None) => {
                            // It goes on: the next refusal is a first one.
                            delays = self.delays(salt);
                            continue;
                        }
                        Ok(Some((again, failure))) => {
                            shrunk = again.len() < items;
                            if shrunk {
                                // Some were taken: it goes on, if slowly.
                                delays = self.delays(salt);
                            }
                            body = again;
                            failure
                        }
                        Err(error) => {
                            sent.error = Some(error);
                            return sent;
                        }
                    }
                }
                Ok(answer) if answer.status == 200 => malformed("it has no items".to_owned()),
                Ok(answer) if answer.status == 413 || is_refusal(&answer) => {
                    if body.len() > 1 {
                        // One item can spoil a whole body (an id that is too long, for example): halving finds it.
                        waiting.extend(halves(body));
                        continue;
                    }
                    if answer.status == 413 {
                        let reason = "larger than Elasticsearch takes at once (HTTP 413)".to_owned();
                        sent.rejected
                            .extend(body.into_iter().map(|op| (op, reason.clone())));
                        continue;
                    }
                    let probed = if taken {
                        Ok(true)
                    } else {
                        sent.requests += 1;
                        self.is_taken(&path).await
                    };
                    match probed {
                        Ok(true) => {
                            taken = true;
                            sent.rejected
                                .extend(body.into_iter().map(|op| (op, answer.said())));
                            continue;
                        }
                        Ok(false) => {
                            sent.error = Some(
                                self.refused(&format!("every bulk request to {}", target.name), &answer),
                            );
                            return sent;
                        }
                        Err(error) => error,
                    }
                }
                Ok(answer) if matches!(answer.status, 429 | 500..=599) && !answer.is_block() => {
                    wanted = answer.retry_after;
                    self.refused("", &answer)
                }
                Ok(answer) => {
                    sent.error = Some(self.refused(&format!("a bulk request to {}", target.name), &answer));
                    return sent;
                }
                Err(error @ Error::Tls { .. }) => {
                    sent.error = Some(error);
                    return sent;
                }
                Err(error @ Error::Redirected { .. }) => {
                    sent.error = Some(error);
                    return sent;
                }
                Err(error) => error,
            };
            let Some(pause) = pause(delays.next(), wanted) else {
                sent.error = Some(failure);
                return sent;
            };
            tracing::debug!(%failure, items = body.len(), "sending again");
            tokio::time::sleep(pause).await;
            // Smaller bodies are refused less, where memory is what is short; this one may be smaller already.
            if shrunk {
                waiting.push(body);
            } else {
                waiting.extend(halves(body));
            }
        }
        sent
    }

    /// Whether a request of this form is taken at all: asked with the deletion of a document that never was.
    async fn is_taken(&self, path: &str) -> Result<bool, Error> {
        let probe = line(&json!({"delete": {
            "_id": "zoom-harvester-probe", "version": 1, "version_type": "external_gte",
        }}));
        let answer = self.call_once(Method::Post, path, Some(probe)).await?;
        match answer.status {
            200 => Ok(true),
            400 => Ok(false),
            _ => Err(self.refused("a bulk request", &answer)),
        }
    }
}

/// Elasticsearch's own word on the whole of a body, unlike that of a proxy before it.
fn is_refusal(answer: &Answer) -> bool {
    answer.status == 400 && answer.body["error"].is_object()
}

fn malformed(reason: String) -> Error {
    Error::Malformed {
        what: "a bulk request".into(),
        reason,
    }
}

/// Sorts the items of an answer; answers those to be sent again, and why.
fn read_items(
    answer: &Value,
    body: Vec<Op>,
    target: &Target,
    sent: &mut Sent,
) -> Result<Option<(Vec<Op>, Error)>, Error> {
    let mut answers: HashMap<&str, &Value> = HashMap::new();
    for item in answer["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::values)
    {
        if let Some(id) = item["_id"].as_str() {
            answers.insert(id, item);
        }
    }
    let (mut again, mut unanswered, mut last) = (Vec::new(), 0, None);
    for op in body {
        match answers.get(op.id.as_str()).map(|item| judge(item, target)) {
            Some(ItemOutcome::Done) => sent.done.push(op),
            Some(ItemOutcome::Rejected(reason)) => sent.rejected.push((op, reason)),
            Some(ItemOutcome::Again(Some(status))) => {
                last = Some(status);
                again.push(op);
            }
            // An item without an answer was not acknowledged, whatever else the answer says.
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

impl Report {
    fn requests(&mut self, sent: &Sent) {
        self.bulk_requests += sent.requests;
    }
}

fn judge(item: &Value, target: &Target) -> ItemOutcome {
    let status = item["status"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(0);
    let error = &item["error"];
    let kind = error["type"].as_str().unwrap_or_default();
    let said = || {
        let reason = error["reason"].as_str().unwrap_or_default();
        let cause = error["caused_by"]["reason"]
            .as_str()
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        one_line(&format!("{kind}: {reason}{cause}"))
    };
    let index = item["_index"].as_str().unwrap_or_default();
    let what = || format!("writing to {}", target.name);
    match status {
        // Not the document's fault, and no matter of waiting a little: a full disk says 429 here.
        403 | 429 if kind == BLOCK => ItemOutcome::Stop(Error::ReadOnly { said: said() }),
        401 => ItemOutcome::Stop(Error::Unauthorised),
        403 => ItemOutcome::Stop(Error::Forbidden {
            what: what(),
            said: said(),
        }),
        404 if !error.is_null() => ItemOutcome::Stop(Error::IndexMissing {
            alias: target.name.clone(),
        }),
        // No index was found to ask (it is closed, or one of several), so no document was looked at.
        200..=499 if status != 429 && target.is_alias && index == target.name => {
            ItemOutcome::Stop(Error::Refused {
                what: what(),
                status,
                said: said(),
            })
        }
        // The alias was moved: what stands there is no acknowledgement of ours.
        200..=499 if status != 429 && !index.is_empty() && index != target.index => {
            ItemOutcome::Stop(Error::Moved {
                alias: target.name.clone(),
                index: super::one_line(index),
            })
        }
        200..=499 if status != 429 && index.is_empty() => ItemOutcome::Again(None),
        200..=299 => ItemOutcome::Done,
        // Deleting what is not there.
        404 => ItemOutcome::Done,
        // A newer version is there: ours is done.
        409 if kind == "version_conflict_engine_exception" => ItemOutcome::Done,
        400..=499 if status != 429 => ItemOutcome::Rejected(said()),
        429 | 500..=599 => ItemOutcome::Again(Some(status)),
        _ => ItemOutcome::Again(None),
    }
}

fn index_op(meeting: usize, document: &Document) -> Op {
    let mut lines = line(&json!({"index": {
        "_id": document.id, "version": document.version, "version_type": "external_gte",
    }}));
    lines.extend(line(&document.body));
    Op {
        meeting,
        id: document.id.clone(),
        lines,
    }
}

fn delete_op(meeting: usize, id: &str, version: i64) -> Op {
    Op {
        meeting,
        id: id.to_owned(),
        lines: line(&json!({"delete": {"_id": id, "version": version, "version_type": "external_gte"}})),
    }
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Bodies of at most so many bytes; an item that is larger goes alone.
fn split(ops: Vec<Op>, limit_bytes: usize) -> Vec<Vec<Op>> {
    let mut bodies: Vec<Vec<Op>> = Vec::new();
    let mut bytes = 0;
    for op in ops {
        match bodies.last_mut() {
            Some(body) if bytes + op.lines.len() <= limit_bytes => {
                bytes += op.lines.len();
                body.push(op);
            }
            _ => {
                bytes = op.lines.len();
                bodies.push(vec![op]);
            }
        }
    }
    bodies
}

fn halves(mut body: Vec<Op>) -> Vec<Vec<Op>> {
    if body.len() < 2 {
        return vec![body];
    }
    let second = body.split_off(body.len() / 2);
    vec![second, body]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(id: &str, bytes: usize) -> Op {
        Op {
            meeting: 0,
            id: id.into(),
            lines: vec![b'x'; bytes],
        }
    }

    #[test]
    fn bodies_keep_to_the_limit_and_lose_nothing() {
        let sizes = |limit| -> Vec<Vec<usize>> {
            split(vec![op("a", 4), op("b", 4), op("c", 9), op("d", 1)], limit)
                .iter()
                .map(|body| body.iter().map(|op| op.lines.len()).collect())
                .collect()
        };
        assert_eq!(sizes(8), [vec![4, 4], vec![9], vec![1]]);
        assert_eq!(sizes(100), [vec![4, 4, 9, 1]]);
        assert_eq!(sizes(1), [vec![4], vec![4], vec![9], vec![1]]);
    }

    #[test]
    fn what_each_status_of_an_item_means() {
        let target = Target {
            name: "zoom-sessions".into(),
            is_alias: true,
            index: "zoom-sessions-000001".into(),
        };
        let judged_in = |index: &str, status: u16, error: Value| {
            let item = json!({"_id": "x", "_index": index, "status": status, "error": error});
            format!("{status} {index} {:?}", judge(&item, &target))
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
}
