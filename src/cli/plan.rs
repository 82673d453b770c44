//! `plan`: the dry run, printed.

use std::time::Duration;

use super::{
    Exit, Failure, PlanArgs,
    context::{Context, ZoomEnd},
    out,
};
use crate::{
    catalog::{Catalog, Error},
    model::AccountId,
    sync::{DryRun, dry_run},
};

pub fn run(context: &Context, args: &PlanArgs) -> Result<Exit, Failure> {
    context.refuse_impossible_days(&args.days)?;
    let account = context.config.zoom_credentials()?.account_id;
    let catalog = match Catalog::open_read_only(&context.config.db) {
        Err(Error::Absent(_)) => Catalog::in_memory()?,
        other => other?,
    };
    belongs(&catalog, account)?;
    let planned = context.block_on(async {
        let end = looking(context, &catalog).await?;
        let scope = context.scope(&args.days)?;
        context.not_forgotten(&catalog, scope)?;
        let options = context.options(scope);
        let now = context.now();
        Ok(dry_run(
            &catalog,
            &end.zoom,
            &end.pacer,
            scope,
            options.whole_listing_every,
            context.config.privacy.clone(),
            now,
        )
        .await?)
    })?;
    if args.json {
        out::json(&planned)?
    } else {
        out::print(&as_text(&planned))?
    }
    Ok(Exit::Done)
}

/// Refuses a catalog of another account.
pub fn belongs(catalog: &Catalog, account: AccountId) -> Result<(), Failure> {
    match catalog.account()?.filter(|found| *found != account) {
        Some(found) => Err(Error::OtherAccount {
            found,
            asked: account,
        }
        .into()),
        None => Ok(()),
    }
}

/// The client of Zoom for a command that only looks. Requests of earlier runs count against the limits; its own requests are not recorded. From
/// here
/// on the clock follows Zoom's.
pub async fn looking(context: &Context, catalog: &Catalog) -> Result<ZoomEnd, Failure> {
    let end = context.zoom(false)?;
    end.zoom.sign_in().await;
    for label in crate::model::Label::ALL {
        end.pacer.remember(
            label,
            &catalog.recent_requests(label, context.now())?,
            context.now(),
        );
    }
    Ok(end)
}

fn as_text(planned: &DryRun) -> String {
    let n = out::thousands;
    let mut rows = vec![
        ["window", "meetings", "new", "changed", "vanished", "unchanged"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for window in &planned.windows {
        let counts = [
            window.meetings,
            window.new,
            window.changed,
            window.vanished,
            window.unchanged,
        ];
        rows.push(
            std::iter::once(window.window.clone())
                .chain(counts.map(n))
                .collect(),
        );
    }
    let mut text = out::table(&rows);
    text.push('\n');
    let details: u64 = planned.details.values().sum();
    let reasons: Vec<String> = planned
        .details
        .iter()
        .map(|(reason, count)| format!("{} {reason}", n(*count)))
        .collect();
    let why = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(", "))
    };
    text.push_str(&format!("details to fetch: {}{why}\n", n(details)));
    for example in &planned.examples {
        text.push_str(&format!("  {}\n", out::clean(example)));
    }
    if details > planned.examples.len() as u64 && !planned.examples.is_empty() {
        text.push_str("  …\n");
    }
    text.push_str(&format!(
        "documents to send without fetching: {} meetings\n\n",
        n(planned.documents_only)
    ));
    let mut rows = vec![["requests", "label", "at most"].map(str::to_owned).to_vec()];
    for forecast in &planned.forecast {
        let window = if forecast.label == "Resource-intensive" {
            "a minute"
        } else {
            "a second"
        };
        rows.push(vec![
            n(forecast.requests),
            forecast.label.to_owned(),
            format!("{} {window}", forecast.per_window),
        ]);
    }
    text.push_str(&out::table(&rows));
    text.push_str(&format!(
        "at least {} at these limits\n",
        out::duration(Duration::try_from_secs_f64(planned.minutes * 60.0).unwrap_or(Duration::MAX))
    ));
    text
}
