//! `NO_PROXY`: the hosts that are reached without a proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// The hosts that are reached without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    /// `*`
    Everything,
    /// `10.0.0.0/8`; host names are not resolved for it.
    Network(IpNet),
    /// An address, optionally on one port only.
    Address(IpAddr, Option<u16>),
    /// A host and all hosts below it, optionally on one port only.
    Domain(String, Option<u16>),
}

impl Exceptions {
    /// Reads a list separated by commas or spaces. Also returns the entries that cannot be read.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match Exception::parse(entry) {
                Some(exception) => read.push(exception),
                None => unread.push(entry.to_owned()),
            }
        }
        (Self(read), unread)
    }

    /// Whether the URL's host and port are among the exceptions.
    pub fn contain(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        let host = url.host();
        self.0
            .iter()
            .any(|exception| exception.covers(host.as_ref(), port))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Everything);
        }
        if entry.contains('/') {
            return entry.parse().ok().map(Self::Network);
        }
        let bare = entry.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Some(Self::Address(address, None));
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Some(Self::Address(address, port));
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        let name = name.trim_matches('.').to_ascii_lowercase();
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!name.is_empty() && name.chars().all(allowed)).then_some(Self::Domain(name, port))
    }

    fn covers(&self, host: Option<&Host<&str>>, port: Option<u16>) -> bool {
        let address = match host {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(*address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(*address).to_canonical()),
            _ => None,
        };
        let same_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match (self, host) {
            (Self::Everything, _) => true,
            (Self::Network(network), _) => address.is_some_and(|address| network.contains(&address)),
            (Self::Address(wanted, on), _) => address == Some(*wanted) && same_port(on),
            (Self::Domain(domain, on), Some(Host::Domain(name))) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let below = name
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && same_port(on)
            }
            (Self::Domain(..), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_matches_hosts_domains_ports_networks_and_star() {
        for (list, to, past) in [
            ("example.edu", "https://example.edu", true),
            ("example.edu", "https://a.b.EXAMPLE.edu", true),
            ("example.edu", "https://notexample.edu", false),
            (".example.edu", "https://a.example.edu", true),
            ("*.example.edu", "https://a.example.edu.", true),
            ("example.edu:9200", "https://example.edu:9200", true),
            ("example.edu:9200", "https://example.edu", false),
            ("example.edu:443", "https://example.edu", true),
            ("a, b  c", "http://c", true),
            ("10.0.0.0/8", "http://10.9.8.7:9200", true),
            ("10.0.0.0/8", "http://11.0.0.1", false),
            ("10.1.2.3", "http://10.1.2.3:9200", true),
            ("10.1.2.3:9201", "http://10.1.2.3:9200", false),
            ("fd00::/8", "http://[fd12::1]:9200", true),
            ("fd12::1", "http://[fd12::1]", true),
            ("[fd12::1]:80", "http://[fd12::1]", true),
            ("10.0.0.0/8", "http://[::ffff:10.1.1.1]", true),
            ("*", "https://zoom.us", true),
            ("", "https://zoom.us", false),
        ] {
            let (exceptions, unread) = Exceptions::parse(list);
            assert_eq!(unread, [""; 0], "{list}");
            assert_eq!(exceptions.contain(&Url::parse(to).unwrap()), past, "{list} {to}");
        }
        let (_, unread) = Exceptions::parse("10.0.0.0/33,ok,a:b,ex!ample");
        assert_eq!(unread, ["10.0.0.0/33", "a:b", "ex!ample"]);
    }
}
