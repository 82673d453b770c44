//! The half of a run that speaks to Elasticsearch: meet the indices, leave our mark, learn what a strange index holds, send.
//! One of these at a time; within a batch the adapter sends several bodies at once.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Ending, Error, Harvest, Progress, harvest::Done};
use crate::{
    catalog::{Acknowledgement, IndexRecord, Trust},
    elastic::{self, Elastic, Standing},
    model::{Deletion, Disposition, IndexKind, Kept, MeetingUuid, Outcome, SessionId},
};

/// Meetings in a batch.
const BATCH: u64 = 500;

/// Payload in a batch, before compression: what bounds the memory of a run.
const BATCH_BYTES: usize = 4 << 20;

/// Documents deleted at once: they are ids only.
const DOOMED: u64 = 5_000;

/// While details still arrive, so many are waited for before the next batch: fewer, fuller requests.
const WORTH_SENDING: usize = 250;

/// Where publishing stands.
#[derive(Debug)]
pub(super) struct Publishing {
    elastic: Option<Arc<Elastic>>,
    state: State,
    busy: bool,
    kept: usize,
    trouble: Option<(Ending, String)>,
    tried_last: bool,
    pub bulk_requests: u64,
    pub documents: u64,
    pub deletes: u64,
}

#[derive(Debug)]
enum State {
    /// The indices have not been looked at.
    Unmet,
    /// They are known.
    Met(Box<Standing>),
    /// They carry this run's mark: now documents may go.
    Marked(Box<Standing>),
    /// Not again before the end of the run.
    Down,
}

/// What came back.
pub(super) enum Sent {
    Met(Result<Standing, elastic::Error>),
    Marked(Box<Standing>, String, Result<(), elastic::Error>),
    Held(
        Vec<MeetingUuid>,
        Result<Vec<(MeetingUuid, SessionId)>, elastic::Error>,
    ),
    Published(Vec<Acknowledgement>, elastic::Report),
    Deleted(Vec<Deletion>, elastic::Report),
}

impl Publishing {
    pub fn new(elastic: Option<Arc<Elastic>>) -> Self {
        Self {
            elastic,
            state: State::Unmet,
            busy: false,
            kept: WORTH_SENDING,
            trouble: None,
            tried_last: false,
            bulk_requests: 0,
            documents: 0,
            deletes: 0,
        }
    }

    pub fn is_on(&self) -> bool {
        self.elastic.is_some()
    }

    /// A detail was kept.
    pub fn kept(&mut self) {
        self.kept += 1;
    }

    /// What kept publishing from its end, if anything did.
    pub fn trouble(&self) -> Option<(Ending, String)> {
        self.trouble.clone()
    }

    /// Whether to knock once more at the end of the run, after trouble earlier.
    pub fn last_try(&mut self) -> bool {
        let again = self.elastic.is_some() && matches!(self.state, State::Down) && !self.tried_last;
        if again {
            self.tried_last = true;
            self.state = State::Unmet;
        }
        again
    }

    fn down(&mut self, error: &elastic::Error, now: DateTime<Utc>) {
        let ending = match error.disposition() {
            Disposition::Stop => Ending::Misconfigured,
            Disposition::Skip => Ending::StoppedEarly { come_back_at: None },
            Disposition::Retry { after } => Ending::StoppedEarly {
                come_back_at: after
                    .and_then(|after| TimeDelta::from_std(after).ok())
                    .and_then(|after| now.checked_add_signed(after)),
            },
        };
        self.state = State::Down;
        self.trouble = Some((ending, error.to_string()));
    }
}

impl Harvest<'_> {
    /// Starts the next step, if there is one and none is under way. While there is harvesting, small batches wait.
    pub(super) fn start_publishing(&mut self, harvesting: bool) -> Result<(), Error> {
        let Some(elastic) = self.publishing.elastic.clone().filter(|_| !self.publishing.busy) else {
            return Ok(());
        };
        let (standing, marked) = match &self.publishing.state {
            State::Down => return Ok(()),
            State::Unmet => {
                self.start(async move { Sent::Met(elastic.ensure().await) });
                return Ok(());
            }
            State::Met(standing) => (standing.clone(), false),
            State::Marked(standing) => (standing.clone(), true),
        };
        if harvesting && self.publishing.kept < WORTH_SENDING {
            return Ok(());
        }
        let doomed = self.catalog.doomed_documents(DOOMED)?;
        let batch = self.catalog.due_documents(harvesting, BATCH, BATCH_BYTES)?;
        if batch.is_empty() && doomed.is_empty() {
            self.publishing.kept = 0;
            return Ok(());
        }
        if !marked {
            // Before the first document, so that an older copy of this catalog, put back one day, can see that it is older.
            let stamp = format!(
                "{}/{}/{}",
                self.catalog.catalog_id()?,
                self.run.0,
                self.clock.now().timestamp_millis()
            );
            self.catalog.note_pending_stamp(&stamp)?;
            self.start(async move {
                let marked = elastic.write_stamp(&standing, &stamp).await;
                Sent::Marked(standing, stamp, marked)
            });
            return Ok(());
        }
        if !doomed.is_empty() {
            self.start(async move {
                let (deleted, report) = elastic.erase(&standing, &doomed).await;
                Sent::Deleted(deleted, report)
            });
            return Ok(());
        }
        let strange = self.catalog.unreconciled(BATCH)?;
        if !strange.is_empty() {
            self.start(async move {
                let held = elastic.sessions_of(&strange).await;
                Sent::Held(strange, held)
            });
            return Ok(());
        }
        self.publishing.kept = self.publishing.kept.saturating_sub(batch.len());
        // From here on the index may hold these documents, whatever the answer will be.
        self.catalog.note_sending(&batch)?;
        self.start(async move {
            let sent = batch.iter().map(acknowledgement).collect();
            Sent::Published(sent, elastic.publish(&standing, &batch).await)
        });
        Ok(())
    }

    fn start(&mut self, step: impl Future<Output = Sent> + 'static) {
        self.publishing.busy = true;
        self.jobs.push(Box::pin(async move { Done::Sent(step.await) }));
    }

    pub(super) fn sent(&mut self, sent: Sent) -> Result<(), Error> {
        self.publishing.busy = false;
        match sent {
            Sent::Met(Ok(standing)) => {
                self.publishing.trouble = None;
                let now = self.clock.now();
                match self.catalog.meet_indices(&records(&standing), now)? {
                    Trust::Same => {}
                    Trust::Replaced => self.observer.see(Progress::Note(
                        "the indices are not those that were filled before: filling them again from the catalog",
                    )),
                    Trust::WrittenByAnother => {
                        self.observer.see(Progress::Note(
                            "another catalog, or a newer copy of this one, wrote to the indices: listing again and publishing \
                             everything that is kept (whoever was forgotten there is not forgotten here: run `forget` again)",
                        ));
                        self.list_again()?;
                    }
                }
                self.publishing.state = State::Met(Box::new(standing));
            }
            Sent::Marked(standing, stamp, Ok(())) => {
                self.catalog.note_stamp(&stamp)?;
                self.publishing.state = State::Marked(standing);
            }
            Sent::Held(asked, Ok(held)) => self.catalog.reconcile(&asked, &held)?,
            Sent::Published(sent, report) => self.published(sent, report)?,
            Sent::Deleted(deleted, report) => {
                self.publishing.bulk_requests += report.bulk_requests;
                self.publishing.deletes += report.deletes;
                self.catalog.acknowledge_deletions(&deleted)?;
                if let Some(error) = &report.error {
                    self.publishing_down(error);
                }
            }
            Sent::Met(Err(error)) | Sent::Marked(_, _, Err(error)) | Sent::Held(_, Err(error)) => {
                self.publishing_down(&error)
            }
        }
        Ok(())
    }

    fn published(&mut self, sent: Vec<Acknowledgement>, report: elastic::Report) -> Result<(), Error> {
        self.publishing.bulk_requests += report.bulk_requests;
        self.publishing.documents += report.documents;
        self.publishing.deletes += report.deletes;
        let (done, rejected): (Vec<_>, Vec<_>) = report
            .outcomes
            .into_iter()
            .partition(|(_, outcome)| *outcome == Outcome::Published);
        let done: std::collections::HashSet<MeetingUuid> = done.into_iter().map(|(uuid, _)| uuid).collect();
        for (uuid, outcome) in rejected {
            if let (Outcome::Rejected { reason }, Some(one)) =
                (outcome, sent.iter().find(|one| one.uuid == uuid))
            {
                self.tally.failed += 1;
                self.observer.see(Progress::Problem(&format!(
                    "meeting {uuid} was rejected by Elasticsearch: {reason}"
                )));
                self.catalog.reject(
                    &uuid,
                    &one.document_checksum,
                    &format!("rejected by Elasticsearch: {reason}"),
                )?;
            }
        }
        let acknowledged: Vec<Acknowledgement> =
            sent.into_iter().filter(|one| done.contains(&one.uuid)).collect();
        self.catalog.acknowledge(&acknowledged, self.clock.now())?;
        self.tally.published += acknowledged.len() as u64;
        if let Some(error) = &report.error {
            self.publishing_down(error);
        }
        let due = self.catalog.count_due_documents()?;
        self.observer.see(Progress::Published {
            due,
            tally: &self.tally,
        });
        Ok(())
    }

    fn publishing_down(&mut self, error: &elastic::Error) {
        self.publishing.down(error, self.clock.now());
        if !self.publishing.tried_last {
            self.observer.see(Progress::Problem(&format!(
                "{error}; what is due waits in the catalog"
            )));
        }
    }
}

/// What an acknowledgement of these documents will say.
pub(super) fn acknowledgement(kept: &Kept) -> Acknowledgement {
    Acknowledgement {
        uuid: kept.uuid.clone(),
        document_checksum: kept.document_checksum.clone(),
        deleted: kept.lost_sessions.clone(),
    }
}

/// The indices as the catalog records them.
pub(super) fn records(standing: &Standing) -> [IndexRecord; 2] {
    [
        (IndexKind::Meetings, &standing.meetings),
        (IndexKind::Sessions, &standing.sessions),
    ]
    .map(|(kind, state)| IndexRecord {
        kind,
        name: state.index.clone(),
        uuid: state.uuid.clone(),
        created: state.created,
        stamp: state.stamp.clone(),
    })
}
