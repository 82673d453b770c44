//! The indices rebuilt from the catalog, without one request to Zoom, while searches go on.

use tokio::sync::watch;

use super::{
    Error, Observer, Progress,
    publishing::{acknowledgement, records},
};
use crate::{
    catalog::{Acknowledgement, Catalog, RunId, Tally},
    elastic::Elastic,
    model::{Checksum, Clock, MeetingUuid, Outcome},
};

/// Meetings, and payload before compression, in a batch.
const BATCH: (u64, usize) = (500, 4 << 20);

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
    let mut rebuilt = Rebuilt::default();
    let mut acknowledged: Vec<Acknowledgement> = Vec::new();
    let mut rejected: Vec<(MeetingUuid, Checksum, String)> = Vec::new();
    let mut after = None;
    let total = catalog.count_kept()?;
    loop {
        let mut batch = catalog.kept_after(after.as_ref(), BATCH.0, BATCH.1)?;
        let Some(last) = batch.last() else { break };
        after = Some(last.uuid.clone());
        let sent: Vec<Acknowledgement> = batch.iter().map(acknowledgement).collect();
        for kept in &mut batch {
            // The new index never had them.
            kept.lost_sessions.clear();
        }
        let report = elastic.publish_into(&rebuild, &batch).await;
        if let Some(error) = report.error {
            return Err(error.into());
        }
        rebuilt.documents += report.documents;
        for (uuid, outcome) in report.outcomes {
            let Some(one) = sent.iter().find(|one| one.uuid == uuid) else {
                continue;
            };
            match outcome {
                Outcome::Published => acknowledged.push(one.clone()),
                Outcome::Rejected { reason } => rejected.push((uuid, one.document_checksum.clone(), reason)),
            }
        }
        let tally = Tally {
            published: acknowledged.len() as u64,
            ..Tally::default()
        };
        observer.see(Progress::Published {
            due: total.saturating_sub(tally.published),
            tally: &tally,
        });
    }
    let stamp = format!(
        "{}/{}/{}",
        catalog.catalog_id()?,
        run.0,
        clock.now().timestamp_millis()
    );
    catalog.note_pending_stamp(&stamp)?;
    let standing = elastic.finish_rebuild(&rebuild, &stamp).await?;
    let now = clock.now();
    catalog.replace_indices(&records(&standing), &stamp, now)?;
    rebuilt.meetings = acknowledged.len() as u64;
    rebuilt.rejected = rejected.len() as u64;
    catalog.acknowledge(&acknowledged, now)?;
    for (uuid, checksum, reason) in rejected {
        catalog.reject(&uuid, &checksum, &format!("rejected by Elasticsearch: {reason}"))?;
    }
    Ok(rebuilt)
}

async fn refuse_loss(catalog: &Catalog, elastic: &Elastic) -> Result<(), Error> {
    elastic.refresh().await?;
    let (mut count, mut example, mut after) = (0, None, None);
    loop {
        let uuids = elastic.meetings_after(after.as_ref()).await?;
        let Some(last) = uuids.last() else { break };
        after = Some(last.clone());
        let missing = catalog.not_kept(&uuids)?;
        count += missing.len() as u64;
        example = example.or_else(|| missing.into_iter().next());
    }
    match example {
        Some(example) => Err(Error::WouldLose {
            count,
            example: example.to_string(),
        }),
        None => Ok(()),
    }
}
