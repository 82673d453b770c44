//! Stands before a real Elasticsearch: counts requests, and holds one at the moment a test asks for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};

/// Which request never comes through, counted from 1.
#[derive(Clone, Copy, Debug)]
pub enum Hold {
    /// That bulk request as it arrives, before Elasticsearch sees it.
    Before(usize),
    /// Once Elasticsearch has answered that bulk request, before the answer is passed on.
    After(usize),
    /// The same for any request, not only for bulk requests.
    AnyBefore(usize),
    AnyAfter(usize),
}

/// Stands before Elasticsearch and counts: `before` and `after` bulk requests, `asked` all, `held` those that it holds.
#[derive(Clone)]
pub struct Proxy {
    target: String,
    http: reqwest::Client,
    pub before: Arc<AtomicUsize>,
    pub after: Arc<AtomicUsize>,
    pub asked: Arc<AtomicUsize>,
    pub held: Arc<AtomicUsize>,
    hold: Option<Hold>,
}

async fn pass_on(State(proxy): State<Proxy>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let bulk = parts.uri.path().ends_with("_bulk");
    let held = Arc::clone(&proxy.held);
    let forever = || {
        held.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60))
    };
    let number = proxy.asked.fetch_add(1, Ordering::SeqCst) + 1;
    if matches!(proxy.hold, Some(Hold::AnyBefore(at)) if at == number) {
        forever().await;
    }
    if bulk {
        let n = proxy.before.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(proxy.hold, Some(Hold::Before(at)) if at == n) {
            forever().await;
        }
    }
    let url = format!("{}{}", proxy.target, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = proxy
        .http
        .request(parts.method, url)
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, bytes) = (answer.status(), answer.bytes().await.unwrap());
    if bulk {
        let n = proxy.after.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(proxy.hold, Some(Hold::After(at)) if at == n) {
            forever().await;
        }
    }
    if matches!(proxy.hold, Some(Hold::AnyAfter(at)) if at == number) {
        forever().await;
    }
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(bytes))
        .unwrap()
}

/// Serves a proxy on a port of its own; answers its URL and what it counts.
pub async fn proxy(target: &str, hold: Option<Hold>) -> (String, Proxy) {
    let proxy = Proxy {
        target: target.to_owned(),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        before: Arc::default(),
        after: Arc::default(),
        asked: Arc::default(),
        held: Arc::default(),
        hold,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(pass_on).with_state(proxy.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, proxy)
}
