//! `make overshoot`: whether a hard budget is overspent, by however little and for however
//! short, while everything goes wrong that may.
//!
//! Each run has proxies of its own, with 64 callers for each, and nine budgets: on the
//! organization, a project and a key, in a day, a week and a month. They have room for about a
//! thousand calls at their worst, and many more are made, as JSON and as streams. Meanwhile proxies
//! are killed with calls under way and started again, one settlement of ten is said twice,
//! connections to Redis break, clients hang up, and a cap is lowered and raised. Fails if at any
//! sample more was spent and held than a cap allows, or if what the simulator answered, what the
//! database has and what Redis counted are not the same to the nano-dollar.
#![expect(clippy::unwrap_used, reason = "it measures, or stops where it cannot")]

mod calling;
mod comparing;
mod disaster;
mod elsewhere;
mod running;
mod sampling;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// How many calls are made in each run.
    #[arg(long, env = "CALLS", default_value_t = 20_000)]
    calls: u64,
    /// With how many proxies, one run after the other; four at most.
    #[arg(long, env = "PROXIES", value_delimiter = ',', default_values_t = [1, 2, 4])]
    proxies: Vec<usize>,
    /// What befalls the stores meanwhile, in one run each, with the first number of proxies.
    #[arg(long, env = "DRILLS", value_delimiter = ',')]
    drills: Vec<disaster::Drill>,
    #[command(flatten)]
    elsewhere: elsewhere::Elsewhere,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut overspend = 0;
    match &arguments.elsewhere.target {
        Some(target) => {
            overspend = elsewhere::run(target, &arguments.elsewhere, arguments.calls).await;
        }
        None if arguments.drills.is_empty() => {
            for proxies in &arguments.proxies {
                overspend = overspend.max(running::run(*proxies, arguments.calls, None).await);
            }
        }
        None => {
            let proxies = arguments.proxies.first().copied().unwrap_or(2);
            for drill in &arguments.drills {
                let over = running::run(proxies, arguments.calls, Some(*drill)).await;
                overspend = overspend.max(over);
            }
        }
    }
    say(&format!("overspend = {overspend} nano-dollars"));
    if overspend == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(what: &str) {
    use std::io::Write;
    // Nobody to read it is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{what}");
}
