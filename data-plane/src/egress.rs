//! The way out: which addresses an upstream may have, and the client that calls them.
//!
//! TLS is a must, but for upstreams on this machine where the operator allows those.
//! Redirects are answers like others, and no proxy is ever asked. Checking the address
//! that is really dialled belongs here and is not done yet.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::{Host, Url};

use crate::config::Timeouts;

/// An HTTP client with its own connections: one for each worker thread.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The most of an upstream's answer that a connection holds unread.
const READ_BUFFER: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Egress {
    pub allow_private: bool,
    pub connect_timeout: std::time::Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("its address has to begin with https://")]
    NotEncrypted,
    #[error("its address holds a name, a password, a query or a fragment")]
    Adorned,
    #[error("its address is on this machine, which the operator has not allowed")]
    Private,
}

impl Egress {
    pub fn new(allow_private: bool, timeouts: &Timeouts) -> Self {
        Self { allow_private, connect_timeout: timeouts.connect }
    }

    pub fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        let is_plain = address.username().is_empty()
            && address.password().is_none()
            && address.query().is_none()
            && address.fragment().is_none();
        if !is_plain {
            return Err(NotPermitted::Adorned);
        }
        match (address.scheme(), is_loopback(address), self.allow_private) {
            ("https", false, _) | ("https" | "http", true, true) => Ok(()),
            ("https" | "http", true, false) => Err(NotPermitted::Private),
            (_, _, _) => Err(NotPermitted::NotEncrypted),
        }
    }

    pub fn client(&self) -> Client {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.connect_timeout));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .expect("the provider has the cipher suites of our TLS versions");
        let tls = if self.allow_private { tls.https_or_http() } else { tls.https_only() };
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER)
            .build(tls.enable_http1().wrap_connector(tcp))
    }
}

fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(it)) => it.is_loopback() || it.is_unspecified(),
        Some(Host::Ipv6(it)) => {
            let it = IpAddr::V6(it).to_canonical();
            it.is_loopback() || it.is_unspecified()
        }
        Some(Host::Domain(it)) => it == "localhost" || it.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, allow_private: bool, expected: Result<(), NotPermitted>) {
        let egress = Egress::new(allow_private, &Timeouts::default());
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
    fn this_machine_is_called_where_the_operator_says_so() {
        for address in
            ["http://127.0.0.1:1/v1", "http://localhost:1", "http://[::1]:1", "https://127.1/v1"]
        {
            check(address, false, Err(NotPermitted::Private));
            check(address, true, Ok(()));
        }
        check("http://[::ffff:127.0.0.1]/", false, Err(NotPermitted::Private));
    }

    #[test]
    fn an_address_is_no_more_than_that() {
        check("https://user:secret@api.example.com", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1?key=x", false, Err(NotPermitted::Adorned));
        check("https://api.example.com/v1#", true, Err(NotPermitted::Adorned));
    }
}
