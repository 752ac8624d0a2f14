//! `make bench-snapshots`: what a large installation's snapshot weighs, how fast proxies
//! have a change, how they start from their disk alone, and how late a revoked key is
//! still let in.
//!
//! Wants PostgreSQL (DATABASE_URL, as a superuser), Redis (TURNPIKE_TEST_REDIS_URL) and
//! the built `data-plane` and `control-plane` beside this program. Makes a database of its
//! own, and drops it.
#![expect(clippy::unwrap_used, reason = "it measures, or stops where it cannot")]

mod converging;
mod fleet;
mod installation;
mod revoking;

use std::{
    env,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use clap::{Parser, value_parser};
use harness::redis_database::RedisDatabase;
use shared::ids::RequestId;
use sqlx::{Connection, PgConnection};

use converging::{Changes, converge};
use fleet::{Fleet, start_all};
use installation::Installation;

#[derive(Parser)]
struct Arguments {
    /// How many organizations there are, each with ten keys.
    #[arg(long, env = "ORGANIZATIONS", default_value_t = 10_000)]
    organizations: usize,
    /// How many proxies follow, each a process of its own.
    #[arg(long, env = "PROXIES", default_value_t = 50, value_parser = value_parser!(u16).range(4..))]
    proxies: u16,
    /// How many keys are revoked under load.
    #[arg(long, env = "REVOCATIONS", default_value_t = 200)]
    revocations: usize,
}

/// As few as make a fleet.
const FEW: usize = 2;
/// Of those that hints do not reach.
const DEAF: usize = 8;

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let admin = env::var("DATABASE_URL").expect("DATABASE_URL is set");
    let name = format!("bench_{}", RequestId::generate().uuid().simple());
    let mut conn = PgConnection::connect(&admin).await.unwrap();
    let make = format!("CREATE DATABASE {name}");
    sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut conn).await.unwrap();
    let redis = RedisDatabase::claim();
    let place = env::temp_dir().join(&name);
    let at = Installation::make(&admin, &name, &redis.url, arguments.organizations).await;
    measure(&arguments, &at, &place).await;
    at.root.close().await;
    let _ = std::fs::remove_dir_all(&place);
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
}

async fn measure(arguments: &Arguments, at: &Installation, place: &Path) {
    let began = Instant::now();
    let revision = at.publisher.publish().await.unwrap().unwrap();
    tell("publish everything for the first time, s", began.elapsed().as_secs_f64());
    tell("image, compressed, MB", at.image_bytes().await as f64 / 1e6);

    let places: Vec<_> = (0..FEW).map(|it| Some(place.join(it.to_string()))).collect();
    let began = Instant::now();
    let mut fleet = start_all(at, &at.redis, &places);
    fleet.all_reach(revision).await;
    tell("start from Redis until ready, s", began.elapsed().as_secs_f64());
    let few = Changes { count: 200, every: None, step: Duration::from_millis(1) };
    let took = few_with_memory(at, &fleet, few).await;
    tell("of which sealed and put into Redis, p50, ms", took.sealing.p50);
    took.tell("the commit of a change until all 2 serve it", "ms");

    let others = vec![None; usize::from(arguments.proxies) - FEW];
    let began = Instant::now();
    let more = start_all(at, &at.redis, &others);
    more.all_reach(revision).await;
    let all = arguments.proxies;
    tell(&format!("start of {} more at once, s", others.len()), began.elapsed().as_secs_f64());
    fleet.join(more);
    tell(&format!("resident, all {all} processes, MB"), fleet.resident_megabytes().sum());
    settle().await;
    let many = Changes { count: 100, every: None, step: Duration::from_millis(10) };
    converge(at, &fleet, many).await.tell(&format!("the same with {all} processes"), "ms");

    let deaf = at.deaf_user();
    let unheard = start_all(at, &deaf, &vec![None; DEAF]);
    unheard.all_reach(revision).await;
    settle().await;
    let slow = Changes {
        count: 120,
        every: Some(Duration::from_millis(250)),
        step: Duration::from_millis(10),
    };
    let what = format!("the same for each of {DEAF} without pub/sub (at most 6,000)");
    converge(at, &unheard, slow).await.tell(&what, "ms");

    revoking::measure(at, &fleet, &unheard, arguments.revocations).await;

    // Long enough for the copies to be written.
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(unheard);
    drop(fleet);
    at.drop_deaf_user();
    for place in places {
        let began = Instant::now();
        let alone = start_all(at, "redis://127.0.0.1:1", &[place]);
        alone.all_reach(1).await;
        tell("start from the disk, all else down, s", began.elapsed().as_secs_f64());
        tell("resident then, MB", alone.resident_megabytes().sum());
    }
}

async fn few_with_memory(at: &Installation, fleet: &Fleet, changes: Changes) -> converging::Took {
    settle().await;
    for resident in fleet.resident_megabytes() {
        tell("resident after the start, MB", resident);
    }
    let took = converge(at, fleet, changes).await;
    for resident in fleet.resident_megabytes() {
        tell("resident after the changes, MB", resident);
    }
    took
}

/// Subscribed, and past the first checks.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(8)).await;
}

pub fn tell(what: &str, figure: f64) {
    let _ = writeln!(std::io::stdout(), "{what:<72} {figure:>10.2}");
}
