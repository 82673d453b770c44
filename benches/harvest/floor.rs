//! The floor: a bare program that only lists, fetches, compresses, inserts and sends. It remembers nothing, plans nothing and checks nothing, so it
//! shows the least that the job costs on this machine. It runs as a process of its own: this binary, started with an environment variable.

use std::{path::Path, process::Command};

use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use zoom_harvester::sim::Simulator;

use super::process::{Indices, KINDS, Used, block_on, measured};

/// The environment variable that starts this binary as the floor. The arguments say what to do.
const ASKED: &str = "BENCH_FLOOR";

fn asked(what: &str, args: &[&str]) -> Used {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env(ASKED, what).args(args);
    measured(command)
}

/// Lists, fetches, compresses, inserts and sends the sessions, into an index that is created first.
pub fn harvest(folder: &Path, served: &Simulator, index: &Indices, recipe: &Path, from: &str) -> Used {
    let db = folder.join("floor.db");
    let args = [
        &served.api_url(),
        &served.oauth_url(),
        from,
        &*db.to_string_lossy(),
        &format!("{}/{}-sessions", index.url, index.prefix),
        &*recipe.to_string_lossy(),
    ];
    asked("harvest", &args)
}

/// Creates both indices, and sends bodies that are ready.
pub fn publish(bodies: &Path, index: &Indices) -> Used {
    asked(
        "publish",
        &[
            &bodies.to_string_lossy(),
            &format!("{}/{}", index.url, index.prefix),
        ],
    )
}

/// Starts, does nothing, and ends.
pub fn nothing() -> Used {
    asked("nothing", &[])
}

pub fn is_asked_for() -> bool {
    std::env::var(ASKED).is_ok()
}

pub fn run() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => block_on(async { drop(client()) }),
        [bodies, indices] => block_on(bare_publish(Path::new(bodies), indices)),
        [api, oauth, from, db, index, recipe] => block_on(async {
            make(&client(), index, Path::new(recipe)).await;
            bare_harvest(api, oauth, from, db, &format!("{index}/_bulk")).await;
        }),
        other => panic!("{other:?}"),
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn make(client: &reqwest::Client, index: &str, recipe: &Path) {
    let request = client
        .put(index)
        .header("content-type", "application/json")
        .body(std::fs::read(recipe).unwrap());
    assert!(request.send().await.unwrap().status().is_success());
}

async fn bare_publish(bodies: &Path, indices: &str) {
    let client = &client();
    for kind in KINDS {
        make(
            client,
            &format!("{indices}-{kind}"),
            &bodies.join(format!("{kind}.json")),
        )
        .await;
    }
    let files = std::fs::read_dir(bodies)
        .unwrap()
        .map(|file| file.unwrap().path());
    let sent = files
        .filter(|file| file.extension().is_some_and(|end| end == "gz"))
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let bulk = format!("{indices}-{}/_bulk", name.split('-').next().unwrap());
            async move { send(client, &bulk, std::fs::read(file).unwrap(), true).await }
        });
    stream::iter(sent).buffer_unordered(2).collect::<Vec<()>>().await;
}

async fn send(client: &reqwest::Client, bulk: &str, body: Vec<u8>, gzip: bool) {
    let mut request = client
        .post(format!("{bulk}?filter_path=errors"))
        .header("content-type", "application/json")
        .body(body);
    if gzip {
        request = request.header("content-encoding", "gzip");
    }
    let answer = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&answer[..], b"{\"errors\":false}");
}

#[derive(Deserialize)]
struct Page<'a> {
    next_page_token: String,
    #[serde(borrow, default)]
    meetings: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    participants: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    uuid: String,
}

async fn bare_harvest(api: &str, oauth: &str, from: &str, db: &str, bulk: &str) {
    let client = client();
    let credentials = "grant_type=account_credentials&account_id=simulated-account";
    let token = client
        .post(oauth)
        .basic_auth("simulated-client", Some("simulated-secret"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(credentials);
    let token = token.send().await.unwrap().text().await.unwrap();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let token = token["access_token"].as_str().unwrap().to_owned();
    let get = |url: String| {
        let request = client.get(url).bearer_auth(&token);
        async move { request.send().await.unwrap().bytes().await.unwrap() }
    };
    let mut listed = Vec::new();
    let today = chrono::Utc::now().date_naive();
    for kind in ["past", "pastOne"] {
        let day: chrono::NaiveDate = from.parse().unwrap();
        let mut next = String::new();
        loop {
            let mut url = format!("{api}/metrics/meetings?type={kind}&from={day}&to={today}&page_size=300");
            if !next.is_empty() {
                let token = percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC);
                url.push_str(&format!("&next_page_token={token}"));
            }
            let body = get(url).await;
            let page: Page<'_> = serde_json::from_slice(&body).unwrap();
            for row in &page.meetings {
                let Named { uuid } = serde_json::from_str(row.get()).unwrap();
                listed.push((uuid, kind, row.get().to_owned()));
            }
            next = page.next_page_token;
            if next.is_empty() {
                break;
            }
        }
    }
    let conn = rusqlite::Connection::open(db).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE meetings (uuid TEXT PRIMARY KEY, listing TEXT NOT NULL, payload BLOB NOT NULL)",
    )
    .unwrap();
    let details = listed.iter().map(|(uuid, kind, listing)| {
        let once =
            percent_encoding::utf8_percent_encode(uuid, percent_encoding::NON_ALPHANUMERIC).to_string();
        let twice = uuid.starts_with('/') || uuid.contains("//");
        let path = if twice { once.replace('%', "%25") } else { once };
        let body = get(format!(
            "{api}/metrics/meetings/{path}/participants?type={kind}&page_size=300"
        ));
        async move { (uuid, listing, body.await) }
    });
    let mut details = stream::iter(details).buffer_unordered(64).chunks(32);
    let (mut body, mut documents) = (Vec::new(), 0_u64);
    let mut sending = stream::FuturesUnordered::new();
    while let Some(chunk) = details.next().await {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (uuid, listing, detail) in &chunk {
            let page: Page<'_> = serde_json::from_slice(detail).unwrap();
            let packed = zstd::bulk::compress(detail, 3).unwrap();
            let mut insert = conn
                .prepare_cached("INSERT INTO meetings VALUES (?, ?, ?)")
                .unwrap();
            insert.execute((uuid, listing, packed)).unwrap();
            for row in page.participants {
                documents += 1;
                body.extend_from_slice(format!("{{\"index\":{{\"_id\":\"{documents}\"}}}}\n").as_bytes());
                body.extend_from_slice(row.get().as_bytes());
                body.push(b'\n');
            }
        }
        conn.execute_batch("COMMIT").unwrap();
        if body.len() > 2 << 20 {
            if sending.len() == 2 {
                sending.next().await;
            }
            sending.push(send(&client, bulk, std::mem::take(&mut body), false));
        }
    }
    if !body.is_empty() {
        sending.push(send(&client, bulk, body, false));
    }
    while sending.next().await.is_some() {}
    drop(details);
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}
