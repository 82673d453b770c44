//! Bulk requests: bodies of bounded size, several at once, and one outcome an item, told apart by id.

use std::collections::HashMap;

use elasticsearch::http::Method;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{Answer, Elastic, Error, document};
use crate::{
    model::{Document, IndexKind, Kept, MeetingUuid, Outcome},
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
#[derive(Debug, PartialEq, Eq)]
enum ItemOutcome {
    Done,
    Rejected(String),
    Again(u16),
    Stop(u16, String, String),
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
    pub(super) async fn send(&self, batch: &[Kept], target: impl Fn(IndexKind) -> (String, bool)) -> Report {
        let mut report = Report::default();
        let mut missing: Vec<usize> = vec![0; batch.len()];
        let mut rejected: HashMap<usize, String> = HashMap::new();
        let mut ops = Vec::new();
        for (meeting, kept) in batch.iter().enumerate() {
            let before = ops.len();
            ops.extend(document::sessions(kept).map(|document| index_op(meeting, &document)));
            report.documents += (ops.len() - before) as u64;
            report.deletes += kept.lost_sessions.len() as u64;
            ops.extend(kept.lost_sessions.iter().map(|id| Op {
                meeting,
                id: id.as_str().to_owned(),
                lines: line(&json!({"delete": {
                    "_id": id.as_str(), "version": kept.revision, "version_type": "external_gte",
                }})),
            }));
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

    async fn send_ops(
        &self,
        ops: Vec<Op>,
        target: &(String, bool),
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

    /// Sends a body until every item is at its end, or the tries are.
    async fn send_body(&self, salt: u64, ops: Vec<Op>, (name, alias): &(String, bool)) -> Sent {
        let path = if *alias {
            // Without this a deleted index would come back by itself, with guessed types.
            format!("/{name}/_bulk?require_alias=true")
        } else {
            format!("/{name}/_bulk")
        };
        let mut sent = Sent::default();
        let mut delays = self.delays(salt);
        let mut waiting = vec![ops];
        while let Some(mut body) = waiting.pop() {
            let bytes = body.iter().flat_map(|op| op.lines.iter().copied()).collect();
            sent.requests += 1;
            let failure = match self.call_once(Method::Post, &path, Some(bytes)).await {
                Ok(answer) if answer.status == 200 => match self.read_items(&answer, body, name, &mut sent) {
                    Ok(again) if again.is_empty() => {
                        // It goes on: the next refusal is a first one.
                        delays = self.delays(salt);
                        continue;
                    }
                    Ok(again) => {
                        body = again;
                        Error::Busy { status: 429 }
                    }
                    Err(error) => {
                        sent.error = Some(error);
                        return sent;
                    }
                },
                Ok(Answer { status: 413, .. }) if body.len() == 1 => {
                    let reason = "larger than Elasticsearch takes at once (HTTP 413)".to_owned();
                    sent.rejected
                        .extend(body.into_iter().map(|op| (op, reason.clone())));
                    continue;
                }
                // One item can spoil a whole body (an id that is too long, for example): halving finds it.
                Ok(answer) if answer.status == 400 && body.len() == 1 && answer.body["error"].is_object() => {
                    sent.rejected
                        .extend(body.into_iter().map(|op| (op, answer.said())));
                    continue;
                }
                Ok(Answer {
                    status: 413 | 400, ..
                }) if body.len() > 1 => {
                    waiting.extend(halves(body));
                    continue;
                }
                Ok(Answer {
                    status: status @ (429 | 500..=599),
                    ..
                }) => Error::Busy { status },
                Ok(answer) => {
                    sent.error = Some(self.refused(&format!("a bulk request to {name}"), &answer));
                    return sent;
                }
                Err(error @ Error::Redirected { .. }) => {
                    sent.error = Some(error);
                    return sent;
                }
                Err(error) => error,
            };
            let Some(delay) = delays.next() else {
                sent.error = Some(failure);
                return sent;
            };
            tracing::debug!(%failure, items = body.len(), "sending again");
            tokio::time::sleep(delay).await;
            // Smaller bodies are refused less, where memory is what is short.
            waiting.extend(halves(body));
        }
        sent
    }

    /// Sorts the items of an answer; answers those to be sent again.
    fn read_items(
        &self,
        answer: &Answer,
        body: Vec<Op>,
        name: &str,
        sent: &mut Sent,
    ) -> Result<Vec<Op>, Error> {
        let Some(items) = answer.body["items"].as_array() else {
            return Err(Error::Malformed {
                what: "a bulk request".into(),
                reason: "it has no items".into(),
            });
        };
        let mut answers: HashMap<&str, &Value> = HashMap::new();
        for item in items
            .iter()
            .filter_map(Value::as_object)
            .flat_map(serde_json::Map::values)
        {
            if let Some(id) = item["_id"].as_str() {
                answers.insert(id, item);
            }
        }
        let mut again = Vec::new();
        for op in body {
            match answers.get(op.id.as_str()).map(|item| judge(item)) {
                Some(ItemOutcome::Done) => sent.done.push(op),
                Some(ItemOutcome::Rejected(reason)) => sent.rejected.push((op, reason)),
                // An item without an answer was not acknowledged, whatever else the answer says.
                Some(ItemOutcome::Again(_)) | None => again.push(op),
                Some(ItemOutcome::Stop(status, kind, said)) => {
                    return Err(match (status, kind.as_str()) {
                        (404, _) => Error::IndexMissing {
                            alias: name.to_owned(),
                        },
                        (_, "cluster_block_exception") => Error::ReadOnly { said },
                        (401, _) => Error::Unauthorised,
                        _ => Error::Forbidden {
                            what: format!("writing to {name}"),
                            said,
                        },
                    });
                }
            }
        }
        Ok(again)
    }
}

impl Report {
    fn requests(&mut self, sent: &Sent) {
        self.bulk_requests += sent.requests;
    }
}

fn judge(item: &Value) -> ItemOutcome {
    let status = item["status"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(0);
    let error = &item["error"];
    let kind = error["type"].as_str().unwrap_or_default().to_owned();
    let said = || {
        let reason = error["reason"].as_str().unwrap_or_default();
        let cause = error["caused_by"]["reason"]
            .as_str()
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        one_line(&format!("{kind}: {reason}{cause}"))
    };
    match status {
        200..=299 => ItemOutcome::Done,
        // Deleting what is not there.
        404 if error.is_null() => ItemOutcome::Done,
        // A newer version is there: ours is done.
        409 => ItemOutcome::Done,
        401 | 403 | 404 => ItemOutcome::Stop(status, kind.clone(), said()),
        400..=499 if status != 429 => ItemOutcome::Rejected(said()),
        _ => ItemOutcome::Again(status),
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
        let judged = |status: u16, error: Value| {
            let outcome = judge(&json!({"_id": "x", "status": status, "error": error}));
            format!("{status} {outcome:?}")
        };
        let why = |kind: &str| json!({"type": kind, "reason": "r"});
        insta::assert_snapshot!(
            [
                judged(201, Value::Null),
                judged(200, Value::Null),
                judged(404, Value::Null),
                judged(404, why("index_not_found_exception")),
                judged(409, why("version_conflict_engine_exception")),
                judged(400, why("document_parsing_exception")),
                judged(400, why("mapper_parsing_exception")),
                judged(403, why("cluster_block_exception")),
                judged(429, why("es_rejected_execution_exception")),
                judged(503, why("unavailable_shards_exception")),
            ]
            .join("\n")
        );
    }
}
