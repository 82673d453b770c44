//! Zoom's own example answers, as its OpenAPI description gives them, go through the whole job: no field of theirs is misread, and
//! every one is in the documents or kept in the catalog.

use std::{sync::Arc, time::Duration};

use crate::common::{ENGINES, ElasticStage, Heard};
use axum::{Json, Router, extract::State, http::Uri};
use chrono::TimeDelta;
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::{Catalog, Found},
    model::{AccountId, Clock, parse_time},
    sync::{Ending, Harvest, Options, Scope, Sides},
    zoom::{
        self, Zoom,
        pace::{Pacer, Plan},
    },
};

async fn answer(State(examples): State<Arc<Value>>, uri: Uri) -> Json<Value> {
    let name = match uri.path() {
        "/oauth/token" => {
            return Json(json!({"access_token": "t", "token_type": "bearer", "expires_in": 3600}));
        }
        "/v2/metrics/meetings" => "listing",
        "/v2/report/users" => "hosts",
        path if path.ends_with("/participants") => "detail",
        path if path.starts_with("/v2/users/") => "series",
        _ => "past_meeting",
    };
    let mut body = examples[name].clone();
    // Every example says that there is a next page: it is served once more, and as the last.
    if uri.query().unwrap_or_default().contains("next_page_token=") {
        body["next_page_token"] = "".into();
        if name == "detail" {
            body["participants"] = json!([]);
        }
    }
    Json(body)
}

#[tokio::test]
async fn zooms_own_examples_go_through_the_whole_job() {
    let examples: Value = serde_json::from_str(include_str!("../fixtures/zoom-examples.json")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .fallback(answer)
        .with_state(Arc::new(examples.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let es = ElasticStage::new(ENGINES[0]);
    let mut catalog = Catalog::in_memory().unwrap();
    // The examples' listing is one of these days.
    let clock = Clock::new(|| parse_time("2022-04-07T12:00:00Z").unwrap());
    let account = AccountId::new("example");
    catalog.claim(&account, "catalog", clock.now()).unwrap();
    let run = catalog.begin_run("sync", clock.now()).unwrap();
    let (grants, requests) = tokio::sync::mpsc::channel(8);
    let pacer = Pacer::new(Plan::Business, 1.0, Some(grants));
    let settings = zoom::Settings {
        source: None,
        webinars: false,
        account_id: account,
        client_id: "c".into(),
        client_secret: "s".to_owned().into(),
        oauth_url: format!("{url}/oauth/token"),
        api_url: Some(format!("{url}/v2")),
        retry: zoom::Retry {
            times: 0,
            ..zoom::Retry::default()
        },
        timeout: Duration::from_secs(10),
        answer_limit_bytes: 1 << 20,
        traffic: Default::default(),
        proxies: Default::default(),
        authorities: Default::default(),
        seed: 1,
    };
    let zoom = Arc::new(Zoom::new(settings, Arc::clone(&pacer), clock.clone()).unwrap());
    let options = Options {
        enrich: false,
        scope: Scope::Resume,
        concurrency: 4,
        whole_listing_every: TimeDelta::days(7),
        daily_share: 1_000,
        policy: Default::default(),
    };
    let sides = Sides {
        zoom: Some((zoom, pacer, requests)),
        elastic: Some(es.client()),
    };
    let heard = Heard::default();
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    let summary = Harvest::new(&mut catalog, run, sides, options, clock, &heard)
        .unwrap()
        .run(cancel)
        .await
        .unwrap();
    assert_eq!(
        (summary.ending, summary.tally.new, summary.tally.sessions),
        (Ending::Done, 1, 1),
        "{:?}",
        heard.0.lock().unwrap()
    );

    let row = &examples["listing"]["meetings"][0];
    let session = &examples["detail"]["participants"][0];
    // Kept whole in the catalog.
    let uuid = row["uuid"].as_str().unwrap();
    let Some(Found::Meeting(shown)) = catalog.find(uuid).unwrap() else {
        panic!()
    };
    assert_eq!(shown.listing.as_str(), row.to_string());
    assert_eq!(shown.sessions[0].as_str(), session.to_string());
    // And shown in the documents, each field that says something.
    let meetings = es.all("meetings").await;
    let sessions = es.all("sessions").await;
    let (meeting, shown) = (&meetings[uuid].1, &sessions.values().next().unwrap().1);
    let flat = |document: &Value| document.to_string();
    for (name, value) in row
        .as_object()
        .unwrap()
        .iter()
        .chain(session.as_object().unwrap())
    {
        let said = match value {
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => match parse_time(text) {
                Some(at) => zoom_harvester::model::iso(at),
                None => text.clone(),
            },
            Value::Array(_) => continue,
            other => other.to_string(),
        };
        // The length is in seconds, and meeting numbers are numbers.
        if name == "duration" {
            continue;
        }
        assert!(
            flat(meeting).contains(&said) || flat(shown).contains(&said),
            "{name}: {said} is in no document"
        );
    }
    assert_eq!(meeting["duration"], 56);
    assert_eq!(meeting["meeting_series_id"], 93_201_235_621_i64);
}
