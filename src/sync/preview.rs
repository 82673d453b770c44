//! Lists as a sync would and applies nothing: shared by the dry run and the comparison with Zoom.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;

use super::{
    Scope,
    listings::{Ask, Complete, ListingOutcome, Listings, PagePlan, brief},
};
use crate::{
    catalog::{self, Catalog},
    model::ListingPage,
    privacy::Screen,
    zoom::{self, Zoom},
};

/// An error that ends a preview.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// Zoom failed.
    #[error(transparent)]
    Zoom(#[from] zoom::Error),
}

/// A part of a preview.
pub(super) enum Seen<'a> {
    /// What a page would change. If a listing is read twice, its rows come twice.
    Page(&'a PagePlan<'a>),
    /// What a listing would change in addition, now that it is complete.
    Listing(&'a Complete),
}

/// Lists the wanted days and shows what that would change. The first failure ends it: nothing is known of days that were not listed.
pub(super) async fn preview(
    catalog: &Catalog,
    zoom: &Zoom,
    screen: &Screen,
    scope: Scope,
    whole_listing_every: TimeDelta,
    now: DateTime<Utc>,
    mut see: impl FnMut(Seen<'_>) -> Result<(), catalog::Error>,
) -> Result<(), Failure> {
    let mut listings = Listings::new(scope, whole_listing_every, false, zoom.webinars());
    listings.want_days(catalog, now)?;
    brief(catalog, zoom, now)?;
    while let Some(ask) = listings.next() {
        let (show_page, mut pages) = mpsc::unbounded_channel::<ListingPage>();
        let show = |page| drop(show_page.send(page));
        let known = listings.known(catalog, screen, zoom, ask, now)?;
        let mut listing = Box::pin(zoom.list_meetings(ask.window, ask.basis, &known, &show));
        let result = loop {
            let page = tokio::select! {
                biased;
                Some(page) = pages.recv() => page,
                result = &mut listing => break result,
            };
            show_plan(&listings, catalog, screen, ask, page, &mut see)?;
        };
        // The last page may have arrived at the same moment as the end.
        while let Ok(page) = pages.try_recv() {
            show_plan(&listings, catalog, screen, ask, page, &mut see)?;
        }
        match listings.handle_answer(catalog, screen, ask, result, now.date_naive())? {
            ListingOutcome::Complete(complete) => see(Seen::Listing(&complete))?,
            ListingOutcome::Again(_) => {}
            ListingOutcome::Failed(_, error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn show_plan(
    listings: &Listings,
    catalog: &Catalog,
    screen: &Screen,
    ask: Ask,
    mut page: ListingPage,
    see: &mut impl FnMut(Seen<'_>) -> Result<(), catalog::Error>,
) -> Result<(), catalog::Error> {
    match listings.page(catalog, screen, ask, &mut page)? {
        Some(plan) => see(Seen::Page(&plan)),
        None => Ok(()),
    }
}
