//! What packages ship fits the program: the commands, flags and keys they name are known, their versions agree, completions load.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use zoom_harvester::{config::SETTINGS, sim};

fn text(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn program(args: &[&str]) -> String {
    let answer = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        // This setting would stop any other command. These commands need no settings.
        .env("ZOOM_PLAN", "nonsense")
        .args(args)
        .output()
        .unwrap();
    assert!(answer.status.success(), "{args:?}: {answer:?}");
    String::from_utf8(answer.stdout).unwrap()
}

const FILES: [&str; 5] = [
    "Dockerfile",
    "compose.yaml",
    "packaging/systemd/zoom-harvester.service",
    "packaging/systemd/zoom-harvester.timer",
    "packaging/kubernetes/zoom-harvester.yaml",
];

#[test]
fn every_setting_in_the_packages_is_known() {
    let known: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let mut found = BTreeSet::new();
    let texts = FILES.map(|file| (file, text(file)));
    for (file, text) in &texts {
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        for word in words.filter(|word| word.starts_with("ZOOM_") || word.starts_with("ELASTICSEARCH_")) {
            // Kibana's own.
            if word != "ELASTICSEARCH_HOSTS" {
                assert!(known.contains(word), "{file} names {word}");
                found.insert(word);
            }
        }
    }
    assert!(found.len() >= 8, "{found:?}");
}

#[test]
fn every_command_line_in_the_packages_is_valid() {
    let lines: [(&str, &str, &[&str]); 5] = [
        (
            "Dockerfile",
            r#"CMD ["/usr/local/bin/zoom-harvester", "status", "--quiet"]"#,
            &["status", "--quiet"],
        ),
        ("Dockerfile", r#"CMD ["sync"]"#, &["sync"]),
        (
            "compose.yaml",
            r#"command: ["simulate", "--port", "8086"]"#,
            &["simulate", "--port", "8086"],
        ),
        (
            "packaging/systemd/zoom-harvester.service",
            "ExecStart=/usr/local/bin/zoom-harvester sync --quiet\n",
            &["sync", "--quiet"],
        ),
        (
            "packaging/kubernetes/zoom-harvester.yaml",
            "args: [sync, --log-format, json]\n",
            &["sync", "--log-format", "json"],
        ),
    ];
    for (file, line, args) in lines {
        assert!(
            text(file).contains(line),
            "{file} says something else than {line}"
        );
        program(&[args, &["--help"]].concat());
    }
}

#[test]
fn versions_and_the_simulated_account_agree() {
    let compose = text("compose.yaml");
    let servers = text("servers/start");
    let (_, rest) = servers.split_once("elasticsearch_version=").unwrap();
    let version = rest.lines().next().unwrap();
    for image in ["elasticsearch/elasticsearch", "kibana/kibana"] {
        let line = format!("image: docker.elastic.co/{image}:{version}\n");
        assert!(compose.contains(&line), "{line}");
    }
    for (key, value) in [
        ("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID),
        ("ZOOM_CLIENT_ID", sim::CLIENT_ID),
        ("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET),
    ] {
        assert!(compose.contains(&format!("{key}: {value}\n")), "{key}");
    }
    let image = format!("image: zoom-harvester:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(
        text("packaging/kubernetes/zoom-harvester.yaml").contains(&image),
        "{image}"
    );
}

#[test]
fn the_image_is_built_from_what_the_build_reads_and_nothing_else() {
    let ignored = text(".dockerignore");
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(
        lines.next(),
        Some("*"),
        "everything is left out that is not named"
    );
    for line in lines {
        let path = line.strip_prefix('!').unwrap();
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        assert!(path.exists(), "{line}");
    }
}

#[test]
fn bash_completes_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("zoom-harvester.bash");
    std::fs::write(&script, program(&["completions", "bash"])).unwrap();
    let ask = r#"set -eu; source "$1"
function=$(complete -p zoom-harvester); function=${function##*-F }; function=${function%% *}
COMP_WORDS=(zoom-harvester re) COMP_CWORD=1
"$function" zoom-harvester re zoom-harvester
echo "${COMPREPLY[*]}""#;
    let answer = Command::new("bash")
        .args(["-c", ask, "bash"])
        .arg(&script)
        .output()
        .unwrap();
    assert_eq!(
        (
            String::from_utf8_lossy(&answer.stdout).trim(),
            String::from_utf8_lossy(&answer.stderr).trim()
        ),
        ("reindex report retry", "")
    );
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(program(&["completions", shell]).contains("verify"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let page = program(&["man"]);
    assert!(
        page.contains(".TH zoom-harvester 1") && page.contains("Exit codes"),
        "{page}"
    );
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(program(&["man", folder.path().to_str().unwrap()]), "");
    for command in ["", "-sync", "-catalog-check", "-forget", "-man"] {
        let file = folder.path().join(format!("zoom-harvester{command}.1"));
        assert!(file.is_file(), "{}", file.display());
    }
    let absent = folder.path().join("absent");
    let answer = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("man")
        .arg(&absent)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(
        answer.status.code() == Some(1) && said.lines().count() == 1,
        "{said}"
    );
}
