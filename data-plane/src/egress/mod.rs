//! The way out: which addresses an upstream may have, and the client that calls them.
//!
//! Always holds: a connection is made to an address that was checked, and to no other, so
//! that a name which answers differently the second time gains nothing; what leaves for
//! the world is encrypted. Redirects are answers like others, and no proxy is ever asked.

mod connector;
mod networks;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;
use url::{Host, Url};

pub use self::connector::{Guarded, Timed};
use self::{
    connector::{Names, Resolve},
    networks::is_public,
};
use crate::config::Timeouts;

/// An HTTP client with its own connections: one for each worker thread.
pub type Client = legacy::Client<Timed<HttpsConnector<Guarded>>, Full<Bytes>>;

/// The most of an upstream's answer that a connection holds unread, and so the longest
/// head of one. What a stream holds in all is a few of these.
const READ_BUFFER: usize = 16 * 1024;

/// Connections to one place that are kept for the next call.
const MOST_IDLE: usize = 256;
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// The port of the world's upstreams; the operator may name others.
const HTTPS: u16 = 443;

#[derive(Clone, Debug)]
pub struct Egress {
    rules: Arc<Rules>,
    connect: Duration,
    tls: Duration,
}

/// What the operator allows beyond public addresses over TLS.
#[derive(Debug)]
struct Rules {
    allow_private: bool,
    networks: Vec<IpNet>,
    ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("its address has to begin with https://")]
    NotEncrypted,
    #[error("its address holds a name, a password, a query or a fragment")]
    Adorned,
    #[error("its address is in a private network, which the operator has not allowed")]
    Private,
    #[error("its port is not one that the operator has allowed")]
    Port,
    #[error("its address names no host")]
    NoHost,
}

impl Egress {
    pub fn new(allow_private: bool, timeouts: &Timeouts) -> Self {
        let rules = Rules { allow_private, networks: vec![], ports: vec![HTTPS] };
        Self { rules: rules.into(), connect: timeouts.connect, tls: timeouts.tls }
    }

    /// Also allows the operator's own networks, and other ports of the world's upstreams.
    pub fn allowing(self, networks: &[IpNet], ports: &[u16]) -> Self {
        let rules = Rules {
            allow_private: self.rules.allow_private,
            networks: networks.to_vec(),
            ports: [&self.rules.ports[..], ports].concat(),
        };
        Self { rules: rules.into(), ..self }
    }

    /// Whether an upstream may be configured with this address. What its name resolves to
    /// is checked when it is dialled.
    pub fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        let is_plain = address.username().is_empty()
            && address.password().is_none()
            && address.query().is_none()
            && address.fragment().is_none();
        if !is_plain {
            return Err(NotPermitted::Adorned);
        }
        let is_encrypted = match address.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(NotPermitted::NotEncrypted),
        };
        let port = address.port_or_known_default().ok_or(NotPermitted::Port)?;
        match address.host().ok_or(NotPermitted::NoHost)? {
            Host::Ipv4(it) => self.rules.permit(is_encrypted, port, it.into()),
            Host::Ipv6(it) => self.rules.permit(is_encrypted, port, it.into()),
            Host::Domain(name) => self.rules.permit_name(is_encrypted, port, name),
        }
    }

    pub fn client(&self) -> Client {
        self.client_with(Arc::new(Names))
    }

    /// A client that learns addresses from `resolver`.
    fn client_with(&self, resolver: Arc<dyn Resolve>) -> Client {
        let guarded = Guarded::new(self.rules.clone(), resolver, self.connect);
        // The connector knows where plain HTTP is allowed.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .expect("the provider has the cipher suites of our TLS versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(guarded);
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(LONGEST_IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(READ_BUFFER)
            .build(Timed::new(tls, self.connect + self.tls))
    }
}

impl Rules {
    /// Whether this very address may be dialled.
    fn permit(&self, is_encrypted: bool, port: u16, address: IpAddr) -> Result<(), NotPermitted> {
        if self.owns(address) {
            return Ok(());
        }
        if !is_public(address) {
            return Err(NotPermitted::Private);
        }
        self.permit_world(is_encrypted, port)
    }

    /// Whether a name may be asked for. One that can only be this machine is refused here.
    fn permit_name(&self, is_encrypted: bool, port: u16, name: &str) -> Result<(), NotPermitted> {
        let name = name.trim_end_matches('.');
        match (name == "localhost" || name.ends_with(".localhost"), self.allow_private) {
            (true, true) => Ok(()),
            (true, false) => Err(NotPermitted::Private),
            (false, _) if !self.networks.is_empty() => Ok(()),
            (false, _) => self.permit_world(is_encrypted, port),
        }
    }

    fn permit_world(&self, is_encrypted: bool, port: u16) -> Result<(), NotPermitted> {
        match (is_encrypted, self.ports.contains(&port)) {
            (false, _) => Err(NotPermitted::NotEncrypted),
            (true, false) => Err(NotPermitted::Port),
            (true, true) => Ok(()),
        }
    }

    /// Whether the operator has allowed the network that an address is in.
    fn owns(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_here = address.is_loopback() || address.is_unspecified();
        (self.allow_private && is_here) || self.networks.iter().any(|it| it.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(allow_private: bool) -> Egress {
        Egress::new(allow_private, &Timeouts::default())
    }

    #[track_caller]
    fn check_with(egress: &Egress, address: &str, expected: Result<(), NotPermitted>) {
        assert_eq!(egress.permits(&address.parse().unwrap()), expected, "{address}");
    }

    #[track_caller]
    fn check(address: &str, allow_private: bool, expected: Result<(), NotPermitted>) {
        check_with(&egress(allow_private), address, expected);
    }

    #[test]
    fn the_world_is_called_over_tls() {
        check("https://api.example.com/v1", false, Ok(()));
        check("https://1.1.1.1/v1", false, Ok(()));
        check("http://api.example.com/v1", false, Err(NotPermitted::NotEncrypted));
        check("http://api.example.com:443/v1", true, Err(NotPermitted::NotEncrypted));
        check("http://1.1.1.1:443/v1", true, Err(NotPermitted::NotEncrypted));
        check("ftp://api.example.com/v1", true, Err(NotPermitted::NotEncrypted));
    }

    #[test]
    fn this_machine_is_called_where_the_operator_says_so() {
        for address in
            ["http://127.0.0.1:1/v1", "http://localhost:1", "http://[::1]:1", "https://127.1/v1"]
        {
            check(address, false, Err(NotPermitted::Private));
            check(address, true, Ok(()));
        }
        check("http://[::ffff:127.0.0.1]/", false, Err(NotPermitted::Private));
        check("https://localhost./", false, Err(NotPermitted::Private));
        check("https://a.localhost/", false, Err(NotPermitted::Private));
    }

    #[test]
    fn private_networks_are_called_where_the_operator_says_so() {
        for address in [
            "https://10.1.2.3/",
            "https://0x0a010203/",
            "https://167838211/",
            "https://[::ffff:10.1.2.3]/",
            "http://10.1.2.3:8000/v1",
        ] {
            check(address, true, Err(NotPermitted::Private));
            let own = egress(false).allowing(&["10.1.0.0/16".parse().unwrap()], &[]);
            check_with(&own, address, Ok(()));
        }
        let own = egress(false).allowing(&["10.1.0.0/16".parse().unwrap()], &[]);
        check_with(&own, "https://10.2.0.1/", Err(NotPermitted::Private));
        check_with(&own, "http://vllm.internal:8000/", Ok(()));
    }

    #[test]
    fn the_world_is_called_at_ports_that_the_operator_named() {
        check("https://api.example.com:22/v1", true, Err(NotPermitted::Port));
        let more = egress(false).allowing(&[], &[8443]);
        check_with(&more, "https://api.example.com:8443/v1", Ok(()));
        check_with(&more, "https://api.example.com/v1", Ok(()));
        check_with(&more, "https://api.example.com:6379/v1", Err(NotPermitted::Port));
    }

    #[test]
    fn an_address_is_no_more_than_that() {
        check("https://user:secret@api.example.com", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1?key=x", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1#", true, Err(NotPermitted::Adorned));
    }
}
