//! What the data plane takes from its environment. `--help` is the manual.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser};
use ipnet::IpNet;
use secrecy::SecretString;
use shared::{
    config::Floor,
    reach::Reach,
    seal::MasterKey,
    snapshot::{self as published, PublicKey},
    wire::{Address, BadAddress},
};
use url::Url;

/// Turnpike's data plane: the API that applications call.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Config {
    #[command(flatten)]
    pub floor: Floor,

    /// Redis, where the control plane publishes what we serve: of a cluster the addresses of some
    /// nodes, with commas between.
    #[arg(long, env = "TURNPIKE_REDIS_URL", value_parser = redis_url, hide_env_values = true)]
    pub redis_url: SecretString,

    /// 32 random bytes in base64 that seal provider credentials; the control plane holds it too.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    pub credential_key: MasterKey,

    /// The public halves, in base64, of the keys that sign what we serve. Two of them
    /// while the key is being changed.
    #[arg(long, env = "TURNPIKE_SNAPSHOT_PUBLIC_KEYS", value_delimiter = ',', required = true)]
    pub snapshot_public_keys: Vec<PublicKey>,

    /// Where a sealed copy of what we serve is kept, to start from when all else is down.
    /// Without it a proxy starts when Redis is there.
    #[arg(long, env = "TURNPIKE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where calls are written down before they are sent, and kept until the database has
    /// them: on a disk that outlives the process. In the state's directory where none is
    /// given; without that either, what a killed process had not said yet is lost.
    #[arg(long, env = "TURNPIKE_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,

    /// The most that the journal takes of the disk, 2 MiB at least. When it is full, calls are
    /// refused, and /readyz says so.
    #[arg(long, env = "TURNPIKE_JOURNAL_BYTES", default_value_t = 1 << 30)]
    pub journal_bytes: usize,

    /// What the operators' page calls this proxy: another name for each. Drawn at random
    /// where none is given.
    #[arg(long, env = "TURNPIKE_PROXY_NAME")]
    pub proxy_name: Option<String>,

    /// Where people reach the dashboard. Errors link to its pages.
    #[arg(long, env = "TURNPIKE_DASHBOARD_URL", default_value = "http://127.0.0.1:7400")]
    pub dashboard_url: Url,

    #[command(flatten)]
    pub reach: Reach,

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

    /// How many connections clients may have; who comes then waits until one is closed. As many
    /// as there are files for, where nothing is said; 25,600 for each worker at most.
    #[arg(long, env = "TURNPIKE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// How many bytes of memory the bodies of all calls under way may take, with the answers that
    /// are no streams. One organization alone gets half of them.
    #[arg(long, env = "TURNPIKE_BODY_MEMORY_BYTES", value_parser = clap::value_parser!(u64).range(1..), default_value_t = 1 << 30)]
    pub body_memory_bytes: u64,

    /// How many proxies to assume, until Redis has told, when each gives out its own share of
    /// the limits.
    #[arg(long, env = "TURNPIKE_ASSUMED_PROXIES", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 1)]
    pub assumed_proxies: u32,

    /// How long, in seconds, to go on accepting after SIGTERM, so that load balancers see
    /// /readyz first.
    #[arg(long, env = "TURNPIKE_DRAIN_DELAY_SECONDS", default_value_t = 0)]
    pub drain_delay_seconds: u64,

    /// An upstream is left alone for a while, with the credential concerned, when half of so
    /// many calls within ten seconds, or of more, have failed there.
    #[arg(long, env = "TURNPIKE_BREAKER_CALLS", default_value_t = 10)]
    pub breaker_calls: u32,

    #[command(flatten)]
    pub timeouts: Timeouts,
}

impl Config {
    /// Where the journal is kept, if it is to outlive the process.
    pub fn journal(&self) -> Option<PathBuf> {
        let under = |it: &PathBuf| it.join("journal");
        self.journal_dir.clone().or_else(|| self.state_dir.as_ref().map(under))
    }
}

/// How long each wait for an upstream or for a client may last.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Seconds until an upstream's address is resolved and connected to.
    #[arg(long = "connect-timeout-seconds", env = "TURNPIKE_CONNECT_TIMEOUT_SECONDS", value_parser = seconds, default_value = "5")]
    pub connect: Duration,

    /// Seconds that the handshake for encryption may take after that.
    #[arg(long = "tls-timeout-seconds", env = "TURNPIKE_TLS_TIMEOUT_SECONDS", value_parser = seconds, default_value = "5")]
    pub tls: Duration,

    /// Seconds from sending a request to the first byte of the answer's body.
    #[arg(long = "first-byte-timeout-seconds", env = "TURNPIKE_FIRST_BYTE_TIMEOUT_SECONDS", value_parser = seconds, default_value = "120")]
    pub first_byte: Duration,

    /// Seconds between two pieces of an answer.
    #[arg(long = "idle-timeout-seconds", env = "TURNPIKE_IDLE_TIMEOUT_SECONDS", value_parser = seconds, default_value = "60")]
    pub idle: Duration,

    /// Seconds that a call may take from the first attempt to the last byte.
    #[arg(long = "total-timeout-seconds", env = "TURNPIKE_TOTAL_TIMEOUT_SECONDS", value_parser = seconds, default_value = "900")]
    pub total: Duration,

    /// Seconds that a client may take for a request's head.
    #[arg(long = "head-timeout-seconds", env = "TURNPIKE_HEAD_TIMEOUT_SECONDS", value_parser = seconds, default_value = "5")]
    pub head: Duration,

    /// Seconds that a client has for a request's body, and one more for each kilobyte that has
    /// come, up to a minute in all.
    #[arg(long = "body-timeout-seconds", env = "TURNPIKE_BODY_TIMEOUT_SECONDS", value_parser = seconds, default_value = "10")]
    pub body: Duration,

    /// Seconds that a client may take nothing of what is sent to it.
    #[arg(long = "write-timeout-seconds", env = "TURNPIKE_WRITE_TIMEOUT_SECONDS", value_parser = seconds, default_value = "60")]
    pub write: Duration,

    /// Seconds of silence in a stream until the client is sent a comment, which keeps what
    /// is between us from closing the connection.
    #[arg(long = "ping-seconds", env = "TURNPIKE_PING_SECONDS", value_parser = seconds, default_value = "15")]
    pub ping: Duration,
}

impl Timeouts {
    /// Those of an upstream, where it has any of its own.
    pub fn at(self, own: published::Timeouts) -> Self {
        let or = |own: Option<u32>, ours| own.map_or(ours, |it| Duration::from_secs(it.into()));
        Self {
            first_byte: or(own.first_byte_seconds, self.first_byte),
            idle: or(own.idle_seconds, self.idle),
            total: or(own.total_seconds, self.total),
            ..self
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            tls: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(15 * 60),
            head: Duration::from_secs(5),
            body: Duration::from_secs(10),
            write: Duration::from_secs(60),
            ping: Duration::from_secs(15),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, BadSeconds> {
    match text.parse() {
        Ok(it @ 1..=86_400) => Ok(Duration::from_secs(it)),
        Ok(_) | Err(_) => Err(BadSeconds),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is a whole number of seconds from 1 to 86400, a day")]
struct BadSeconds;

fn redis_url(text: &str) -> Result<SecretString, BadAddress> {
    text.parse::<Address>().map(|_| SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(redis_url: &str) -> Result<Config, String> {
        parse_with(redis_url, &[])
    }

    fn parse_with(redis_url: &str, more: &[&str]) -> Result<Config, String> {
        let key = MasterKey::generate().to_base64();
        let arguments = [
            "data-plane",
            "--listen=127.0.0.1:0",
            &format!("--redis-url={redis_url}"),
            &format!("--credential-key={}", secrecy::ExposeSecret::expose_secret(&key)),
            &format!("--snapshot-public-keys={}", shared::snapshot::Signer::generate().1),
        ];
        let arguments = arguments.iter().chain(more);
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

    #[test]
    fn every_wait_has_an_end_that_is_what_the_code_says() {
        let parse = |more: &[&str]| parse_with("redis://127.0.0.1:6379", more);
        assert_eq!(parse(&[]).unwrap().timeouts, Timeouts::default());
        let config = parse(&["--first-byte-timeout-seconds=7"]).unwrap();
        assert_eq!(config.timeouts.first_byte, Duration::from_secs(7));
        for bad in ["0", "-1", "1.5", "100000", "x"] {
            let bad = format!("--idle-timeout-seconds={bad}");
            let complaint = parse(&[&bad]).unwrap_err();
            assert!(complaint.contains("whole number of seconds"), "{complaint}");
        }
    }
}
