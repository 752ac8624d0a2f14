//! A proxy of our own, beside those of the stack.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Subject, open_loop::Connection, process::Process};

/// As long as a start may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when dropped.
pub struct Proxy {
    process: Child,
    pub subject: Subject,
    began: Instant,
}

/// What every proxy is started with.
pub struct Proxies {
    program: PathBuf,
}

impl Proxies {
    /// Of the programs that were built with this one.
    pub fn found() -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?.with_file_name("data-plane") })
    }

    /// One that follows what is published in that database of Redis, and keeps a copy in
    /// `place`. It has as many threads as nginx has workers.
    pub fn start(&self, redis_url: &str, place: Option<&Path>) -> io::Result<Proxy> {
        self.start_with(redis_url, |command| {
            if let Some(place) = place {
                command.env("TURNPIKE_STATE_DIR", place);
            }
        })
    }

    /// The same with room for so many calls.
    pub fn with_seats(&self, redis_url: &str, seats: u32) -> io::Result<Proxy> {
        self.start_with(redis_url, |command| {
            command.env("TURNPIKE_MAX_IN_FLIGHT", seats.to_string());
        })
    }

    fn start_with(&self, redis_url: &str, change: impl FnOnce(&mut Command)) -> io::Result<Proxy> {
        let address = free_address()?;
        let mut command = Command::new(&self.program);
        command
            .env("TURNPIKE_LISTEN", address.to_string())
            .env("TURNPIKE_WORKERS", "2")
            .env("TURNPIKE_REDIS_URL", redis_url)
            .env("TURNPIKE_ALLOW_PRIVATE_UPSTREAMS", "1")
            .env("TURNPIKE_DRAIN_SECONDS", "1")
            .env_remove("TURNPIKE_STATE_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        let began = Instant::now();
        let process = command.spawn()?;
        let subject = Subject { name: "ours", address, process: Process(process.id()) };
        Ok(Proxy { process, subject, began })
    }
}

impl Proxy {
    /// Since it was started, until this request is answered with a 200.
    pub fn answers(&mut self, request: &[u8]) -> io::Result<Duration> {
        loop {
            let answer = Connection::open(self.subject.address).and_then(|mut it| it.call(request));
            let took = self.began.elapsed();
            if answer.is_ok_and(|it| it.status == 200) {
                return Ok(took);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("a proxy ended as it started: {status}")));
            }
            if took > PATIENCE {
                return Err(io::Error::other("a proxy does not answer"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a proxy keeps its copy, from when there is one.
pub fn await_copy(place: &Path) -> io::Result<()> {
    let began = Instant::now();
    while !place.join("snapshot").exists() {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other("a proxy keeps no copy"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn empty(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
