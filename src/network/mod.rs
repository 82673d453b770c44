//! Proxies and trusted certificate authorities. Pure; the command line reads the variables and files.

mod exceptions;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

pub use exceptions::Exceptions;

use crate::untrusted::Secrets;

/// A forward proxy.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL without user and password.
    pub url: Url,
    /// The setting or variable that names it.
    pub said_by: String,
    /// Its URL with user and password, if there are any.
    whole: SecretString,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Proxy {
    /// Reads `http://user:password@proxy.example.edu:3128`. Without a scheme, `http://` is assumed. `None` if it is not a usable proxy URL.
    pub fn parse(text: &str, said_by: &str) -> Option<Self> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&whole).ok()?;
        let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !usable || url.query().is_some() || url.fragment().is_some() || url.path().len() > 1 {
            return None;
        }
        let whole = url.as_str().to_owned().into();
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Some(Self {
            url,
            said_by: said_by.to_owned(),
            whole,
        })
    }

    /// Its address and the setting that names it, without user and password.
    pub fn shown(&self) -> String {
        format!(
            "the proxy {} ({})",
            self.url.as_str().trim_end_matches('/'),
            self.said_by
        )
    }

    /// Its user and password, decoded.
    pub fn credentials(&self) -> Option<(String, SecretString)> {
        let whole = Url::parse(self.whole.expose_secret()).ok()?;
        let decode = |text| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let user = decode(whole.username());
        let password = decode(whole.password().unwrap_or_default());
        (!user.is_empty() || !password.is_empty()).then(|| (user, password.into()))
    }

    /// The URL with user and password, for an HTTP client.
    pub fn with_credentials(&self) -> &SecretString {
        &self.whole
    }
}

/// Which proxy a request takes, if any.
#[derive(Clone, Debug)]
pub enum Way {
    /// No proxy, for this reason.
    Direct(&'static str),
    /// This proxy.
    Through(Proxy),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(why) => write!(f, "directly: {why}"),
            Self::Through(proxy) => write!(f, "through {}", proxy.shown()),
        }
    }
}

impl Way {
    /// The error if a proxy refused the connection; `None` if there is no proxy or the failure is behind it.
    pub fn refused(&self, said: &str) -> Option<Refusal> {
        let Self::Through(proxy) = self else { return None };
        let shown = proxy.shown();
        if said.contains("proxy authorization required") {
            return Some(Refusal::needs_password(&shown));
        }
        let refused = said.contains("tunnel error: unsuccessful") || said.contains("unexpected end of file");
        refused.then(|| Refusal {
            said: format!(
                "{shown} did not open the way to this host (CONNECT): it does not allow the host, cannot reach it itself, or does \
                 not accept the user and password in its URL; ask who runs it, or name the host in NO_PROXY if it can be reached \
                 without"
            ),
        })
    }

    /// The error if an answer can only come from a proxy: 407, or an HTML page where JSON was requested. HTML pages with 5xx are not counted: they
    /// may come from the server itself, as a temporary failure.
    pub fn answered(&self, status: u16, is_json: bool) -> Option<Refusal> {
        let Self::Through(proxy) = self else { return None };
        let shown = proxy.shown();
        match status {
            407 => Some(Refusal::needs_password(&shown)),
            200..=299 | 403 if !is_json => Some(Refusal {
                said: format!(
                    "a page for people came back through {shown} (HTTP {status}): the proxy or a firewall refuses; ask who runs it to \
                     allow this host, or name the host in NO_PROXY if it can be reached without"
                ),
            }),
            _ => None,
        }
    }

    /// Adds the proxy, if there is one, to the message about a failed connection.
    pub fn name_proxy(&self, said: String) -> String {
        match self {
            Self::Direct(_) => said,
            Self::Through(proxy) => format!("{said}, through {}", proxy.shown()),
        }
    }
}

/// The refusal of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What happened, and what to do.
    pub said: String,
}

impl Refusal {
    fn needs_password(shown: &str) -> Self {
        Self {
            said: format!(
                "{shown} does not accept its user and password, or wants them (HTTP 407); write them into its URL: \
                 http://user:password@host:port"
            ),
        }
    }
}

/// The configured proxies, and the hosts reached without them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// The proxy for `https://`.
    pub https: Option<Proxy>,
    /// The proxy for `http://`.
    pub http: Option<Proxy>,
    /// The hosts reached without them.
    pub except: Exceptions,
    /// Whether the configuration switched them off.
    pub off: bool,
}

impl Proxies {
    /// The way to a URL. This machine is never reached through a proxy.
    pub fn way(&self, url: &Url) -> Way {
        if self.off {
            return Way::Direct("proxies are switched off (ZOOM_HARVESTER_PROXY)");
        }
        if is_this_machine(url) {
            return Way::Direct("this machine");
        }
        let proxy = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        match proxy {
            None => Way::Direct("no proxy is named"),
            Some(_) if self.except.contain(url) => Way::Direct("NO_PROXY names it"),
            Some(proxy) => Way::Through(proxy.clone()),
        }
    }

    /// The proxies for reqwest, which asks for each request.
    pub fn for_client(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        reqwest::Proxy::custom(move |url| match proxies.way(url) {
            Way::Direct(_) => None,
            Way::Through(proxy) => Url::parse(proxy.with_credentials().expose_secret()).ok(),
        })
    }

    /// Adds the proxies' passwords to the secrets: some proxies quote the request they refuse.
    #[must_use]
    pub fn hidden_with(&self, secrets: &Secrets) -> Secrets {
        let credentials = [&self.https, &self.http].into_iter().flatten();
        credentials
            .filter_map(Proxy::credentials)
            .fold(secrets.clone(), |all, (user, password)| {
                all.with_basic(&user, &password)
            })
    }
}

/// Whether the URL's host is this machine.
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        None => false,
    }
}

/// Certificate authorities to trust in addition to those built in, as certificates in DER.
#[derive(Clone, Debug, Default)]
pub struct Authorities(pub Vec<Vec<u8>>);

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_proxy_is_read_and_never_shows_its_password() {
        let proxy = Proxy::parse("me:hu%40sh@proxy.example.edu:3128", "HTTPS_PROXY").unwrap();
        assert_eq!(
            proxy.shown(),
            "the proxy http://proxy.example.edu:3128 (HTTPS_PROXY)"
        );
        let (user, password) = proxy.credentials().unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("me", "hu@sh"));
        let proxies = Proxies {
            https: Some(proxy),
            ..Proxies::default()
        };
        let shown = format!("{proxies:?} {:?}", proxies.for_client());
        assert!(!shown.contains("hu"), "{shown}");
        let hidden = proxies.hidden_with(&Secrets::default());
        assert_eq!(hidden.hide("it said hu@sh"), "it said (secret)");
        for bad in [
            "",
            "ftp://x",
            "http://",
            "socks5://x:1",
            "http://x/path",
            "http://x?a",
        ] {
            assert!(Proxy::parse(bad, "x").is_none(), "{bad}");
        }
    }

    #[test]
    fn each_url_gets_its_proxy_or_none() {
        let mut proxies = Proxies {
            https: Proxy::parse("https://one:1", "HTTPS_PROXY"),
            http: None,
            except: Exceptions::parse("search.example.edu").0,
            off: false,
        };
        let way = |proxies: &Proxies, to: &str| proxies.way(&url(to)).to_string();
        for (to, by) in [
            (
                "https://zoom.us/oauth/token",
                "through the proxy https://one:1 (HTTPS_PROXY)",
            ),
            ("http://zoom.us/", "directly: no proxy is named"),
            ("https://search.example.edu:9200", "directly: NO_PROXY names it"),
            ("https://localhost:9200", "directly: this machine"),
            ("https://127.8.9.1", "directly: this machine"),
            ("https://[::1]:9200", "directly: this machine"),
            ("https://[::ffff:127.0.0.1]:9200", "directly: this machine"),
        ] {
            assert_eq!(way(&proxies, to), by, "{to}");
        }
        proxies.off = true;
        assert!(way(&proxies, "https://zoom.us").contains("switched off"));
    }
}
