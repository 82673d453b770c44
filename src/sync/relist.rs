//! Listing without recording: what the dry run and the search for drift share.

use chrono::NaiveDate;

use super::{
    days::{Scope, Wanted, without},
    plan::plan,
    window::{windows, with_margin},
};
use crate::{
    catalog::{self, Catalog},
    model::{Change, DateBasis, Listing},
    privacy::Screen,
    zoom::{self, Zoom},
};

/// What can end a look at Zoom.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// Zoom failed.
    #[error(transparent)]
    Zoom(#[from] zoom::Error),
}

/// A window as Zoom lists it now, and what that would change.
pub(super) struct Look {
    pub listing: Listing,
    pub changes: Vec<Change>,
}

/// Lists the wanted days and shows each window. The first thing that fails ends it: nothing can be said of days that were not
/// listed.
pub(super) async fn relist(
    catalog: &Catalog,
    zoom: &Zoom,
    screen: &Screen,
    wanted: &Wanted,
    scope: Scope,
    today: NaiveDate,
    mut see: impl FnMut(Look) -> Result<(), catalog::Error>,
) -> Result<(), Failure> {
    let mut basis = DateBasis::EndTime;
    let asked = |basis| {
        let mut queue = windows(&with_margin(&wanted.days, basis, wanted.alone, today));
        queue.reverse();
        queue
    };
    let mut queue = asked(basis);
    let mut seen = false;
    while let Some(window) = queue.pop() {
        let mut listing = match zoom.list_meetings(window, basis).await {
            Ok(listing) => listing,
            // The account's way, so it is met by the first listing.
            Err(zoom::Error::EndTimeRefused) if basis == DateBasis::EndTime && !seen => {
                basis = DateBasis::StartTime;
                queue = asked(basis);
                continue;
            }
            Err(error @ zoom::Error::ListingTooLong { .. }) => match window.halves() {
                Some((first, second)) => {
                    queue.extend([second, first]);
                    continue;
                }
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        seen = true;
        // Zoom may answer for less than was asked.
        queue.extend(without(window, listing.window).into_iter().rev());
        screen.listing(&mut listing);
        let known = catalog.known(&listing)?;
        let changes = plan(&listing, &known, scope.inside());
        see(Look { listing, changes })?;
    }
    Ok(())
}
