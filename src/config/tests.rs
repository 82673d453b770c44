use secrecy::ExposeSecret;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn environment(variables: &[(&str, &str)]) -> Inputs {
    Inputs {
        environment: pairs(variables),
        ..Inputs::default()
    }
}

fn dotenv(variables: &[(&str, &str)]) -> Vec<Assignment> {
    let lines = (1..).zip(pairs(variables));
    lines
        .map(|(line, (name, value))| Assignment { line, name, value })
        .collect()
}

fn file(text: &str) -> Option<(PathBuf, String)> {
    Some((PathBuf::from("harvester.toml"), text.to_owned()))
}

fn in_file(text: &str) -> Inputs {
    Inputs {
        file: file(text),
        ..Inputs::default()
    }
}

fn error(inputs: &Inputs) -> String {
    match Config::new(inputs) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn flags_win_then_environment_then_dotenv_then_file() {
    let mut inputs = in_file("[zoom]\nplan = \"pro\"\n[harvester]\ndb = \"file.db\"");
    let db = |inputs: &Inputs| {
        let config = Config::new(inputs).unwrap();
        let said = config
            .in_force
            .iter()
            .find(|said| said.setting.name == "ZOOM_HARVESTER_DB")
            .unwrap();
        assert_eq!(said.shown, config.db.display().to_string());
        format!("{} from {}", said.shown, said.origin)
    };
    assert_eq!(db(&Inputs::default()), "harvester.db from the default");
    assert_eq!(db(&inputs), "file.db from harvester.toml, line 4");
    inputs.dotenv = dotenv(&[("OTHER", "x"), ("ZOOM_HARVESTER_DB", "dotenv.db")]);
    assert_eq!(db(&inputs), "dotenv.db from .env, line 2");
    inputs.environment = pairs(&[("ZOOM_HARVESTER_DB", "environment.db"), ("ZOOM_PLAN", " ")]);
    assert_eq!(db(&inputs), "environment.db from the environment");
    inputs.db = Some("flag.db".to_owned());
    assert_eq!(db(&inputs), "flag.db from --db");
    assert_eq!(
        Config::new(&inputs).unwrap().plan,
        Plan::Pro,
        "an empty value says nothing"
    );
}

#[test]
fn every_setting_has_its_place_in_the_file() {
    let config = Config::new(&in_file(
        r#"
        [zoom]
        account_id = "a"
        client_id = "c"
        client_secret = "s\n"
        webhook_secret_token = "t"
        api_url = "http://127.0.0.1:1/v2/"
        oauth_url = "http://127.0.0.1:1/oauth/token"
        plan = "pro"
        rate_share = 1
        source = "reports"
        concurrency = 3
        retries = 0
        retry_ms = 4
        timeout_s = 5
        [elasticsearch]
        url = "http://127.0.0.1:2/"
        api_key = "a2V5"
        ca_cert = "ca.pem"
        index_prefix = "z"
        index_period = "year"
        shards = 6
        replicas = 0
        bulk_bytes = 0x10_0000
        bulk_requests = 7
        compression = false
        retries = 8
        timeout_s = 9
        client_cert = "us.pem"
        client_key = "us.key"
        [harvester]
        db = "x.db"
        weekly_days = 10
        webinars = true
        [network]
        proxy = "proxy.example.edu:3128"
        [privacy]
        key = "0123456789abcdef"
        unknown = "drop"
        user_name = "pseudonymise"
        email = "pseudonymise"
        participant_id = "pseudonymise"
        ip_address = "drop"
        internal_ip_addresses = "drop"
        mac_addr = "drop"
        harddisk_id = "drop"
        pc_name = "drop"
        domain = "drop"
        device_name = "drop"
        audio_video = "drop"
        location = "drop"
        sip_uri = "drop"
        audio_call = "drop"
        host_name = "pseudonymise"
        host_email = "pseudonymise"
        dept = "drop"
        topic = "drop"
        tracking_fields = "drop"
        "#,
    ))
    .unwrap();
    let said = config
        .in_force
        .iter()
        .filter(|said| said.origin != Origin::Default);
    assert_eq!(
        said.count(),
        SETTINGS.len() - 3,
        "all but user, password and the Cloud ID"
    );
    let credentials = config.zoom_credentials().unwrap();
    assert_eq!(
        (
            credentials.account_id.as_str(),
            credentials.client_secret.expose_secret()
        ),
        ("a", "s")
    );
    let elastic = config.elastic.unwrap();
    assert_eq!(config.api_url.as_deref(), Some("http://127.0.0.1:1/v2"));
    assert_eq!(elastic.urls, ["http://127.0.0.1:2"]);
    assert_eq!((config.rate_share, config.retries, config.retry_ms), (1.0, 0, 4));
    assert_eq!((config.weekly_days, config.concurrency), (10, 3));
    assert_eq!((elastic.shards, elastic.replicas), (Some(6), Some(0)));
    for (field, name) in Field::ALL {
        assert_ne!(config.privacy.of(field), Treatment::Keep, "{name}");
    }
    assert_eq!(elastic.client_pem.len(), 2);
    assert!(config.proxies.https.is_some());
    assert_eq!((elastic.bulk_bytes, elastic.bulk_requests), (1 << 20, 7));
    assert!(!elastic.compression && elastic.prefix_said);
}

#[test]
fn defaults() {
    let config = Config::new(&environment(&[("ELASTICSEARCH_URL", "http://localhost:9200")])).unwrap();
    assert_eq!(config.api_url, None, "what the token's answer names");
    assert_eq!(config.oauth_url, "https://zoom.us/oauth/token");
    assert_eq!((config.plan, config.rate_share), (Plan::Business, 0.8));
    let elastic = config.elastic.unwrap();
    assert_eq!((elastic.bulk_bytes, elastic.bulk_requests), (5 << 20, 2));
    assert!(elastic.compression && !elastic.prefix_said && !config.db_said);
    assert!(Config::new(&Inputs::default()).unwrap().elastic.is_none());
}

#[test]
fn configuration_errors_are_one_line_and_show_no_secret() {
    let url = ("ELASTICSEARCH_URL", "http://localhost:9200");
    let one = |name, value| error(&environment(&[(name, value)]));
    let lines = [
        error(&in_file("[zoom]\n\nacount_id = \"a\"")),
        error(&in_file("plan = \"pro\"")),
        error(&in_file("ZOOM_PLAN = \"pro\"")),
        error(&in_file("[zoom]\nurl = \"http://localhost\"")),
        error(&in_file("[elastic]\n")),
        error(&in_file("[gizmo.zoom]\nx = 1")),
        error(&in_file("[zoom]\nplan = [\"pro\"]")),
        error(&in_file("[zoom]\nplan = \"Pro\"")),
        error(&in_file("[zoom]\nclient_secret = \"hush")),
        error(&in_file("[zoom]\nclient_secret = hush")),
        error(&in_file("[zoom]\nclient_secret = 'hush' hush")),
        error(&in_file("[zoom]\nclient_secret = 'hush'\nclient_secret = 'hush'")),
        error(&in_file("[zoom]\nclient_secret = \"\"\"hu\nsh\"\"\"")),
        error(&Inputs {
            dotenv: dotenv(&[("A", "1"), ("ZOOM_CLIENT_SECRETS", "hush")]),
            ..Inputs::default()
        }),
        error(&Inputs {
            dotenv: dotenv(&[("ZOOM_PLAN", "pro"), ("A", ""), ("ZOOM_PLAN", "business")]),
            ..Inputs::default()
        }),
        one("ZOOM_HARVESTER_DATABASE", "x"),
        one("ZOOM_HARVESTER_COLOUR", "x"),
        one("ZOOM_CLIENT_SECRET", "hush\nhush"),
        one("ZOOM_PLAN", "enterprise"),
        one("ZOOM_RATE_SHARE", "1.5"),
        one("ZOOM_RATE_SHARE", "NaN"),
        one("ZOOM_RATE_SHARE", "0"),
        one("ZOOM_CONCURRENCY", "0"),
        one("ZOOM_TIMEOUT_S", "99999999999999999999"),
        one("ZOOM_API_URL", "https://me:hush@api.zoom.us/v2"),
        one("ZOOM_OAUTH_URL", "ftp://zoom.us"),
        one("ELASTICSEARCH_URL", "user:hush@localhost:9200"),
        one("ELASTICSEARCH_URL", "https://user:hush@:9200"),
        one("ELASTICSEARCH_URL", "http://localhost:9200/?key=hush"),
        one("ELASTICSEARCH_URL", "http://:hush@localhost:9200/"),
        one("ELASTICSEARCH_URL", "http://me@localhost:9200/"),
        one("ELASTICSEARCH_API_KEY", "id:hush"),
        one("ELASTICSEARCH_USER", "me"),
        one("ELASTICSEARCH_PASSWORD", "hush"),
        error(&environment(&[
            url,
            ("ELASTICSEARCH_USER", "me:hush"),
            ("ELASTICSEARCH_PASSWORD", "hush"),
        ])),
        error(&environment(&[
            ("ELASTICSEARCH_URL", "http://me:hush@localhost:9200"),
            ("ELASTICSEARCH_USER", "me"),
        ])),
        one("ELASTICSEARCH_INDEX_PREFIX", "Zoom"),
        one("ELASTICSEARCH_INDEX_PREFIX", "zoom*"),
        one("ELASTICSEARCH_SHARDS", "-1"),
        one("ELASTICSEARCH_BULK_BYTES", "5MB"),
        one("ELASTICSEARCH_BULK_BYTES", "1GiB"),
        one("ELASTICSEARCH_COMPRESSION", "yes"),
        error(&in_file("[privacy]\nuser_name = \"hide\"")),
        error(&in_file("[privacy]\nusername = \"drop\"")),
        error(&in_file("[privacy]\nemail = \"pseudonymise\"")),
        one("ZOOM_HARVESTER_PRIVACY_KEY", "hush hush hush"),
        one("ZOOM_HARVESTER_PRIVACY_UNKNOWN", "pseudonymise"),
        one("ZOOM_HARVESTER_PRIVACY_MAIL", "drop"),
        Config::new(&environment(&[("ZOOM_CLIENT_ID", "x")]))
            .unwrap()
            .zoom_credentials()
            .unwrap_err()
            .to_string(),
    ];
    let all = lines.join("\n");
    assert!(!all.contains("hush"), "{all}");
    assert_eq!(all.lines().count(), lines.len(), "{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn sizes() {
    let read = [
        "5242880", "5MiB", "5 mib", "800KiB", "MiB", "", "-5", "5.5MiB", "5MB",
    ]
    .map(bytes);
    assert_eq!(
        read,
        [
            Some(5 << 20),
            Some(5 << 20),
            Some(5 << 20),
            Some(800 << 10),
            None,
            None,
            None,
            None,
            None
        ]
    );
    assert_eq!(bytes("99999999999999999MiB"), None);
}

#[test]
fn a_name_close_to_a_setting_is_a_warning() {
    let config = Config::new(&Inputs {
        environment: pairs(&[
            ("ELASTICSEARCH_URI", "http://x"),
            ("zoom_plan", "pro"),
            ("ELASTICSEARCH_HOSTS", "x"),
            ("ZOOM_JWT", "x"),
            ("PATH", "/bin"),
        ]),
        dotenv: dotenv(&[("ZOM_PLAN", "pro"), ("DATABASE_URL", "x")]),
        ..Inputs::default()
    })
    .unwrap();
    assert_eq!(
        config.warnings,
        [
            ".env, line 1: ZOM_PLAN is not used; did you mean ZOOM_PLAN?",
            "the environment: ELASTICSEARCH_URI is not used; did you mean ELASTICSEARCH_URL?",
            "the environment: zoom_plan is not used; did you mean ZOOM_PLAN?",
        ]
    );
    assert_eq!(config.plan, Plan::Business);
}

/// The credentials that are chosen, e.g. `Basic elastic p@ss`.
fn way_in(inputs: &Inputs) -> String {
    match Config::new(inputs).unwrap().elastic.unwrap().auth {
        ElasticAuth::None => "none".to_owned(),
        ElasticAuth::Basic(user, password) => format!("Basic {user} {}", password.expose_secret()),
        ElasticAuth::ApiKey(key) => format!("ApiKey {}", key.expose_secret()),
    }
}

#[test]
fn credentials_from_the_strongest_place_win() {
    let in_url = "https://elastic:p%40ss@search.example.edu:9200/";
    assert_eq!(
        way_in(&environment(&[("ELASTICSEARCH_URL", in_url)])),
        "Basic elastic p@ss"
    );
    let mut inputs = in_file("[elasticsearch]\nuser = \"me\"\npassword = \"mine\"");
    inputs.dotenv = dotenv(&[("ELASTICSEARCH_URL", in_url)]);
    assert_eq!(way_in(&inputs), "Basic elastic p@ss");
    inputs.environment = pairs(&[("ELASTICSEARCH_API_KEY", "a2V5\n")]);
    assert_eq!(way_in(&inputs), "ApiKey a2V5");
    inputs.environment = pairs(&[
        ("ELASTICSEARCH_URL", "http://you@localhost"),
        ("ELASTICSEARCH_PASSWORD", "yours"),
    ]);
    assert_eq!(
        way_in(&inputs),
        "Basic you yours",
        "a name in the URL, its password apart"
    );
    inputs.environment = pairs(&[
        ("ELASTICSEARCH_URL", "http://localhost"),
        ("ELASTICSEARCH_PASSWORD", "yours"),
    ]);
    assert_eq!(
        way_in(&inputs),
        "Basic me yours",
        "name and password may stand in different places"
    );
}

#[test]
fn shown_settings_hide_secrets() {
    let inputs = environment(&[
        ("ZOOM_ACCOUNT_ID", "a"),
        ("ZOOM_CLIENT_ID", "c"),
        ("ZOOM_CLIENT_SECRET", "hush"),
        (
            "ELASTICSEARCH_URL",
            "https://elastic:hush@search.example.edu:9200/",
        ),
    ]);
    let config = Config::new(&inputs).unwrap();
    assert_eq!(
        config.elastic.as_ref().unwrap().urls[0],
        "https://search.example.edu:9200"
    );
    let shown = format!(
        "{config:?} {:?} {:?}",
        config.zoom_credentials(),
        dotenv(&[("X", "hush")])
    );
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn names_and_keys_are_unique() {
    for one in [|s: &Setting| s.name, |s: &Setting| s.key] {
        let all: std::collections::BTreeSet<_> = SETTINGS.iter().map(one).collect();
        assert_eq!(all.len(), SETTINGS.len());
    }
}

#[test]
fn the_reference_names_every_setting() {
    insta::assert_snapshot!(reference_markdown());
}

#[test]
fn credentials_over_plain_http_are_a_warning() {
    for name in ["ZOOM_API_URL", "ZOOM_OAUTH_URL"] {
        for far in [
            "http://zoom.us/v2",
            "http://10.0.0.1/v2",
            "http://localhost.example.com",
        ] {
            let said = error(&environment(&[(name, far)]));
            assert!(said.contains("https://"), "{said}");
        }
        for near in [
            "http://127.0.0.1:8080/v2",
            "http://[::1]/v2",
            "http://localhost",
            "https://zoom.us/v2",
        ] {
            assert!(Config::new(&environment(&[(name, near)])).is_ok(), "{near}");
        }
    }
    let warnings = |url: &str, key: &str| {
        let inputs = environment(&[("ELASTICSEARCH_URL", url), ("ELASTICSEARCH_API_KEY", key)]);
        Config::new(&inputs).unwrap().warnings
    };
    assert_eq!(
        warnings("http://search.example.edu:9200", "key"),
        [
            "ELASTICSEARCH_URL is http://search.example.edu:9200: the credentials and all documents travel in clear; use https://"
        ]
    );
    assert_eq!(warnings("https://search.example.edu:9200", "key"), [""; 0]);
    assert_eq!(warnings("http://127.0.0.1:9200", "key"), [""; 0]);
    assert_eq!(warnings("http://search.example.edu:9200", ""), [""; 0]);
    let said = error(&environment(&[("ELASTICSEARCH_URL", "http://me:hush%40host:x")]));
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn debug_output_shows_no_secret() {
    use crate::{elastic, zoom};
    let inputs = environment(&[
        ("ZOOM_ACCOUNT_ID", "a"),
        ("ZOOM_CLIENT_ID", "b"),
        ("ZOOM_CLIENT_SECRET", "hush-zoom"),
        ("ELASTICSEARCH_URL", "https://me:hush-elastic@localhost:9200"),
    ]);
    let config = Config::new(&inputs).unwrap();
    let mut shown = format!("{config:?} {config:#?}");
    let credentials = config.zoom_credentials().unwrap();
    shown += &format!("{credentials:?} {credentials:#?}");
    let secret = Assignment {
        line: 1,
        name: "ZOOM_CLIENT_SECRET".into(),
        value: "hush".into(),
    };
    shown += &format!("{secret:?} {secret:#?}");
    let settings = zoom::Settings {
        source: None,
        webinars: false,
        account_id: credentials.account_id,
        client_id: credentials.client_id,
        client_secret: credentials.client_secret,
        oauth_url: config.oauth_url.clone(),
        api_url: None,
        retry: zoom::Retry::default(),
        timeout: std::time::Duration::from_secs(1),
        answer_limit_bytes: 1,
        traffic: Default::default(),
        proxies: Default::default(),
        authorities: Default::default(),
        seed: 1,
    };
    shown += &format!("{settings:?} {settings:#?}");
    let pacer = zoom::pace::Pacer::new(zoom::pace::Plan::Business, 1.0, None);
    let clock = crate::model::Clock::new(|| chrono::DateTime::UNIX_EPOCH);
    let client = zoom::Zoom::new(settings, pacer, clock).unwrap();
    shown += &format!("{client:?} {client:#?}");
    let password = SecretString::from("hush-elastic");
    for auth in [
        elastic::Auth::Basic {
            user: "me".into(),
            password: password.clone(),
        },
        elastic::Auth::ApiKey(password.clone()),
    ] {
        let settings = elastic::Settings {
            urls: config.elastic.as_ref().unwrap().urls.clone(),
            auth,
            ca_cert_pem: None,
            account: AccountId::new("a"),
            authorities: Default::default(),
            client_pem: None,
            proxies: Default::default(),
            prefix: "p".into(),
            shards: None,
            replicas: None,
            bulk_bytes: 1,
            compress: true,
            in_flight: 1,
            retry: elastic::Retry {
                times: 1,
                base: Default::default(),
                max: Default::default(),
            },
            timeout: Default::default(),
            seed: 1,
        };
        shown += &format!("{settings:?} {settings:#?}");
        let client = elastic::Elastic::new(settings).unwrap();
        shown += &format!("{client:?} {client:#?}");
    }
    let basic = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "me:hush-elastic");
    for secret in ["hush", basic.as_str()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
