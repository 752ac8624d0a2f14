//! A process that can be frozen, killed, asked to leave, and started again.

use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::home::Home;
use crate::wait::eventually;

/// A program of ours, or a server of the stack, with its children: PostgreSQL is many.
pub struct Process {
    pub name: &'static str,
    pub address: SocketAddr,
    home: PathBuf,
    launch: Launch,
    child: Option<Child>,
    pid: u32,
}

/// How it is started.
enum Launch {
    Program {
        path: PathBuf,
        environment: Vec<(String, String)>,
    },
    /// By `infra/stack.sh`, which says the pid in this variable.
    Stack {
        variable: &'static str,
        environment: Vec<(String, String)>,
    },
}

impl Process {
    /// Not started yet.
    pub(super) fn program(
        home: &Home,
        (name, program): (&'static str, &str),
        port: u16,
        environment: Vec<(String, String)>,
    ) -> Self {
        let launch = Launch::Program { path: home.programs.join(program), environment };
        Self::new(&home.path, name, port, launch)
    }

    /// Runs already.
    pub(super) fn server(
        home: &Home,
        (name, variable): (&'static str, &'static str),
        port: u16,
        environment: Vec<(String, String)>,
    ) -> Self {
        let launch = Launch::Stack { variable, environment };
        let mut server = Self::new(&home.path, name, port, launch);
        server.launch();
        server
    }

    fn new(home: &Path, name: &'static str, port: u16, launch: Launch) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { name, address, home: home.to_owned(), launch, child: None, pid: 0 }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Starts it with the files that it left, and waits until it is ready.
    pub async fn start(&mut self) {
        assert!(!self.is_alive(), "{} runs already", self.name);
        self.launch();
        if let Launch::Program { .. } = self.launch {
            self.is_ready().await;
        }
    }

    fn launch(&mut self) {
        match &self.launch {
            Launch::Program { path, environment } => {
                let log = OpenOptions::new().create(true).append(true).open(self.log());
                let log = log.expect("a log can be written");
                let both = log.try_clone().expect("a log can be shared");
                let mut command = Command::new(path);
                command.env_clear().envs(environment.iter().cloned()).current_dir(&self.home);
                command.stdin(Stdio::null()).stdout(log).stderr(both);
                let child = command.spawn();
                let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.name));
                self.pid = child.id();
                self.child = Some(child);
            }
            Launch::Stack { variable, environment } => {
                let said = Home::stack(&self.home, "start", environment);
                let pid = said.get(*variable).and_then(|it| it.parse().ok());
                self.pid = pid.unwrap_or_else(|| panic!("{variable} is not in stack.env"));
            }
        }
    }

    /// Starts it and waits for it to end by itself, ready or not.
    pub async fn start_and_end(&mut self) -> ExitStatus {
        assert!(!self.is_alive(), "{} runs already", self.name);
        self.launch();
        self.ended().await
    }

    /// From its next start on, one of our programs has that in its environment; `None`: not.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        let Launch::Program { environment, .. } = &mut self.launch else {
            panic!("{} is no program of ours", self.name);
        };
        environment.retain(|(it, _)| it != name);
        environment.extend(value.map(|it| (name.to_owned(), it)));
    }

    /// Another process that is started as this one is, but for what else it listens at.
    pub(super) fn twin(&self, name: &'static str, [port, metrics]: [u16; 2]) -> Self {
        let Launch::Program { path, environment } = &self.launch else {
            panic!("{} is no program of ours", self.name);
        };
        let launch = Launch::Program { path: path.clone(), environment: environment.clone() };
        let mut twin = Self::new(&self.home, name, port, launch);
        let at = |port: u16| Some(format!("127.0.0.1:{port}"));
        twin.set("TURNPIKE_LISTEN", at(port));
        twin.set("TURNPIKE_METRICS_LISTEN", at(metrics));
        twin
    }

    async fn is_ready(&mut self) {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        let (name, url) = (self.name, self.url("/readyz"));
        let log = self.log();
        let child = self.child.as_mut().expect("a program is our child");
        eventually(&format!("{name} to be ready"), || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("{name} ended as it started, with {status}:\n{}", end_of(&log));
            }
            let answer = client.get(&url).send();
            async move { answer.await.is_ok_and(|it| it.status().is_success()).then_some(()) }
        })
        .await;
    }

    pub fn is_alive(&self) -> bool {
        self.pid != 0 && state(self.pid).is_some_and(|it| !matches!(it, 'Z' | 'X'))
    }

    /// Stops it where it stands: connections stay, and nothing answers. Whoever connects
    /// is let in by the kernel, and waits too.
    pub async fn freeze(&self) {
        assert!(self.is_alive(), "{} does not run", self.name);
        // Parents first, so that a child that is born meanwhile is found the next time.
        eventually(&format!("{} to be frozen", self.name), || async {
            let tree = tree(self.pid);
            signal("STOP", &tree);
            tree.iter().all(|it| state(*it).is_none_or(|it| matches!(it, 'T' | 'Z'))).then_some(())
        })
        .await;
    }

    pub async fn thaw(&self) {
        eventually(&format!("{} to go on", self.name), || async {
            let tree = tree(self.pid);
            signal("CONT", &tree);
            tree.iter().all(|it| state(*it) != Some('T')).then_some(())
        })
        .await;
    }

    /// What `kill -9` does, or a machine that goes away: not one of its processes has a
    /// last word.
    pub async fn kill(&mut self) {
        self.freeze().await;
        let tree = tree(self.pid);
        signal("KILL", &tree);
        if let Some(child) = &mut self.child {
            child.wait().expect("it is our child");
        }
        let is_gone = |pid: &u32| state(*pid).is_none_or(|it| matches!(it, 'Z' | 'X'));
        eventually(&format!("{} to be gone", self.name), || async {
            tree.iter().all(is_gone).then_some(())
        })
        .await;
        self.child = None;
    }

    /// Asks it to leave, and does not wait.
    pub fn terminate(&self) {
        assert!(self.is_alive(), "{} does not run", self.name);
        signal("TERM", &[self.pid]);
    }

    /// Waits until one of our programs has left by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a program is our child");
        let what = format!("{} to end", self.name);
        let ended = eventually(&what, || {
            let ended = child.try_wait().expect("it is our child");
            async move { ended }
        })
        .await;
        self.child = None;
        ended
    }

    fn log(&self) -> PathBuf {
        self.home.join(format!("{}.log", self.name))
    }

    /// Everything that it said since it was first started.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The last of what it said.
    pub fn last_words(&self) -> String {
        end_of(&self.log())
    }
}

/// Linux has no way to ask a program for this that needs no `unsafe`; bash has.
fn signal(name: &str, pids: &[u32]) {
    let mut command = Command::new("bash");
    command.args(["-c", r#"kill -s "$0" "$@" 2>/dev/null"#, name]);
    // One that has ended meanwhile is not missed: whoever asks looks at what became of them.
    let _ = command.args(pids.iter().map(ToString::to_string)).status();
}

/// A process and all that it has started, parents before children.
fn tree(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|it| it.parse().ok());
    [pid].into_iter().chain(children.flat_map(tree)).collect()
}

/// `T` for frozen, `Z` for dead: see proc(5). `None` where there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.trim_start().chars().next()
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
