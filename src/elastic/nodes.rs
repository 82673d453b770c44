//! The cluster's nodes, each with its client. They are tried in turn. A node that does not answer is set aside for a while.

use std::{sync::Mutex, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use elasticsearch::{
    Elasticsearch,
    auth::{ClientCertificate, Credentials},
    cert::{Certificate, CertificateValidation},
    http::{
        headers::{AUTHORIZATION, HeaderValue},
        transport::{SingleNodeConnectionPool, TransportBuilder},
    },
};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{Auth, Error, Settings};
use crate::network::Way;

/// For how long a node that did not answer is tried only after all others.
const ASIDE: Duration = Duration::from_secs(60);

/// One node.
pub(super) struct Node {
    /// Its URL, without credentials.
    pub url: String,
    /// Its origin. Answers from another origin are refused.
    pub origin: url::Origin,
    pub client: Elasticsearch,
    pub way: Way,
    aside_until: Mutex<Option<Instant>>,
}

/// All nodes, in the configured order.
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let nodes: Result<Vec<Node>, Error> =
            settings.urls.iter().map(|url| Node::new(url, settings)).collect();
        nodes.map(Self)
    }

    /// The nodes in the order in which to try them: those set aside come last.
    pub fn in_turn(&self) -> impl Iterator<Item = &Node> {
        let now = Instant::now();
        let mut nodes: Vec<&Node> = self.0.iter().collect();
        nodes.sort_by_key(|node| node.is_aside(now));
        nodes.into_iter()
    }

    pub fn ways(&self) -> Vec<String> {
        match self.0.as_slice() {
            [node] => vec![node.way.to_string()],
            nodes => nodes
                .iter()
                .map(|node| format!("{} {}", node.url, node.way))
                .collect(),
        }
    }
}

impl Node {
    fn new(url: &str, settings: &Settings) -> Result<Self, Error> {
        let parsed = reqwest::Url::parse(url)
            .map_err(|error| Error::Configuration(format!("ELASTICSEARCH_URL is no URL: {error}")))?;
        let (way, origin) = (settings.proxies.way(&parsed), parsed.origin());
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(parsed))
            .enable_meta_header(false)
            .timeout(settings.timeout);
        builder = match &way {
            Way::Direct(_) => builder.disable_proxy(),
            Way::Through(proxy) => {
                let (user, password) = proxy.credentials().unzip();
                let password = password.as_ref().map(ExposeSecret::expose_secret);
                builder.proxy(proxy.url.clone(), user.as_deref(), password)
            }
        };
        builder = sign_in(builder, settings)?;
        if let Some(trusted) = trusted(settings)? {
            builder = builder.cert_validation(CertificateValidation::Full(trusted));
        }
        let transport = builder.build().map_err(|error| {
            Error::Configuration(match settings.client_pem {
                None => format!("no client for Elasticsearch can be made: {error}"),
                // The error's text may quote the key.
                Some(_) => "ELASTICSEARCH_CLIENT_CERT and ELASTICSEARCH_CLIENT_KEY do not hold a PEM certificate and its private \
                            key (PKCS #8, PKCS #1 or SEC1, without a password)"
                    .to_owned(),
            })
        })?;
        Ok(Self {
            url: url.to_owned(),
            origin,
            client: Elasticsearch::new(transport),
            way,
            aside_until: Mutex::default(),
        })
    }

    fn is_aside(&self, now: Instant) -> bool {
        let until = self
            .aside_until
            .lock()
            .map_or_else(|lock| *lock.into_inner(), |lock| *lock);
        until.is_some_and(|until| now < until)
    }

    /// Sets the node aside after it did not answer.
    pub fn leave_aside(&self) {
        self.set_aside(Some(Instant::now() + ASIDE));
    }

    /// Puts the node back in turn after it answered.
    pub fn take_back(&self) {
        self.set_aside(None);
    }

    fn set_aside(&self, until: Option<Instant>) {
        // Nothing panics while the lock is held.
        if let Ok(mut lock) = self.aside_until.lock() {
            *lock = until;
        }
    }
}

/// Adds the authentication: a client certificate, credentials, or both.
fn sign_in(builder: TransportBuilder, settings: &Settings) -> Result<TransportBuilder, Error> {
    let credentials = match &settings.auth {
        Auth::None => None,
        Auth::Basic { user, password } => Some(Credentials::Basic(
            user.clone(),
            password.expose_secret().to_owned(),
        )),
        Auth::ApiKey(key) => Some(Credentials::EncodedApiKey(key.expose_secret().to_owned())),
    };
    let Some(pem) = &settings.client_pem else {
        return Ok(match credentials {
            None => builder,
            Some(credentials) => builder.auth(credentials),
        });
    };
    // The transport takes only one of the two. With a certificate, the credentials are sent as a header of every request.
    let header = match &settings.auth {
        Auth::None => None,
        Auth::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose_secret());
            Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        Auth::ApiKey(key) => Some(format!("ApiKey {}", key.expose_secret())),
    };
    let builder = match header {
        None => builder,
        Some(header) => {
            let mut header = HeaderValue::try_from(header).map_err(|_| {
                Error::Configuration("the credentials for Elasticsearch do not fit into a header".to_owned())
            })?;
            header.set_sensitive(true);
            builder.header(AUTHORIZATION, header)
        }
    };
    let pem = pem.expose_secret().as_bytes().to_vec();
    Ok(builder.auth(Credentials::Certificate(ClientCertificate::Pem(pem))))
}

/// The certificate authorities of this machine, and the configured one.
fn trusted(settings: &Settings) -> Result<Option<Certificate>, Error> {
    let mut trusted: Option<Certificate> = None;
    let mut add = |certificate: Certificate| match &mut trusted {
        None => trusted = Some(certificate),
        Some(all) => all.append(certificate),
    };
    for der in &settings.authorities.0 {
        if let Ok(certificate) = Certificate::from_der(der) {
            add(certificate);
        }
    }
    if let Some(pem) = &settings.ca_cert_pem {
        add(Certificate::from_pem(pem).map_err(|error| {
            Error::Configuration(format!(
                "the file that ELASTICSEARCH_CA_CERT names holds no PEM certificate: {error}"
            ))
        })?);
    }
    Ok(trusted)
}
