//! Rebuilds the indices from the catalog, without a single request to Zoom, while searches go on.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    Error, Observer, Progress,
    publisher::{BATCH, BATCHES_AT_ONCE, Outcomes, acknowledgement, opened, records},
    years::dropped,
};
use crate::{
    catalog::{Acknowledgement, Catalog, IndexRecord, RunId, Stored, Tally},
    elastic::{self, Elastic, LiveIndices},
    model::{Clock, IndexYear},
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
    /// Years left out, because their index was dropped after it was filled.
    pub left_out: Vec<u16>,
}

/// What a rebuild may lose, and what it restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilding {
    /// Whether meetings that only the old index has are dropped.
    pub drop_unknown: bool,
    /// Whether years whose index was dropped are filled again.
    pub dropped_years: bool,
}

/// Writes everything that is kept into new indices and replaces the old ones with them. Meetings that only the old index has would be lost, so the
/// rebuild is refused unless `drop_unknown`. Years whose index was dropped are left out unless `dropped_years`. The present year is always included.
///
/// # Errors
/// Any [`Error`]. Until the last step the old indices stay in use, untouched.
pub async fn reindex(
    catalog: &mut Catalog,
    elastic: &Elastic,
    run: RunId,
    how: Rebuilding,
    clock: &Clock,
    observer: &dyn Observer,
    cancel: &watch::Receiver<bool>,
) -> Result<Rebuilt, Error> {
    let mut cancel = cancel.clone();
    // The rebuild may be dropped anywhere: a crash could leave the same state.
    tokio::select! {
        biased;
        _ = cancel.wait_for(|stop| *stop) => Err(Error::Interrupted),
        rebuilt = rebuild(catalog, elastic, run, how, clock, observer) => rebuilt,
    }
}

async fn rebuild(
    catalog: &mut Catalog,
    elastic: &Elastic,
    run: RunId,
    how: Rebuilding,
    clock: &Clock,
    observer: &dyn Observer,
) -> Result<Rebuilt, Error> {
    let mut before = Vec::new();
    for year in elastic.years().await? {
        before.extend(elastic.look(year).await?);
    }
    if !how.drop_unknown {
        refuse_loss(catalog, elastic, &before).await?;
    }
    let found: BTreeSet<IndexYear> = before.iter().map(|live| live.year).collect();
    let present = catalog.year_at(clock.now());
    let mut years = catalog.wanted_years()?;
    years.insert(present);
    let mut rebuilt = Rebuilt::default();
    if !how.dropped_years {
        for year in dropped(&catalog.met_years()?, &found, present) {
            if years.remove(&year) {
                rebuilt.left_out.push(year.number());
            }
        }
    }
    let rebuild = elastic.begin_rebuild(&years, before).await?;
    catalog.begin_rebuild_notes()?;
    let mut total = 0;
    for year in &years {
        total += catalog.count_kept_for(*year)?;
    }
    let mut targets = rebuild.targets().iter();
    let (mut target, mut after) = (targets.next(), None);
    let mut sending = FuturesUnordered::new();
    loop {
        while let Some(new) = target
            && sending.len() < BATCHES_AT_ONCE
        {
            let mut batch = catalog.kept_for_index(new.year, after.as_ref(), BATCH.0, BATCH.1)?;
            match batch.last() {
                Some(last) => after = Some(last.uuid.clone()),
                None => {
                    (target, after) = (targets.next(), None);
                    continue;
                }
            }
            let sent = batch.iter().map(acknowledgement).collect();
            for stored in &mut batch {
                // The new index never had them.
                stored.lost_sessions.clear();
            }
            sending.push(send(elastic, new, sent, batch));
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
    for year in &years {
        catalog.note_pending_stamp(*year, &stamp)?;
    }
    let live = elastic.finish_rebuild(&rebuild, &stamp).await?;
    let records: Vec<IndexRecord> = live.iter().flat_map(records).collect();
    let replaced = years.union(&found).copied().collect();
    catalog.replace_indices(&replaced, &records, &stamp, clock.now())?;
    Ok(rebuilt)
}

async fn send(
    elastic: &Elastic,
    new: &LiveIndices,
    sent: Vec<Acknowledgement>,
    batch: Vec<Stored>,
) -> Result<(Vec<Acknowledgement>, elastic::Report), Error> {
    // The blocking task is lost only when the runtime ends.
    let kept = spawn_blocking(move || opened(batch))
        .await
        .map_err(|_| Error::Interrupted)??;
    Ok((sent, elastic.publish_into(new, Arc::new(kept)).await))
}

async fn refuse_loss(catalog: &Catalog, elastic: &Elastic, found: &[LiveIndices]) -> Result<(), Error> {
    let (mut count, mut example) = (0, None);
    for live in found {
        elastic.refresh(live).await?;
        let mut after = None;
        loop {
            let (uuids, next) = elastic.meetings_after(live, after).await?;
            let missing = catalog.not_kept(&uuids)?;
            count += missing.len() as u64;
            example = example.or_else(|| missing.into_iter().next());
            after = next;
            if after.is_none() {
                break;
            }
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
