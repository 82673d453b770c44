//! Hostile input from outside: a Zoom that answers anything, with the real client, the real catalog and real servers.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::common::{ENGINES, Stage};
use assert_cmd::Command;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use chrono::Utc;
use serde_json::{Value, json};
use zoom_harvester::{
    catalog::{Catalog, Found},
    elastic,
    model::AccountId,
    sim::{
        self,
        world::{Spec, World},
    },
    untrusted::steers,
    zoom::ANSWER_LIMIT_BYTES,
};

/// Status, headers, body.
type Own = (u16, Vec<(&'static str, String)>, String);

/// What the server answers, and what it saw.
#[derive(Default)]
struct Zoom {
    /// The rows of the list `past`, as JSON text, because no JSON library would write much of what is sent here.
    listing: Vec<String>,
    hosts: Vec<String>,
    /// Bodies of details by UUID; without one there are no sessions.
    details: BTreeMap<String, Vec<u8>>,
    /// Special answers, by the last part of the path or by UUID.
    answers: BTreeMap<String, Own>,
    /// Details that never end, or that are compressed.
    endless: Vec<String>,
    gzipped: Vec<String>,
    /// Bytes of bodies that the client has taken.
    sent: Arc<AtomicUsize>,
    /// Path and Authorization of every request.
    seen: Vec<(String, String)>,
}

impl Zoom {
    fn listing(rows: impl IntoIterator<Item = String>) -> Self {
        Self {
            listing: rows.into_iter().collect(),
            ..Self::default()
        }
    }
}

type Shared = Arc<Mutex<Zoom>>;

async fn answer(State(zoom): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let _ = axum::body::to_bytes(body, usize::MAX).await;
    let path = percent_encoding::percent_decode_str(parts.uri.path())
        .decode_utf8_lossy()
        .into_owned();
    let header = parts.headers.get("authorization");
    let authorization = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut zoom = zoom.lock().unwrap();
    zoom.seen.push((path.clone(), authorization.to_owned()));
    let uuid = path
        .strip_prefix("/v2/metrics/meetings/")
        .and_then(|rest| rest.strip_suffix("/participants"))
        .unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let own = zoom.answers.get(uuid).or_else(|| zoom.answers.get(last));
    if let Some((status, headers, body)) = own {
        let mut response = Response::builder().status(StatusCode::from_u16(*status).unwrap());
        for (name, value) in headers {
            response = response.header(*name, value);
        }
        return response.body(Body::from(body.clone())).unwrap();
    }
    if zoom.endless.iter().any(|one| one == uuid) {
        let sent = Arc::clone(&zoom.sent);
        let chunks = futures::stream::repeat_with(move || {
            sent.fetch_add(64 << 10, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 << 10]))
        });
        return Response::new(Body::from_stream(chunks));
    }
    let body = match path.as_str() {
        "/oauth/token" => json!({"access_token": "hostile-token", "expires_in": 3599})
            .to_string()
            .into_bytes(),
        "/v2/metrics/meetings"
            if parts
                .uri
                .query()
                .is_some_and(|query| query.contains("type=past&")) =>
        {
            format!(
                r#"{{"next_page_token":"","meetings":[{}]}}"#,
                zoom.listing.join(",")
            )
            .into_bytes()
        }
        "/v2/report/users" => format!(r#"{{"users":[{}]}}"#, zoom.hosts.join(",")).into_bytes(),
        _ if path.ends_with("/meetings") => json!({"meetings": []}).to_string().into_bytes(),
        _ if path.ends_with("/participants") => zoom
            .details
            .get(uuid)
            .cloned()
            .unwrap_or_else(|| br#"{"participants":[]}"#.to_vec()),
        _ => json!({"host_id": "host-of-it"}).to_string().into_bytes(),
    };
    let mut response = Response::new(Body::from(body));
    if zoom.gzipped.iter().any(|one| one == uuid) {
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
    }
    response
}

/// Serves it until the process ends.
fn serve(zoom: Zoom) -> (Shared, SocketAddr) {
    let shared = Arc::new(Mutex::new(zoom));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    (shared, address)
}

fn nobody() -> World {
    World::generate(&Spec {
        seed: 1,
        hosts: 1,
        meetings: 1,
        sessions: 1,
        days: 1,
        now: Utc::now(),
    })
}

/// The program, pointed at a Zoom at `address`.
fn program(stage: &Stage, address: SocketAddr) -> Command {
    let mut command = Command::cargo_bin("zoom-harvester").unwrap();
    command
        .env_clear()
        .current_dir(stage.folder.path())
        .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
        .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
        .env("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET)
        .env("ZOOM_API_URL", format!("http://{address}/v2"))
        .env("ZOOM_OAUTH_URL", format!("http://{address}/oauth/token"))
        .env("ZOOM_RATE_SHARE", "1")
        .env("ZOOM_RETRIES", "1")
        .env("ZOOM_RETRY_MS", "1");
    if let Some(es) = &stage.elastic {
        command
            .env("ELASTICSEARCH_URL", &es.url)
            .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix)
            .env("ELASTICSEARCH_REPLICAS", "0");
    }
    command
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A row with these members, as text.
fn row(uuid: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"uuid":{}{comma}{members}}}"#, json!(uuid))
}

/// Everything that may control a terminal, including bell and hyperlink.
const STEERING: &str = "\u{1b}[2J\u{1b}]8;;http://evil\u{7}x\u{1b}]8;;\u{7}\u{9b}31m\r\n\u{0}\u{7f}\u{202e}\u{2066}\u{e0041}<script>";

#[tokio::test]
async fn hostile_values_cost_no_document() {
    let many: String = (0..3000).map(|n| format!(r#","field_{n}":"{n}""#)).collect();
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let meetings = [
        ("plain==", r#""topic":"plain""#.to_owned()),
        ("bare", String::new()),
        ("steering", format!(r#""topic":{0},"host":{0},"email":{0},"dept":{0}"#, json!(STEERING))),
        ("surrogate", r#""topic":"cut \ud83d","host":"\ude00""#.to_owned()),
        ("10k", format!(r#""topic":"{}""#, "x".repeat(10_000))),
        ("40k", format!(r#""topic":"{0}","host":"{0}","session_key":"{0}""#, "ü".repeat(40_000))),
        ("strings", r#""id":"982 6100 2850","participants":"3","duration":"1:00:00","has_video":"true","has_pstn":1,"has_sip":"maybe""#.to_owned()),
        ("numbers", r#""id":98261002850,"participants":3,"duration":3600,"topic":12345,"host":1e3"#.to_owned()),
        ("nulls", r#""id":null,"topic":null,"host":null,"email":null,"start_time":null,"duration":null,"has_video":null"#.to_owned()),
        ("lists", r#""id":[1],"topic":["a"],"host":{"a":1},"participants":[],"tracking_fields":"none","custom_keys":[1,[2]]"#.to_owned()),
        ("deep", format!(r#""topic":"deep","x":{}"#, deep(100))),
        ("2^53", r#""id":9007199254740993"#.to_owned()),
        ("2^63", r#""id":9223372036854775808,"participants":9223372036854775808"#.to_owned()),
        ("2^70", r#""id":1180591620717411303424,"duration":1180591620717411303424"#.to_owned()),
        ("negative", r#""id":-1,"participants":-9223372036854775808,"duration":-1"#.to_owned()),
        ("float", r#""id":1.5,"participants":2.5,"duration":0.5,"avg_jointime_cost":1e308"#.to_owned()),
        ("twice", r#""topic":"first","topic":"second""#.to_owned()),
        ("unknown", r#""user_type":"Emperor","audio_quality":"divine","type":99"#.to_owned()),
        ("year 10000", r#""start_time":"+10000-01-01T00:00:00","end_time":"9999-12-31T23:59:59-23:59""#.to_owned()),
        ("year 0", r#""start_time":"0000-01-01T00:00:00Z","end_time":"-0001-01-01T00:00:00Z""#.to_owned()),
        ("leap", format!(r#""start_time":"{}T23:59:60Z""#, Utc::now().date_naive())),
        ("garbage", r#""start_time":"yesterday","end_time":"2026-02-30T00:00:00Z","duration":"1:2:3:4""#.to_owned()),
        ("durations", r#""duration":"99999999999999999999:00""#.to_owned()),
        ("研讨会/ü \u{1f389}", r#""topic":"unicode""#.to_owned()),
        ("..", r#""topic":"dots""#.to_owned()),
        ("nul\u{0}and\r\nlines", r#""topic":"nul""#.to_owned()),
        ("many", format!(r#""topic":"many"{many}"#)),
    ];
    let now = Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let sessions = [
        format!(r#"{{"user_name":{0},"device":{0},"leave_reason":{0},"location":{0},"join_time":"{now}"}}"#, json!(STEERING)),
        format!(r#"{{"user_name":"{0}","leave_reason":"{0}","email":"{0}"}}"#, "ü".repeat(40_000)),
        r#"{"user_name":"cut \ud83d","user_id":18446744073709551616,"ip_address":"unknown"}"#.to_owned(),
        r#"{"user_id":9007199254740993,"ip_address":"10.0.0.1, 10.0.0.2","in_room_participants":"3","share_desktop":"TRUE"}"#.to_owned(),
        r#"{"ip_address":"10.0.0.1:443","in_room_participants":1e300,"share_desktop":7,"recording":"1"}"#.to_owned(),
        r#"{"ip_address":"fe80::1%eth0","join_time":"+10000-01-01T00:00:00","leave_time":"2016-12-31T23:59:60Z"}"#.to_owned(),
        r#"{"ip_address":["192.0.2.1"],"internal_ip_addresses":[1,null,{},"x"],"audio_call":[null,{"call_type":5}],"user_name":["a"]}"#.to_owned(),
        format!(r#"{{"user_name":"deep","x":{}{many}}}"#, deep(100)),
        "{}".to_owned(),
        "{}".to_owned(),
    ];
    let detail = format!(r#"{{"participants":[{}]}}"#, sessions.join(","));
    for engine in ENGINES {
        let stage = Stage::new(nobody(), Some(engine));
        let mut zoom = Zoom::listing(meetings.iter().map(|(uuid, members)| row(uuid, members)));
        // None of these is a meeting, and none of them blocks the others.
        let none = [
            "{}",
            "7",
            "null",
            r#"{"uuid":"  "}"#,
            r#"{"uuid":["a"]}"#,
            r#"{"uuid":"gone","x":1e999}"#,
        ];
        zoom.listing.extend(none.map(str::to_owned));
        zoom.listing
            .push(row("too deep", &format!(r#""x":{}"#, deep(1000))));
        // Elasticsearch accepts ids of at most 512 bytes, so this one document is refused and reported.
        zoom.listing.push(row(&"u".repeat(600), ""));
        zoom.details = meetings
            .iter()
            .map(|(uuid, _)| ((*uuid).to_owned(), detail.clone().into_bytes()))
            .collect();
        let broken = format!(r#"{{"participants":[{{}},{{"x":{}}}]}}"#, deep(1000));
        zoom.listing.push(row("bad session", ""));
        zoom.details.insert("bad session".into(), broken.into_bytes());
        let (_, address) = serve(zoom);
        let today = Utc::now().date_naive().to_string();
        let output = program(&stage, address)
            .args(["sync", "--from", &today])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        // Each row that is not a meeting is reported, and the first of them again in the summary.
        let problems = said(&output);
        for (reason, rows) in [("it has no uuid", 3 + 1), ("it is no object", 4)] {
            assert_eq!(problems.matches(reason).count(), rows, "{problems}");
        }

        let troubled = |what: &str| stage.number(&format!("SELECT count(*) FROM failures{what}"));
        assert_eq!(troubled(""), 2, "{}", said(&output));
        assert_eq!(
            troubled(" WHERE length(meeting_uuid) = 600 AND reason LIKE '%Validation Failed%'"),
            1
        );
        assert_eq!(
            troubled(" WHERE meeting_uuid = 'bad session' AND reason LIKE '%no object%'"),
            1
        );

        let (found, shown) = (stage.es().all("meetings").await, stage.es().all("sessions").await);
        let uuids: Vec<&str> = found.keys().map(String::as_str).collect();
        let mut wanted: Vec<&str> = meetings.iter().map(|(uuid, _)| uuid.trim()).collect();
        wanted.sort_unstable();
        assert_eq!(uuids, wanted);
        let field = |uuid: &str, name: &str| found[uuid].1[name].clone();
        for (uuid, name, value) in [
            ("surrogate", "topic", json!("cut \u{fffd}")),
            ("steering", "topic", json!(STEERING)),
            ("40k", "topic", json!("ü".repeat(40_000))),
            ("strings", "meeting_series_id", json!(98_261_002_850_i64)),
            ("strings", "participants", json!(3)),
            ("strings", "duration", json!(3600)),
            ("strings", "has_video", json!(true)),
            ("strings", "has_pstn", json!(true)),
            ("strings", "has_sip", json!(null)),
            ("numbers", "topic", json!("12345")),
            ("2^53", "meeting_series_id", json!(9_007_199_254_740_993_i64)),
            ("2^63", "meeting_series_id", json!(null)),
            ("twice", "topic", json!("second")),
            ("year 10000", "start_time", json!(null)),
            (
                "leap",
                "start_time",
                json!(format!("{}T23:59:59Z", Utc::now().date_naive())),
            ),
            ("durations", "duration", json!(null)),
            ("lists", "topic", json!(null)),
            ("unknown", "audio_quality", json!("divine")),
        ] {
            assert_eq!(field(uuid, name), value, "{uuid}: {name}");
        }
        // A UUID of dots is requested under its own name, which is unknown. It does not lead to another path.
        assert_eq!(found[".."].1["participant_sessions"], 0);
        assert_eq!(shown.len(), (meetings.len() - 1) * sessions.len());
        let mappings = stage
            .es()
            .call("GET", "/PREFIX-*/_mapping", None)
            .await
            .to_string();
        assert!(
            mappings.contains("leave_reason") && !mappings.contains("field_1"),
            "{mappings}"
        );

        // The catalog kept what the documents leave out.
        let catalog = Catalog::open_read_only(&stage.db()).unwrap();
        let Some(Found::Meeting(shown)) = catalog.find("year 10000").unwrap() else {
            panic!("it is not kept");
        };
        assert_eq!(shown.listing.text("end_time"), "9999-12-31T23:59:59-23:59");
        drop(catalog);
        assert_eq!(
            stage.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
            0
        );

        // The next run finds nothing more to do.
        let again = program(&stage, address)
            .args(["sync", "--json"])
            .output()
            .unwrap();
        let summary: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(
            (&summary["new"], &summary["documents_due"]),
            (&json!(0), &json!(0)),
            "{summary}"
        );
    }
}

#[test]
fn an_oversized_answer_is_not_read_to_its_end() {
    let stage = Stage::new(nobody(), None);
    let mut zoom = Zoom::listing(["good", "large", "bomb", "endless"].map(|uuid| row(uuid, "")));
    zoom.details
        .insert("good".into(), br#"{"participants":[{"user_name":"x"}]}"#.to_vec());
    zoom.details.insert("large".into(), vec![b' '; 50_000_000]);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..200 {
        bomb.write_all(&vec![b' '; 1_000_000]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(
        bomb.len() < 1_000_000,
        "the limit is on what it becomes, not on what it is"
    );
    zoom.details.insert("bomb".into(), bomb);
    zoom.gzipped.push("bomb".into());
    zoom.endless.push("endless".into());
    let sent = Arc::clone(&zoom.sent);
    let (_, address) = serve(zoom);
    let output = program(&stage, address).arg("sync").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    for uuid in ["large", "bomb", "endless"] {
        let failed = format!(
            "SELECT count(*) FROM failures WHERE meeting_uuid = '{uuid}' AND reason LIKE '%larger than%'"
        );
        assert_eq!(stage.number(&failed), 1, "{uuid}: {}", said(&output));
    }
    assert_eq!(
        stage.number("SELECT count(*) FROM meetings WHERE status = 'fetched'"),
        1
    );
    // The bytes beyond the limit fit into the buffers of two sockets. The client does not wait for an end that never comes.
    let sent = sent.load(Ordering::Relaxed);
    assert!(
        sent > ANSWER_LIMIT_BYTES && sent < ANSWER_LIMIT_BYTES + (16 << 20),
        "{sent}"
    );
}

#[test]
fn redirects_get_no_token() {
    let to = |address: SocketAddr| {
        (
            307,
            vec![("location", format!("http://{address}/v2/elsewhere?x"))],
            String::new(),
        )
    };
    for from in ["token", "meetings"] {
        let stage = Stage::new(nobody(), None);
        let (other, elsewhere) = serve(Zoom::default());
        let mut zoom = Zoom::default();
        zoom.answers.insert(from.into(), to(elsewhere));
        let (_, address) = serve(zoom);
        let output = program(&stage, address).arg("sync").output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        assert!(
            said(&output).contains("which is not followed"),
            "{}",
            said(&output)
        );
        assert_eq!(other.lock().unwrap().seen, [], "{from}");
    }
    // Elasticsearch's client follows redirects by itself, but sends no credentials along, and what the other server answers does not count.
    let stage = Stage::new(nobody(), None);
    let (other, elsewhere) = serve(Zoom::default());
    let mut zoom = Zoom::default();
    let account = elastic::account_part(&AccountId::new(sim::ACCOUNT_ID));
    zoom.answers
        .insert(format!("zoom-meetings-{account}"), to(elsewhere));
    zoom.listing.push(row("one", ""));
    let (shared, address) = serve(zoom);
    let output = program(&stage, address)
        .env("ELASTICSEARCH_URL", format!("http://{address}"))
        .env("ELASTICSEARCH_API_KEY", "c2VjcmV0LWtleQ==")
        .arg("sync")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("ELASTICSEARCH_URL redirects to"),
        "{}",
        said(&output)
    );
    assert!(
        shared
            .lock()
            .unwrap()
            .seen
            .iter()
            .any(|(_, key)| key == "ApiKey c2VjcmV0LWtleQ==")
    );
    let seen = other.lock().unwrap();
    assert!(
        seen.seen
            .iter()
            .all(|(_, authorization)| authorization.is_empty()),
        "{:?}",
        seen.seen
    );
}

#[test]
fn text_from_outside_prints_no_escape_sequence() {
    let uuid = format!("u{STEERING}");
    let members = |id: &str| {
        format!(
            r#""id":{id},"topic":{0},"host":{0},"email":{0},"dept":{0},"{1}":1"#,
            json!(STEERING),
            "k\\u001b[31m\\u009b"
        )
    };
    let mut zoom = Zoom::listing([
        row(&uuid, &members("123456789")),
        row(&format!("{uuid}2"), &members("1234567890")),
        row("refused", ""),
    ]);
    zoom.listing
        .push(json!({"uuid": "", "topic": STEERING}).to_string());
    zoom.hosts.push(
        json!({"id": STEERING, "email": STEERING, "user_name": STEERING, "dept": STEERING}).to_string(),
    );
    let detail =
        json!({"participants": [{"user_name": STEERING, STEERING: STEERING, "leave_reason": STEERING}]});
    zoom.details.insert(uuid.clone(), detail.to_string().into_bytes());
    let refusal = json!({"code": 9999, "message": STEERING}).to_string();
    zoom.answers
        .insert("refused".into(), (400, vec![], refusal.clone()));
    zoom.answers.insert(format!("{uuid}2"), (400, vec![], refusal));
    let scopes = json!({"access_token": "t", "expires_in": 3599, "scope": STEERING}).to_string();
    zoom.answers.insert("token".into(), (200, vec![], scopes));
    let (shared, address) = serve(zoom);
    let stage = Stage::new(nobody(), None);
    let check = |more: &[(&str, &str)], args: &[&str]| {
        for format in ["text", "json"] {
            let output = program(&stage, address)
                .envs(more.iter().copied())
                .args(args)
                .args(["--log-format", format, "-vvv"])
                .output()
                .unwrap();
            for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                let text = std::str::from_utf8(bytes).unwrap();
                let found = text.chars().find(|c| *c != '\n' && steers(*c));
                assert_eq!(found, None, "{args:?} {format} {stream}: {text:?}");
                // A command line that cannot be parsed does not tell the format of errors.
                if format == "json" && stream == "stderr" && !text.contains("--help lists") {
                    for line in text.lines() {
                        assert!(serde_json::from_str::<Value>(line).is_ok(), "{args:?}: {line}");
                    }
                }
            }
            assert_ne!(output.status.code(), Some(70), "{args:?}: {}", said(&output));
        }
    };
    // In addition to Zoom's answers: what a user types, and what an Elasticsearch answers.
    let elastic = format!("http://{address}");
    let with_elastic = [
        ("ELASTICSEARCH_URL", elastic.as_str()),
        ("ELASTICSEARCH_RETRIES", "0"),
    ];
    let today = Utc::now().date_naive().to_string();
    for args in [
        &["plan", "--from", &today][..],
        &["plan", "--from", &today, "--json"],
        &["sync", "--from", &today],
        &["sync", "--from", &today, "--json"],
        &["status"],
        &["status", "--json"],
        &["show", &uuid[..uuid.find('\u{0}').unwrap()]],
        &["show", "123456789"],
        &["show", "1234567890"],
        &["show", "refused"],
        &["show", &STEERING[..STEERING.find('\u{0}').unwrap()]],
        &["export"],
        &["doctor"],
        &["doctor", "--json"],
        &["retry"],
        &["status", "--db", "no\u{1b}[2J\u{202e}where.db"],
        &["sync", "--from", "\u{1b}[2J\u{9b}"],
    ] {
        check(&[], args);
    }
    let ill = json!({"error": {"type": STEERING, "reason": STEERING}, "status": 400}).to_string();
    shared
        .lock()
        .unwrap()
        .answers
        .insert("zoom-meetings".into(), (400, vec![], ill));
    for args in [&["publish"][..], &["reindex"], &["doctor"], &["sync"]] {
        check(&with_elastic, args);
    }
    let refused = json!({"reason": STEERING, "error": STEERING}).to_string();
    shared
        .lock()
        .unwrap()
        .answers
        .insert("token".into(), (400, vec![], refused));
    for args in [&["doctor"][..], &["sync"], &["plan"]] {
        check(&[], args);
    }
    check(&[("ZOOM_PLAN", "\u{202e}pro")], &["status"]);
    check(&[("ZOOM_HARVESTER_\u{202e}", "x")], &["status"]);
}
