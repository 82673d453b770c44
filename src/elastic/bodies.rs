//! Bulk bodies, built from kept meetings or from deletions, within a size limit. Nothing here waits for the network.

use std::{io::Write, ops::Range, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::mpsc;

use super::documents;
use crate::model::{Kept, json_text};

/// One item of a body.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// The place of its meeting in the batch.
    pub meeting: usize,
    pub id: String,
    /// The range of its lines in the body's text.
    lines: Range<usize>,
}

/// Items that are sent together.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub ops: Vec<Op>,
    /// The text that has the lines of these items, and perhaps of others.
    lines: Arc<String>,
    /// The bytes to send.
    wire: Bytes,
    compress: bool,
}

impl Body {
    fn new(ops: Vec<Op>, lines: String, compress: bool) -> Self {
        let wire = if compress {
            gzip(lines.as_bytes())
        } else {
            Bytes::copy_from_slice(lines.as_bytes())
        };
        Self {
            ops,
            lines: Arc::new(lines),
            wire,
            compress,
        }
    }

    /// The bytes to send, and whether they are gzip.
    pub fn wire(&self) -> (Bytes, bool) {
        (self.wire.clone(), self.compress)
    }

    /// The same body, with the items that were taken from it.
    pub fn with_all(self, ops: Vec<Op>) -> Self {
        Self { ops, ..self }
    }

    /// A body with some of the items of this one.
    pub fn of(&self, ops: Vec<Op>) -> Self {
        let lines: Vec<&str> = ops
            .iter()
            .filter_map(|op| self.lines.get(op.lines.clone()))
            .collect();
        let wire = lines.concat();
        Self {
            ops,
            lines: Arc::clone(&self.lines),
            wire: if self.compress {
                gzip(wire.as_bytes())
            } else {
                wire.into()
            },
            compress: self.compress,
        }
    }

    /// Two bodies with half of the items each, the second half first. A body with a single item is returned as it is.
    pub fn halves(self) -> Vec<Self> {
        if self.ops.len() < 2 {
            return vec![self];
        }
        let mut first = self.ops.clone();
        let second = first.split_off(first.len() / 2);
        vec![self.of(second), self.of(first)]
    }
}

/// Compresses at the fastest level. A bulk body has the same names in every line, and shrinks to a tenth at any level.
fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    // Writing into memory does not fail.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

/// Fills bodies of at most `limit_bytes` bytes. A larger item gets a body of its own.
pub(super) struct Filler {
    limit_bytes: usize,
    compress: bool,
    ops: Vec<Op>,
    lines: String,
}

impl Filler {
    pub fn new(limit_bytes: usize, compress: bool) -> Self {
        Self {
            limit_bytes,
            compress,
            ops: Vec::new(),
            lines: String::new(),
        }
    }

    /// Adds an item whose lines `write` appends. Returns the body before it, if that one is full.
    pub fn add(&mut self, meeting: usize, id: &str, write: impl FnOnce(&mut String)) -> Option<Body> {
        let begin = self.lines.len();
        write(&mut self.lines);
        let full = if self.lines.len() > self.limit_bytes && begin > 0 {
            let item = self.lines.split_off(begin);
            let full = self.take();
            self.lines = item;
            full
        } else {
            None
        };
        let begin = if full.is_some() { 0 } else { begin };
        self.ops.push(Op {
            meeting,
            id: id.to_owned(),
            lines: begin..self.lines.len(),
        });
        full
    }

    /// The body as filled so far; `None` if it is empty.
    pub fn take(&mut self) -> Option<Body> {
        if self.ops.is_empty() {
            return None;
        }
        let (ops, lines) = (std::mem::take(&mut self.ops), std::mem::take(&mut self.lines));
        Some(Body::new(ops, lines, self.compress))
    }
}

/// Appends the action line for writing a document. The line of the document itself follows it.
pub(super) fn write_index_line(out: &mut String, id: &str, version: i64) {
    write_action(out, "index", id, version);
}

/// Appends the action line for deleting a document.
pub(super) fn write_delete_line(out: &mut String, id: &str, version: i64) {
    write_action(out, "delete", id, version);
}

fn write_action(out: &mut String, action: &str, id: &str, version: i64) {
    let id = json_text(id);
    out.push_str(&format!(
        "{{\"{action}\":{{\"_id\":{id},\"version\":{version},\"version_type\":\"external_gte\"}}}}\n"
    ));
}

/// Bodies of deletions.
pub(super) fn deletions<'a>(
    documents: impl Iterator<Item = (usize, &'a str, i64)>,
    limit_bytes: usize,
    compress: bool,
) -> Vec<Body> {
    let mut filler = Filler::new(limit_bytes, compress);
    let mut bodies = Vec::new();
    for (n, id, version) in documents {
        bodies.extend(filler.add(n, id, |out| write_delete_line(out, id, version)));
    }
    bodies.extend(filler.take());
    bodies
}

/// Builds the bodies of a batch's sessions, with the deletions of lost ones, and sends them to `bodies` one by one, as fast as the receiver takes
/// them. Returns the documents of the meetings, which have to wait for their sessions; `None` if the receiver is closed.
pub(super) fn build(
    batch: &[Kept],
    limit_bytes: usize,
    compress: bool,
    bodies: &mpsc::Sender<Body>,
) -> Option<Vec<String>> {
    let mut filler = Filler::new(limit_bytes, compress);
    let mut meetings = Vec::with_capacity(batch.len());
    for (n, kept) in batch.iter().enumerate() {
        let shared = documents::shared(kept);
        let ids = kept.detail.session_ids();
        for (id, row) in ids.iter().zip(kept.detail.rows()) {
            let full = filler.add(n, id.as_str(), |out| {
                write_index_line(out, id.as_str(), kept.revision);
                documents::write_session(out, kept, &shared, id, row);
                out.push('\n');
            });
            if let Some(full) = full {
                bodies.blocking_send(full).ok()?;
            }
        }
        for id in &kept.lost_sessions {
            let full = filler.add(n, id.as_str(), |out| {
                write_delete_line(out, id.as_str(), kept.revision);
            });
            if let Some(full) = full {
                bodies.blocking_send(full).ok()?;
            }
        }
        let mut meeting = String::with_capacity(1024);
        write_index_line(&mut meeting, kept.uuid.as_str(), kept.revision);
        documents::write_meeting(&mut meeting, kept, &shared);
        meeting.push('\n');
        meetings.push(meeting);
    }
    if let Some(last) = filler.take() {
        bodies.blocking_send(last).ok()?;
    }
    Some(meetings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_bodies_keep_to_the_size_limit_and_lose_no_item() {
        let sizes = |limit| -> Vec<Vec<usize>> {
            let mut filler = Filler::new(limit, false);
            let mut bodies = Vec::new();
            for (n, (id, bytes)) in [("a", 4), ("b", 4), ("c", 9), ("d", 1)].into_iter().enumerate() {
                bodies.extend(filler.add(n, id, |out| out.push_str(&"x".repeat(bytes))));
            }
            bodies.extend(filler.take());
            for body in &bodies {
                let bytes: usize = body.ops.iter().map(|op| op.lines.len()).sum();
                assert_eq!(body.wire().0.len(), bytes);
            }
            bodies
                .iter()
                .map(|body| body.ops.iter().map(|op| op.lines.len()).collect())
                .collect()
        };
        assert_eq!(sizes(8), [vec![4, 4], vec![9], vec![1]]);
        assert_eq!(sizes(100), [vec![4, 4, 9, 1]]);
        assert_eq!(sizes(1), [vec![4], vec![4], vec![9], vec![1]]);
    }

    #[test]
    fn a_part_of_a_body_has_the_lines_of_its_items() {
        let documents = [(0, "a", 1), (1, "b\"", 2), (2, "c", 3)];
        let bodies = deletions(documents.into_iter(), 1 << 20, false);
        let [body] = bodies.as_slice() else {
            panic!("{bodies:?}")
        };
        let halves = body.clone().halves();
        let text = |body: &Body| String::from_utf8(body.wire().0.to_vec()).unwrap();
        assert_eq!(halves.iter().rev().map(text).collect::<String>(), text(body));
        assert_eq!(
            text(&halves[1]),
            "{\"delete\":{\"_id\":\"a\",\"version\":1,\"version_type\":\"external_gte\"}}\n"
        );
        assert_eq!(halves[1].clone().halves().len(), 1);
    }
}
