//! What a proxy does whose processors are not the books' as well: here who takes its events in, and
//! the database, run on the same ones, which they need not elsewhere. The control plane is stopped
//! meanwhile, and what calls came to waits for it in Redis.

use std::{io, process::Command};

use super::{Bench, Process, calls, figures::Figure, tell};

/// A process that does nothing until this is dropped.
struct Stopped(Process);

impl Stopped {
    fn now(process: Process) -> io::Result<Self> {
        signal(process, "STOP").map(|()| Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = signal(self.0, "CONT") {
            tell(&error.to_string());
        }
    }
}

fn signal(Process(pid): Process, which: &str) -> io::Result<()> {
    let status = Command::new("kill").args(["-s", which, &pid.to_string()]).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{which} cannot be sent to process {pid}"))),
    }
}

impl Bench {
    /// The last of all, since what was not taken in has to be taken in afterwards.
    pub fn alone(&self) -> io::Result<Vec<Figure>> {
        let name = "small request while events wait";
        let _stopped = Stopped::now(self.control)?;
        let small = self.saturate_for(self.half(), name, &[calls::small()])?;
        let mut figures = small.figures(name, None, None);
        figures.push(small.all(name));
        figures.extend(self.small_delays(name)?);
        Ok(figures)
    }
}
