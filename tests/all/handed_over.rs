//! Secrets as platforms hand them over: a file that `NAME_FILE` names, and systemd's directory of credentials.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

/// Runs `doctor`. Returns its exit code and what it printed.
fn run(folder: &Path, environment: &[(&str, &str)]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"))
        .arg("doctor")
        .env_clear()
        .current_dir(folder)
        // Nothing listens there.
        .env("ZOOM_OAUTH_URL", "http://127.0.0.1:1/token")
        .env("ZOOM_RETRIES", "0")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "sesame-1\n").unwrap();
    fs::create_dir(folder.path().join("credentials")).unwrap();
    fs::write(folder.path().join("credentials/zoom_client_secret"), "sesame-2").unwrap();
    fs::write(folder.path().join("credentials/ZOOM_ACCOUNT_ID"), "account-2\n").unwrap();
    fs::write(folder.path().join("credentials/other"), "of another program").unwrap();
    folder
}

fn line<'a>(said: &'a str, setting: &str) -> &'a str {
    let found = said.lines().find(|line| line.contains(setting));
    found.unwrap_or_else(|| panic!("{setting}: {said}"))
}

#[test]
fn name_file_settings_are_read_from_their_file() {
    let folder = folder();
    let (_, said) = run(
        folder.path(),
        &[
            ("ZOOM_CLIENT_SECRET_FILE", "secret"),
            ("ZOOM_ACCOUNT_ID", "a"),
            ("ZOOM_CLIENT_ID", "c"),
        ],
    );
    let found = line(&said, "ZOOM_CLIENT_SECRET");
    assert!(
        found.contains("(set) (secret (ZOOM_CLIENT_SECRET_FILE))"),
        "{said}"
    );
    assert!(
        said.contains("WRONG  credentials") && !said.contains("missing:"),
        "{said}"
    );
    assert!(!said.contains("sesame"), "{said}");
    fs::write(
        folder.path().join(".env"),
        "ELASTICSEARCH_PASSWORD_FILE=secret\nELASTICSEARCH_USER=u\n",
    )
    .unwrap();
    let (_, said) = run(folder.path(), &[]);
    assert!(
        line(&said, "ELASTICSEARCH_PASSWORD").contains("ELASTICSEARCH_PASSWORD_FILE"),
        "{said}"
    );
}

#[test]
fn systemd_credentials_are_found_and_the_environment_wins() {
    let folder = folder();
    let credentials = folder.path().join("credentials");
    let handed = [("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
    fs::write(folder.path().join(".env"), "ZOOM_ACCOUNT_ID=account-1\n").unwrap();
    let (_, said) = run(folder.path(), &handed);
    assert!(
        line(&said, "ZOOM_CLIENT_SECRET").contains("(set) (the credential "),
        "{said}"
    );
    assert!(
        line(&said, "ZOOM_ACCOUNT_ID").contains("account-2 (the credential "),
        "{said}"
    );
    assert!(
        !said.contains("sesame") && !said.contains("of another program"),
        "{said}"
    );
    let (_, said) = run(folder.path(), &[handed[0], ("ZOOM_ACCOUNT_ID", "account-3")]);
    assert!(
        line(&said, "ZOOM_ACCOUNT_ID").contains("account-3 (the environment)"),
        "{said}"
    );
}

#[test]
fn an_unusable_value_file_is_one_line_that_names_it() {
    let folder = folder();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    write("empty", b" \n");
    write("bytes", b"sesame\xff");
    write("lines", b"sesame\nsesame\n");
    write("large", &vec![b's'; (64 << 10) + 1]);
    for (file, words) in [
        ("missing", "missing cannot be read: No such file or directory"),
        ("empty", "the file is empty"),
        ("bytes", "is not valid UTF-8"),
        ("lines", "control character"),
        ("large", "is too large for a value"),
        ("credentials", "cannot be read: Is a directory"),
    ] {
        let (code, said) = run(folder.path(), &[("ZOOM_CLIENT_SECRET_FILE", file)]);
        assert_eq!(code, 1, "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(
            said.contains("ZOOM_CLIENT_SECRET_FILE") && said.contains(words),
            "{words}: {said}"
        );
        assert!(!said.contains("sesame"), "{said}");
    }
    let both = [
        ("ZOOM_CLIENT_SECRET_FILE", "secret"),
        ("ZOOM_CLIENT_SECRET", "sesame-3"),
    ];
    let (code, said) = run(folder.path(), &both);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("ZOOM_CLIENT_SECRET and ZOOM_CLIENT_SECRET_FILE are both set"),
        "{said}"
    );
    assert!(!said.contains("sesame"), "{said}");
    // A misspelt name is reported if it can only be meant for the harvester.
    let (code, said) = run(folder.path(), &[("ZOOM_HARVESTER_PRIVACY_KEYS_FILE", "secret")]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is unknown"), "{said}");
}
