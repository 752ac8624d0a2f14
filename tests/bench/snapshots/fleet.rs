//! Proxies, each a process of its own.

use std::{
    env,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::future::join_all;
use reqwest::Client;
use secrecy::ExposeSecret;

use super::installation::Installation;

/// Ended when dropped, as is every process here.
pub struct Process(Child);

pub struct Proxy {
    process: Process,
    pub base: String,
    client: Client,
}

#[derive(Default)]
pub struct Fleet {
    pub proxies: Vec<Proxy>,
}

/// Starts one for each of `places`, where it keeps its copy, if anywhere.
pub fn start_all(at: &Installation, redis: &str, places: &[Option<PathBuf>]) -> Fleet {
    let client = Client::builder().no_proxy().build().unwrap();
    let start = |place: &Option<PathBuf>| {
        let address = free_address();
        let mut command = program("data-plane");
        command
            .env("TURNPIKE_LISTEN", &address)
            .env("TURNPIKE_WORKERS", "2")
            .env("TURNPIKE_REDIS_URL", redis)
            .env("TURNPIKE_CREDENTIAL_KEY", at.credential.to_base64().expose_secret())
            .env("TURNPIKE_SNAPSHOT_PUBLIC_KEYS", &at.public_key)
            .env("TURNPIKE_DRAIN_SECONDS", "1");
        if let Some(place) = place {
            command.env("TURNPIKE_STATE_DIR", place);
        }
        let (process, base) = (Process::start(command), format!("http://{address}"));
        Proxy { process, base, client: client.clone() }
    };
    Fleet { proxies: places.iter().map(start).collect() }
}

impl Fleet {
    pub fn join(&mut self, mut other: Self) {
        self.proxies.append(&mut other.proxies);
    }

    pub async fn all_reach(&self, revision: i64) {
        join_all(self.proxies.iter().map(|it| it.reaches(revision))).await;
    }

    pub fn resident_megabytes(&self) -> impl Iterator<Item = f64> {
        self.proxies.iter().map(|it| it.process.resident_megabytes())
    }
}

impl Proxy {
    pub async fn revision(&self) -> Option<i64> {
        let answer = self.client.get(format!("{}/readyz", self.base)).send().await.ok()?;
        let answer: serde_json::Value = answer.json().await.ok()?;
        answer["revision"].as_i64().filter(|it| *it > 0)
    }

    async fn reaches(&self, revision: i64) {
        let began = Instant::now();
        while self.revision().await.is_none_or(|it| it < revision) {
            assert!(began.elapsed() < Duration::from_secs(120), "a proxy does not get there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / 1e6
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of those that were built with this one.
pub fn program(name: &str) -> Command {
    Command::new(env::current_exe().unwrap().with_file_name(name))
}

pub fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}
