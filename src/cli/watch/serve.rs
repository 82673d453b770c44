//! The HTTP server of `watch`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::Days;
use serde_json::json;

use super::{
    Shared,
    webhook::{self, Refused, WebhookEvent},
};
use crate::{
    catalog::{self, Catalog},
    cli::{Failure, out},
    metrics,
    model::{Window, iso},
    report,
    untrusted::system_said,
};

/// The largest request body, in bytes. Zoom's webhooks are a few kilobytes.
const BODY_LIMIT: usize = 256 << 10;

/// Days of the report.
const REPORT_DAYS: u64 = 365;

/// Listens on the address, and answers requests from then on.
///
/// # Errors
/// The address cannot be used.
pub(super) async fn start(address: SocketAddr, shared: Arc<Shared>) -> Result<(), Failure> {
    let refused = |error: std::io::Error| {
        Failure::usage(format!(
            "cannot listen on {address} (--listen): {}",
            system_said(&error)
        ))
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(refused)?;
    let at = listener.local_addr().map_err(refused)?;
    let router = Router::new()
        .route("/", get(page))
        .route("/healthz", get(healthz))
        .route("/metrics", get(measured))
        .route("/webhook", post(hook))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared);
    out::print(&format!("listening on http://{at}"))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "the HTTP server has stopped");
        }
    });
    Ok(())
}

/// Reads the catalog on a blocking thread.
async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    look: impl FnOnce(&Catalog) -> Result<T, catalog::Error> + Send + 'static,
) -> Result<T, Response> {
    let db = shared.db.clone();
    let looked =
        tokio::task::spawn_blocking(move || Catalog::open_read_only(&db).and_then(|catalog| look(&catalog)));
    match looked.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}

async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.clock.now();
    let daily_share = shared.state().quota_limit;
    let figures = read(&shared, move |catalog| {
        let today = now.date_naive();
        let from = catalog
            .first_day()?
            .unwrap_or(today)
            .max(today - Days::new(REPORT_DAYS - 1));
        let window = Window { from, to: today };
        Ok((catalog.figures(window, None)?, window))
    });
    match figures.await {
        Ok((figures, window)) => {
            let about = report::About {
                made_at: now,
                window,
                daily_share,
                since: None,
            };
            let html = report::page(&figures, &about);
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
        }
        Err(response) => response,
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.clock.now();
    let (trouble, has_run) = {
        let state = shared.state();
        (state.trouble.clone(), state.has_run)
    };
    let last_success = match read(&shared, move |catalog| catalog.health(now)).await {
        Ok(health) => health.last_success,
        Err(_) => None,
    };
    let why = match (trouble, has_run) {
        (Some(trouble), _) => Some(trouble),
        (None, false) => Some("the first sync is under way".to_owned()),
        (None, true) => None,
    };
    let body = json!({"ready": why.is_none(), "last_success": last_success.map(iso), "why_not": why});
    let status = if why.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

async fn measured(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.clock.now();
    match read(&shared, move |catalog| catalog.health(now)).await {
        Ok(health) => {
            let text = metrics::page(&health, &shared.traffic.counts(), &shared.surroundings());
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
        }
        Err(response) => response,
    }
}

async fn hook(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let secret = shared.state().webhook_secret.clone();
    let Some(secret) = secret else {
        let said = "ZOOM_WEBHOOK_SECRET_TOKEN is not set: webhooks are refused\n";
        return (StatusCode::SERVICE_UNAVAILABLE, said).into_response();
    };
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (signature, timestamp) = (text("x-zm-signature"), text("x-zm-request-timestamp"));
    match webhook::read(
        &secret,
        &shared.account,
        signature,
        timestamp,
        &body,
        shared.clock.now(),
    ) {
        Ok(WebhookEvent::Validation(answer)) => {
            ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
        }
        Ok(WebhookEvent::Day(day)) => {
            shared.state().days.insert(day);
            shared.wake.notify_one();
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(WebhookEvent::Other) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => {
            tracing::debug!(?refused, "a webhook was refused");
            match refused {
                Refused::Malformed => StatusCode::BAD_REQUEST.into_response(),
                Refused::Signature | Refused::Time | Refused::Account => {
                    StatusCode::UNAUTHORIZED.into_response()
                }
            }
        }
    }
}
