//! Processes that are measured from outside, and the indices they write to.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use zoom_harvester::sim::{self, Simulator};

/// What a finished process used.
#[derive(Debug, Default)]
pub struct Used {
    pub wall: Duration,
    pub cpu_s: f64,
    pub peak_mb: f64,
}

/// The built program, as its user runs it.
fn command(folder: &Path, served: &Simulator, index: Option<&Indices>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
    command
        .args(args)
        .env_clear()
        .current_dir(folder)
        .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
        .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
        .env("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET)
        .env("ZOOM_API_URL", served.api_url())
        .env("ZOOM_OAUTH_URL", served.oauth_url());
    if let Some(index) = index {
        command
            .env("ELASTICSEARCH_URL", &index.url)
            .env("ELASTICSEARCH_INDEX_PREFIX", &index.prefix)
            .env("ELASTICSEARCH_REPLICAS", "0");
    }
    command
}

/// Runs it, and measures.
pub fn program(folder: &Path, served: &Simulator, index: Option<&Indices>, args: &[&str]) -> Used {
    measured(command(folder, served, index, args))
}

/// Runs a command to its end.
pub fn measured(mut command: Command) -> Used {
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut used = Used::default();
    let proc = format!("/proc/{}", child.id());
    let status = loop {
        // utime and stime are the 14th and 15th field, in hundredths of a second on Linux.
        if let Ok(stat) = std::fs::read_to_string(format!("{proc}/stat")) {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let ticks = |n: usize| {
                fields
                    .get(n)
                    .and_then(|text| text.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            used.cpu_s = used.cpu_s.max((ticks(11) + ticks(12)) / 100.0);
        }
        if let Ok(status) = std::fs::read_to_string(format!("{proc}/status")) {
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM:"))
                .unwrap_or_default();
            let kb = line
                .split_whitespace()
                .nth(1)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0);
            used.peak_mb = used.peak_mb.max(kb / 1024.0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{command:?}: {status}");
    used.wall = begun.elapsed();
    used
}

/// The size of a file.
pub fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Indices of one measurement; removed at its end.
pub struct Indices {
    pub url: String,
    pub prefix: String,
}

impl Indices {
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: format!("bench-{:08x}", fastrand::u32(..)),
        }
    }

    /// Where the floor's documents go.
    pub fn floor(&self) -> String {
        format!("{}-floor", self.prefix)
    }

    fn call(&self, method: reqwest::Method, path: &str) -> Value {
        let (url, done) = (format!("{}/{}-{path}", self.url, self.prefix), block_on);
        done(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.request(method, url).send().await.unwrap();
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
        })
    }

    /// Documents of an index.
    pub fn count(&self, kind: &str) -> u64 {
        self.call(reqwest::Method::POST, &format!("{kind}/_refresh"));
        let found = self.call(reqwest::Method::GET, &format!("{kind}/_count"));
        found["count"].as_u64().unwrap_or_else(|| panic!("{found}"))
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        for kind in [
            "meetings-000001",
            "sessions-000001",
            "meetings-000002",
            "sessions-000002",
            "floor",
        ] {
            self.call(reqwest::Method::DELETE, kind);
        }
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// The documents that the program has published, as bodies that are ready to be sent: one file a body.
pub fn bodies(folder: &Path, served: &Simulator, index: &Indices) -> PathBuf {
    let output = command(folder, served, Some(index), &["export"])
        .output()
        .unwrap();
    let exported = String::from_utf8(output.stdout).unwrap();
    let bodies = folder.join("bodies");
    std::fs::create_dir_all(&bodies).unwrap();
    let mut body = String::new();
    for (n, line) in exported.lines().enumerate() {
        let document: Value = serde_json::from_str(line).unwrap();
        writeln!(
            body,
            "{{\"index\":{{\"_id\":{}}}}}\n{}",
            document["_id"], document["_source"]
        )
        .unwrap();
        if body.len() > 5 << 20 {
            std::fs::write(bodies.join(n.to_string()), std::mem::take(&mut body)).unwrap();
        }
    }
    std::fs::write(bodies.join("last"), body).unwrap();
    bodies
}
