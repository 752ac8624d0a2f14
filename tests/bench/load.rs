//! As many calls as a subject can take, by wrk.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What wrk is told to send.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub script: &'a Path,
    /// The files that hold the bodies, in the order they are sent in.
    pub calls: &'a [PathBuf],
    pub key: &'a str,
    pub connections: u32,
    pub seconds: u64,
    pub meant: Meant,
}

/// What shall become of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    Answered,
    /// All of them, but for so many.
    Refused {
        but: u64,
    },
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    pub requests: u64,
    pub per_second: f64,
}

impl Load<'_> {
    pub fn run(&self, address: SocketAddr) -> io::Result<Counted> {
        let output = self.start(address)?.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        counted(&text, self.meant)
            .ok_or_else(|| io::Error::other(format!("the run against {address} failed:\n{text}")))
    }

    /// Starts it without waiting; whoever starts it ends it.
    pub fn start(&self, address: SocketAddr) -> io::Result<Child> {
        let calls: Vec<_> = self.calls.iter().map(|it| it.to_string_lossy()).collect();
        Command::new("wrk")
            .args(["--threads", "1", "--timeout", "20s", "--connections"])
            .arg(self.connections.to_string())
            .arg("--duration")
            .arg(format!("{}s", self.seconds))
            .arg("--script")
            .arg(self.script)
            .arg(format!("http://{address}/"))
            .env("BENCH_CALLS", calls.join(":"))
            .env("TURNPIKE_API_KEY", self.key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    }
}

/// Nothing if a call failed that should not have, or was let in that should not have been.
fn counted(output: &str, meant: Meant) -> Option<Counted> {
    let line = |part: &str| output.lines().find(|it| it.contains(part));
    let requests = line(" requests in ")?.split_whitespace().next()?.parse().ok()?;
    let per_second = line("Requests/sec:")?.split_whitespace().nth(1)?.parse().ok()?;
    let failed: u64 = match line("Non-2xx or 3xx responses:") {
        Some(line) => line.rsplit(' ').next()?.parse().ok()?,
        None => 0,
    };
    let as_meant = match meant {
        Meant::Answered => failed == 0,
        Meant::Refused { but } => failed + but >= requests,
    };
    let whole = line("Socket errors:").is_none();
    (as_meant && whole && requests > 0).then_some(Counted { requests, per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "  545879 requests in 5.00s, 476.65MB read\nRequests/sec: 109097.45\n";
    const REFUSED: &str = "  10 requests in 5.00s, 1.00MB read\n  Non-2xx or 3xx responses: 10\nRequests/sec:      2.00\n";

    #[track_caller]
    fn check(output: &str, meant: Meant, requests: Option<u64>) {
        assert_eq!(counted(output, meant).map(|it| it.requests), requests);
    }

    #[test]
    fn only_runs_that_went_as_meant_count() {
        let refused = |but| Meant::Refused { but };
        check(FINE, Meant::Answered, Some(545_879));
        check(FINE, refused(0), None);
        check(REFUSED, refused(0), Some(10));
        check(REFUSED, Meant::Answered, None);
        let one_let_in = REFUSED.replace("responses: 10", "responses: 9");
        check(&one_let_in, refused(0), None);
        check(&one_let_in, refused(1), Some(10));
        let broken = ["  Socket errors: connect 0, read 1, write 0, timeout 0\n", FINE].concat();
        check(&broken, Meant::Answered, None);
        check(&FINE.replace("545879", "0"), Meant::Answered, None);
        check("unable to connect", Meant::Answered, None);
    }
}
