//! Processes that are measured from outside, and the indices they write to.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use zoom_harvester::sim::{self, Simulator};

/// The resources that a finished process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub wall: Duration,
    pub cpu_s: f64,
    pub peak_mb: f64,
}

impl Used {
    /// The least of each figure over several runs, because the machine's noise only adds.
    pub fn least(runs: &[Self]) -> Self {
        runs.iter().copied().fold(
            Self {
                wall: Duration::MAX,
                cpu_s: f64::MAX,
                peak_mb: f64::MAX,
            },
            |least, one| Self {
                wall: least.wall.min(one.wall),
                cpu_s: least.cpu_s.min(one.cpu_s),
                peak_mb: least.peak_mb.min(one.peak_mb),
            },
        )
    }

    /// These figures without the cost of starting and ending. The peak stays.
    pub fn without(self, start_up: Self) -> Self {
        Self {
            wall: self.wall.saturating_sub(start_up.wall),
            cpu_s: self.cpu_s - start_up.cpu_s,
            peak_mb: self.peak_mb,
        }
    }
}

/// The built program in a folder, pointed at a simulated account.
pub struct Program<'a> {
    folder: &'a Path,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Program<'a> {
    pub fn new(folder: &'a Path, served: &Simulator) -> Self {
        let environment = vec![
            ("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID.to_owned()),
            ("ZOOM_CLIENT_ID", sim::CLIENT_ID.to_owned()),
            ("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET.to_owned()),
            ("ZOOM_API_URL", served.api_url()),
            ("ZOOM_OAUTH_URL", served.oauth_url()),
        ];
        Self { folder, environment }
    }

    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Makes the program publish to these indices.
    pub fn publish_to(&mut self, indices: &Indices) {
        self.set("ELASTICSEARCH_URL", &indices.url);
        self.set("ELASTICSEARCH_INDEX_PREFIX", &indices.prefix);
        self.set("ELASTICSEARCH_REPLICAS", "0");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
        command
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder);
        command
    }

    /// Runs the program and measures it.
    pub fn run(&self, args: &[&str]) -> Used {
        measured(self.command(args))
    }
}

/// Runs a command to its end and measures it.
pub fn measured(mut command: Command) -> Used {
    let before = cpu_of_children();
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_mb: f64 = 0.0;
    let status = loop {
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        peak_mb = peak_mb.max(kb.unwrap_or_default() / 1024.0);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    Used {
        wall,
        cpu_s: cpu_of_children() - before,
        peak_mb,
    }
}

/// The CPU time, in seconds, of all children that have been waited for. One runs at a time.
fn cpu_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}

/// The size of a file.
pub fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// The indices of one measurement. They are removed at its end.
pub struct Indices {
    pub url: String,
    pub prefix: String,
}

pub const KINDS: [&str; 2] = ["meetings", "sessions"];

impl Indices {
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: format!("bench-{:08x}", fastrand::u32(..)),
        }
    }

    fn call(&self, method: reqwest::Method, path: &str) -> Value {
        let url = format!("{}/{}-{path}", self.url, self.prefix);
        block_on(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.request(method, url).send().await.unwrap();
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
        })
    }

    /// The number of documents in an index.
    pub fn count(&self, kind: &str) -> u64 {
        self.call(reqwest::Method::POST, &format!("{kind}/_refresh"));
        let found = self.call(reqwest::Method::GET, &format!("{kind}/_count"));
        found["count"].as_u64().unwrap_or_else(|| panic!("{found}"))
    }

    /// The body of a request that would create another index like this one.
    pub fn recipe(&self, kind: &str) -> Value {
        let found = self.call(reqwest::Method::GET, kind);
        let (_, index) = found.as_object().unwrap().iter().next().unwrap();
        let mut settings = index["settings"]["index"].clone();
        for own in [
            "uuid",
            "creation_date",
            "provided_name",
            "version",
            "history_uuid",
        ] {
            settings.as_object_mut().unwrap().remove(own);
        }
        serde_json::json!({"mappings": index["mappings"], "settings": {"index": settings}})
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        for kind in KINDS {
            let found = self.call(reqwest::Method::GET, kind);
            let names: Vec<String> = found
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect();
            for name in names
                .iter()
                .filter_map(|name| name.strip_prefix(&format!("{}-", self.prefix)))
            {
                self.call(reqwest::Method::DELETE, name);
            }
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

/// Prepares what a bare client needs to publish what the program has published. These are the recipe of each index (`KIND.json`) and bodies that are
/// ready to be sent (`KIND-N.gz`), compressed as the program does, with the same ids and with versions.
pub fn ready_bodies(program: &Program<'_>, indices: &Indices, folder: &Path) -> PathBuf {
    let output = program.command(&["export"]).output().unwrap();
    let exported = String::from_utf8(output.stdout).unwrap();
    let bodies = folder.join("bodies");
    std::fs::create_dir_all(&bodies).unwrap();
    for kind in KINDS {
        std::fs::write(
            bodies.join(format!("{kind}.json")),
            indices.recipe(kind).to_string(),
        )
        .unwrap();
        let mut body = String::new();
        let of_kind = |document: &Value| document["_index"].as_str().unwrap().ends_with(kind);
        let documents = exported
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        for (n, document) in documents.filter(of_kind).enumerate() {
            body.push_str(&format!(
                "{{\"index\":{{\"_id\":{},\"version\":1,\"version_type\":\"external_gte\"}}}}\n{}\n",
                document["_id"], document["_source"]
            ));
            if body.len() > 5 << 20 {
                write_gzip(&bodies.join(format!("{kind}-{n}.gz")), &std::mem::take(&mut body));
            }
        }
        write_gzip(&bodies.join(format!("{kind}-last.gz")), &body);
    }
    bodies
}

fn write_gzip(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}
