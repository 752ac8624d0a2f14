//! `make overshoot`: whether a hard budget is overspent, by however little and for however
//! short, while everything goes wrong that may.
//!
//! Each run has proxies of its own, with 64 callers for each, and nine budgets: on the
//! organization, a project and a key, in a day, a week and a month. They have room for about a
//! thousand calls at their worst, and many more are made, as JSON and as streams. Meanwhile proxies
//! are killed with calls under way and started again, one settlement of ten is said twice,
//! connections to Redis break, clients hang up, and a cap is lowered and raised. Fails if at any
//! sample more was spent and held than a cap allows, or if what the simulator answered, what the
//! database has and what Redis counted are not the same to the nano-dollar. In the end one caller
//! spends what is left, so that all runs come to the same total, or this fails.
//!
//! `make drill` (`disaster`) is the same while stores, proxies and the control plane die, disks
//! are full or damaged, and clocks go wrong.
#![expect(clippy::unwrap_used, reason = "it measures, or stops where it cannot")]

mod calling;
mod comparing;
mod disaster;
mod disks;
mod elsewhere;
mod journals;
mod last;
mod running;
mod sampling;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use self::{
    disaster::{Disaster, Settings},
    running::Outcome,
};

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
    /// For how many seconds PostgreSQL stands still in its drill.
    #[arg(long, env = "FROZEN_SECONDS", default_value_t = 60)]
    frozen_seconds: u64,
    /// The library that clocks are moved by, for the drill that does.
    #[arg(long, env = "CLOCK")]
    clock: Option<PathBuf>,
    #[command(flatten)]
    elsewhere: elsewhere::Elsewhere,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(target) = &arguments.elsewhere.target {
        let overspend = elsewhere::run(target, &arguments.elsewhere, arguments.calls).await;
        return conclude(overspend, true);
    }
    let mut outcomes = Vec::new();
    if arguments.drills.is_empty() {
        for proxies in &arguments.proxies {
            outcomes.push(running::run(*proxies, arguments.calls, None).await);
        }
    }
    let proxies = arguments.proxies.first().copied().unwrap_or(2);
    for drill in &arguments.drills {
        let frozen = Duration::from_secs(arguments.frozen_seconds);
        let settings = Settings { frozen, clock: arguments.clock.clone() };
        let disaster = Disaster::of(*drill, settings);
        outcomes.push(running::run(proxies, arguments.calls, Some(disaster)).await);
    }
    outcomes.iter().for_each(tell);
    let totals: Vec<_> = outcomes.iter().filter_map(|it| it.total).collect();
    let is_same = totals.windows(2).all(|it| it[0] == it[1]);
    if !is_same {
        say("*** the totals differ ***");
    }
    conclude(outcomes.iter().map(|it| it.overspend).max().unwrap_or_default(), is_same)
}

fn tell(outcome: &Outcome) {
    let Outcome { drill, proxies, calls, admitted, lost, duplicated, overspend, total } = outcome;
    let total =
        total.map_or_else(String::new, |it| format!(", spent in the end {it} nano-dollars"));
    let name = drill.map_or_else(|| format!("{proxies} proxies"), |it| it.name().to_owned());
    say(&format!(
        "{name:<38} lost = {lost}, duplicated = {duplicated}, overspend = {overspend}; {calls} calls, \
         {admitted} let through{total}"
    ));
}

fn conclude(overspend: i64, is_same: bool) -> ExitCode {
    say(&format!("overspend = {overspend} nano-dollars"));
    if overspend == 0 && is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(what: &str) {
    use std::io::Write;
    // Nobody to read it is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{what}");
}
