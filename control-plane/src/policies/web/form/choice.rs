//! The fields of a choice beside its targets, and what they say of it.

use std::str::FromStr;

use shared::{
    money::UnitPrice,
    snapshot::{
        After, Choice, Constraints, Failed, Fallback, Goal, Hedge, Retry, Stick, Strategy, Usual,
    },
};

use super::{Marks, PolicyForm};
use crate::{policies::web::sentences::dollars, upstreams::words};

const QUALITY: &str = "quality_percent";
const COST: &str = "cost_percent";
const DOLLARS: &str = "most_micro_dollars";

/// With the words that the form has for them.
pub(in crate::policies::web) const GOALS: [(&str, &str); 4] = [
    ("", "None"),
    (QUALITY, "At least this percent of the best one’s quality"),
    (COST, "At most this percent of what the dearest costs"),
    (DOLLARS, "At most so many dollars a call"),
];

pub(in crate::policies::web) const STRATEGIES: [(&str, &str); 8] = [
    ("weighted", "Weighted: the targets of a tier share the calls by their weights"),
    ("priority", "Priority: one after the other"),
    ("pinned", "Pinned: one target and nothing else"),
    ("cheapest", "Cheapest"),
    ("fastest", "Fastest, as seen lately"),
    ("best", "Best, as expected for each prompt"),
    ("balanced", "Balanced: quality, cost and time together"),
    ("auto", "Auto: the cheapest that reaches the goal for each prompt"),
];

const SOME: &str = "some";
const NEVER: &str = "never";

/// When somebody else is asked.
pub(in crate::policies::web) const FALLBACKS: [(&str, &str); 3] = [
    ("", "After any failure but the request’s own"),
    (SOME, "Only after the failures checked below"),
    (NEVER, "Never: the failure is answered with"),
];

const P95: &str = "p95";
const MILLISECONDS: &str = "milliseconds";
/// Of the calls, where nothing else is said, as documents have it.
const USUAL_PERCENT: u8 = 5;

/// When the next is asked as well.
pub(in crate::policies::web) const HEDGES: [(&str, &str); 3] = [
    ("", "Never"),
    (P95, "After longer than 95 % of its answers took lately"),
    (MILLISECONDS, "After so many milliseconds"),
];

impl PolicyForm {
    pub(super) fn show_choice(&mut self, it: &Choice) {
        let text = |it: Option<u32>| it.map(|it| it.to_string()).unwrap_or_default();
        self.strategy = it.strategy.name().to_owned();
        let (goal, value) = match it.goal {
            None => ("", String::new()),
            Some(Goal::QualityPercent(it)) => (QUALITY, it.to_string()),
            Some(Goal::CostPercent(it)) => (COST, it.to_string()),
            Some(Goal::MostMicroDollars(it)) => (DOLLARS, dollars(it)),
        };
        (self.goal, self.goal_value) = (goal.to_owned(), value);
        self.show_rows(it);
        self.show_constraints(&it.constraints);
        let on = it.fallback.as_ref().map(|it| it.on.as_slice());
        self.fallback = match on {
            None => "",
            Some([]) => NEVER,
            Some(_) => SOME,
        }
        .to_owned();
        self.failed = on.unwrap_or_default().iter().map(|it| it.name().to_owned()).collect();
        let retry = it.retry.unwrap_or_default();
        self.attempts = text(retry.attempts.map(u32::from));
        self.first_byte_seconds = text(retry.first_byte_seconds);
        self.total_seconds = text(retry.total_seconds);
        self.stick_minutes = text(it.stick.map(|it| it.minutes.into()));
        let (hedge, after) = match it.hedge.map(|it| it.after) {
            None => ("", None),
            Some(After::Usual(Usual::P95)) => (P95, None),
            Some(After::Milliseconds(it)) => (MILLISECONDS, Some(it)),
        };
        (self.hedge, self.hedge_milliseconds) = (hedge.to_owned(), text(after));
        self.hedge_percent = text(it.hedge.map(|it| it.most_percent.into()));
    }

    fn show_constraints(&mut self, it: &Constraints) {
        let price = |it: Option<u64>| it.map(dollars).unwrap_or_default();
        self.models = it.models.join(", ");
        self.not_models = it.not_models.join(", ");
        self.providers = it.providers.join(", ");
        self.not_providers = it.not_providers.join(", ");
        self.regions = it.regions.join(", ");
        self.quantizations = it.quantizations.join(", ");
        self.zero_retention = it.zero_retention;
        self.no_training = it.no_training;
        self.most_input_price = price(it.most_input_price);
        self.most_output_price = price(it.most_output_price);
        self.least_context = it.least_context.map(|it| it.to_string()).unwrap_or_default();
        let name = |it| words::name_of(&words::CAPABILITIES, it).to_owned();
        self.capability = it.capabilities.iter().map(name).collect();
    }

    /// What was typed of a choice. What shows as it was before stays as it was.
    pub(super) fn choice(&self, before: &Choice, marks: &mut Marks) -> Choice {
        let mut was = Self::default();
        was.show_choice(before);
        let named = |it: &(Strategy, &str)| it.1 == self.strategy;
        let is_goal = self.goal == was.goal && is_same(&self.goal_value, &was.goal_value);
        let has_rows = self.typed_rows().eq(was.typed_rows());
        let of_retry = |it: &Self| {
            [&it.attempts, &it.first_byte_seconds, &it.total_seconds].map(|it| it.trim().to_owned())
        };
        let of_hedge = |it: &Self| {
            [&it.hedge, &it.hedge_milliseconds, &it.hedge_percent].map(|it| it.trim().to_owned())
        };
        Choice {
            strategy: Strategy::ALL.into_iter().find(named).map_or(before.strategy, |it| it.0),
            goal: if is_goal { before.goal } else { self.typed_goal(marks) },
            tiers: if has_rows { before.tiers.clone() } else { self.tiers(marks) },
            constraints: self.constraints(&was, &before.constraints, marks),
            fallback: if self.fallback == was.fallback && is_set(&self.failed, &was.failed) {
                before.fallback.clone()
            } else {
                self.typed_fallback(marks)
            },
            retry: if of_retry(self) == of_retry(&was) {
                before.retry
            } else {
                self.typed_retry(marks)
            },
            stick: if is_same(&self.stick_minutes, &was.stick_minutes) {
                before.stick
            } else {
                let minutes = number(&self.stick_minutes, "minutes");
                let minutes = marks.take("stick_minutes", minutes).flatten();
                minutes.map(|minutes| Stick { minutes: fitted(minutes, u16::MAX) })
            },
            hedge: if of_hedge(self) == of_hedge(&was) {
                before.hedge
            } else {
                self.typed_hedge(marks)
            },
        }
    }

    fn typed_goal(&self, marks: &mut Marks) -> Option<Goal> {
        let percent = || {
            let typed = number(&self.goal_value, "percent")?;
            let percent = typed.ok_or("say how many percent")?;
            Ok::<_, String>(fitted(percent, u8::MAX))
        };
        let goal = match self.goal.as_str() {
            QUALITY => percent().map(Goal::QualityPercent),
            COST => percent().map(Goal::CostPercent),
            DOLLARS => {
                let dollars = millionths(&self.goal_value).map_err(str::to_owned);
                dollars.map(Goal::MostMicroDollars)
            }
            _ => return None,
        };
        marks.take("goal_value", goal)
    }

    fn constraints(&self, was: &Self, before: &Constraints, marks: &mut Marks) -> Constraints {
        let list = |typed: &str, was: &str, before: &[String]| match is_same(typed, was) {
            true => before.to_vec(),
            false => entries(typed),
        };
        let mut price = |field, typed: &str, was: &str, before| match typed.trim() {
            typed if is_same(typed, was) => before,
            "" => None,
            typed => marks.take(field, millionths(typed)),
        };
        Constraints {
            models: list(&self.models, &was.models, &before.models),
            not_models: list(&self.not_models, &was.not_models, &before.not_models),
            providers: list(&self.providers, &was.providers, &before.providers),
            not_providers: list(&self.not_providers, &was.not_providers, &before.not_providers),
            regions: list(&self.regions, &was.regions, &before.regions),
            quantizations: list(&self.quantizations, &was.quantizations, &before.quantizations),
            zero_retention: self.zero_retention,
            no_training: self.no_training,
            most_input_price: price(
                "most_input_price",
                &self.most_input_price,
                &was.most_input_price,
                before.most_input_price,
            ),
            most_output_price: price(
                "most_output_price",
                &self.most_output_price,
                &was.most_output_price,
                before.most_output_price,
            ),
            least_context: if is_same(&self.least_context, &was.least_context) {
                before.least_context
            } else {
                let tokens = number(&self.least_context, "tokens");
                let tokens = marks.take("least_context", tokens).flatten();
                tokens.map(|it| fitted(it, u32::MAX))
            },
            capabilities: if is_set(&self.capability, &was.capability) {
                before.capabilities.clone()
            } else {
                words::chosen(&words::CAPABILITIES, &self.capability)
            },
        }
    }

    fn typed_fallback(&self, marks: &mut Marks) -> Option<Fallback> {
        match self.fallback.as_str() {
            NEVER => Some(Fallback { on: Vec::new() }),
            SOME => {
                let is_checked = |it: &(Failed, &str)| self.failed.iter().any(|name| name == it.1);
                let on = Failed::ALL.into_iter().filter(is_checked).map(|it| it.0);
                let on: Vec<_> = on.collect();
                if on.is_empty() {
                    marks.add("fallback", "check a failure, or let nobody else be asked");
                }
                Some(Fallback { on })
            }
            _ => None,
        }
    }

    fn typed_retry(&self, marks: &mut Marks) -> Option<Retry> {
        let mut take = |field, typed, of| marks.take(field, number(typed, of)).flatten();
        let attempts = take("attempts", &self.attempts, "times");
        let first_byte = take("first_byte_seconds", &self.first_byte_seconds, "seconds");
        let total = take("total_seconds", &self.total_seconds, "seconds");
        let retry = Retry {
            attempts: attempts.map(|it| fitted(it, u8::MAX)),
            first_byte_seconds: first_byte.map(|it| fitted(it, u32::MAX)),
            total_seconds: total.map(|it| fitted(it, u32::MAX)),
        };
        (retry != Retry::default()).then_some(retry)
    }

    fn typed_hedge(&self, marks: &mut Marks) -> Option<Hedge> {
        let after = match self.hedge.as_str() {
            P95 => After::Usual(Usual::P95),
            MILLISECONDS => {
                let typed = number(&self.hedge_milliseconds, "milliseconds");
                let typed = typed.and_then(|it| it.ok_or("say after how many".to_owned()));
                let typed = marks.take("hedge_milliseconds", typed)?;
                After::Milliseconds(fitted(typed, u32::MAX))
            }
            _ => return None,
        };
        let percent = marks.take("hedge_percent", number(&self.hedge_percent, "percent"))?;
        let most_percent = percent.map_or(USUAL_PERCENT, |it| fitted(it, u8::MAX));
        Some(Hedge { after, most_percent })
    }

    /// Whether anything says what a model, or the place of it, must be.
    pub fn has_constraints(&self) -> bool {
        let lists = [
            &self.models,
            &self.not_models,
            &self.providers,
            &self.not_providers,
            &self.regions,
            &self.quantizations,
            &self.most_input_price,
            &self.most_output_price,
            &self.least_context,
        ];
        self.zero_retention
            || self.no_training
            || !self.capability.is_empty()
            || lists.iter().any(|it| !it.trim().is_empty())
    }

    /// Whether anything says how its calls are tried.
    pub fn has_calling(&self) -> bool {
        let said = [
            &self.fallback,
            &self.attempts,
            &self.first_byte_seconds,
            &self.total_seconds,
            &self.stick_minutes,
            &self.hedge,
        ];
        said.iter().any(|it| !it.trim().is_empty())
    }
}

fn is_same(typed: &str, was: &str) -> bool {
    typed.trim() == was.trim()
}

/// Whether the same boxes are checked, in whichever order a document names them.
fn is_set(checked: &[String], was: &[String]) -> bool {
    let are_in = |all: &[String], others: &[String]| all.iter().all(|it| others.contains(it));
    are_in(checked, was) && are_in(was, checked)
}

fn entries(typed: &str) -> Vec<String> {
    let entries = typed.split([',', '\n']).map(str::trim).filter(|it| !it.is_empty());
    entries.map(str::to_owned).collect()
}

/// A whole number, if there is any.
fn number(typed: &str, of: &str) -> Result<Option<u64>, String> {
    let typed = typed.trim().replace([',', '_', ' '], "");
    let number = || u64::from_str(&typed).map_err(|_| format!("enter a whole number of {of}"));
    if typed.is_empty() { Ok(None) } else { number().map(Some) }
}

/// What is too large for a document is too large for the check as well, which says what fits.
fn fitted<T: TryFrom<u64>>(number: u64, most: T) -> T {
    T::try_from(number).unwrap_or(most)
}

fn millionths(dollars: &str) -> Result<u64, &'static str> {
    let read = UnitPrice::per_million(dollars.trim().trim_start_matches('$'));
    let picos = read.map_err(|_| "enter dollars, like 0.25")?.picos();
    u64::try_from(picos).map_err(|_| "enter dollars, like 0.25")
}
