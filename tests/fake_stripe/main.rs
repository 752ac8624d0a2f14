//! The stand-in for Stripe as a program of its own, for the demo.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use harness::fake_stripe::{Config, FakeStripe};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Stripe: no money moves.
#[derive(Parser)]
#[command(name = "fake-stripe")]
struct Arguments {
    #[arg(long, env = "FAKE_STRIPE_LISTEN", default_value = "127.0.0.1:7404")]
    listen: SocketAddr,
    /// Where webhooks go.
    #[arg(long, env = "FAKE_STRIPE_WEBHOOKS")]
    webhooks: Option<String>,
    /// What webhooks are signed with.
    #[arg(long, env = "FAKE_STRIPE_SECRETS", value_delimiter = ',', hide_env_values = true)]
    secrets: Vec<String>,
    /// Where all that it keeps is written down, so that it is there again when it is started anew.
    #[arg(long, env = "FAKE_STRIPE_FILE")]
    file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-stripe: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let Arguments { listen, webhooks, secrets, file } = arguments;
    let fake = FakeStripe::start(Config { listen, webhooks, secrets, file })?;
    eprintln!("fake-stripe: serving on {}", fake.url());
    tokio::select! {
        _ = interrupted.recv() => (),
        _ = terminated.recv() => (),
    }
    Ok(())
}
