//! The control plane's process: configuration, start, signals, stop.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use control_plane::{app, config::Config};
use shared::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) => return explain(&error),
    };
    let _telemetry = match telemetry::start("turnpike-control-plane", &config.floor) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(&error),
    };
    match serve(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, cause = ?std::error::Error::source(&*error), "the control plane did not start");
            refuse(&*error)
        }
    }
}

async fn serve(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = app::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => info!("asked to stop: finishing what is under way"),
        _ = interrupt.recv() => info!("interrupted: finishing what is under way"),
        () = running.supervisor.stopped() => {
            running.stop().await;
            return Err("a part of the process ended".into());
        }
    }
    running.stop().await;
    Ok(())
}

/// Help, or what is wrong with the configuration: names, never values, for they may be secret.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let _ = std::io::stderr().write_all(shared::config::complaint(error).as_bytes());
    ExitCode::from(2)
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    ExitCode::FAILURE
}
