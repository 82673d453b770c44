//! The proxies to use: from the harvester's own setting, or from the usual variables.

use super::{
    Error, Origin,
    values::{Values, presentable},
};
use crate::network::{Exceptions, Proxies, Proxy};

const SETTING: &str = "ZOOM_HARVESTER_PROXY";

/// The lower-case name wins if both are set, as in curl.
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The proxies, and warnings about entries of `NO_PROXY` that cannot be parsed.
pub(super) fn proxies(
    values: &Values,
    environment: &[(String, String)],
) -> Result<(Proxies, Vec<String>), Error> {
    let variable = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let (_, value) = environment.iter().find(|(found, _)| found == name)?;
            let value = value.trim();
            (!value.is_empty()).then_some((*name, value.to_owned()))
        })
    };
    let (except, unread) = match variable(&EXCEPT) {
        Some((_, value)) => Exceptions::parse(&value),
        None => Default::default(),
    };
    let warnings = unread
        .into_iter()
        .map(|entry| {
            format!("the environment: NO_PROXY has an entry that is no host, domain or network: {entry:?}")
        })
        .collect();
    let read = |name: &'static str, value: &str, origin: Origin| {
        Proxy::parse(value, name).ok_or_else(|| Error::Value {
            name,
            origin,
            value: Some(presentable(value)),
            wanted: "it should be an HTTP proxy, http://host:port (https:// is possible, socks is not)"
                .into(),
        })
    };
    let proxies = match values.text(SETTING) {
        Some((value, _)) if value.eq_ignore_ascii_case("none") => Proxies {
            off: true,
            ..Proxies::default()
        },
        Some((value, origin)) => {
            let proxy = read(SETTING, &value, origin)?;
            Proxies {
                https: Some(proxy.clone()),
                http: Some(proxy),
                except,
                off: false,
            }
        }
        None => {
            let of = |names: &[&'static str]| {
                let named = variable(names);
                named
                    .map(|(name, value)| read(name, &value, Origin::Environment))
                    .transpose()
            };
            Proxies {
                https: of(&HTTPS)?,
                http: of(&HTTP)?,
                except,
                off: false,
            }
        }
    };
    Ok((proxies, warnings))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use crate::config::{Config, Error, Inputs};

    fn ways(environment: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>), Error> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::new(&Inputs {
            environment: environment.collect(),
            ..Inputs::default()
        })?;
        let to = [
            "https://zoom.us/",
            "http://es.example.edu:9200/",
            "https://localhost:9200/",
        ];
        let ways = to.map(|to| config.proxies.way(&Url::parse(to).unwrap()).to_string());
        Ok((ways.to_vec(), config.warnings))
    }

    #[test]
    fn proxies_come_from_the_usual_variables_or_our_setting() {
        let one = "through the proxy http://one:1";
        let (found, _) = ways(&[]).unwrap();
        assert_eq!(
            found,
            [
                "directly: no proxy is named",
                "directly: no proxy is named",
                "directly: this machine"
            ]
        );
        let (found, _) = ways(&[("HTTPS_PROXY", "http://two:2"), ("https_proxy", "one:1")]).unwrap();
        assert_eq!(found[0], format!("{one} (https_proxy)"));
        assert_eq!(found[1], "directly: no proxy is named");
        let (found, _) = ways(&[("ALL_PROXY", "http://one:1"), ("https_proxy", " ")]).unwrap();
        assert_eq!(
            found[..2],
            [format!("{one} (ALL_PROXY)"), format!("{one} (ALL_PROXY)")]
        );
        let (found, warnings) =
            ways(&[("HTTP_PROXY", "http://one:1"), ("NO_PROXY", "a:b, .example.edu")]).unwrap();
        assert_eq!(found[1], "directly: NO_PROXY names it");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let both = [
            ("ZOOM_HARVESTER_PROXY", "http://me:secret@one:1"),
            ("https_proxy", "two:2"),
        ];
        let (found, _) = ways(&both).unwrap();
        assert_eq!(found[0], format!("{one} (ZOOM_HARVESTER_PROXY)"));
        let (found, _) = ways(&[("ZOOM_HARVESTER_PROXY", "none"), ("https_proxy", "two:2")]).unwrap();
        assert_eq!(
            found[0],
            "directly: proxies are switched off (ZOOM_HARVESTER_PROXY)"
        );
    }

    #[test]
    fn an_invalid_proxy_is_refused_without_showing_its_password() {
        for (name, value) in [
            ("https_proxy", "socks5://me:secret@one:1"),
            ("ALL_PROXY", "http://me:secret@one:1/path"),
            ("ZOOM_HARVESTER_PROXY", "ftp://me:secret@one"),
        ] {
            let said = ways(&[(name, value)]).unwrap_err().to_string();
            assert!(said.contains(name) && said.contains("http://host:port"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
        // Values that are not used are not checked.
        ways(&[
            ("https_proxy", "one:1"),
            ("http_proxy", "one:1"),
            ("ALL_PROXY", "socks5://x:1"),
        ])
        .unwrap();
    }
}
