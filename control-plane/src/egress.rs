//! The way out to addresses that people typed: which ones may be called, and the call.
//!
//! Always holds: the address that was checked is the one that is dialled; a redirect is
//! an answer like others; no proxy is asked. Nothing of an answer but its status is read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{StatusCode, header::HeaderMap, redirect::Policy};
use url::{Host, Url};

#[derive(Clone, Copy, Debug)]
pub struct Egress {
    /// Whether the operator allows upstreams on this machine and in private networks.
    pub allow_private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("the address has to begin with https://")]
    NotEncrypted,
    #[error("the address holds a name, a password, a query or a fragment")]
    Adorned,
    #[error("the address is in a private network, which the operator has not allowed")]
    Private,
}

/// No answer was to be had. Why is nobody's business: whoever tries addresses would
/// learn what is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there was no answer")]
pub struct NoAnswer;

impl Egress {
    /// Whether calls may go to `address`, as far as the text of it tells.
    pub fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        let is_plain = address.username().is_empty()
            && address.password().is_none()
            && address.query().is_none()
            && address.fragment().is_none();
        if !is_plain {
            return Err(NotPermitted::Adorned);
        }
        let (is_private, is_here) = match address.host() {
            Some(Host::Ipv4(it)) => (is_private(it.into()), is_loopback(it.into())),
            Some(Host::Ipv6(it)) => (is_private(it.into()), is_loopback(it.into())),
            Some(Host::Domain(it)) => {
                let it = it.trim_end_matches('.');
                let is_here = it == "localhost" || it.ends_with(".localhost");
                (is_here, is_here)
            }
            None => return Err(NotPermitted::NotEncrypted),
        };
        match (address.scheme(), self.allow_private) {
            ("https" | "http", false) if is_private => Err(NotPermitted::Private),
            ("https", _) => Ok(()),
            ("http", true) if is_here => Ok(()),
            _ => Err(NotPermitted::NotEncrypted),
        }
    }

    /// Asks for `address`, and says how that was answered.
    pub async fn get(&self, address: &Url, headers: HeaderMap) -> Result<StatusCode, NoAnswer> {
        let client = self.client(address).await?;
        let answer = client.get(address.clone()).headers(headers).send().await;
        answer.map(|it| it.status()).map_err(|_| NoAnswer)
    }

    /// What dials `address` where it was found to be, and nothing else.
    async fn client(&self, address: &Url) -> Result<reqwest::Client, NoAnswer> {
        let dialled = self.resolve(address).await?;
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        if let Some(Host::Domain(name)) = address.host() {
            client = client.resolve_to_addrs(name, &dialled);
        }
        client.build().map_err(|_| NoAnswer)
    }

    /// Sends a message to `address`, and says how that was answered.
    pub async fn post(
        &self,
        address: &Url,
        headers: HeaderMap,
        body: String,
    ) -> Result<StatusCode, NoAnswer> {
        let client = self.client(address).await?;
        let answer = client.post(address.clone()).headers(headers).body(body).send().await;
        answer.map(|it| it.status()).map_err(|_| NoAnswer)
    }

    /// Where `address` is, if all of that may be called.
    async fn resolve(&self, address: &Url) -> Result<Vec<SocketAddr>, NoAnswer> {
        self.permits(address).map_err(|_| NoAnswer)?;
        let port = address.port_or_known_default().ok_or(NoAnswer)?;
        let found: Vec<SocketAddr> = match address.host().ok_or(NoAnswer)? {
            Host::Ipv4(it) => vec![(it, port).into()],
            Host::Ipv6(it) => vec![(it, port).into()],
            Host::Domain(name) => {
                let asked = tokio::net::lookup_host((name, port));
                let found = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| NoAnswer)?;
                found.map_err(|_| NoAnswer)?.collect()
            }
        };
        self.permitted(found)
    }

    /// All of them or none: which one is dialled is not ours to say.
    fn permitted(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NoAnswer> {
        let is_permitted = self.allow_private || !found.iter().any(|it| is_private(it.ip()));
        if is_permitted && !found.is_empty() { Ok(found) } else { Err(NoAnswer) }
    }
}

/// Somebody waits in front of a page.
const PATIENCE: Duration = Duration::from_secs(5);

fn is_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// Whether an address is anything but somebody's on the public internet.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => is_private_v4(it),
        IpAddr::V6(it) => is_private_v6(it),
    }
}

fn is_private_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    it.is_private()
        || it.is_loopback()
        || it.is_link_local()
        || it.is_documentation()
        || it.is_multicast()
        || a == 0
        || a >= 240
        // Carriers' own, protocol assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_private_v6(it: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = it.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        // The unspecified one, loopback, and IPv4 in an older spelling.
        (0, 0) if (c, d, e) == (0, 0, 0) => true,
        // NAT64 and 6to4 lead to the IPv4 address inside of them.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => is_private_v4(v4(g, h)),
        (0x64, 0xff9b) => true,
        (0x2002, _) => is_private_v4(v4(b, c)),
        // Teredo and other protocols' own; documentation.
        (0x2001, ..0x200) | (0x2001, 0xdb8) => true,
        // Only 2000::/3 is given out.
        _ => !(0x2000..0x4000).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, allow_private: bool, expected: Result<(), NotPermitted>) {
        let egress = Egress { allow_private };
        assert_eq!(egress.permits(&address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn the_world_is_called_over_tls() {
        check("https://api.example.com/v1", false, Ok(()));
        check("http://api.example.com/v1", false, Err(NotPermitted::NotEncrypted));
        check("http://api.example.com/v1", true, Err(NotPermitted::NotEncrypted));
        check("ftp://api.example.com/v1", true, Err(NotPermitted::NotEncrypted));
    }

    #[test]
    fn private_networks_are_called_where_the_operator_says_so() {
        for address in [
            "https://127.0.0.1:1/v1",
            "https://localhost:1",
            "https://a.localhost.",
            "https://[::1]:1",
            "https://127.1/v1",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://10.1.2.3",
            "https://169.254.169.254/latest",
            "https://100.64.0.1",
            "https://0.0.0.0",
        ] {
            check(address, false, Err(NotPermitted::Private));
            check(address, true, Ok(()));
        }
        check("http://127.0.0.1:1/v1", true, Ok(()));
        check("http://10.1.2.3/v1", true, Err(NotPermitted::NotEncrypted));
    }

    #[test]
    fn an_address_is_no_more_than_that() {
        check("https://user:secret@api.example.com", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1?key=x", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1#", true, Err(NotPermitted::Adorned));
    }

    #[test]
    fn what_leads_into_a_private_network_is_private() {
        for address in [
            "0.1.2.3",
            "10.0.0.1",
            "100.127.255.255",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:192.168.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1", "64:ff9b::101:101"]
        {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_name_that_leads_to_one_private_address_is_not_dialled() {
        let (public, private) = ("1.1.1.1:443".parse().unwrap(), "10.0.0.1:443".parse().unwrap());
        let egress = Egress { allow_private: false };
        assert_eq!(egress.permitted(vec![public]), Ok(vec![public]));
        assert_eq!(egress.permitted(vec![public, private]), Err(NoAnswer));
        assert_eq!(egress.permitted(vec![]), Err(NoAnswer));
        let allowing = Egress { allow_private: true };
        assert_eq!(allowing.permitted(vec![public, private]), Ok(vec![public, private]));
    }

    #[tokio::test]
    async fn a_private_address_is_refused_when_it_is_dialled_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let egress = Egress { allow_private: false };
        assert_eq!(egress.get(&address, HeaderMap::new()).await, Err(NoAnswer));
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_name_is_dialled_at_the_address_that_was_checked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whoever hangs up on a request that was not read cuts the answer off.
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut stream, answer).unwrap();
            stream
        });
        let address = format!("http://localhost:{port}/models").parse().unwrap();
        let egress = Egress { allow_private: true };
        assert_eq!(egress.get(&address, HeaderMap::new()).await, Ok(StatusCode::NO_CONTENT));
        drop(answering.join());
    }
}
