//! The page that tries a draft, or another version, on the last calls.

use actix_web::web::Path;
use askama::Template;
use serde::Deserialize;
use shared::money::Money;

use super::policy_in;
use crate::{
    access::{Doors, Grant, may},
    policies::{
        Policy, PolicyError, find,
        simulate::{MOST, Simulation, Sum, Trial, USUAL, simulate},
    },
    requests::grouped,
    web::{Failure, Frame, Moment, Page, Search, Section},
};

pub(super) fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/policies/{policy}/simulate", show);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SimulateQuery {
    /// The draft where none is named.
    version: Option<i32>,
    calls: u32,
}

impl Default for SimulateQuery {
    fn default() -> Self {
        Self { version: None, calls: USUAL }
    }
}

#[derive(Template)]
#[template(path = "policies/simulate.html")]
struct SimulatePage {
    frame: Frame,
    policy: Policy,
    /// What is tried, in words.
    tried: String,
    version: Option<i32>,
    counts: [u32; 4],
    asked: u32,
    simulation: Simulation,
    times: Option<(Moment, Moment)>,
    figures: Vec<Figure>,
    shares: Vec<Share>,
    changes: Vec<Change>,
}

/// So many changed decisions are shown, the latest.
const MOST_SHOWN: usize = 20;

/// A figure of both versions.
struct Figure {
    title: &'static str,
    about: String,
    before: String,
    after: String,
    difference: String,
    /// How the difference is to be shown: better, worse, or neither.
    kind: &'static str,
}

struct Share {
    model: String,
    provider: String,
    before: String,
    after: String,
    /// Of a hundred, for the bar.
    before_percent: u32,
    after_percent: u32,
}

struct Change {
    request: String,
    at: Moment,
    before: String,
    after: String,
    rule: String,
}

async fn show(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    query: Search<SimulateQuery>,
) -> Result<Page<SimulatePage>, Failure> {
    let id = policy_in(&path.1)?;
    let SimulateQuery { version, calls } = query.0;
    let mut work = grant.begin().await?;
    let policy = find(&mut work, id).await?;
    if policy.is_platforms {
        return Err(PolicyError::Platforms.into());
    }
    let trial = version.map_or(Trial::Draft, Trial::Version);
    let simulation = simulate(&mut work, id, trial, calls).await?;
    let zone = grant.zone();
    let moment = |it| Moment::new(it, zone);
    let changes = simulation.changes.iter().take(MOST_SHOWN).map(|it| Change {
        request: it.request.to_string(),
        at: moment(it.at),
        before: it.before.clone().unwrap_or_else(|| "nobody".to_owned()),
        after: it.after.clone().unwrap_or_else(|| "nobody".to_owned()),
        rule: it.rule.clone().unwrap_or_default(),
    });
    Ok(Page(SimulatePage {
        frame: grant.frame(Section::Policies),
        tried: version.map_or_else(|| "the draft".to_owned(), |it| format!("version {it}")),
        version,
        counts: [100, USUAL, 2_500, MOST],
        asked: calls.clamp(1, MOST),
        times: simulation.from.zip(simulation.until).map(|(a, b)| (moment(a), moment(b))),
        figures: figures(&simulation),
        shares: shares(&simulation),
        changes: changes.collect(),
        policy,
        simulation,
    }))
}

fn figures(simulation: &Simulation) -> Vec<Figure> {
    let Simulation { before, after, calls, .. } = simulation;
    let of =
        |known: u32| format!("{} of {} calls", grouped(known.into()), grouped((*calls).into()));
    let mut figures = Vec::new();
    if before.priced > 0 {
        figures.push(Figure {
            title: "Cost",
            about: format!("the same tokens at the first model, {}", of(before.priced)),
            before: before.cost.to_string(),
            after: after.cost.to_string(),
            difference: change_of_cost(before, after),
            kind: less_is_better(before.cost.nanos(), after.cost.nanos()),
        });
    }
    if before.judged > 0 {
        let [one, other] = [before, after].map(|it| i64::from(it.quality_ppm / 1_000));
        figures.push(Figure {
            title: "Expected quality",
            about: format!("of answers, on average, {}", of(before.judged)),
            before: tenths(one),
            after: tenths(other),
            difference: format!("{} points", signed(other - one)),
            kind: less_is_better(other, one),
        });
    }
    if before.timed > 0 {
        let [one, other] = [before, after].map(|it| i64::from(it.latency_ms));
        figures.push(Figure {
            title: "Expected time",
            about: format!("of answers, on average, {}", of(before.timed)),
            before: seconds(one),
            after: seconds(other),
            difference: match other - one {
                0 => "the same".to_owned(),
                more if more > 0 => format!("+{}", seconds(more)),
                less => format!("−{}", seconds(-less)),
            },
            kind: less_is_better(one, other),
        });
    }
    let counted = |title, about: &str, one: u32, other: u32| Figure {
        title,
        about: about.to_owned(),
        before: grouped(one.into()),
        after: grouped(other.into()),
        difference: match i64::from(other) - i64::from(one) {
            0 => "the same".to_owned(),
            difference => format!("{difference:+}").replace('-', "−"),
        },
        kind: less_is_better(one.into(), other.into()),
    };
    figures.push(counted(
        "Nobody may answer",
        "calls that would be refused for want of a model",
        before.unanswered,
        after.unanswered,
    ));
    figures.push(counted(
        "Refused by hard budgets",
        "calls, from the hour on in which a cap is passed",
        before.refused,
        after.refused,
    ));
    figures
}

/// In tenths of a percent of what the version in force costs.
fn change_of_cost(before: &Sum, after: &Sum) -> String {
    let [one, other] = [before, after].map(|it| i128::from(it.cost.nanos()));
    let difference = other - one;
    let amount = Money::from_nanos(i64::try_from(difference.abs()).unwrap_or(i64::MAX));
    let sign = if difference < 0 { "−" } else { "+" };
    match (difference.abs() * 1_000).checked_div(one) {
        _ if difference == 0 => "the same".to_owned(),
        Some(share) => format!("{sign}{amount} ({sign}{}.{} %)", share / 10, share % 10),
        None => format!("{sign}{amount}"),
    }
}

/// Of milliseconds.
fn seconds(ms: i64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1_000, ms / 100 % 10) }
}

fn tenths(it: i64) -> String {
    format!("{}.{} %", it / 10, it % 10)
}

fn signed(tenths: i64) -> String {
    let sign = if tenths < 0 { "−" } else { "+" };
    format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10)
}

/// The kind of badge.
const fn less_is_better(before: i64, after: i64) -> &'static str {
    if after < before {
        "ok"
    } else if after > before {
        "warn"
    } else {
        ""
    }
}

fn shares(simulation: &Simulation) -> Vec<Share> {
    let percent = |it: u32| (u64::from(it) * 100).checked_div(simulation.calls.into());
    let percent = |it: u32| u32::try_from(percent(it).unwrap_or(0)).unwrap_or(100);
    let share = |it: &crate::policies::simulate::Place| Share {
        model: it.model.clone(),
        provider: it.provider.clone(),
        before: grouped(it.before.into()),
        after: grouped(it.after.into()),
        before_percent: percent(it.before),
        after_percent: percent(it.after),
    };
    simulation.places.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(nanos: i64) -> Sum {
        Sum { cost: Money::from_nanos(nanos), priced: 1, ..Sum::default() }
    }

    #[test]
    fn a_change_says_by_how_much_and_of_what() {
        let told = |one, other| change_of_cost(&cost(one), &cost(other));
        assert_eq!(told(2_000_000_000, 1_500_000_000), "−$0.50 (−25.0 %)");
        assert_eq!(told(1_000_000_000, 1_001_000_000), "+$0.001 (+0.1 %)");
        assert_eq!(told(0, 5_000_000_000), "+$5.00");
        assert_eq!(told(7, 7), "the same");
        assert_eq!(
            (signed(-7), signed(12), tenths(987)),
            ("−0.7".into(), "+1.2".into(), "98.7 %".into())
        );
    }
}
