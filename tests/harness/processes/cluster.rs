//! A Redis Cluster: three masters, each with a replica.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::ports::Ports;
use crate::wait::eventually;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Killed, with all that it holds, when dropped.
pub struct RedisCluster {
    /// As programs of ours are told it.
    pub address: String,
    home: PathBuf,
    first: u16,
    bus: u16,
    _ports: [Ports; 2],
}

impl RedisCluster {
    /// # Panics
    /// If it does not come about.
    pub fn start(home: &Path) -> Self {
        let home = home.join("cluster");
        let ports = [Ports::claim(), Ports::claim()];
        let [[first], [bus]] = ports.each_ref().map(Ports::get);
        let said =
            script(&["start", &home.to_string_lossy(), &first.to_string(), &bus.to_string()]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let address = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Self { address, home, first, bus, _ports: ports }
    }

    /// Kills the master that has the slot of `key`, and says which port that had.
    pub fn kill_master_of(&self, key: &str) -> u16 {
        let slot = self.ask(self.first, &["CLUSTER", "KEYSLOT", key]);
        let slot: u16 = slot.trim().parse().expect("a slot is a number");
        let nodes = self.ask(self.first, &["CLUSTER", "NODES"]);
        let port = nodes.lines().find_map(|it| port_of_master(it, slot));
        let port = port.expect("each slot has a master");
        let node = port - self.first;
        let pid = std::fs::read_to_string(self.home.join(format!("node-{node}/pid")));
        let pid = pid.expect("a node says its pid");
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.is_ok_and(|it| it.success()), "the master was there");
        port
    }

    /// Waits until another has taken over from the master at `port`.
    pub async fn is_whole_without(&self, port: u16) {
        let asked = (self.first..self.first + 6).find(|it| *it != port).expect("there are six");
        eventually("a replica to take over", || async {
            let nodes = self.ask(asked, &["CLUSTER", "NODES"]);
            let serves = |it: &&str| it.contains("master") && !it.contains("fail");
            // What it has of slots comes last.
            let masters =
                nodes.lines().filter(serves).filter(|it| it.split_whitespace().count() > 8);
            (masters.count() == 3).then_some(())
        })
        .await;
    }

    /// Starts the node at `port` again, as what the others make of it.
    pub fn start_again(&self, port: u16) {
        let [node, first, bus] = [port - self.first, self.first, self.bus].map(|it| it.to_string());
        let said = script(&["again", &self.home.to_string_lossy(), &first, &bus, &node]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    fn ask(&self, port: u16, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let said = command.args(["-p", &port.to_string()]).args(words).output();
        String::from_utf8_lossy(&said.expect("redis-cli is there").stdout).into_owned()
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        script(&["stop", &self.home.to_string_lossy()]);
    }
}

fn script(arguments: &[&str]) -> Output {
    let path = Path::new(ROOT).join("infra/redis-cluster.sh");
    Command::new(path).args(arguments).output().expect("the script is there")
}

/// A line of `CLUSTER NODES`: id, address, flags, master, two times, epoch, link, slots.
fn port_of_master(line: &str, slot: u16) -> Option<u16> {
    let words: Vec<_> = line.split_whitespace().collect();
    let is_served = words.get(8..)?.iter().any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let within = |(first, last): (u16, u16)| (first..=last).contains(&slot);
        first.parse().ok().zip(last.parse().ok()).is_some_and(within)
    });
    let is_master = words.get(2)?.contains("master");
    let port = words.get(1)?.split('@').next()?.rsplit(':').next()?.parse().ok()?;
    (is_served && is_master).then_some(port)
}
