//! What a route was decided by, as callers, the request log and the page of a request are told.
//! It holds no word of the prompt.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use routing_engine::{Judged, Offer, Task};
use serde_json::{Value, json};
use shared::{event, money::Money, snapshot::Strategy};

use super::{By, Exploration, Known, Sticks, Whose, Why, asked::millionths};
use crate::{
    call::Pulse,
    catalog::{Model, Policy},
};

/// So many places are told of.
const MOST_TOLD: usize = 16;
/// As many bytes as an event has for it.
const MOST_KEPT: usize = 6_144;

/// Why the first who is asked is the first.
#[derive(Clone, Debug)]
pub enum Reason {
    /// It serves the model that was asked for.
    Asked,
    /// It is the first of those that do, as the caller wished.
    Compared(By),
    /// The name that was asked for is a policy's.
    Policy(Led),
}

/// A policy's version, and how it chose.
#[derive(Clone, Debug)]
pub struct Led {
    pub policy: Arc<Policy>,
    pub version: u32,
    pub strategy: Strategy,
    /// Nothing where its targets are taken as they stand, or drawn.
    pub by: Option<By>,
    /// Which of its rules holds.
    pub rule: Option<String>,
    /// Chance has decided instead.
    pub is_explored: bool,
}

impl Led {
    /// As answers tell it.
    pub fn named(&self) -> String {
        format!("{}@{}", self.policy.name, self.version)
    }
}

impl Reason {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Policy(Led { is_explored: true, .. }) => "explored",
            Self::Compared(by) | Self::Policy(Led { by: Some(by), .. }) => by.name(),
            Self::Policy(Led { by: None, .. }) => "policy",
        }
    }

    pub fn policy(&self) -> Option<&Led> {
        match self {
            Self::Asked | Self::Compared(_) => None,
            Self::Policy(led) => Some(led),
        }
    }
}

/// A place, or a target that is served nowhere.
#[derive(Clone, Debug)]
pub enum What {
    Place(Arc<Model>),
    Target { model: String, provider: Option<String> },
}

/// Something that a name leads to.
#[derive(Clone, Debug)]
pub struct Considered {
    pub what: What,
    /// Nothing of what may answer.
    pub why: Option<Why>,
    pub known: Known,
    pub score: Option<f64>,
}

impl Considered {
    /// Who is left alone is asked where nobody else is left.
    pub fn may_answer(&self) -> bool {
        matches!(self.why, None | Some(Why::LeftAlone))
    }

    pub fn model(&self) -> &str {
        match &self.what {
            What::Place(model) => &model.name,
            What::Target { model, .. } => model,
        }
    }

    pub fn provider(&self) -> Option<&str> {
        match &self.what {
            What::Place(model) => Some(&model.upstream.provider),
            What::Target { provider, .. } => provider.as_deref(),
        }
    }
}

/// How a call was routed.
#[derive(Clone, Debug)]
pub struct Decision {
    pub asked: String,
    /// What was asked for where the call did not say so, and whose default that is.
    pub default: Option<(Whose, String)>,
    pub reason: Reason,
    /// What the call is for, where that had to be known.
    pub task: Option<Task>,
    pub judged: Option<Judged>,
    /// Whether the call's session kept its model, where it is to.
    pub sticks: Option<Sticks>,
    /// What chance had to do with it, where models were compared and calls are explored.
    pub exploration: Option<Exploration>,
    /// In the order in which they are asked, then those that are not.
    pub considered: Vec<Considered>,
    /// What those that were compared first offered, where somebody asks for that.
    pub weighed: Vec<Offer>,
    /// Rules of which nobody knows whether they hold, which therefore do not.
    pub not_evaluated: u32,
    /// What a policy decided it by.
    pub inputs: Option<event::Inputs>,
    /// Which version of what the organization's feedback taught there is.
    pub learned: Option<String>,
    /// Whether the caller wants that nothing be kept of the prompt, not even what it is like.
    pub keeps_nothing: bool,
}

impl Decision {
    fn chosen(&self) -> Option<&Considered> {
        self.considered.first().filter(|it| it.may_answer())
    }

    /// What had a part in judging the candidates.
    fn learned(&self) -> Option<&str> {
        self.learned.as_deref().filter(|_| self.task.is_some())
    }

    /// How likely the one at `at` was to be the first, where chance might have decided.
    fn propensity_ppm(&self, at: usize, it: &Considered) -> Option<u32> {
        match &it.what {
            What::Place(model) => self.exploration.as_ref()?.propensity_ppm(at, model),
            What::Target { .. } => None,
        }
    }

    /// By how much likelier a good answer had to be for a dollar more.
    fn worth_of_a_dollar(&self) -> Option<f64> {
        let it = match self.reason.policy()?.by? {
            By::Auto(toward) => toward.of_a_dollar?,
            By::Cheapest
            | By::Fastest
            | By::Throughput
            | By::Latency
            | By::Best
            | By::Balanced(_) => return None,
        };
        Some(it as f64 / 1e6)
    }

    fn features(&self) -> Option<String> {
        let judged = self.judged.as_ref().filter(|_| !self.keeps_nothing)?;
        Some(BASE64.encode(judged.features.encode()))
    }

    /// In a sentence or two.
    pub fn sentence(&self) -> String {
        let Some(chosen) = self.chosen() else { return "Nobody can take the call.".to_owned() };
        let whom = match chosen.provider() {
            Some(provider) => format!("{} at {provider}", chosen.model()),
            None => chosen.model().to_owned(),
        };
        let default = self.default.as_ref();
        let default =
            default.map(|(whose, it)| format!("The {}’s default is {it}. ", whose.name()));
        let sentence = match &self.reason {
            Reason::Asked => format!("{whom} serves the model that was asked for"),
            Reason::Compared(by) => format!("{whom} is {}, of those that serve it", by.about()),
            Reason::Policy(led) => {
                let rule = led.rule.as_ref().map(|it| format!(", rule {it:?}"));
                let explored = self.exploration.as_ref().filter(|_| led.is_explored);
                let how = match (led.by, led.strategy) {
                    (Some(by), _) => explored.map_or_else(|| by.about(), |it| drawn(it, by)),
                    (None, Strategy::Weighted) => "drawn by its weight".to_owned(),
                    (None, _) => "the first that its list names".to_owned(),
                };
                format!("Policy {}{}: {whom} is {how}", led.named(), rule.unwrap_or_default())
            }
        };
        let mut sentence = default.unwrap_or_default() + &sentence;
        match (&self.judged, self.task) {
            (Some(judged), Some(task)) => {
                let language = judged.language.code();
                sentence.push_str(&format!(", for {} ({language})", words(task.name())));
            }
            (None, Some(task)) => sentence.push_str(&format!(", for {}", words(task.name()))),
            (_, None) => (),
        }
        if let Some(sticks) = self.sticks {
            sentence.push_str("; ");
            sentence.push_str(sticks.about());
        }
        if let Some(it) = self.exploration.as_ref().filter(|it| !it.is_explored()) {
            sentence.push_str(&format!("; {} of such calls go to one drawn by chance", it.share()));
        }
        let others = self.considered.iter().skip(1).filter_map(|it| it.why);
        let (resting, others): (Vec<_>, Vec<_>) = others.partition(|it| *it == Why::LeftAlone);
        match others.len() {
            0 => (),
            1 => sentence.push_str("; another could not take the call"),
            others => sentence.push_str(&format!("; {others} others could not take the call")),
        }
        match resting.len() {
            0 => (),
            1 => sentence.push_str("; another comes last, since too many calls fail there"),
            all => {
                sentence.push_str(&format!("; {all} come last, since too many calls fail there"))
            }
        }
        sentence.push('.');
        sentence
    }

    /// In full, as callers are told who ask.
    pub fn told(&self) -> Value {
        let policy = self.reason.policy();
        let compares = policy.and_then(|it| it.by.map(By::name)).or(match &self.reason {
            Reason::Compared(by) => Some(by.name()),
            Reason::Asked | Reason::Policy(_) => None,
        });
        let strategy = compares.or(policy.map(|it| it.strategy.name()));
        let told = self.considered.iter().take(MOST_TOLD).enumerate();
        let told = told.map(|(at, it)| candidate(it, self.propensity_ppm(at, it)));
        let candidates: Vec<_> = told.collect();
        json!({
            "asked": self.asked,
            "policy": policy.map(Led::named),
            "rule": policy.and_then(|it| it.rule.as_ref()),
            "strategy": strategy,
            "worth_of_a_dollar": self.worth_of_a_dollar(),
            "task": self.task.map(Task::name),
            "language": self.judged.as_ref().map(|it| it.language.code()),
            "complexity": self.judged.as_ref().map(|it| rounded(it.complexity().into())),
            "router": self.task.map(|_| routing_engine::router().version()),
            "learned": self.learned(),
            "default_of": self.default.as_ref().map(|it| it.0.name()),
            "session": self.sticks.map(Sticks::name),
            "explored": self.exploration.as_ref().is_some_and(Exploration::is_explored),
            "exploration": self.exploration.as_ref().map(Exploration::told),
            "rules_not_evaluated": self.not_evaluated,
            "candidates": candidates,
            "left_out": self.considered.len().saturating_sub(MOST_TOLD),
            "chosen": self.chosen().map(|it| json!({ "model": it.model(), "provider": it.provider() })),
            "reason": self.sentence(),
        })
    }

    /// The same, as much of it as is kept. Nothing where there was nothing to decide.
    pub fn kept(&self) -> Option<event::Decision> {
        let is_plain = matches!(self.reason, Reason::Asked) && self.default.is_none();
        if is_plain && self.considered.len() < 2 {
            return None;
        }
        let word = event::Word::Borrowed;
        let policy = self.reason.policy();
        let mut kept = event::Decision {
            strategy: policy.map(|it| word(it.by.map_or(it.strategy.name(), By::name))),
            rule: policy.and_then(|it| it.rule.clone()),
            task: self.task.map(|it| word(it.name())),
            language: self.judged.as_ref().map(|it| word(it.language.code())),
            complexity_percent: self.judged.as_ref().map(|it| per_mille(it.complexity()) / 10),
            session: self.sticks.map(|it| word(it.name())),
            router: self.task.map(|_| routing_engine::router().version().to_owned()),
            learned: self.learned().map(str::to_owned),
            features: self.features(),
            reason: self.sentence(),
            exploration: self.exploration.as_ref().map(Exploration::told),
            candidates: Vec::new(),
            left_out: 0,
            inputs: self.inputs.clone().map(Box::new),
        };
        let mut room = MOST_KEPT.saturating_sub(kept.reason.len() + 512);
        for (at, it) in self.considered.iter().take(MOST_TOLD).enumerate() {
            // The names, and what stands around them and the numbers.
            let size = it.model().len() + it.provider().map_or(0, str::len) + 244;
            let Some(left) = room.checked_sub(size) else { break };
            room = left;
            kept.candidates.push(weighed(it, self.propensity_ppm(at, it)));
        }
        let left_out = self.considered.len() - kept.candidates.len();
        kept.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        Some(kept)
    }
}

/// Why one comes first that was drawn.
fn drawn(exploration: &Exploration, by: By) -> String {
    let otherwise = exploration.otherwise.as_ref();
    let otherwise = otherwise.map_or_else(String::new, |it| {
        format!("; else {} at {} would be, {}", it.name, it.upstream.provider, by.about())
    });
    format!("the first by chance, as with {} of such calls{otherwise}", exploration.share())
}

fn candidate(it: &Considered, propensity_ppm: Option<u32>) -> Value {
    let Known { quality, call_cost, expected_ms, .. } = it.known;
    json!({
        "model": it.model(),
        "provider": it.provider(),
        "eligible": it.why.is_none(),
        "why": it.why.map(Why::name),
        "because": it.why.map(Why::about),
        "quality": quality.map(|it| rounded(it.into())),
        "expected_usd": call_cost.map(|it| money(it).exact()),
        "expected_ms": expected_ms,
        "score": it.score.map(rounded),
        "propensity": propensity_ppm.map(|it| f64::from(it) / 1_000_000.0),
    })
}

fn weighed(it: &Considered, propensity_ppm: Option<u32>) -> event::Weighed {
    let upstream = match &it.what {
        What::Place(model) => Some(model.upstream.id),
        What::Target { .. } => None,
    };
    event::Weighed {
        model: it.model().to_owned(),
        provider: it.provider().map(str::to_owned),
        upstream: upstream.filter(|_| it.may_answer()),
        why: it.why.map(|it| event::Word::Borrowed(it.name())),
        quality_ppm: it.known.quality.map(ppm),
        cost: it.known.call_cost.map(money),
        latency_ms: it.known.expected_ms,
        propensity_ppm,
        pulse: Some(it.known.pulse).filter(|it| *it != Pulse::default()),
    }
}

/// A likelihood in millionths.
pub fn ppm(quality: f32) -> u32 {
    u32::try_from(millionths(quality)).unwrap_or(0)
}

pub(super) fn money(nanos: u64) -> Money {
    Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

fn per_mille(share: f32) -> u16 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u16
}

/// To three places: what is estimated is not known better.
fn rounded(it: f64) -> f64 {
    (it * 1_000.0).round() / 1_000.0
}

/// A name in words: `math reasoning`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}
