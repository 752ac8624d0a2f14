//! The provider simulator as a program of its own, for the demo and for benchmarks.

use std::{net::SocketAddr, num::NonZeroUsize, process::ExitCode, thread::available_parallelism};

use clap::{Parser, builder::FalseyValueParser};
use harness::simulator::{Config, Simulator};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for OpenAI, Anthropic and Gemini: same request, same answer.
#[derive(Parser)]
#[command(name = "provider-simulator")]
struct Arguments {
    #[arg(long, env = "TURNPIKE_SIMULATOR_LISTEN", default_value = "127.0.0.1:7403")]
    listen: SocketAddr,
    /// Threads that serve connections; as many as there are cores if not given.
    #[arg(long, env = "TURNPIKE_SIMULATOR_WORKERS")]
    workers: Option<NonZeroUsize>,
    /// Keep the latest calls for /__control/calls (the default).
    #[arg(long, overrides_with = "no_record")]
    record: bool,
    /// Keep no calls.
    #[arg(long, env = "TURNPIKE_SIMULATOR_NO_RECORD", value_parser = FalseyValueParser::new())]
    no_record: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("provider-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let workers = arguments.workers.map_or_else(available_parallelism, Ok)?.get();
    let record = arguments.record || !arguments.no_record;
    let simulator = Simulator::start(Config { listen: arguments.listen, workers, record })?;
    eprintln!("provider-simulator: serving on {} with {workers} workers", simulator.url());
    tokio::select! {
        _ = interrupted.recv() => (),
        _ = terminated.recv() => (),
    }
    simulator.stop();
    Ok(())
}
