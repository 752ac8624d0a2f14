//! What a process and its children cost, and what all of them do, by /proc.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

/// The unit of times in /proc, whatever the kernel counts in itself.
const TICKS_PER_SECOND: u64 = 100;

/// A process with its children: nginx is several.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// In kilobytes of 1024 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Shared pages counted in proportion: what nginx's workers share is counted once.
    pub pss: u64,
    pub rss: u64,
}

impl Memory {
    /// The more of each.
    pub fn or_more(self, other: Self) -> Self {
        Self { pss: self.pss.max(other.pss), rss: self.rss.max(other.rss) }
    }
}

impl Process {
    /// User and system time so far.
    pub fn cpu(self) -> io::Result<Duration> {
        let mut ticks = 0;
        for pid in self.tree() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            ticks += ticks_in(&stat).ok_or_else(|| strange("stat", pid))?;
        }
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    pub fn memory(self) -> io::Result<Memory> {
        let mut memory = Memory::default();
        for pid in self.tree() {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            memory.pss += kilobytes(&rollup, "Pss:").ok_or_else(|| strange("smaps_rollup", pid))?;
            memory.rss += kilobytes(&rollup, "Rss:").ok_or_else(|| strange("smaps_rollup", pid))?;
        }
        Ok(memory)
    }

    /// The most of each while `length` passes.
    pub fn peak_memory(self, length: Duration) -> io::Result<Memory> {
        let (began, mut peak) = (Instant::now(), Memory::default());
        while began.elapsed() < length {
            peak = peak.or_more(self.memory()?);
            thread::sleep(Duration::from_millis(100));
        }
        Ok(peak)
    }

    fn tree(self) -> Vec<u32> {
        let Self(pid) = self;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|it| it.parse().ok());
        [pid].into_iter().chain(children.flat_map(|it| Self(it).tree())).collect()
    }
}

/// What all processes of the machine have used so far, the kernel's own work among it.
pub fn all_cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks =
        busy_ticks_in(&stat).ok_or_else(|| io::Error::other("/proc/stat is not as expected"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// All but what nothing was done in, and what another machine did on the same processors.
fn busy_ticks_in(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Option<Vec<u64>> = fields.split_whitespace().map(|it| it.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, ..] = fields?[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

/// The fields after the name, which may hold spaces and brackets of its own.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(rollup: &str, name: &str) -> Option<u64> {
    let line = rollup.lines().find(|it| it.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn strange(file: &str, pid: u32) -> io::Error {
    io::Error::other(format!("/proc/{pid}/{file} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 1 0 5 6";
        assert_eq!(ticks_in(stat), Some(281));
        assert_eq!(ticks_in("7 (a"), None);
    }

    #[test]
    fn what_is_done_is_told_from_waiting() {
        let stat = "cpu  10 2 300 9000 70 4 5 60 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks_in(stat), Some(321));
        assert_eq!(busy_ticks_in("cpu0 1 2 3 4 5 6 7"), None);
        assert!(all_cpu().unwrap() >= Process(std::process::id()).cpu().unwrap());
    }

    #[test]
    fn a_process_that_works_is_seen_to() {
        let me = Process(std::process::id());
        let before = me.cpu().unwrap();
        while me.cpu().unwrap() == before {
            std::hint::black_box((0..1000).sum::<u32>());
        }
        let memory = me.memory().unwrap();
        assert!(memory.pss > 0 && memory.rss >= memory.pss);
    }
}
