//! The program that prints: a child of ours, started when the first sheet is to be printed and kept
//! for those that follow.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use actix_web::web::Bytes;
use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};
use tracing::warn;

use super::Sheet;

/// What it is called, beside our own program.
const PROGRAM: &str = "invoice-pdf";
/// The one thing of our environment that it is told.
const FONTS: &str = "TURNPIKE_INVOICE_FONTS";
/// For a sheet; a year's worth of lines takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until those before have theirs.
const IN_LINE: Duration = Duration::from_secs(40);
/// Longer than any PDF of ours.
const MOST: u32 = 256 << 20;

/// What answers begin with, as `invoice-pdf/src/frames.rs` says. Between them: refused.
const PRINTED: u8 = 0;
const LACKING: u8 = 2;

pub struct Printer {
    program: Option<PathBuf>,
    fonts: Option<OsString>,
    patience: Duration,
    press: Mutex<Option<Press>>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotPrinted {
    #[error(
        "no PDFs are made here: the program `invoice-pdf` is not there. The other formats say the \
         same"
    )]
    NoPrinter,
    #[error("the printer refused a sheet: {0}")]
    Refused(String),
    #[error("the printer did not answer in time")]
    Late,
    #[error("the printer broke off")]
    Broken(#[from] io::Error),
}

impl Printer {
    /// `program` is where it is, if not beside ours.
    pub fn new(program: Option<PathBuf>, fonts: Option<OsString>) -> Self {
        Self { program, fonts, patience: PATIENCE, press: Mutex::new(None) }
    }

    /// The PDF of a sheet: one after the other. Whoever stops waiting ends the program, since what it
    /// says next would be the answer to what nobody asks for any more; the next one starts another.
    pub async fn print(&self, sheet: &Sheet) -> Result<Print, NotPrinted> {
        let sheet: Bytes = serde_json::to_vec(sheet).map_err(io::Error::from)?.into();
        let mut kept = timeout(IN_LINE, self.press.lock()).await.map_err(|_| NotPrinted::Late)?;
        if let Some(press) = kept.take() {
            match press.print(sheet.clone(), self.patience).await {
                // It ended since: another one may not.
                Err(NotPrinted::Broken(error)) => warn!(%error, "the printer is started again"),
                done => return Self::keep(&mut kept, done),
            }
        }
        let done = self.start()?.print(sheet, self.patience).await;
        Self::keep(&mut kept, done)
    }

    /// Keeps a program that answered.
    fn keep(
        kept: &mut Option<Press>,
        done: Result<(Press, Printed), NotPrinted>,
    ) -> Result<Print, NotPrinted> {
        let (press, printed) = done?;
        *kept = Some(press);
        printed.map_err(NotPrinted::Refused)
    }

    /// Whether there is one, now.
    pub fn is_there(&self) -> bool {
        self.program().is_ok_and(|it| it.is_file())
    }

    fn program(&self) -> io::Result<PathBuf> {
        let beside = || std::env::current_exe().map(|it| it.with_file_name(PROGRAM));
        self.program.clone().map_or_else(beside, Ok)
    }

    /// Looked for each time, so that it may be installed while we run.
    fn start(&self) -> Result<Press, NotPrinted> {
        let mut command = Command::new(self.program()?);
        command.env_clear().current_dir("/");
        if let Some(fonts) = &self.fonts {
            command.env(FONTS, fonts);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let started = command.spawn();
        if started.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Err(NotPrinted::NoPrinter);
        }
        let mut child = started?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes").into());
        };
        Ok(Press { running: Running(child), pipes: Pipes { to, from } })
    }
}

/// A PDF.
pub struct Print {
    pub bytes: Vec<u8>,
    /// Whether the printer had all letters of it.
    pub is_whole: bool,
}

/// One, or why there is none.
type Printed = Result<Print, String>;

/// A program that runs.
struct Press {
    running: Running,
    pipes: Pipes,
}

impl Press {
    /// Comes back with the answer, and not when it does not know how far it came.
    async fn print(self, sheet: Bytes, patience: Duration) -> Result<(Self, Printed), NotPrinted> {
        let Self { running, mut pipes } = self;
        let exchange = spawn_blocking(move || pipes.exchange(&sheet).map(|it| (pipes, it)));
        let (pipes, printed) = timeout(patience, exchange)
            .await
            .map_err(|_| NotPrinted::Late)?
            .map_err(io::Error::other)??;
        Ok((Self { running, pipes }, printed))
    }
}

/// Ends with whoever has it, and with it whoever waits at its pipes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            warn!(%error, "a printer was not ended");
        }
    }
}

struct Pipes {
    to: ChildStdin,
    from: ChildStdout,
}

impl Pipes {
    fn exchange(&mut self, sheet: &[u8]) -> io::Result<Printed> {
        let length = u32::try_from(sheet.len()).map_err(io::Error::other)?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(sheet)?;
        self.to.flush()?;
        let (mut mark, mut length) = ([0], [0; 4]);
        self.from.read_exact(&mut mark)?;
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MOST || mark[0] > LACKING {
            return Err(io::Error::other("it speaks another language"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(length.into()).read_to_end(&mut bytes)?;
        if u32::try_from(read) != Ok(length) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(match mark {
            [PRINTED] => Ok(Print { bytes, is_whole: true }),
            [LACKING] => Ok(Print { bytes, is_whole: false }),
            _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

#[cfg(test)]
impl Printer {
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub fn is_idle(&self) -> bool {
        self.press.try_lock().is_ok_and(|it| it.is_none())
    }

    /// Ends its program behind its back.
    pub async fn end(&self) {
        if let Some(press) = self.press.lock().await.as_mut() {
            press.running.0.kill().expect("it is ours");
        }
    }
}
