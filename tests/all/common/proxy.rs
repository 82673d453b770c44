//! A proxy in front of a real Elasticsearch: counts requests, holds one at the moment that a test chooses, and plays a script of faults.

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
use futures::{StreamExt, future::BoxFuture};
use serde_json::Value;

/// The request that is held for ever, counted from 1.
#[derive(Clone, Copy, Debug)]
pub enum Hold {
    /// This bulk request, before Elasticsearch sees it.
    Before(usize),
    /// This bulk request, after Elasticsearch has answered it and before the answer is passed on.
    After(usize),
    /// The same for any request, not only for bulk requests.
    AnyBefore(usize),
    AnyAfter(usize),
}

/// What happens to a request.
#[derive(Clone)]
pub enum Fault {
    /// This answer instead of Elasticsearch's: status, `Retry-After`, body.
    Answer(u16, Option<&'static str>, &'static str),
    /// The answer ends before its first byte.
    Cut,
    /// The answer ends in its middle.
    Truncated,
    /// A delay of this length.
    Slow(Duration),
    /// The answer, edited.
    Edit(fn(&mut Value)),
    /// An action on the server, before it sees the request or after it has answered.
    Deed(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>),
}

/// A rule of the script: which bulk requests it applies to, and what happens to them.
#[derive(Clone)]
pub struct Rule {
    /// The first bulk request, counted from 1.
    pub from: usize,
    /// How many bulk requests.
    pub times: usize,
    /// Whether Elasticsearch sees the request before the fault. For `Slow`: at once if true, otherwise after the delay.
    pub acted: bool,
    pub fault: Fault,
}

/// The proxy with its counters: `before` and `after` count bulk requests, `asked` counts all requests, `held` those that it holds.
#[derive(Clone)]
pub struct Proxy {
    target: String,
    http: reqwest::Client,
    pub before: Arc<AtomicUsize>,
    pub after: Arc<AtomicUsize>,
    pub asked: Arc<AtomicUsize>,
    pub held: Arc<AtomicUsize>,
    hold: Option<Hold>,
    script: Arc<Vec<Rule>>,
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
    let (mut before, mut after) = (None, None);
    if bulk {
        let n = proxy.before.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(proxy.hold, Some(Hold::Before(at)) if at == n) {
            forever().await;
        }
        let find = |acted| {
            let meant = |rule: &&Rule| (rule.from..rule.from.saturating_add(rule.times)).contains(&n);
            let mut script = proxy.script.iter().filter(meant);
            script
                .find(|rule| rule.acted == acted)
                .map(|rule| rule.fault.clone())
        };
        (before, after) = (find(false), find(true));
    }
    let mut wait = Duration::ZERO;
    match before {
        Some(fault @ (Fault::Answer(..) | Fault::Cut)) => return answer_with(&fault, 200, Vec::new()),
        Some(Fault::Slow(by)) => wait = by,
        Some(Fault::Deed(act)) => act().await,
        Some(Fault::Truncated | Fault::Edit(_)) => panic!("there is no answer yet"),
        None => {}
    }
    let url = format!("{}{}", proxy.target, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let request = proxy.http.request(parts.method, url).headers(headers).body(body);
    // In a separate task: the request arrives even if the client has gone.
    let (status, bytes) = tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.bytes().await.unwrap_or_default().to_vec(),
        )
    })
    .await
    .unwrap();
    if bulk {
        let n = proxy.after.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(proxy.hold, Some(Hold::After(at)) if at == n) {
            forever().await;
        }
    }
    if matches!(proxy.hold, Some(Hold::AnyAfter(at)) if at == number) {
        forever().await;
    }
    match &after {
        Some(Fault::Slow(by)) => tokio::time::sleep(*by).await,
        Some(Fault::Deed(act)) => act().await,
        _ => {}
    }
    match after {
        Some(fault) => answer_with(&fault, status, bytes),
        None => plain(status, bytes),
    }
}

fn plain(status: u16, bytes: Vec<u8>) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(bytes))
        .unwrap()
}

fn answer_with(fault: &Fault, status: u16, bytes: Vec<u8>) -> Response {
    let broken = |bytes: Vec<u8>| {
        let pieces = futures::stream::iter([Ok(bytes)])
            .chain(futures::stream::once(async { Err(std::io::Error::other("cut")) }));
        Response::builder()
            .status(status)
            .body(Body::from_stream(pieces))
            .unwrap()
    };
    match fault {
        Fault::Answer(status, retry_after, body) => {
            let mut response = Response::builder()
                .status(*status)
                .header("content-type", "text/html");
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", *seconds);
            }
            response.body(Body::from(*body)).unwrap()
        }
        Fault::Cut => broken(Vec::new()),
        Fault::Truncated => broken(bytes[..bytes.len() / 2].to_vec()),
        Fault::Edit(edit) => {
            let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
            edit(&mut answer);
            plain(status, answer.to_string().into_bytes())
        }
        Fault::Slow(_) | Fault::Deed(_) => plain(status, bytes),
    }
}

/// Serves a proxy on its own port. Returns its URL and its counters.
pub async fn proxy(target: &str, hold: Option<Hold>) -> (String, Proxy) {
    serve(target, hold, Vec::new()).await
}

/// Like [`proxy`], with a script of faults.
pub async fn scripted(target: &str, script: Vec<Rule>) -> (String, Proxy) {
    serve(target, None, script).await
}

async fn serve(target: &str, hold: Option<Hold>, script: Vec<Rule>) -> (String, Proxy) {
    let proxy = Proxy {
        script: Arc::new(script),
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
