//! What the data plane takes from its environment. `--help` is the manual.

use std::time::Duration;

use clap::{Parser, builder::FalseyValueParser};
use ipnet::IpNet;
use secrecy::SecretString;
use shared::{config::Floor, seal::MasterKey};
use url::Url;

/// Turnpike's data plane: the API that applications call.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Config {
    #[command(flatten)]
    pub floor: Floor,

    /// Redis, where the control plane publishes what we serve.
    #[arg(long, env = "TURNPIKE_REDIS_URL", value_parser = redis_url, hide_env_values = true)]
    pub redis_url: SecretString,

    /// 32 random bytes in base64 that seal provider credentials; the control plane holds it too.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    pub credential_key: MasterKey,

    /// Where people reach the dashboard. Errors link to its pages.
    #[arg(long, env = "TURNPIKE_DASHBOARD_URL", default_value = "http://127.0.0.1:7400")]
    pub dashboard_url: Url,

    /// Allows upstreams on this machine, and those without TLS. For demos and tests.
    #[arg(long, env = "TURNPIKE_ALLOW_PRIVATE_UPSTREAMS", value_parser = FalseyValueParser::new(), default_value = "0")]
    pub allow_private_upstreams: bool,

    /// Networks whose X-Forwarded-For is believed.
    #[arg(long, env = "TURNPIKE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// The largest request body that is accepted.
    #[arg(long, env = "TURNPIKE_BODY_LIMIT_BYTES", default_value_t = 20_000_000)]
    pub body_limit_bytes: usize,

    /// How many calls may be under way at once, over all organizations. One organization alone
    /// gets half of them.
    #[arg(long, env = "TURNPIKE_MAX_IN_FLIGHT", value_parser = clap::value_parser!(u32).range(2..), default_value_t = 20_000)]
    pub max_in_flight: u32,

    /// How many proxies to assume, until Redis has told, when each gives out its own share of
    /// the limits.
    #[arg(long, env = "TURNPIKE_ASSUMED_PROXIES", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 1)]
    pub assumed_proxies: u32,

    /// How long, in seconds, to go on accepting after SIGTERM, so that load balancers see
    /// /readyz first.
    #[arg(long, env = "TURNPIKE_DRAIN_DELAY_SECONDS", default_value_t = 0)]
    pub drain_delay_seconds: u64,

    #[arg(skip)]
    pub timeouts: Timeouts,
}

/// How long each wait for an upstream may last.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// From sending the request to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(15 * 60),
        }
    }
}

fn redis_url(text: &str) -> Result<SecretString, BadRedisUrl> {
    redis::Client::open(text).map(|_| SecretString::from(text)).map_err(|_| BadRedisUrl)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of Redis is redis://host:port/number; TLS is not built in yet")]
struct BadRedisUrl;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(redis_url: &str) -> Result<Config, String> {
        let key = MasterKey::generate().to_base64();
        let arguments = [
            "data-plane",
            "--listen=127.0.0.1:0",
            &format!("--redis-url={redis_url}"),
            &format!("--credential-key={}", secrecy::ExposeSecret::expose_secret(&key)),
        ];
        Config::try_parse_from(arguments).map_err(|it| shared::config::complaint(&it))
    }

    #[test]
    fn another_kind_of_store_stops_the_start() {
        for bad in [
            "http://127.0.0.1:6379",
            "postgres://a:hunter2@b/c",
            "rediss://:hunter2@b",
            "redis",
            "",
        ] {
            let complaint = parse(bad).unwrap_err();
            assert!(complaint.contains("--redis-url"), "{complaint}");
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
        assert!(parse("redis://127.0.0.1:6379/0").is_ok());
    }
}
