//! Which addresses people may have us call: those of their upstreams and webhooks. Both planes
//! ask the same rules, so that what one lets them type the other one dials.
//!
//! Always holds: what leaves for the world is encrypted and goes to a port that the operator
//! knows of; nothing private is called unless it is in a network that the operator has named.

use std::net::IpAddr;

use clap::{Args, builder::FalseyValueParser};
use ipnet::IpNet;
use url::{Host, Url};

use crate::networks::is_public;

/// The port of the world's upstreams; the operator may name others.
pub const HTTPS: u16 = 443;

/// What the operator allows beyond public addresses over TLS.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks whose addresses may be called though they are not public, and without TLS
    /// if the upstream's address says so: those of your own models.
    #[arg(
        long = "allow-upstream-networks",
        env = "TURNPIKE_ALLOW_UPSTREAM_NETWORKS",
        value_delimiter = ','
    )]
    pub networks: Vec<IpNet>,

    /// Ports, beside 443, at which public addresses may be called.
    #[arg(
        long = "allow-upstream-ports",
        env = "TURNPIKE_ALLOW_UPSTREAM_PORTS",
        value_delimiter = ','
    )]
    pub ports: Vec<u16>,

    /// Allows upstreams on this machine, and those without TLS. For demos and tests.
    #[arg(long = "allow-private-upstreams", env = "TURNPIKE_ALLOW_PRIVATE_UPSTREAMS", value_parser = FalseyValueParser::new(), default_value = "0")]
    pub this_machine: bool,
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

impl Reach {
    /// That and this machine: for demos and tests.
    pub fn with_this_machine() -> Self {
        Self { this_machine: true, ..Self::default() }
    }

    /// Whether this address may be kept to be called later. What its name resolves to
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
            Host::Ipv4(it) => self.permit(is_encrypted, port, it.into()),
            Host::Ipv6(it) => self.permit(is_encrypted, port, it.into()),
            Host::Domain(name) => self.permit_name(is_encrypted, port, name),
        }
    }

    /// Whether this very address may be dialled.
    pub fn permit(
        &self,
        is_encrypted: bool,
        port: u16,
        address: IpAddr,
    ) -> Result<(), NotPermitted> {
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
        match (name == "localhost" || name.ends_with(".localhost"), self.this_machine) {
            (true, true) => Ok(()),
            (true, false) => Err(NotPermitted::Private),
            (false, _) if !self.networks.is_empty() => Ok(()),
            (false, _) => self.permit_world(is_encrypted, port),
        }
    }

    fn permit_world(&self, is_encrypted: bool, port: u16) -> Result<(), NotPermitted> {
        match (is_encrypted, port == HTTPS || self.ports.contains(&port)) {
            (false, _) => Err(NotPermitted::NotEncrypted),
            (true, false) => Err(NotPermitted::Port),
            (true, true) => Ok(()),
        }
    }

    /// Whether the operator has allowed the network that an address is in.
    fn owns(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_here = address.is_loopback() || address.is_unspecified();
        (self.this_machine && is_here) || self.networks.iter().any(|it| it.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(this_machine: bool) -> Reach {
        Reach { this_machine, ..Reach::default() }
    }

    fn own(network: &str) -> Reach {
        Reach { networks: vec![network.parse().unwrap()], ..Reach::default() }
    }

    #[track_caller]
    fn check_with(reach: &Reach, address: &str, expected: Result<(), NotPermitted>) {
        assert_eq!(reach.permits(&address.parse().unwrap()), expected, "{address}");
    }

    #[track_caller]
    fn check(address: &str, this_machine: bool, expected: Result<(), NotPermitted>) {
        check_with(&reach(this_machine), address, expected);
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
            check_with(&own("10.1.0.0/16"), address, Ok(()));
        }
        let own = own("10.1.0.0/16");
        check_with(&own, "https://10.2.0.1/", Err(NotPermitted::Private));
        check_with(&own, "http://vllm.internal:8000/", Ok(()));
    }

    #[test]
    fn the_world_is_called_at_ports_that_the_operator_named() {
        check("https://api.example.com:22/v1", true, Err(NotPermitted::Port));
        let more = Reach { ports: vec![8443], ..Reach::default() };
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
