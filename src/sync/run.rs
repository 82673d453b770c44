//! One run: a loop that owns the catalog and asks four workers in turn.
//!
//! A worker names its next job and handles the job's answer. It knows its own state and the catalog's methods, but neither the loop nor the other
//! workers. What one worker has to know of another is passed on here.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};

use super::{
    Ending, Error, Observer, Progress, Scope, Summary, details,
    details::Details,
    listings::{self, ListingOutcome, Listings},
    lookups::{self, Lookups},
    publisher::{self, Publisher},
    run_state::RunState,
};
use crate::{
    catalog::{Catalog, Reservation, RunId},
    elastic::Elastic,
    model::{Clock, Label, Listing, ListingPage},
    privacy::Policy,
    zoom::{
        self, Zoom,
        pace::{Grant, GrantRequest, Pacer},
    },
};

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to list.
    pub scope: Scope,
    /// The maximum number of details in flight.
    pub concurrency: usize,
    /// Whether what came from the reports is fetched again from the dashboards, which know more.
    pub enrich: bool,
    /// How often all of the last 30 days are listed, settled or not.
    pub whole_listing_every: chrono::TimeDelta,
    /// The harvester's share of Zoom's daily quota, in requests a day.
    pub daily_share: u64,
    /// The privacy policy: which personal data is kept.
    pub policy: Policy,
}

/// The clients of Zoom and of Elasticsearch; either may be missing.
pub struct Clients {
    /// Zoom, its pacer, and the requests for permission that the pacer makes.
    pub zoom: Option<(Arc<Zoom>, Arc<Pacer>, mpsc::Receiver<GrantRequest>)>,
    /// Elasticsearch.
    pub elastic: Option<Arc<Elastic>>,
}

/// One run: its state and the jobs in flight.
pub struct Harvest<'a> {
    state: RunState<'a>,
    listings: Listings,
    lookups: Lookups,
    details: Details,
    publisher: Publisher,
    zoom: Option<ZoomEnd>,
    elastic: Option<Arc<Elastic>>,
    daily_share: u64,
    jobs: FuturesUnordered<LocalBoxFuture<'a, Done>>,
    pages: mpsc::UnboundedReceiver<(listings::Ask, ListingPage)>,
    show_page: mpsc::UnboundedSender<(listings::Ask, ListingPage)>,
}

/// The Zoom client, its pacer, and the pacer's requests for permission.
struct ZoomEnd {
    client: Arc<Zoom>,
    pacer: Arc<Pacer>,
    grants: mpsc::Receiver<GrantRequest>,
}

/// The result of a job.
enum Done {
    Listing(listings::Ask, Result<Listing, zoom::Error>),
    LookedUp(lookups::Answer),
    Details(details::Answer),
    Published(publisher::Answer),
}

impl<'a> Harvest<'a> {
    /// Prepares a run. No request is made yet.
    ///
    /// # Errors
    /// If the catalog fails.
    pub fn new(
        catalog: &'a mut Catalog,
        run: RunId,
        clients: Clients,
        options: Options,
        clock: Clock,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        let state = RunState::new(catalog, run, options.policy, clock, observer)?;
        let webinars = clients.zoom.as_ref().is_some_and(|(zoom, ..)| zoom.webinars());
        let mut listings = Listings::new(
            options.scope,
            options.whole_listing_every,
            options.enrich,
            webinars,
        );
        let zoom = clients.zoom.map(|(client, pacer, grants)| ZoomEnd {
            client,
            pacer,
            grants,
        });
        if let Some(ZoomEnd { client, pacer, .. }) = &zoom {
            let now = state.now();
            listings::brief(state.catalog, client, now)?;
            for label in Label::ALL {
                pacer.remember(label, &state.catalog.recent_requests(label, now)?, now);
            }
            if let Scope::Days(window) = options.scope {
                state.catalog.want_from(window.from)?;
            }
            listings.want_days(state.catalog, now)?;
        }
        let (show_page, pages) = mpsc::unbounded_channel();
        Ok(Self {
            state,
            listings,
            lookups: Lookups::default(),
            details: Details::new(options.concurrency),
            publisher: Publisher::new(clients.elastic.is_some()),
            zoom,
            elastic: clients.elastic,
            daily_share: options.daily_share,
            jobs: FuturesUnordered::new(),
            pages,
            show_page,
        })
    }

    /// Runs to the end, or until `cancel` turns true. Jobs then in flight are dropped; they are due at the next run.
    ///
    /// # Errors
    /// If the catalog fails. Every other failure is reported in the summary.
    pub async fn run(mut self, mut cancel: watch::Receiver<bool>) -> Result<Summary, Error> {
        let interrupted = loop {
            self.ask_workers()?;
            if self.jobs.is_empty() {
                if self.publisher.last_try() {
                    continue;
                }
                break false;
            }
            let grants = self.zoom.as_mut().map(|zoom| &mut zoom.grants);
            tokio::select! {
                biased;
                _ = cancel.wait_for(|stop| *stop) => break true,
                Some(request) = receive(grants) => self.grant(request)?,
                Some((ask, page)) = self.pages.recv() => self.page(ask, page)?,
                Some(done) = self.jobs.next() => self.tell_workers(done)?,
            }
        };
        self.finish(interrupted)
    }

    /// Asks each worker for jobs, until none has any.
    fn ask_workers(&mut self) -> Result<(), Error> {
        if let Some(zoom) = self.zoom.as_ref().map(|zoom| Arc::clone(&zoom.client))
            && !self.state.is_stopped()
        {
            while let Some(ask) = self.listings.next() {
                self.list(Arc::clone(&zoom), ask)?;
            }
            while let Some(ask) = self.lookups.next(&self.state, self.listings.is_idle())? {
                let zoom = Arc::clone(&zoom);
                self.start(async move { Done::LookedUp(lookups::answer(&zoom, ask).await) });
            }
            while let Some(due) = self.details.next_fetch(&mut self.state)? {
                let zoom = Arc::clone(&zoom);
                self.start(async move {
                    let fetched = zoom.detail(&due.uuid, due.kind, due.listing_type).await;
                    Done::Details(details::Answer::Fetched(due, fetched))
                });
            }
        }
        while let Some(work) = self.details.next_work(&self.state) {
            self.start(async move {
                let answer = spawn_blocking(move || work.done()).await;
                Done::Details(answer.unwrap_or(details::Answer::Broken))
            });
        }
        let harvesting = !self.listings.is_idle() || self.lookups.is_busy() || self.details.is_busy();
        let left = harvesting.then(|| self.details.due());
        if let Some(elastic) = self.elastic.clone() {
            while let Some(ask) = self.publisher.next(&mut self.state, left)? {
                let elastic = Arc::clone(&elastic);
                self.start(async move { Done::Published(publisher::answer(&elastic, ask).await) });
            }
        }
        Ok(())
    }

    /// Passes a job's result to its worker, and tells the other workers what they have to know of it.
    fn tell_workers(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Listing(ask, result) => {
                // Its last page may have arrived at the same moment.
                while let Ok((ask, page)) = self.pages.try_recv() {
                    self.page(ask, page)?;
                }
                let (state, today) = (&self.state, self.state.now().date_naive());
                let outcome =
                    self.listings
                        .handle_answer(state.catalog, &state.screen, ask, result, today)?;
                self.listed(outcome)
            }
            Done::LookedUp(answer) => self.lookups.handle_answer(&mut self.state, answer),
            Done::Details(answer) => {
                let kept = self.details.handle_answer(&mut self.state, answer)?;
                self.publisher.kept(kept);
                Ok(())
            }
            Done::Published(answer) => {
                let list_again = self.publisher.handle_answer(&mut self.state, answer)?;
                if list_again && self.zoom.is_some() {
                    let now = self.state.now();
                    self.listings.list_again(self.state.catalog, now)?;
                }
                Ok(())
            }
        }
    }

    fn start(&mut self, job: impl Future<Output = Done> + 'a) {
        self.jobs.push(Box::pin(job));
    }

    fn list(&mut self, zoom: Arc<Zoom>, ask: listings::Ask) -> Result<(), Error> {
        let (state, now) = (&self.state, self.state.now());
        let known = self
            .listings
            .known(state.catalog, &state.screen, &zoom, ask, now)?;
        let pages = self.show_page.clone();
        self.start(async move {
            // The receiver is gone only when the run is over.
            let show = |page| drop(pages.send((ask, page)));
            let listing = zoom.list_meetings(ask.window, ask.basis, &known, &show);
            Done::Listing(ask, listing.await)
        });
        Ok(())
    }

    /// Records a page of a listing that is still being read, so that the first details can be fetched meanwhile.
    fn page(&mut self, ask: listings::Ask, mut page: ListingPage) -> Result<(), Error> {
        let state = &mut self.state;
        if !page.hosts.is_empty() {
            lookups::named(state, std::mem::take(&mut page.hosts))?;
        }
        let Some(changes) = self.listings.page(state.catalog, &state.screen, ask, &mut page)? else {
            return Ok(());
        };
        let rows = changes.meetings();
        state.learn_listings(rows)?;
        let (now, window) = (state.now(), changes.window);
        let changed =
            state
                .catalog
                .record_page(state.run, window, &changes.changes, now, &mut state.tally)?;
        self.listings.page_recorded(ask, changed);
        self.details.look_again(state.catalog, now)?;
        Ok(())
    }

    fn listed(&mut self, outcome: ListingOutcome) -> Result<(), Error> {
        let state = &mut self.state;
        match outcome {
            ListingOutcome::Complete(complete) => {
                self.listings.apply(state, &complete)?;
                let now = state.now();
                self.details.look_again(state.catalog, now)?;
                self.lookups.listed(state.catalog, &complete.listing)?;
                state.observer.see(Progress::Listed {
                    window: complete.listing.window,
                    meetings: complete.listing.shown.len(),
                    tally: &state.tally,
                });
            }
            ListingOutcome::Again(note) => {
                if let Some(note) = note {
                    state.note(&note);
                }
            }
            ListingOutcome::Failed(window, error) => state.window_failed(window, &error),
        }
        Ok(())
    }

    /// Counts requests in the catalog before the pacer lets them go.
    fn grant(&mut self, request: GrantRequest) -> Result<(), Error> {
        let (now, catalog) = (self.state.now(), &mut *self.state.catalog);
        let grant = match catalog.reserve(request.label, self.daily_share, now)? {
            Reservation::Granted { requests, until } => Grant::Granted {
                requests,
                lasts: (until - now).to_std().unwrap_or_default(),
            },
            Reservation::Spent { resets_at } => Grant::Spent { resets_at },
        };
        // If nobody waits for the grant any more, it is given back now, not at the end with the unused ones.
        if let Err(Grant::Granted { requests, .. }) = request.reply.send(grant) {
            catalog.give_back(&[(request.label, requests)], now)?;
        }
        Ok(())
    }

    fn finish(mut self, interrupted: bool) -> Result<Summary, Error> {
        let now = self.state.now();
        if !interrupted && !self.state.is_stopped() {
            self.details.decide_failures(&mut self.state)?;
        }
        self.jobs.clear();
        let mut zoom_requests = BTreeMap::new();
        if let Some(ZoomEnd { pacer, .. }) = &self.zoom {
            self.state.catalog.give_back(&pacer.unused(), now)?;
            let counts = pacer.counts().into_iter();
            zoom_requests = counts.map(|(label, count)| (label.as_str(), count)).collect();
        }
        let catalog = &*self.state.catalog;
        let (details_due, documents_due) = (catalog.count_due_details(now)?, catalog.count_due_documents()?);
        let troubled = catalog.count_troubled()?;
        let (ending, message) = if interrupted {
            let message = "everything fetched so far is kept; the next run continues from here";
            (Ending::Interrupted, Some(message.to_owned()))
        } else {
            self.state.ending(self.publisher.trouble(), troubled)
        };
        Ok(Summary {
            ending,
            message,
            zoom_requests,
            bulk_requests: self.publisher.sent.bulk_requests,
            documents: self.publisher.sent.documents,
            deleted: self.publisher.sent.deletes,
            details_due,
            documents_due,
            troubled,
            publishing: self.elastic.is_some(),
            tally: self.state.tally,
        })
    }
}

async fn receive(grants: Option<&mut mpsc::Receiver<GrantRequest>>) -> Option<GrantRequest> {
    match grants {
        Some(grants) => grants.recv().await,
        None => None,
    }
}
