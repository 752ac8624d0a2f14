//! The same calls at another gateway, which has one budget and the provider simulator behind
//! it. What the simulator answered is compared with the cap; nothing is killed there.

use clap::Args;
use shared::money::Money;

use super::{
    calling::{Calling, read},
    comparing::Simulated,
    say,
};

#[derive(Args)]
pub struct Elsewhere {
    /// Another gateway's address.
    #[arg(long, env = "TARGET", requires_all = ["key", "simulator", "cap_usd"])]
    pub target: Option<String>,
    #[arg(long, env = "KEY", hide_env_values = true)]
    key: Option<String>,
    #[arg(long, env = "MODEL", default_value = "sim-small")]
    model: String,
    #[arg(long, env = "SIMULATOR")]
    simulator: Option<String>,
    /// What its budget allows.
    #[arg(long, env = "CAP_USD")]
    cap_usd: Option<Money>,
}

/// By how many nano-dollars the cap was exceeded.
pub async fn run(target: &str, of: &Elsewhere, calls: u64) -> i64 {
    let (key, simulator) = (of.key.clone().unwrap(), of.simulator.clone().unwrap());
    let cap = of.cap_usd.unwrap().nanos();
    let calling = Calling::new(vec![target.to_owned()], &key, &of.model, calls);
    let each = Simulated::cost_of_one(&simulator, "sim-small").await;
    Simulated::forget(&simulator).await;
    calling.start().join_all().await;
    let simulated = Simulated::all(&simulator).await;
    // Other gateways may not pass on who asked.
    let complete = simulated.complete;
    let spent = each * i64::try_from(complete).unwrap();
    let tally = &calling.tally;
    say(&format!(
        "{target}: {calls} calls, {} admitted, {} refused, {} undecided; the simulator answered {complete} \
         for {spent} of {cap} nano-dollars",
        read(&tally.admitted),
        read(&tally.refused),
        read(&tally.undecided),
    ));
    (spent - cap).max(0)
}
