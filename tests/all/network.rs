//! The network outside the machine: a real forward proxy, TLS by a private authority, and a cluster that asks for a certificate.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, atomic::Ordering},
};

use crate::common::{
    ENGINES, Stage, engine,
    proxy::{Fault, Rule, scripted},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{Days, Utc};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};
use zoom_harvester::sim::{
    self,
    world::{Spec, World},
};

const MEETINGS: i64 = 12;

fn stage(variable: Option<&str>) -> Stage {
    let world = World::generate(&Spec {
        seed: 13,
        hosts: 3,
        meetings: MEETINGS as usize,
        sessions: 40,
        days: 4,
        now: Utc::now(),
    });
    Stage::new(world, variable)
}

/// A certificate authority of the tests, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority of the tests");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key, in PEM.
    fn signs(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn certificates(pem: &str) -> Vec<tokio_rustls::rustls::pki_types::CertificateDer<'static>> {
    PemObject::pem_slice_iter(pem.as_bytes())
        .map(Result::unwrap)
        .collect()
}

/// TLS for `name` in front of a server on this machine. With `asks` it asks for a certificate of this authority. Returns the port.
async fn tls_before(to: u16, name: &str, authority: &Authority, asks: bool) -> u16 {
    let (certificate, key) = authority.signs(name);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&authority.pem).remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = builder.with_single_cert(certificates(&certificate), key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                join(stream, to).await;
            });
        }
    });
    port
}

async fn join(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) {
    let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
}

/// How a proxy behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    LetsThrough,
    /// Only with this user and password.
    Asks(&'static str),
    /// Refuses every CONNECT, and shows a page for the rest.
    Refuses,
    /// Lets CONNECT through, but answers plain requests with 200 and a page that asks for a login.
    ShowsAPage,
}

/// A forward proxy. Every host name ends in `.test` and means this machine. Returns its address and what it was asked for.
async fn forward_proxy(manner: Manner) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(stream, manner, Arc::clone(&told)));
        }
    });
    (address, seen)
}

async fn forward(mut stream: TcpStream, manner: Manner, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    seen.lock().unwrap().push(format!("{method} {target}"));
    let page = |status: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: 21\r\nconnection: close\r\n\r\n<html>Not so</html>\r\n")
    };
    let said = head.to_ascii_lowercase();
    let refusal = match manner {
        Manner::Asks(who) => {
            let basic = format!("proxy-authorization: basic {}", BASE64_STANDARD.encode(who));
            (!said.contains(&basic.to_ascii_lowercase())).then_some("407 Proxy Authentication Required")
        }
        Manner::Refuses => Some("403 Forbidden"),
        Manner::ShowsAPage if method != "CONNECT" => Some("200 OK"),
        Manner::LetsThrough | Manner::ShowsAPage => None,
    };
    if let Some(status) = refusal {
        let _ = stream.write_all(page(status).as_bytes()).await;
        return;
    }
    let authority = target.trim_start_matches("http://").split('/').next().unwrap();
    let (host, port) = authority.rsplit_once(':').unwrap();
    assert!(
        host.ends_with(".test"),
        "only these were to come this way: {target}"
    );
    let port = port.parse().unwrap();
    if method == "CONNECT" {
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await
            .unwrap();
        join(stream, port).await;
        return;
    }
    // The rest of this connection is for the same host. Only the request line has to be rewritten, for each request.
    let path = &target["http://".len() + authority.len()..];
    let head = head
        .replacen(target, path, 1)
        .replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    there.write_all(head.as_bytes()).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
}

/// The program and its Zoom at `https://zoom.test`, behind TLS.
struct Office {
    stage: Stage,
    authority: Authority,
    ca: PathBuf,
    tls: u16,
}

fn port_of(url: &str) -> u16 {
    let rest = url.rsplit_once(':').unwrap().1;
    rest.split('/').next().unwrap().parse().unwrap()
}

impl Office {
    async fn new(variable: Option<&str>) -> Self {
        let stage = stage(variable);
        let authority = Authority::new();
        let tls = tls_before(port_of(&stage.sim.api_url()), "zoom.test", &authority, false).await;
        let ca = stage.folder.path().join("ca.pem");
        std::fs::write(&ca, &authority.pem).unwrap();
        Self {
            stage,
            authority,
            ca,
            tls,
        }
    }

    async fn runs(&self, args: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let mut command = program(self.stage.folder.path(), args);
        let zoom = format!("https://zoom.test:{}", self.tls);
        command
            .env("ZOOM_ACCOUNT_ID", sim::ACCOUNT_ID)
            .env("ZOOM_CLIENT_ID", sim::CLIENT_ID)
            .env("ZOOM_CLIENT_SECRET", sim::CLIENT_SECRET)
            .env(
                "ZOOM_API_URL",
                self.stage
                    .sim
                    .api_url()
                    .replace(&plain(&self.stage.sim.api_url()), &zoom),
            )
            .env(
                "ZOOM_OAUTH_URL",
                self.stage
                    .sim
                    .oauth_url()
                    .replace(&plain(&self.stage.sim.oauth_url()), &zoom),
            )
            .env("ZOOM_RATE_SHARE", "1")
            .env("ZOOM_RETRIES", "1")
            .env("ZOOM_RETRY_MS", "5")
            .env("ELASTICSEARCH_RETRIES", "1")
            .env("ELASTICSEARCH_REPLICAS", "0")
            .env("SSL_CERT_FILE", &self.ca)
            .envs(environment.iter().copied());
        ended(command).await
    }
}

/// `http://host:port` of a URL.
fn plain(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoom-harvester"));
    command.args(args).env_clear().current_dir(folder);
    command
}

async fn ended(mut command: Command) -> (i32, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn since() -> String {
    (Utc::now().date_naive() - Days::new(6)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_through_a_proxy_that_asks_for_a_password() {
    let office = Office::new(Some(ENGINES[0])).await;
    let (proxy, seen) = forward_proxy(Manner::Asks("me:hu@sh")).await;
    let named = format!("http://me:hu%40sh@{proxy}");
    let es = office.stage.es();
    let search = format!("http://search.test:{}", port_of(&es.url));
    let from = since();
    let environment = [
        ("HTTPS_PROXY", named.as_str()),
        ("http_proxy", named.as_str()),
        ("NO_PROXY", "other.test,10.0.0.0/8"),
        ("ELASTICSEARCH_URL", search.as_str()),
        ("ELASTICSEARCH_INDEX_PREFIX", es.prefix.as_str()),
    ];
    let (code, said) = office.runs(&["sync", "--from", &from], &environment).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        office
            .stage
            .number("SELECT count(*) FROM meetings WHERE status = 'indexed'"),
        MEETINGS
    );
    office.stage.assert_index_is_the_account().await;
    let (code, doctor) = office.runs(&["doctor"], &environment).await;
    assert_eq!(code, 0, "{doctor}");
    for line in [
        format!("through the proxy http://{proxy} (HTTPS_PROXY)"),
        format!("through the proxy http://{proxy} (http_proxy)"),
    ] {
        assert!(doctor.contains(&line), "{line}: {doctor}");
    }
    assert!(!format!("{said}{doctor}").contains("hu"), "{said}{doctor}");
    let seen = seen.lock().unwrap().clone();
    assert!(
        seen.iter()
            .any(|one| *one == format!("CONNECT zoom.test:{}", office.tls)),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|one| one.starts_with(&format!("POST {search}/")) && one.contains("/_bulk")),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_none_and_localhost_bypass_the_proxy() {
    let office = Office::new(Some(ENGINES[0])).await;
    let (proxy, seen) = forward_proxy(Manner::LetsThrough).await;
    let es = office.stage.es();
    let from = since();
    // Elasticsearch on this machine is never reached through a proxy.
    let environment = [
        ("ALL_PROXY", proxy.as_str()),
        ("ELASTICSEARCH_URL", es.url.as_str()),
        ("ELASTICSEARCH_INDEX_PREFIX", es.prefix.as_str()),
    ];
    let (code, said) = office.runs(&["sync", "--from", &from], &environment).await;
    assert_eq!(code, 0, "{said}");
    let asked = seen.lock().unwrap().clone();
    assert!(
        !asked.is_empty() && asked.iter().all(|one| one.starts_with("CONNECT zoom.test:")),
        "{asked:?}"
    );
    // Without the proxy the name leads nowhere: a proxy that is switched off gets no request.
    for off in [("NO_PROXY", ".test"), ("ZOOM_HARVESTER_PROXY", "none")] {
        let (code, said) = office.runs(&["sync"], &[environment[0], off]).await;
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("cannot be reached"), "{said}");
    }
    assert_eq!(seen.lock().unwrap().len(), asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    let office = Office::new(None).await;
    let from = since();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for (manner, words) in [
        (Some(Manner::Asks("me:other")), "(HTTP 407)"),
        (Some(Manner::Refuses), "did not open the way to this host"),
        (None, "Connection refused"),
    ] {
        let proxy = match manner {
            Some(manner) => forward_proxy(manner).await.0,
            None => nobody.clone(),
        };
        let named = format!("http://me:sesame@{proxy}");
        let (code, said) = office
            .runs(&["sync", "--from", &from], &[("HTTPS_PROXY", &named)])
            .await;
        assert!(code == 1 || code == 3, "{code}: {said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(
            said.contains(&format!("the proxy http://{proxy} (HTTPS_PROXY)")),
            "{said}"
        );
        let (_, doctor) = office.runs(&["doctor"], &[("HTTPS_PROXY", &named)]).await;
        let line = doctor.lines().find(|line| line.contains("credentials")).unwrap();
        assert!(line.starts_with("WRONG") && line.contains(words), "{doctor}");
        assert!(!format!("{said}{doctor}").contains("sesame"), "{said}{doctor}");
    }
    assert!(office.stage.sim.log().is_empty(), "nothing came through");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_html_page_instead_of_an_answer_is_blamed_on_the_proxy() {
    let stage = stage(Some(ENGINES[0]));
    let es = stage.es();
    stage.run(stage.days(6), true, false).await;
    for (manner, words) in [
        (Manner::ShowsAPage, "(HTTP 200)"),
        (Manner::Refuses, "(HTTP 403)"),
    ] {
        let (proxy, _) = forward_proxy(manner).await;
        let mut command = program(stage.folder.path(), &["publish"]);
        command
            .env("HTTP_PROXY", &proxy)
            .env(
                "ELASTICSEARCH_URL",
                format!("http://search.test:{}", port_of(&es.url)),
            )
            .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix)
            .env("ELASTICSEARCH_RETRIES", "0");
        let (code, said) = ended(command).await;
        assert_eq!(code, 1, "{said}");
        let expected =
            format!("a page for people came back through the proxy http://{proxy} (HTTP_PROXY) {words}");
        assert!(said.contains(&expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_machines_authorities_are_trusted() {
    let office = Office::new(None).await;
    let (proxy, _) = forward_proxy(Manner::LetsThrough).await;
    let from = since();
    let args = ["sync", "--from", from.as_str()];
    let folder = office.stage.folder.path();
    let stranger = folder.join("stranger.pem");
    std::fs::write(&stranger, Authority::new().pem).unwrap();
    let (code, said) = office
        .runs(
            &args,
            &[
                ("HTTPS_PROXY", &proxy),
                ("SSL_CERT_FILE", stranger.to_str().unwrap()),
            ],
        )
        .await;
    assert_ne!(code, 0, "{said}");
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    assert!(office.stage.sim.log().is_empty());

    let missing = folder.join("missing.pem");
    let (code, said) = office
        .runs(
            &args,
            &[
                ("HTTPS_PROXY", &proxy),
                ("SSL_CERT_FILE", missing.to_str().unwrap()),
            ],
        )
        .await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("SSL_CERT_FILE") && said.contains("missing.pem"),
        "{said}"
    );
    assert_eq!(said.trim().lines().count(), 1, "{said}");

    // A folder of authorities. OpenSSL wants each file named by the hash of its subject; here any such name works.
    let dir = folder.join("authorities");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(&office.ca, dir.join("a1b2c3d4.0")).unwrap();
    let (code, said) = office
        .runs(
            &args,
            &[
                ("HTTPS_PROXY", &proxy),
                ("SSL_CERT_FILE", ""),
                ("SSL_CERT_DIR", dir.to_str().unwrap()),
            ],
        )
        .await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_sent_on_request() {
    let office = Office::new(Some(ENGINES[0])).await;
    let es = office.stage.es();
    office.stage.run(office.stage.days(6), true, false).await;
    let port = tls_before(port_of(&engine(ENGINES[0])), "localhost", &office.authority, true).await;
    let (certificate, key) = office.authority.signs("harvester.test");
    let folder = office.stage.folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, private) = (write("cert.pem", &certificate), write("key.pem", &key));
    let both = write("both.pem", &format!("{certificate}{key}"));
    let junk = write(
        "junk.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VzYW1l\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let publish = |environment: Vec<(&'static str, PathBuf)>| {
        let mut command = program(folder, &["publish"]);
        command
            .env("ELASTICSEARCH_URL", format!("https://localhost:{port}"))
            .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix)
            .env("ELASTICSEARCH_REPLICAS", "0")
            .env("ELASTICSEARCH_RETRIES", "0")
            .env("ELASTICSEARCH_CA_CERT", &office.ca)
            .envs(environment);
        ended(command)
    };
    let (code, said) = publish(vec![]).await;
    assert_ne!(code, 0, "{said}");
    let (code, said) = publish(vec![("ELASTICSEARCH_CLIENT_KEY", private.clone())]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("missing: ELASTICSEARCH_CLIENT_CERT"), "{said}");
    let (code, said) = publish(vec![
        ("ELASTICSEARCH_CLIENT_CERT", cert.clone()),
        ("ELASTICSEARCH_CLIENT_KEY", junk),
    ])
    .await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("without a password") && !said.contains("c2VzYW1l"),
        "{said}"
    );
    let (code, said) = publish(vec![("ELASTICSEARCH_CLIENT_CERT", both)]).await;
    assert_eq!(code, 0, "{said}");
    office.stage.assert_index_is_the_account().await;
    let (code, said) = publish(vec![
        ("ELASTICSEARCH_CLIENT_CERT", cert),
        ("ELASTICSEARCH_CLIENT_KEY", private),
    ])
    .await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_the_nodes_that_answer() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for variable in ENGINES {
        let stage = stage(Some(variable));
        let es = stage.es();
        stage.run(stage.days(6), true, false).await;
        // It answers until the first bulk request, and then not any more.
        let dies = Rule {
            from: 1,
            times: usize::MAX / 2,
            acted: false,
            fault: Fault::Cut,
        };
        let (dying, seen) = scripted(&es.url, vec![dies]).await;
        let publish = |nodes: String| {
            let mut command = program(stage.folder.path(), &["publish"]);
            command
                .env("ELASTICSEARCH_URL", nodes)
                .env("ELASTICSEARCH_INDEX_PREFIX", &es.prefix)
                .env("ELASTICSEARCH_REPLICAS", "0")
                .env("ELASTICSEARCH_RETRIES", "0");
            ended(command)
        };
        let (code, said) = publish(format!("http://{nobody}, {dying}")).await;
        assert_eq!(code, 3, "{variable}: nobody is left: {said}");
        assert!(seen.before.load(Ordering::SeqCst) > 0);
        let (code, said) = publish(format!("http://{nobody}, {dying} {}", es.url)).await;
        assert_eq!(code, 0, "{variable}: {said}");
        stage.assert_index_is_the_account().await;
        // The dead node is set aside and not asked repeatedly. It costs one request, or a few that were in flight together.
        let asked = seen.before.load(Ordering::SeqCst);
        assert!(
            asked <= 6,
            "{variable}: {asked} bulk requests went to the node that died"
        );
        let (code, said) = publish("http://me:one@a.test,http://me:sesame@b.test".to_owned()).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("different users or passwords") && !said.contains("sesame"),
            "{said}"
        );
    }
}
