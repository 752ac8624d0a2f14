//! How many files the process may have open, for every connection is one.
//!
//! A process that has none left can accept nobody, call nobody and write nothing down. So we
//! ask for as many as we may have, and accept no more clients than those can serve: whoever
//! comes then waits in the kernel until somebody leaves.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Not for connections of calls: stores, the journal, logs, and what the runtime needs.
const RESERVED: u64 = 64;
/// A call's own connection, the one to its upstream, and one that is kept for the next call.
const EACH: u64 = 3;

/// A process gets fewer files than it may have, for the sake of programs that could not count
/// further. We can.
pub fn take_all() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// How many clients there are files for.
pub fn clients() -> u64 {
    clients_with(getrlimit(Resource::Nofile).current)
}

fn clients_with(files: Option<u64>) -> u64 {
    files.map_or(u64::MAX, |it| (it.saturating_sub(RESERVED) / EACH).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_some_files_left() {
        for (files, clients) in [(0, 1), (256, 64), (1_024, 320), (1_048_576, 349_504)] {
            assert_eq!(clients_with(Some(files)), clients);
        }
        assert_eq!(clients_with(None), u64::MAX);
    }

    #[test]
    fn all_that_we_may_have_are_taken() {
        take_all().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
