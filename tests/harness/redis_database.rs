//! A database of the test Redis for one stack alone: the names under which snapshots
//! are published are fixed, so two stacks must not share one.

use std::{thread::sleep, time::Duration};

use redis::{Client, Commands, Connection};
use url::Url;

/// Redis has sixteen unless told otherwise. The first holds the claims.
const DATABASES: std::ops::Range<u8> = 1..16;

/// A claim that nobody gave back ends by itself.
const CLAIM_SECONDS: u64 = 600;

/// Claimed and empty. Given back, and empty again, when dropped.
pub struct RedisDatabase {
    pub url: String,
    server: String,
    claim: String,
}

impl RedisDatabase {
    /// # Panics
    /// Without TURNPIKE_TEST_REDIS_URL, or if none becomes free within a minute.
    pub fn claim() -> Self {
        let server = std::env::var("TURNPIKE_TEST_REDIS_URL")
            .expect("TURNPIKE_TEST_REDIS_URL is set: infra/test.sh does, or .run/test/stack.env");
        let mut claims = connect(&server);
        for _ in 0..6_000 {
            for number in DATABASES {
                let claim = format!("tests:database:{number}");
                let options = redis::SetOptions::default()
                    .conditional_set(redis::ExistenceCheck::NX)
                    .with_expiration(redis::SetExpiry::EX(CLAIM_SECONDS));
                let made: Option<String> =
                    claims.set_options(&claim, "claimed", options).expect("Redis answers");
                if made.is_some() {
                    let mut url = Url::parse(&server).expect("the address of Redis is valid");
                    url.set_path(&number.to_string());
                    let url = url.to_string();
                    empty(&url);
                    return Self { url, server, claim };
                }
            }
            sleep(Duration::from_millis(10));
        }
        panic!("every database of the test Redis stays claimed");
    }
}

impl Drop for RedisDatabase {
    fn drop(&mut self) {
        empty(&self.url);
        let _: Result<(), _> = connect(&self.server).del(&self.claim);
    }
}

fn connect(url: &str) -> Connection {
    let client = Client::open(url).expect("the address of Redis is valid");
    client.get_connection().expect("the test Redis can be reached")
}

fn empty(url: &str) {
    redis::cmd("FLUSHDB").exec(&mut connect(url)).expect("Redis answers");
}
