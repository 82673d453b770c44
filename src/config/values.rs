//! Reads single values: numbers, sizes, names and URLs. Each is checked; a refusal says where the value is written.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive};

use secrecy::SecretString;

use super::{Error, InForce, Origin, SETTINGS, reference::setting};
use crate::network::is_this_machine;

/// The values as they were set, each with its origin.
pub(super) struct Values(BTreeMap<&'static str, (String, Origin)>);

impl Values {
    pub fn new(said: BTreeMap<&'static str, (String, Origin)>) -> Self {
        Self(said)
    }

    pub fn text(&self, name: &'static str) -> Option<(String, Origin)> {
        self.0.get(name).cloned().or_else(|| {
            let default = setting(name)?.default;
            (!default.is_empty()).then(|| (default.to_owned(), Origin::Default))
        })
    }

    pub fn said(&self, name: &'static str) -> Option<String> {
        self.text(name).map(|(value, _)| value)
    }

    pub fn secret(&self, name: &'static str) -> Option<SecretString> {
        self.said(name).map(SecretString::from)
    }

    /// Where a setting comes from, if it is set.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.0.get(name).map(|(_, origin)| origin.clone())
    }

    pub fn parse<T>(
        &self,
        name: &'static str,
        wanted: impl Into<Cow<'static, str>>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let (value, origin) = self.text(name).unwrap_or((String::new(), Origin::Default));
        read(&value).ok_or_else(|| Error::Value {
            name,
            origin,
            value: Some(value),
            wanted: wanted.into(),
        })
    }

    pub fn whole<T: TryFrom<u64>>(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<T, Error> {
        let wanted = format!(
            "it should be a whole number from {} to {}",
            range.start(),
            range.end()
        );
        self.parse(name, wanted, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number))?;
            T::try_from(number).ok()
        })
    }

    /// Like [`Values::whole`], for a setting without a default.
    pub fn whole_if_said<T: TryFrom<u64>>(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<T>, Error> {
        match self.text(name) {
            Some(_) => self.whole(name, range).map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Values::url`], for a list separated by commas or spaces.
    pub fn urls(&self, name: &'static str) -> Result<Vec<url::Url>, Error> {
        let Some((value, origin)) = self.text(name) else {
            return Ok(Vec::new());
        };
        let parts = value.split([',', ' ']).filter(|part| !part.is_empty());
        parts.map(|part| Self::read_url(name, part, &origin)).collect()
    }

    /// An http(s) URL without query and fragment: paths are appended to it.
    pub fn url(&self, name: &'static str) -> Result<Option<url::Url>, Error> {
        let Some((value, origin)) = self.text(name) else {
            return Ok(None);
        };
        Self::read_url(name, &value, &origin).map(Some)
    }

    fn read_url(name: &'static str, value: &str, origin: &Origin) -> Result<url::Url, Error> {
        let usable = |url: &url::Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        match url::Url::parse(value).ok().filter(usable) {
            Some(url) => Ok(url),
            None => Err(Error::Value {
                name,
                origin: origin.clone(),
                value: Some(presentable(value)),
                wanted: "it should be a URL that begins with http:// or https://, names a host and ends with its path".into(),
            }),
        }
    }

    /// A URL of Zoom's, which must not hold credentials.
    pub fn zoom_url(&self, name: &'static str) -> Result<Option<String>, Error> {
        let Some(url) = self.url(name)? else {
            return Ok(None);
        };
        if has_credentials(&url) {
            return Err(Error::Value {
                name,
                origin: self.origin(name).unwrap_or(Origin::Default),
                value: None,
                wanted: "it should hold no user and no password; ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are for that".into(),
            });
        }
        if url.scheme() == "http" && !is_this_machine(&url) {
            return Err(Error::Value {
                name,
                origin: self.origin(name).unwrap_or(Origin::Default),
                value: Some(presentable(url.as_str())),
                wanted: "it should begin with https://, or the app's credentials would travel in clear"
                    .into(),
            });
        }
        Ok(Some(trimmed(&url)))
    }

    pub fn in_force(&self) -> Vec<InForce> {
        SETTINGS
            .iter()
            .filter_map(|setting| {
                let (value, origin) = self.text(setting.name)?;
                let shown = if setting.secret {
                    "(set)".to_owned()
                } else if setting.name.ends_with("_URL") || setting.name.ends_with("_PROXY") {
                    presentable(&value)
                } else {
                    value
                };
                Some(InForce {
                    setting,
                    shown,
                    origin,
                })
            })
            .collect()
    }
}

pub(super) fn has_credentials(url: &url::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

pub(super) fn trimmed(url: &url::Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// A URL, valid or not, without the parts that may be secret: all before an `@` (also written `%40`), and all from a `?` or `#` on.
pub(super) fn presentable(text: &str) -> String {
    let text = match text.rsplit_once('@').or_else(|| text.rsplit_once("%40")) {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() {
                format!("…@{after}")
            } else {
                format!("{scheme}://…@{after}")
            }
        }
        None => text.to_owned(),
    };
    match text.find(['?', '#']) {
        Some(end) => format!("{}…", &text[..=end]),
        None => text,
    }
}

/// `5242880`, `800KiB`, `5 MiB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Checks an index prefix. The rules are a little stricter than Elasticsearch's for index names: a name that begins with `.` is hidden, and a
/// wildcard or a comma would name other indices too.
pub(super) fn index_prefix(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (text.len() <= 100 && text.chars().all(allowed) && !text.starts_with(['-', '_'])).then(|| text.to_owned())
}
