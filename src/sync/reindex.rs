//! The indices rebuilt from the catalog, without one request to Zoom, while searches go on.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    Error, Observer, Progress,
    publisher::{BATCH, BATCHES_AT_ONCE, Outcomes, acknowledgement, opened, records},
};
use crate::{
    catalog::{Acknowledgement, Catalog, RunId, Stored, Tally},
    elastic::{self, Elastic, Rebuild},
    model::Clock,
};

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Meetings in the new indices.
    pub meetings: u64,
    /// Documents in them.
    pub documents: u64,
    /// Meetings that Elasticsearch refused.
    pub rejected: u64,
}

/// Writes everything that is kept into new indices and puts them in the place of the old ones. Meetings that only the old index
/// has would be lost: that is refused unless `drop_unknown`.
///
/// # Errors
/// Any; until the last step the old indices serve on, untouched.
pub async fn reindex(
    catalog: &mut Catalog,
    elastic: &Elastic,
    run: RunId,
    drop_unknown: bool,
    clock: &Clock,
    observer: &dyn Observer,
    cancel: &watch::Receiver<bool>,
) -> Result<Rebuilt, Error> {
    let mut cancel = cancel.clone();
    // Wherever it is dropped, it is where a crash could have left it as well.
    tokio::select! {
        biased;
        _ = cancel.wait_for(|stop| *stop) => Err(Error::Interrupted),
        rebuilt = rebuild(catalog, elastic, run, drop_unknown, clock, observer) => rebuilt,
    }
}

async fn rebuild(
    catalog: &mut Catalog,
    elastic: &Elastic,
    run: RunId,
    drop_unknown: bool,
    clock: &Clock,
    observer: &dyn Observer,
) -> Result<Rebuilt, Error> {
    elastic.ensure().await?;
    if !drop_unknown {
        refuse_loss(catalog, elastic).await?;
    }
    let rebuild = elastic.begin_rebuild().await?;
    catalog.begin_rebuild_notes()?;
    let mut rebuilt = Rebuilt::default();
    let total = catalog.count_kept()?;
    let (mut after, mut ended) = (None, false);
    let mut sending = FuturesUnordered::new();
    loop {
        while !ended && sending.len() < BATCHES_AT_ONCE {
            let mut batch = catalog.kept_after(after.as_ref(), BATCH.0, BATCH.1)?;
            match batch.last() {
                Some(last) => after = Some(last.uuid.clone()),
                None => {
                    ended = true;
                    break;
                }
            }
            let sent = batch.iter().map(acknowledgement).collect();
            for stored in &mut batch {
                // The new index never had them.
                stored.lost_sessions.clear();
            }
            sending.push(send(elastic, &rebuild, sent, batch));
        }
        let Some(done) = sending.next().await else { break };
        let (sent, report) = done?;
        if let Some(error) = report.error {
            return Err(error.into());
        }
        let outcomes = Outcomes::of(sent, report.outcomes);
        catalog.note_rebuilt(&outcomes.acknowledged, &outcomes.rejected)?;
        rebuilt.documents += report.documents;
        rebuilt.meetings += outcomes.acknowledged.len() as u64;
        rebuilt.rejected += outcomes.rejected.len() as u64;
        let tally = Tally {
            published: rebuilt.meetings,
            ..Tally::default()
        };
        observer.see(Progress::Published {
            due: total.saturating_sub(tally.published),
            tally: &tally,
        });
    }
    drop(sending);
    let stamp = catalog.new_stamp(run, clock.now())?;
    catalog.note_pending_stamp(&stamp)?;
    let live = elastic.finish_rebuild(&rebuild, &stamp).await?;
    catalog.replace_indices(&records(&live), &stamp, clock.now())?;
    Ok(rebuilt)
}

async fn send(
    elastic: &Elastic,
    rebuild: &Rebuild,
    sent: Vec<Acknowledgement>,
    batch: Vec<Stored>,
) -> Result<(Vec<Acknowledgement>, elastic::Report), Error> {
    // The thread is lost only as the runtime ends.
    let kept = spawn_blocking(move || opened(batch))
        .await
        .map_err(|_| Error::Interrupted)??;
    Ok((sent, elastic.publish_into(rebuild, Arc::new(kept)).await))
}

async fn refuse_loss(catalog: &Catalog, elastic: &Elastic) -> Result<(), Error> {
    elastic.refresh().await?;
    let (mut count, mut example, mut after) = (0, None, None);
    loop {
        let (uuids, next) = elastic.meetings_after(after).await?;
        let missing = catalog.not_kept(&uuids)?;
        count += missing.len() as u64;
        example = example.or_else(|| missing.into_iter().next());
        after = next;
        if after.is_none() {
            break;
        }
    }
    match example {
        Some(example) => Err(Error::WouldLose {
            count,
            example: example.to_string(),
        }),
        None => Ok(()),
    }
}
