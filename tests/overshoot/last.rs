//! The end of a run: one caller alone spends what is left, to the last token that it can pay for,
//! until no call can be afforded. What is left then depends on nothing that went before, so that
//! all runs end at the same total, to the nano-dollar.

use std::{collections::HashMap, sync::Arc};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{calling::Calling, comparing::Simulated, running::Run, say};

/// The first number of these calls: beyond all others.
const FIRST: u64 = 20_000_000;
/// A token of input, in nano-dollars, as the demo prices it; one of output costs four times that.
const TOKEN: i64 = 150;
const OUTPUT: i64 = 4 * TOKEN;
/// How many tokens the simulator answers with at most.
const LONGEST: i64 = 40;

/// A call with so many more tokens of input than the shortest, and an answer of so many tokens.
fn body(model: &str, number: u64, more: i64, output: i64) -> Value {
    // Four letters are a token.
    let more = "more".repeat(usize::try_from(more).unwrap());
    let text = format!("Count the spoons, and nothing else at all. {more}");
    let (user, messages) = (format!("call-{number}"), json!([{ "role": "user", "content": text }]));
    json!({ "model": model, "max_tokens": output, "user": user, "messages": messages })
}

/// What was spent in the end, and what each of these calls cost.
pub struct Spent {
    pub total: i64,
    pub costs: HashMap<u64, i64>,
}

pub async fn spend_all(run: &mut Run, calling: &Arc<Calling>, model: &str) -> Spent {
    let simulator = run.turnpike.simulator.url("");
    let cheapest = Simulated::cost_of(&simulator, &body(model, FIRST, 0, 1)).await;
    for more in 1..4 {
        let cost = Simulated::cost_of(&simulator, &body(model, FIRST, more, 1)).await;
        assert_eq!(cost, cheapest + TOKEN * more, "four letters are a token");
    }
    // One token less than the cheapest call has to be covered with: nobody can afford any.
    let rest = run.worst_of(&body(model, FIRST, 0, 1)).await - TOKEN;
    let mut costs = HashMap::new();
    for number in FIRST.. {
        run.is_settled(&[]).await;
        let (spent, cap) = run.spent().await;
        let left = cap - spent - rest;
        if left == 0 {
            let body = body(model, number, 0, 1);
            let status = calling.call_once(0, number, &body).await;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                continue;
            }
            assert_eq!(status, StatusCode::PAYMENT_REQUIRED, "nothing is left");
            say(&format!(
                "  {} more calls by one caller, then none can be afforded: {} nano-dollars are left",
                costs.len(),
                cap - spent
            ));
            return Spent { total: spent, costs };
        }
        let (more, output) = step(left, cheapest);
        let body = body(model, number, more, output);
        let status = calling.call_once(costs.len(), number, &body).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // Redis took too long to answer, on a machine that does other things too.
            continue;
        }
        assert_eq!(status, StatusCode::OK, "{left} nano-dollars can be spent");
        costs.insert(number, cheapest + TOKEN * more + OUTPUT * (output - 1));
    }
    unreachable!("numbers do not end")
}

/// What to spend next of what can be: all of it, or so that as much is left as a call costs.
fn step(left: i64, cheapest: i64) -> (i64, i64) {
    assert!(left >= cheapest && left % TOKEN == 0, "{left} cannot be spent by any call");
    let longest = cheapest + OUTPUT * (LONGEST - 1);
    if left >= longest + cheapest {
        return (0, LONGEST);
    }
    let output = ((left - cheapest) / OUTPUT + 1).min(LONGEST);
    let more = (left - cheapest - OUTPUT * (output - 1)) / TOKEN;
    if more < 4 { (more, output) } else { (0, 1) }
}
