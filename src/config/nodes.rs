//! Where Elasticsearch is: one URL or several, or the id that Elastic Cloud gives.

use base64::{Engine, prelude::BASE64_STANDARD};
use url::Url;

use super::{
    Error, Origin,
    values::{Values, has_credentials},
};

const URL: &str = "ELASTICSEARCH_URL";
const CLOUD_ID: &str = "ELASTICSEARCH_CLOUD_ID";

/// The configured nodes; empty if there are none.
pub(super) fn nodes(values: &Values) -> Result<Vec<Url>, Error> {
    let Some((id, origin)) = values.text(CLOUD_ID) else {
        return values.urls(URL);
    };
    if let Some(other) = values.origin(URL) {
        return Err(Error::Contradiction {
            one: URL,
            other: CLOUD_ID,
            origin: other,
            what: "to say where Elasticsearch is",
        });
    }
    match cloud(&id) {
        Some(url) => Ok(vec![url]),
        None => Err(Error::Value {
            name: CLOUD_ID,
            origin,
            value: None,
            wanted: "it should be the Cloud ID of a deployment's page in Elastic Cloud: a name, a colon, and base64".into(),
        }),
    }
}

/// `NAME:BASE64`, where the base64 is `HOST[:PORT]$ELASTICSEARCH[:PORT]$KIBANA`. Source: Elastic's documentation of Cloud IDs.
fn cloud(id: &str) -> Option<Url> {
    let decoded = BASE64_STANDARD.decode(id.rsplit_once(':')?.1).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let mut parts = decoded.split('$');
    let (host, cluster) = (parts.next()?, parts.next()?);
    let with_port = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) => Some((name.to_owned(), Some(port.parse::<u16>().ok()?))),
        None => Some((text.to_owned(), None)),
    };
    let ((host, port), (cluster, own_port)) = (with_port(host)?, with_port(cluster)?);
    let is_name = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        !text.is_empty() && text.chars().all(allowed)
    };
    if !is_name(&host) || !is_name(&cluster) {
        return None;
    }
    let port = own_port.or(port).unwrap_or(443);
    Url::parse(&format!("https://{cluster}.{host}:{port}")).ok()
}

/// The first URL with credentials. All others must have the same credentials or none.
pub(super) fn signed(urls: &[Url], origin: Option<Origin>) -> Result<Option<&Url>, Error> {
    let mut signed = urls.iter().filter(|url| has_credentials(url));
    let first = signed.next();
    let who = |url: &Url| (url.username().to_owned(), url.password().map(str::to_owned));
    match first {
        Some(first) if signed.any(|other| who(other) != who(first)) => Err(Error::Value {
            name: URL,
            origin: origin.unwrap_or(Origin::Default),
            value: None,
            wanted: "its nodes have different users or passwords; they are one cluster, so write one".into(),
        }),
        Some(first) => Ok(Some(first)),
        None => Ok(urls.first()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_id_is_decoded_to_a_host() {
        let id = |text: &str| format!("my deployment:{}", BASE64_STANDARD.encode(text));
        let found = |text: &str| cloud(&id(text)).map(|url| url.to_string());
        assert_eq!(
            found("eu-west-1.aws.example.edu$0a1b$9z").unwrap(),
            "https://0a1b.eu-west-1.aws.example.edu/"
        );
        assert_eq!(
            found("example.edu:9243$0a1b$").unwrap(),
            "https://0a1b.example.edu:9243/"
        );
        assert_eq!(
            found("example.edu$0a1b:9243$9z").unwrap(),
            "https://0a1b.example.edu:9243/"
        );
        for bad in [
            "example.edu",
            "$0a1b$9z",
            "example.edu$$9z",
            "user@example.edu$0a$9z",
            "example.edu:x$0a$9z",
            "",
        ] {
            assert_eq!(found(bad), None, "{bad}");
        }
        for bad in ["no colon", "name:???", "name:", ":"] {
            assert_eq!(cloud(bad), None, "{bad}");
        }
    }
}
