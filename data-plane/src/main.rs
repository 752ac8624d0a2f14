//! The data plane's process: read the configuration, serve, leave when asked to.

use std::{error::Error, io::Write, process::ExitCode};

use clap::Parser;
use data_plane::{
    app::{Running, start},
    config::Config,
    files, panics,
};
use shared::{config::complaint, telemetry};
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};

/// glibc keeps what a burst of large bodies took. This gives it back within seconds, on a
/// thread of its own; `.cargo/config.toml` says so when it is built.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(&complaint(&error)),
    };
    let _telemetry = match telemetry::start("turnpike-data-plane", &config.floor) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&format!("error: {error}\n")),
    };
    panics::install_hook();
    if let Err(error) = files::take_all() {
        warn!(%error, "could not have as many files as we may");
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|it| format!(": {it}")).unwrap_or_default();
            error!("stopped: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

/// The runtime keeps the catalog current; the workers that serve have their own.
#[tokio::main(worker_threads = 2)]
async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running: Running = start(config).await?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = running.failed() => Err("a part failed that we cannot do without".into()),
    };
    running.drain().await;
    outcome
}

fn fail(complaint: &str) -> ExitCode {
    // There is nobody to tell that standard error is closed.
    let _ = std::io::stderr().write_all(complaint.as_bytes());
    ExitCode::from(2)
}
