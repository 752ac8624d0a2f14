//! How late a revoked key is still let in, under load: counted from the answer that
//! revoked it to the answer of a proxy that let it in.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use control_plane::tokens::generate_signing_key;
use futures::{StreamExt, future::join_all, stream};
use harness::{Browser, secret_on};
use http::{Method, StatusCode};
use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::json;
use shared::seal::MasterKey;
use tokio::time::sleep;

use super::{
    fleet::{Fleet, Process, Proxy, free_address, program},
    installation::Installation,
    tell,
};

/// Nobody is to be let in later than this.
const ALLOWED: Duration = Duration::from_secs(1);
/// For so long a revoked key is tried, on every proxy that is watched.
const WATCHED: Duration = Duration::from_millis(2_500);
/// Of those that hear hints and those that do not.
const WATCHED_OF_EACH: usize = 4;
/// Between two calls with a key that is watched.
const STEP: Duration = Duration::from_millis(25);
/// How many keys are revoked at once.
const AT_ONCE: usize = 8;
/// Who call all the while, with a key that is good.
const CALLERS: usize = 32;

struct Key {
    id: String,
    secret: String,
}

/// A revocation: whether all proxies had said by its answer that they let the key in no more, and
/// what each of those did that were watched.
struct Revoked {
    is_effective: bool,
    seen: Vec<Seen>,
}

/// What one proxy did with one revoked key.
#[derive(Default)]
struct Seen {
    asked: u64,
    /// From the revocation's answer to the last answer that let the key in.
    let_in: Duration,
    late: u64,
}

pub async fn measure(at: &Installation, hearing: &Fleet, deaf: &Fleet, count: usize) {
    let (_control, browser, path) = start_control_plane(at).await;
    let mut keys = Vec::new();
    for nth in 0..=count {
        keys.push(new_key(&mut browser.clone(), &path, nth).await);
    }
    let client = Client::builder().no_proxy().build().unwrap();
    let good = keys.pop().unwrap();
    let all: Vec<_> = hearing.proxies.iter().chain(&deaf.proxies).collect();
    for proxy in &all {
        until_let_in(&client, proxy, &good).await;
    }
    let watched: Vec<_> =
        [hearing, deaf].iter().flat_map(|it| it.proxies.iter().take(WATCHED_OF_EACH)).collect();

    let (is_over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let load = join_all((0..CALLERS).map(|nth| {
        let proxy = watched[nth % watched.len()];
        call_until(&is_over, &calls, &client, proxy, &good)
    }));
    let revoke = async {
        let revoked: Vec<Revoked> = stream::iter(&keys)
            .map(|key| revoke_and_watch(browser.clone(), &path, &client, &watched, key))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        is_over.store(true, Ordering::Relaxed);
        revoked
    };
    let (revoked, _) = tokio::join!(revoke, load);

    let rate = calls.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    tell("keys revoked", count as f64);
    let effective = revoked.iter().filter(|it| it.is_effective).count();
    tell("of them answered 200: all proxies had said that they refuse", effective as f64);
    tell("calls a second with a good key meanwhile", rate);
    for (who, range) in [
        ("that hear hints", 0..WATCHED_OF_EACH),
        ("without pub/sub", WATCHED_OF_EACH..watched.len()),
    ] {
        let of: Vec<_> = revoked.iter().flat_map(|it| &it.seen[range.clone()]).collect();
        let worst = of.iter().map(|it| it.let_in).max().unwrap_or_default();
        tell(&format!("proxies {who}: calls with revoked keys"), sum(&of, |it| it.asked));
        tell(&format!("proxies {who}: latest let in, ms"), worst.as_secs_f64() * 1e3);
        tell(&format!("proxies {who}: let in later than 1 s"), sum(&of, |it| it.late));
    }
    // And on no proxy ever again.
    let asks = all.iter().flat_map(|proxy| keys.iter().map(|key| ask(&client, proxy, key)));
    let again: Vec<_> = stream::iter(asks).buffer_unordered(32).collect().await;
    let let_in = again.iter().filter(|it| **it != StatusCode::UNAUTHORIZED).count();
    tell("of all of them on all proxies in the end, not refused", let_in as f64);
}

fn sum(of: &[&Seen], count: impl Fn(&Seen) -> u64) -> f64 {
    of.iter().map(|it| count(it)).sum::<u64>() as f64
}

async fn revoke_and_watch(
    mut browser: Browser,
    path: &str,
    client: &Client,
    proxies: &[&Proxy],
    key: &Key,
) -> Revoked {
    for proxy in proxies {
        until_let_in(client, proxy, key).await;
    }
    let revoke = format!("{path}/{}/revoke", key.id);
    let answer = browser.call(Method::POST, &revoke, &json!({})).await;
    let answered = Instant::now();
    // Many proxies on few processors may not all have said so yet: then it is accepted.
    let is_effective = answer.status == StatusCode::OK;
    assert!(is_effective || answer.status == StatusCode::ACCEPTED, "{answer:?}");
    let seen = join_all(proxies.iter().map(|proxy| watch(client, proxy, key, answered))).await;
    Revoked { is_effective, seen }
}

async fn watch(client: &Client, proxy: &Proxy, key: &Key, answered: Instant) -> Seen {
    let mut seen = Seen::default();
    while answered.elapsed() < WATCHED {
        match ask(client, proxy, key).await {
            StatusCode::OK => {
                seen.let_in = answered.elapsed();
                seen.late += u64::from(seen.let_in > ALLOWED);
            }
            StatusCode::UNAUTHORIZED => (),
            status => panic!("a revoked key is answered {status}"),
        }
        seen.asked += 1;
        sleep(STEP).await;
    }
    seen
}

async fn call_until(
    is_over: &AtomicBool,
    calls: &AtomicU64,
    client: &Client,
    proxy: &Proxy,
    key: &Key,
) {
    while !is_over.load(Ordering::Relaxed) {
        assert_eq!(ask(client, proxy, key).await, StatusCode::OK);
        calls.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until_let_in(client: &Client, proxy: &Proxy, key: &Key) {
    let began = Instant::now();
    while ask(client, proxy, key).await != StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(60), "a new key is not let in");
        sleep(STEP).await;
    }
}

async fn ask(client: &Client, proxy: &Proxy, key: &Key) -> StatusCode {
    let asked = client.get(format!("{}/v1/models", proxy.base)).bearer_auth(&key.secret).send();
    asked.await.unwrap().status()
}

async fn new_key(browser: &mut Browser, path: &str, nth: usize) -> Key {
    let answer = browser.call(Method::POST, path, &json!({ "name": format!("key {nth}") })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let made = answer.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Key { id: text("id"), secret: text("secret") }
}

/// The process, a program that may do everything in a new organization, and where its
/// keys are.
async fn start_control_plane(at: &Installation) -> (Process, Browser, String) {
    let address = free_address();
    let base = format!("http://{address}");
    let process = Process::start(settings(at, &address, &base));
    let client = Client::new();
    let began = Instant::now();
    while !client
        .get(format!("{base}/readyz"))
        .send()
        .await
        .is_ok_and(|it| it.status().is_success())
    {
        assert!(began.elapsed() < Duration::from_secs(60), "the control plane does not start");
        sleep(Duration::from_millis(20)).await;
    }
    let mut browser = Browser::new(base.clone());
    let typed = [
        ("email", "ada@bench.test"),
        ("password", "violet anvil teaspoon 14"),
        ("organization", "Bench"),
    ];
    let answer = browser.fill("/signup", "/signup", &typed).await;
    let next = answer.location().unwrap();
    let slug = next.strip_prefix("/orgs/").and_then(|it| it.strip_suffix("/setup")).unwrap();
    let tokens = format!("/orgs/{slug}/settings/tokens");
    let named = [("name", "bench"), ("role", "owner")];
    let answer = browser.fill(&tokens, "/settings/tokens", &named).await;
    let token = format!("Bearer {}", secret_on(&answer));
    let program = Browser::new(base).always("authorization", &token);
    (process, program, format!("/api/v1/orgs/{slug}/keys"))
}

fn settings(at: &Installation, address: &str, base: &str) -> Command {
    let mut command = program("control-plane");
    let master = MasterKey::generate().to_base64();
    command
        .env_clear()
        .envs(env::var_os("PATH").map(|it| ("PATH", it)))
        .env("TURNPIKE_LISTEN", address)
        .env("TURNPIKE_WORKERS", "2")
        .env("TURNPIKE_DATABASE_URL", &at.database)
        .env("TURNPIKE_REDIS_URL", &at.redis)
        .env("TURNPIKE_PUBLIC_URL", base)
        .env("TURNPIKE_DATA_URL", "http://127.0.0.1:7401")
        .env("TURNPIKE_MASTER_KEY", master.expose_secret())
        .env("TURNPIKE_CREDENTIAL_KEY", at.credential.to_base64().expose_secret())
        .env("TURNPIKE_SIGNING_KEY", generate_signing_key().0.expose_secret())
        .env("TURNPIKE_SNAPSHOT_KEY", at.snapshot_key.expose_secret());
    command
}
