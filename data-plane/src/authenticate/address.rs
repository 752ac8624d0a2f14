//! The address a call comes from, which is the connection's unless a proxy that the
//! operator trusts says otherwise.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// Networks whose word about the client's address is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    /// Walks X-Forwarded-For from our end as long as those who wrote it are trusted. An
    /// entry that cannot be read ends the walk at the proxy that passed it on.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer?.to_canonical();
        let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
        let entries = lines.iter().rev().flat_map(|it| it.to_str().unwrap_or("?").rsplit(','));
        for entry in entries {
            if !self.trusts(client) {
                break;
            }
            let Ok(before) = entry.trim().parse::<IpAddr>() else { break };
            client = before.to_canonical();
        }
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|it| it.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&'static str], expected: &str) {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for it in forwarded {
            let name = HeaderName::from_static("x-forwarded-for");
            headers.append(name, HeaderValue::from_static(it));
        }
        let client = proxies.client(Some(peer.parse().unwrap()), &headers);
        assert_eq!(client, Some(expected.parse().unwrap()), "{peer} {forwarded:?}");
    }

    #[test]
    fn a_stranger_is_not_believed() {
        check("192.0.2.1", &["203.0.113.5"], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.5, 192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.5", "192.0.2.1"], "192.0.2.1");
    }

    #[test]
    fn a_chain_of_proxies_is() {
        check("10.0.0.1", &["192.0.2.1"], "192.0.2.1");
        check("10.0.0.1", &["192.0.2.1, 10.0.0.2"], "192.0.2.1");
        check("::ffff:10.0.0.1", &["::ffff:192.0.2.1", "10.0.0.2"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn nonsense_ends_the_chain() {
        check("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
    }
}
