//! What every process takes from its environment.

use std::{error::Error, net::SocketAddr};

use clap::{
    Args, ValueEnum,
    error::{ContextKind, ErrorKind},
};
use secrecy::SecretString;

/// Where a process listens and how it reports.
#[derive(Args, Clone, Debug)]
pub struct Floor {
    /// Where to serve.
    #[arg(long, env = "TURNPIKE_LISTEN")]
    pub listen: SocketAddr,

    /// Where to serve /metrics: a port of its own, not for the public.
    #[arg(long, env = "TURNPIKE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// How log lines are written.
    #[arg(long, env = "TURNPIKE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "TURNPIKE_LOG", default_value = "info")]
    pub log: String,

    /// An OpenTelemetry collector (OTLP over HTTP) for traces. Without it none are sent.
    #[arg(long, env = "TURNPIKE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// How many threads serve.
    #[arg(long, env = "TURNPIKE_WORKERS")]
    pub workers: Option<usize>,

    /// How long, in seconds, requests under way may take to finish after SIGTERM.
    #[arg(long, env = "TURNPIKE_DRAIN_SECONDS", default_value_t = 600)]
    pub drain_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// What is wrong with a configuration, without the value at fault, which clap's own
/// message repeats: it may be a secret, or a URL with one.
pub fn complaint(error: &clap::Error) -> String {
    match (error.kind(), error.get(ContextKind::InvalidArg), error.source()) {
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(argument), Some(why)) => {
            format!("error: the value of {argument} is not valid: {why}\n")
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(argument), None) => {
            format!("error: the value of {argument} is not valid; see --help\n")
        }
        (_, _, _) => error.render().to_string(),
    }
}

/// Reads a secret that must be there: an empty one, or one that stands in somebody's
/// manual, does not start a process.
pub fn secret(text: &str) -> Result<SecretString, BadSecret> {
    const PLACEHOLDERS: [&str; 6] =
        ["changeme", "change-me", "secret", "password", "default", "example"];
    let text = text.trim();
    let is_placeholder = PLACEHOLDERS.iter().any(|it| text.eq_ignore_ascii_case(it));
    if text.len() < 8 || is_placeholder { Err(BadSecret) } else { Ok(text.to_owned().into()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret has at least 8 characters and is not a placeholder")]
pub struct BadSecret;

/// Reads a store's address. The text may hold a password, so it is a secret too.
pub fn store_url(text: &str) -> Result<SecretString, BadUrl> {
    let known = ["postgres://", "postgresql://", "redis://", "rediss://"];
    let is_url = known.iter().any(|it| text.len() > it.len() && text.starts_with(it));
    if is_url { Ok(text.to_owned().into()) } else { Err(BadUrl) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store's address begins with postgres:// or redis://")]
pub struct BadUrl;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_the_setting_and_keeps_its_value() {
        #[derive(Debug, clap::Parser)]
        struct Config {
            #[arg(long, value_parser = store_url)]
            redis_url: SecretString,
        }
        let arguments = ["it", "--redis-url", "http://user:hunter2@host"];
        let error = <Config as clap::Parser>::try_parse_from(arguments).unwrap_err();
        let complaint = complaint(&error);
        assert!(complaint.contains("--redis-url") && complaint.contains("redis://"), "{complaint}");
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }

    #[test]
    fn a_placeholder_is_no_secret() {
        for bad in ["", " ", "changeme", "CHANGEME", "short", "password"] {
            assert_eq!(secret(bad).unwrap_err(), BadSecret, "{bad}");
        }
        assert!(secret("4f3b9c1d5e").is_ok());
    }
}
