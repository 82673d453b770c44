//! Zoom's own example answers, from its OpenAPI description, go through the whole program. No field is misread, and every field is in the documents
//! or kept in the catalog.

use std::{sync::Arc, time::Duration};

use crate::common::{ENGINES, ElasticStage, Heard, Stage};
use axum::{Json, Router, extract::State, http::Uri};
use chrono::TimeDelta;
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::{Catalog, Found},
    model::{AccountId, Clock, Source, parse_time},
    sim::{
        self,
        world::{Spec, World},
    },
    sync::{Clients, Ending, Harvest, Options, Scope},
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
    // Every example says that there is a next page. The example is served once more as the last page.
    if uri.query().unwrap_or_default().contains("next_page_token=") {
        body["next_page_token"] = "".into();
        if name == "detail" {
            body["participants"] = json!([]);
        }
    }
    Json(body)
}

#[tokio::test]
async fn zooms_documented_examples_are_harvested() {
    let examples: Value = serde_json::from_str(include_str!("../fixtures/zoom-examples.json")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .fallback(answer)
        .with_state(Arc::new(examples.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let es = ElasticStage::new(ENGINES[0]);
    let mut catalog = Catalog::in_memory().unwrap();
    // The date of the examples' listing.
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
    let clients = Clients {
        zoom: Some((zoom, pacer, requests)),
        elastic: Some(es.client()),
    };
    let heard = Heard::default();
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    let summary = Harvest::new(&mut catalog, run, clients, options, clock, &heard)
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
    // The catalog keeps both whole.
    let uuid = row["uuid"].as_str().unwrap();
    let Some(Found::Meeting(shown)) = catalog.find(uuid).unwrap() else {
        panic!()
    };
    assert_eq!(shown.listing.as_str(), row.to_string());
    assert_eq!(shown.sessions[0].as_str(), session.to_string());
    // The documents show each field that has a value.
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

/// Zoom's OpenAPI description, cut to the endpoints that are used. `tests/fixtures/zoom-contract.json` has their paths, labels, query parameters
/// (with the values that each may have) and the fields of a row.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_and_field_stands_in_zooms_contract() {
    let contract: Value = serde_json::from_str(include_str!("../fixtures/zoom-contract.json")).unwrap();
    let now = chrono::Utc::now();
    let mut met = std::collections::BTreeSet::new();
    for dashboards in [true, false] {
        let mut world = World::generate(&Spec {
            seed: 71,
            hosts: 9,
            meetings: 30,
            sessions: 90,
            days: 6,
            now,
        })
        .with_webinars(2, now);
        // A host that only the meeting itself shows.
        world.hosts[1].reported = false;
        let mut stage = Stage::new(world, None);
        stage.webinars = true;
        stage.sim.with_setup(|setup| setup.dashboards = dashboards);
        stage.source = (!dashboards).then_some(Source::Reports);
        let run = stage.run(stage.days(8), true, false).await;
        assert_eq!(run.ending, Ending::Done, "{:?}", run.message);
        // The account's history is compared in a run without dates.
        stage.run(Scope::Resume, true, false).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let token: Value = serde_json::from_str(
            &http
                .post(stage.sim.oauth_url())
                .basic_auth(sim::CLIENT_ID, Some(sim::CLIENT_SECRET))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!(
                    "grant_type=account_credentials&account_id={}",
                    sim::ACCOUNT_ID
                ))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
        )
        .unwrap();
        let mut served = std::collections::BTreeSet::new();
        for asked in stage.sim.log().iter().filter(|one| one.endpoint != "token") {
            let known = &contract[asked.endpoint];
            let what = format!("{}: {}", asked.endpoint, asked.target);
            assert_eq!(known["label"], asked.label.to_lowercase(), "{what}");
            let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
            let template = known["path"].as_str().unwrap().split('/');
            let segments: Vec<&str> = path.trim_start_matches("/v2").split('/').collect();
            let template: Vec<&str> = template.collect();
            assert_eq!(segments.len(), template.len(), "{what}");
            for (segment, wanted) in segments.iter().zip(template) {
                assert!(wanted.starts_with('{') || *segment == wanted, "{what}");
            }
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap();
                let values = known["parameters"]
                    .get(name)
                    .unwrap_or_else(|| panic!("{what}: Zoom knows no parameter {name}"));
                if let Some(values) = values.as_array() {
                    assert!(values.iter().any(|one| one == value), "{what}: {name}={value}");
                }
            }
            met.insert(asked.endpoint);
            if asked.status != 200 || !served.insert(asked.endpoint) {
                continue;
            }
            // Get the same answer again, to check its fields.
            let url = format!("{}{}", stage.sim.api_url().trim_end_matches("/v2"), asked.target);
            let answer = http
                .get(url)
                .bearer_auth(token["access_token"].as_str().unwrap())
                .send();
            let answer: Value = serde_json::from_str(&answer.await.unwrap().text().await.unwrap()).unwrap();
            let list = answer.as_object().unwrap().values().find_map(Value::as_array);
            let rows = list.cloned().unwrap_or_else(|| vec![answer.clone()]);
            assert!(!rows.is_empty(), "{what}: {answer}");
            for name in rows.iter().flat_map(|row| row.as_object().unwrap().keys()) {
                let fields = known["fields"].as_array().unwrap();
                assert!(
                    fields.iter().any(|field| field == name),
                    "{what}: Zoom knows no field {name}"
                );
            }
        }
    }
    let all: std::collections::BTreeSet<&str> =
        contract.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(met, all, "every endpoint of the contract is met");
}
