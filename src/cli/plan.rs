//! `plan`: the dry run, printed.

use std::time::Duration;

use super::{Exit, Failure, PlanArgs, context::Context, out};
use crate::{
    catalog::{Catalog, Error},
    sync::{DryRun, dry_run},
};

pub fn run(context: &Context, args: &PlanArgs) -> Result<Exit, Failure> {
    let scope = context.scope(&args.days)?;
    let account = context.config.zoom_credentials()?.account_id;
    let catalog = match Catalog::open_read_only(&context.config.db) {
        Err(Error::Absent(_)) => Catalog::in_memory()?,
        other => other?,
    };
    if let Some(found) = catalog.account()?.filter(|found| *found != account) {
        return Err(Error::OtherAccount {
            found,
            asked: account,
        }
        .into());
    }
    context.not_forgotten(&catalog, scope)?;
    let options = context.options(scope);
    let planned = context.block_on(async {
        let end = context.zoom(false)?;
        for label in crate::model::Label::ALL {
            end.pacer.remember(
                label,
                &catalog.recent_requests(label, context.now())?,
                context.now(),
            );
        }
        let now = context.now();
        match dry_run(
            &catalog,
            &end.zoom,
            &end.pacer,
            scope,
            options.whole_listing_every,
            context.config.privacy.clone(),
            now,
        )
        .await
        {
            Ok(planned) => Ok(planned),
            Err(crate::sync::Failure::Catalog(error)) => Err(error.into()),
            Err(crate::sync::Failure::Zoom(error)) => Err(error.into()),
        }
    })?;
    if args.json {
        out::json(&planned)?
    } else {
        out::print(&told(&planned))?
    }
    Ok(Exit::Done)
}

fn told(planned: &DryRun) -> String {
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
