//! Choosing the credentials for Elasticsearch where several are set.

use secrecy::SecretString;

use super::{
    ElasticAuth, Error, Origin,
    values::{Values, has_credentials},
};

/// The credentials from the strongest origin. At the same origin an API key is preferred to a user and password, because it can do less and can be
/// revoked by itself. Two users at the same origin are an error.
pub(super) fn sign_in(values: &Values, url: Option<&url::Url>) -> Result<ElasticAuth, Error> {
    const WAYS: [&str; 3] = ["ELASTICSEARCH_API_KEY", "ELASTICSEARCH_USER", "ELASTICSEARCH_URL"];
    let mut ways: Vec<(&'static str, Origin)> = WAYS
        .into_iter()
        .filter(|name| *name != "ELASTICSEARCH_URL" || url.is_some_and(has_credentials))
        .filter_map(|name| Some((name, values.origin(name)?)))
        .collect();
    ways.sort_by_key(|(_, origin)| std::cmp::Reverse(origin.rank()));
    if let [(one, origin), (other, equal), ..] = ways.as_slice()
        && origin.rank() == equal.rank()
        && *one != "ELASTICSEARCH_API_KEY"
    {
        return Err(Error::Contradiction {
            one,
            other,
            origin: origin.clone(),
            what: "to sign in",
        });
    }
    let password = values.secret("ELASTICSEARCH_PASSWORD");
    let needed = || Error::Missing(vec!["ELASTICSEARCH_PASSWORD"]);
    match (ways.first(), url) {
        (None, _) if password.is_some() => Err(Error::Missing(vec!["ELASTICSEARCH_USER"])),
        (None, _) => Ok(ElasticAuth::None),
        (Some(("ELASTICSEARCH_API_KEY", origin)), _) => {
            let key = values.said("ELASTICSEARCH_API_KEY").unwrap_or_default();
            // Users may have two other forms of the key: `id:key`, and the JSON that came with it.
            if key.contains([':', '{', ' ']) || !key.is_ascii() {
                return Err(Error::Value {
                    name: "ELASTICSEARCH_API_KEY",
                    origin: origin.clone(),
                    value: None,
                    wanted: "it should be the key's `encoded` form: base64, without a colon".into(),
                });
            }
            Ok(ElasticAuth::ApiKey(key.into()))
        }
        (Some(("ELASTICSEARCH_URL", origin)), Some(url)) => {
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8_lossy()
                    .into_owned()
            };
            let user = user(decode(url.username()), "ELASTICSEARCH_URL", origin)?;
            let in_url = url
                .password()
                .map(|password| SecretString::from(decode(password)));
            Ok(ElasticAuth::Basic(user, in_url.or(password).ok_or_else(needed)?))
        }
        (Some((name, origin)), _) => {
            let user = user(values.said(name).unwrap_or_default(), name, origin)?;
            Ok(ElasticAuth::Basic(user, password.ok_or_else(needed)?))
        }
    }
}

/// A user's name as HTTP's Basic authentication can carry it.
fn user(name: String, setting: &'static str, origin: &Origin) -> Result<String, Error> {
    if name.is_empty() || name.contains(':') {
        return Err(Error::Value {
            name: setting,
            origin: origin.clone(),
            value: None,
            wanted: "the user's name should hold no colon and not be empty".into(),
        });
    }
    Ok(name)
}
