//! Maintenance of the catalog, and everything that can happen to its file. The built binary reports it in one line with the right exit code, and
//! loses nothing.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{ENGINES, Stage};
use chrono::{Days, TimeDelta, Utc};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use zoom_harvester::{
    catalog::Catalog,
    model::{AccountId, Label},
    sim::world::{Spec, World},
    sync::Scope,
};

const MEETINGS: usize = 80;

fn stage() -> Stage {
    Stage::new(
        World::generate(&Spec {
            seed: 5,
            hosts: 5,
            meetings: MEETINGS,
            sessions: 400,
            days: 4,
            now: Utc::now(),
        }),
        None,
    )
}

/// The program, pointed at the simulated account and at a catalog.
fn program(stage: &Stage, db: &Path, args: &[&str]) -> Command {
    pointed(
        Command::new(env!("CARGO_BIN_EXE_zoom-harvester")),
        stage,
        db,
        args,
    )
}

fn pointed(mut command: Command, stage: &Stage, db: &Path, args: &[&str]) -> Command {
    command
        .arg("--db")
        .arg(db)
        .args(args)
        .env_clear()
        .current_dir(stage.folder.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(stage.environment())
        .env("ZOOM_CONCURRENCY", "4")
        .env("ZOOM_RATE_SHARE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn sync_args() -> [String; 4] {
    let from = Utc::now().date_naive() - Days::new(5);
    ["sync", "-q", "--from", &from.to_string()].map(str::to_owned)
}

fn sync(stage: &Stage, db: &Path) -> Command {
    program(stage, db, &sync_args().each_ref().map(String::as_str))
}

/// Exit code, standard output and standard error.
fn run(mut command: Command) -> (i32, String, String) {
    told(command.spawn().unwrap())
}

fn told(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().expect("it ended by itself"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Asserts that the command ends with this exit code and one line that contains this word.
fn refused(command: Command, code: i32, word: &str) {
    let shown = format!("{command:?}");
    let (found, _, stderr) = run(command);
    assert_eq!(found, code, "{shown}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{shown}: {stderr}");
    assert!(stderr.contains(word), "{shown}: {word:?} is not in {stderr}");
}

fn done(command: Command) -> String {
    let shown = format!("{command:?}");
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{shown}: {stdout}{stderr}");
    stdout
}

fn harvested() -> Stage {
    let stage = stage();
    done(sync(&stage, &stage.db()));
    stage
}

/// A sync that is under way and has asked for this many details.
fn under_way(stage: &Stage, details: usize) -> Child {
    stage
        .sim
        .with_setup(|setup| setup.latency = Duration::from_millis(5));
    let mut child = sync(stage, &stage.db()).spawn().unwrap();
    let begun = Instant::now();
    while stage.sim.count("detail") < details {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// The page size of a catalog, in bytes.
const PAGE: usize = 8192;

fn kept(db: &Path) -> BTreeSet<String> {
    let conn = Connection::open(db).unwrap();
    let mut all = conn
        .prepare("SELECT meeting_uuid FROM payloads JOIN meetings USING (meeting_id)")
        .unwrap();
    let rows = all.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Details that were asked for, since the log was cleared.
fn asked(stage: &Stage) -> BTreeSet<String> {
    let log = stage.sim.log();
    let details = log.into_iter().filter(|one| one.endpoint == "detail");
    details.filter_map(|one| one.uuid).collect()
}

fn is_sound(stage: &Stage, db: &Path) {
    let said = done(program(stage, db, &["catalog", "check"]));
    assert!(said.contains("is sound"), "{said}");
}

#[test]
fn check_names_each_flaw_and_its_meeting() {
    let stage = harvested();
    is_sound(&stage, &stage.db());
    let uuid = kept(&stage.db()).pop_first().unwrap();
    let damaged = stage.folder.path().join("damaged.db");
    let of_the_meeting = |sql: &str| {
        let the =
            format!("WHERE meeting_id = (SELECT meeting_id FROM meetings WHERE meeting_uuid = '{uuid}')");
        sql.replace("THE", &the)
    };
    let zeros = "0".repeat(64);
    let (payload, bytes): (Vec<u8>, usize) = Connection::open(stage.db())
        .unwrap()
        .query_row(
            &of_the_meeting("SELECT payload, payload_bytes FROM payloads THE"),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let json = String::from_utf8(zstd::bulk::decompress(&payload, bytes).unwrap()).unwrap();
    assert!(json.contains("\"user_name\":\""), "{json}");
    let json = json.replace("\"user_name\":\"", "\"user_mane\":\"");
    let forged = zstd::bulk::compress(json.as_bytes(), 3).unwrap();
    let forged: String = forged.iter().map(|byte| format!("{byte:02x}")).collect();
    for (check, sql, about) in [
        ("payload_there", "DELETE FROM payloads THE", &*uuid),
        ("payloads", "UPDATE payloads SET payload = x'00' THE", &uuid),
        (
            "payloads",
            "UPDATE payloads SET payload_bytes = payload_bytes + 1 THE",
            &uuid,
        ),
        (
            "payloads",
            "UPDATE payloads SET payload_bytes = 9000000000000000000 THE",
            &uuid,
        ),
        // A payload as long as before, and with the same sessions.
        (
            "payloads",
            &format!("UPDATE payloads SET payload = x'{forged}' THE"),
            &uuid,
        ),
        (
            "payloads",
            "UPDATE payloads SET (payload, payload_bytes) = (SELECT payload, payload_bytes FROM payloads \
             WHERE meeting_id <> (SELECT meeting_id FROM meetings THE) LIMIT 1) THE",
            &uuid,
        ),
        (
            "payloads",
            "UPDATE meetings SET sessions = sessions + 1 THE",
            &uuid,
        ),
        ("payloads", "DELETE FROM sessions THE", &uuid),
        (
            "payloads",
            "UPDATE sessions SET session_id = zeroblob(16) THE AND session_id = (SELECT max(session_id) FROM sessions THE)",
            &uuid,
        ),
        ("payloads", "UPDATE meetings SET listing = x'00' THE", &uuid),
        (
            "payloads",
            &format!("UPDATE meetings SET shown_checksum = '{zeros}' THE"),
            &uuid,
        ),
        ("references", "UPDATE meetings SET series_id = 1 THE", &uuid),
        ("references", "UPDATE meetings SET host_id = 'x' THE", &uuid),
        ("status", "UPDATE meetings SET status = 'indexed' THE", &uuid),
        (
            "checksums",
            "UPDATE meetings SET indexed_checksum = 'x' THE",
            &uuid,
        ),
        ("revision", "UPDATE meetings SET revision = 1 THE", &uuid),
        ("times", "UPDATE meetings SET changed_at = 'yesterday' THE", &uuid),
        ("times", "UPDATE meetings SET fetched_at = NULL THE", &uuid),
        (
            "look_again",
            "UPDATE meetings SET look_again_at = '2026-03-04T00:00:00Z', look_again_step = 0 THE",
            &uuid,
        ),
        (
            "listed_day",
            "UPDATE meetings SET listed_day = '2020-01-01' THE",
            &uuid,
        ),
        (
            "windows",
            "UPDATE windows SET settled_at = '2020-01-01T00:00:00Z'",
            "20",
        ),
        (
            "window_meetings",
            "UPDATE windows SET meetings = 10000, changes = 0, settled_at = '2999-01-01T00:00:00Z', \
             last_listed_at = '2999-01-01T00:00:00Z'",
            "20",
        ),
        ("hosts", "UPDATE meetings SET host_id = NULL THE", &uuid),
        (
            "hosts",
            "INSERT INTO host_lookups VALUES ('x', NULL, 'pending', 'nobody', NULL)",
            "nobody",
        ),
        (
            "sessions_without_detail",
            "UPDATE meetings SET status = 'listed', fetched_for = NULL, detail_checksum = NULL, document_checksum = NULL, \
             sessions = NULL, fetched_at = NULL THE",
            &uuid,
        ),
        ("account", "DELETE FROM account", "the catalog"),
        (
            "indices",
            "INSERT INTO indices (kind, year, index_name, index_uuid, adopted, recorded_at) VALUES ('meetings', 0, 'x', 'x', 0, 'x')",
            "the catalog",
        ),
        ("api_use", "UPDATE api_use SET requests = -1", "20"),
        ("api_use", "UPDATE api_use SET day = '2020-01-01'", "2020-01-01"),
        ("runs", "UPDATE runs SET exit_code = 99", "run 1"),
        ("runs", "UPDATE meetings SET last_attempt_run = 99 THE", &uuid),
    ] {
        let _ = fs::remove_file(&damaged);
        Connection::open(stage.db())
            .unwrap()
            .execute("VACUUM INTO ?", [damaged.to_str().unwrap()])
            .unwrap();
        let conn = Connection::open(&damaged).unwrap();
        conn.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
            .unwrap();
        assert!(conn.execute(&of_the_meeting(sql), []).unwrap() > 0, "{sql}");
        drop(conn);
        let (code, stdout, stderr) = run(program(&stage, &damaged, &["catalog", "check"]));
        assert_eq!(code, 2, "{sql}: {stdout}{stderr}");
        let line = format!("{check}: {about}");
        assert!(
            stdout.lines().any(|said| said.starts_with(&line)),
            "{sql}: no line {line:?} in {stdout}"
        );
        assert!(stdout.contains("what to do: "), "{stdout}");
        let (code, stdout, _) = run(program(&stage, &damaged, &["catalog", "check", "--json"]));
        let checks: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let found = checks.as_array().unwrap().iter().find(|one| one["name"] == check);
        assert!(
            code == 2 && found.unwrap()["count"].as_u64() > Some(0),
            "{checks}"
        );
    }
}

#[test]
fn a_damaged_page_in_the_middle_is_found_and_ends_a_run_with_the_remedy() {
    let stage = harvested();
    let conn = Connection::open(stage.db()).unwrap();
    let page: u64 = conn
        .query_row(
            "SELECT rootpage FROM sqlite_master WHERE name = 'meetings'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(conn);
    let mut bytes = fs::read(stage.db()).unwrap();
    let at = (page as usize - 1) * PAGE;
    bytes[at..at + PAGE].fill(0xaa);
    fs::write(stage.db(), bytes).unwrap();
    let (code, stdout, _) = run(program(&stage, &stage.db(), &["catalog", "check"]));
    assert_eq!(code, 2, "{stdout}");
    assert!(
        stdout.contains("integrity: ") && stdout.contains("put a backup in its place"),
        "{stdout}"
    );
    refused(sync(&stage, &stage.db()), 1, "put a backup in its place");
    // A damaged catalog is not backed up.
    refused(
        program(&stage, &stage.db(), &["catalog", "backup", "b.db"]),
        1,
        "damaged",
    );
    assert!(!stage.folder.path().join("b.db").exists());
}

#[test]
fn a_backup_during_a_run_is_complete_private_and_recorded() {
    let stage = stage();
    let mut child = under_way(&stage, 10);
    let mode = |name: &str| {
        let file = fs::metadata(stage.folder.path().join(name)).unwrap();
        file.permissions().mode() & 0o777
    };
    for name in [
        "harvester.db",
        "harvester.db.lock",
        "harvester.db-wal",
        "harvester.db-shm",
    ] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    refused(
        program(&stage, &stage.db(), &["catalog", "vacuum"]),
        4,
        "zoom-harvester sync",
    );
    let mut backups = 0;
    while child.try_wait().unwrap().is_none() {
        backups += 1;
        let name = format!("b {backups}.db");
        done(program(&stage, &stage.db(), &["catalog", "backup", &name]));
        is_sound(&stage, &stage.db());
    }
    let (code, stdout, stderr) = told(child);
    assert_eq!(code, 0, "the run beside which they were made: {stdout}{stderr}");
    assert!(backups > 1);
    for number in 1..=backups {
        let name = format!("b {number}.db");
        let file = stage.folder.path().join(&name);
        assert_eq!(mode(&name), 0o600);
        let digest = Sha256::digest(fs::read(&file).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let noted = stage.number(&format!(
            "SELECT count(*) FROM backups JOIN runs USING (run_id) WHERE path = '{}' AND sha256 = '{digest}' AND bytes = {}
             AND command = 'backup' AND exit_code = 0",
            fs::canonicalize(stage.folder.path()).unwrap().join(&name).display(),
            fs::metadata(&file).unwrap().len()
        ));
        assert_eq!(noted, 1, "{name}");
        is_sound(&stage, &file);
    }
    let before = fs::read(stage.folder.path().join("b 1.db")).unwrap();
    refused(
        program(&stage, &stage.db(), &["catalog", "backup", "b 1.db"]),
        1,
        "exists already",
    );
    assert_eq!(fs::read(stage.folder.path().join("b 1.db")).unwrap(), before);
    refused(
        program(&stage, &stage.db(), &["catalog", "backup", "no/b.db"]),
        1,
        "does not exist; make it",
    );
    let left: Vec<_> = fs::read_dir(stage.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // If the backup is put back, the sync continues from where the backup was made.
    let had = kept(&stage.folder.path().join("b 1.db"));
    assert!(had.len() < MEETINGS);
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(stage.folder.path().join(format!("harvester.db{ending}")));
    }
    fs::rename(stage.folder.path().join("b 1.db"), stage.db()).unwrap();
    stage.sim.clear_log();
    done(sync(&stage, &stage.db()));
    assert!(asked(&stage).is_disjoint(&had));
    assert_eq!(kept(&stage.db()).len(), MEETINGS);
}

/// Most transactions of a run read before they write. SQLite fails such a transaction at once if somebody wrote in between.
#[test]
fn a_short_foreign_write_delays_a_run_and_does_not_fail_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harvester.db");
    let mut catalog = Catalog::open(&path).unwrap();
    catalog.claim(&AccountId::new("a"), "id", Utc::now()).unwrap();
    let beside = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut catalog = Catalog::open_beside(&path).unwrap();
            for _ in 0..1_000 {
                catalog.begin_run("backup", Utc::now()).unwrap();
            }
        }
    });
    let mut reserved = 0;
    while !beside.is_finished() || reserved < 100 {
        catalog.reserve(Label::Heavy, u64::MAX, Utc::now()).unwrap();
        reserved += 1;
    }
    beside.join().unwrap();
}

#[test]
fn vacuum_frees_disk_space_and_creates_no_catalog() {
    let stage = harvested();
    let absent = stage.folder.path().join("absent.db");
    refused(program(&stage, &absent, &["catalog", "vacuum"]), 1, "no catalog");
    assert!(!absent.exists());
    Connection::open(stage.db())
        .unwrap()
        .execute_batch("CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(3000000)); DROP TABLE big")
        .unwrap();
    let said = done(program(&stage, &stage.db(), &["catalog", "vacuum"]));
    let numbers: Vec<u64> = said
        .split(" bytes before, ")
        .filter_map(|part| part.replace(',', "").split_whitespace().next()?.parse().ok())
        .collect();
    assert!(numbers[0] > numbers[1] + 3_000_000, "{said}");
    assert!(fs::metadata(stage.db()).unwrap().len() <= numbers[1]);
    is_sound(&stage, &stage.db());
}

/// A disk with limited room: a real one if this test may mount, otherwise a limit on the size of files, which also fails a write in the middle.
struct SmallDisk {
    folder: PathBuf,
    mounted: bool,
}

const SMALL: u64 = 1500 << 10;

impl SmallDisk {
    fn new(stage: &Stage, may_mount: bool) -> Self {
        let folder = stage.folder.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let mounted = may_mount && mount(&folder, &format!("size={SMALL}"));
        Self { folder, mounted }
    }

    /// A sync with too little room.
    fn sync(&self, stage: &Stage) -> Command {
        let db = self.folder.join("harvester.db");
        if self.mounted {
            return sync(stage, &db);
        }
        // The signal would kill the program. If the signal is ignored, the write fails.
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"",
                &SMALL.to_string(),
            ])
            .arg(env!("CARGO_BIN_EXE_zoom-harvester"));
        pointed(shell, stage, &db, &sync_args().each_ref().map(String::as_str))
    }

    fn make_room(&self) {
        assert!(!self.mounted || mount(&self.folder, "remount,size=64m"));
    }
}

fn mount(folder: &Path, options: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
    command.stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
    }
}

#[test]
fn a_full_disk_ends_the_run_and_the_next_one_completes() {
    for (may_mount, word) in [(true, "the disk is full"), (false, "cannot be read or written")] {
        let stage = stage();
        let disk = SmallDisk::new(&stage, may_mount);
        let word = if may_mount && !disk.mounted {
            "cannot be read or written"
        } else {
            word
        };
        let db = disk.folder.join("harvester.db");
        refused(disk.sync(&stage), 3, word);
        // A second attempt makes nothing worse.
        refused(disk.sync(&stage), 3, word);
        disk.make_room();
        let had = kept(&db);
        assert!(!had.is_empty() && had.len() < MEETINGS, "{}", had.len());
        stage.sim.clear_log();
        done(sync(&stage, &db));
        let asked = asked(&stage);
        assert!(asked.is_disjoint(&had), "what was kept is not asked for again");
        assert_eq!(asked.len() + had.len(), MEETINGS);
        is_sound(&stage, &db);
    }
}

/// The program, run as a user to whom file permissions apply. They do not apply to root.
fn bound(folder: &Path) -> Command {
    let binary = folder.join("zoom-harvester");
    if !binary.exists() {
        fs::copy(env!("CARGO_BIN_EXE_zoom-harvester"), &binary).unwrap();
    }
    let root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if root {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(binary);
        command
    } else {
        Command::new(binary)
    }
}

#[test]
fn a_read_only_catalog_is_one_line_and_stays_unchanged() {
    let stage = harvested();
    // A separate folder, because only its owner may read that of the stage.
    let folder = tempfile::tempdir().unwrap();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(folder.path(), 0o755);
    let catalogs = folder.path().join("catalogs");
    fs::create_dir(&catalogs).unwrap();
    let db = catalogs.join("harvester.db");
    fs::copy(stage.db(), &db).unwrap();
    let program = |args: &[&str]| {
        let mut command = pointed(bound(folder.path()), &stage, &db, args);
        command.current_dir(folder.path());
        command
    };
    program(&["--version"]).status().unwrap();
    let before = fs::read(&db).unwrap();
    chmod(&db, 0o444);
    for (mode, word) in [(0o777, "cannot be written"), (0o555, "Permission denied")] {
        // The lock file of the previous run, which was refused.
        let _ = fs::remove_file(catalogs.join("harvester.db.lock"));
        chmod(&catalogs, mode);
        refused(program(&["sync"]), 1, word);
        refused(program(&["retry"]), 1, if mode == 0o777 { word } else { "annot" });
    }
    chmod(&catalogs, 0o777);
    chmod(&db, 0o000);
    refused(program(&["sync"]), 1, "cannot be opened");
    refused(program(&["status"]), 1, "cannot be opened");
    refused(program(&["catalog", "check"]), 1, "cannot be opened");
    chmod(&db, 0o644);
    assert_eq!(fs::read(&db).unwrap(), before);
    is_sound(&stage, &db);
}

#[test]
fn a_file_that_is_no_catalog_is_one_line_and_stays_unchanged() {
    let stage = harvested();
    let folder = stage.folder.path();
    let whole = fs::read(stage.db()).unwrap();
    fs::create_dir(folder.join("folder.db")).unwrap();
    fs::write(
        folder.join("letter.db"),
        "this is a letter, and long enough not to be taken for nothing",
    )
    .unwrap();
    fs::write(folder.join("newer.db"), &whole).unwrap();
    Connection::open(folder.join("newer.db"))
        .unwrap()
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 999")
        .unwrap();
    let mut cases = vec![
        ("no/harvester.db".to_owned(), "does not exist"),
        ("folder.db".to_owned(), "is not a file"),
        ("letter.db".to_owned(), "is not a zoom-harvester catalog"),
        ("newer.db".to_owned(), "newer zoom-harvester"),
    ];
    for length in [
        1,
        15,
        100,
        512,
        PAGE,
        PAGE + 1,
        whole.len() / 2,
        whole.len() - PAGE,
    ] {
        let name = format!("half {length}.db");
        fs::write(folder.join(&name), &whole[..length]).unwrap();
        cases.push((
            name,
            if length < 512 {
                "is not a zoom-harvester catalog"
            } else {
                "damaged"
            },
        ));
    }
    for (name, word) in cases {
        let db = folder.join(&name);
        let before = fs::read(&db).ok();
        for args in [
            &["sync"][..],
            &["status"],
            &["retry"],
            &["catalog", "check"],
            &["catalog", "backup", "never.db"],
            &["catalog", "vacuum"],
        ] {
            refused(program(&stage, &db, args), 1, word);
        }
        assert_eq!(fs::read(&db).ok(), before, "{name}");
    }
    assert!(!folder.join("never.db").exists());
    let odd = std::ffi::OsStr::from_bytes(b"\xff.db");
    refused(program(&stage, Path::new(odd), &["sync"]), 1, "not valid UTF-8");
    refused(program(&stage, Path::new(""), &["sync"]), 1, "--db");
}

#[test]
fn names_special_to_sqlite_are_plain_files() {
    let stage = stage();
    let folder = stage.folder.path();
    // SQLite itself would take these names for something else, and all data would be lost.
    for name in [":memory:", "file:x.db?mode=memory", "two words.db"] {
        let mut command = sync(&stage, Path::new(name));
        command.arg("-v");
        done(command);
        assert_eq!(kept(&folder.join(name)).len(), MEETINGS, "{name}");
        stage.sim.clear_log();
        done(sync(&stage, Path::new(name)));
        assert!(asked(&stage).is_empty(), "{name}");
    }
}

/// A sync that asks for a token and waits: the Zoom that it is pointed at never answers.
fn waiting(stage: &Stage, db: &Path, zoom: &std::net::TcpListener) -> Child {
    let mut command = sync(stage, db);
    let url = format!("http://{}/oauth/token", zoom.local_addr().unwrap());
    command.env("ZOOM_OAUTH_URL", url).spawn().unwrap()
}

#[test]
fn of_many_simultaneous_starts_one_gets_the_lock() {
    let stage = stage();
    let zoom = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let link = stage.folder.path().join("link.db");
    symlink("harvester.db", &link).unwrap();
    let children: Vec<Child> = (0..8)
        .map(|n| {
            waiting(
                &stage,
                if n % 2 == 0 {
                    &link
                } else {
                    Path::new("harvester.db")
                },
                &zoom,
            )
        })
        .collect();
    // The one that asks for a token has the lock.
    let asked = zoom.accept().unwrap();
    let (mut lost, mut won) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let mut open: Vec<Child> = children;
    while open.len() > 1 {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{} still run",
            open.len()
        );
        let (ended, going): (Vec<Child>, Vec<Child>) = open
            .into_iter()
            .partition_map(|child| child.try_wait().unwrap().is_some());
        lost.extend(ended);
        open = going;
        std::thread::sleep(Duration::from_millis(2));
    }
    won.extend(open);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for child in lost {
        let (code, _, stderr) = told(child);
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains("another run holds the catalog: "), "{stderr}");
    }
    let mut holder = won.pop().unwrap();
    refused(sync(&stage, &link), 4, &format!("process {}", holder.id()));
    // A killed process holds no lock.
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(asked);
    assert!(stage.folder.path().join("harvester.db.lock").exists());
    assert!(!stage.folder.path().join("link.db.lock").exists());
    done(sync(&stage, &link));
    assert_eq!(kept(&stage.db()).len(), MEETINGS);
}

/// `partition_map`, as in `itertools`.
trait Partition: Iterator<Item = Child> + Sized {
    fn partition_map(self, ended: impl Fn(&mut Child) -> bool) -> (Vec<Child>, Vec<Child>) {
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for mut child in self {
            if ended(&mut child) {
                yes.push(child)
            } else {
                no.push(child)
            }
        }
        (yes, no)
    }
}

impl<I: Iterator<Item = Child>> Partition for I {}

#[test]
fn a_damaged_wal_costs_only_its_own_transactions() {
    let stage = stage();
    let mut child = under_way(&stage, MEETINGS / 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let wal = stage.folder.path().join("harvester.db-wal");
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    fs::write(&wal, bytes).unwrap();
    let had = kept(&stage.db());
    stage.sim.clear_log();
    done(sync(&stage, &stage.db()));
    assert!(asked(&stage).is_disjoint(&had));
    assert_eq!(kept(&stage.db()).len(), MEETINGS);
    is_sound(&stage, &stage.db());
}

#[test]
fn a_catalog_deleted_during_a_run_is_an_error() {
    for moved in [false, true] {
        let stage = stage();
        let child = under_way(&stage, 20);
        if moved {
            fs::rename(stage.db(), stage.folder.path().join("elsewhere.db")).unwrap();
        } else {
            fs::remove_file(stage.db()).unwrap();
        }
        let (code, _, stderr) = told(child);
        assert_eq!(code, 3, "{stderr}");
        assert!(
            stderr.contains("was deleted, moved or replaced while this ran"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(stage.folder.path().join(format!("harvester.db{ending}")));
        }
        done(sync(&stage, &stage.db()));
        assert_eq!(kept(&stage.db()).len(), MEETINGS);
    }
}

#[tokio::test]
async fn a_clock_set_back_hides_nothing_and_new_versions_still_win() {
    let spec = Spec {
        seed: 5,
        hosts: 4,
        meetings: 20,
        sessions: 60,
        days: 4,
        now: Utc::now(),
    };
    let stage = Stage::new(World::generate(&spec), Some(ENGINES[0]));
    stage.clock.advance(TimeDelta::days(3));
    stage.sync(stage.days(10)).await;
    stage.sync(stage.days(10)).await;
    stage.assert_index_is_the_account().await;
    let sum = "SELECT sum(revision) FROM meetings";
    let before = stage.number(sum);
    // By that clock, all days with meetings were over.
    let unsettled = "SELECT count(*) FROM windows WHERE meetings > 0 AND settled_at IS NULL";
    assert_eq!(stage.number(unsettled), 0);

    stage.clock.advance(TimeDelta::days(-3));
    stage.sim.with_world(|world| {
        let last = world.meetings.iter_mut().max_by_key(|one| one.end).unwrap();
        last.topic = "renamed after the clock was set right".to_owned();
    });
    let summary = stage.sync(Scope::Resume).await;
    assert_eq!((summary.tally.changed, summary.tally.published), (1, 1));
    assert_eq!(
        stage.number(sum),
        before + 1,
        "the next revision, not the clock's"
    );
    stage.assert_index_is_the_account().await;
    let now = stage.clock.now();
    assert_eq!(
        stage.number(&format!(
            "SELECT count(*) FROM recent_requests WHERE sent_ms > {}",
            now.timestamp_millis()
        )),
        0
    );
    assert_eq!(
        stage.number(&format!(
            "SELECT count(*) FROM account WHERE whole_listed_at > '{}'",
            zoom_harvester::model::iso(now)
        )),
        0
    );
    // Both days have their own counts.
    assert!(stage.number("SELECT count(DISTINCT day) FROM api_use") == 2);
    assert!(stage.number("SELECT min(requests) FROM api_use") >= 0);
    assert!(
        Catalog::open(&stage.db())
            .unwrap()
            .check()
            .unwrap()
            .iter()
            .all(|one| one.count == 0)
    );
}
