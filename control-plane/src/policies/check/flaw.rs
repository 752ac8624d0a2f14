//! What cannot be, where it is said, and in which words.

use std::fmt;

use shared::{
    condition::BadCondition,
    failure::Problem,
    snapshot::{Hedge, Retry, Stick, Strategy, Timeouts},
};

use super::{MOST_RULES, MOST_TARGETS, MOST_TIERS, MOST_WEIGHT, MOST_WORDS, eligible::Nobody};

/// In which part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Rules,
    Rule(usize),
    Otherwise,
}

/// One thing that cannot be, and where it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub at: At,
    pub tier: Option<usize>,
    pub target: Option<usize>,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("a policy has at most {MOST_RULES} rules")]
    Rules,
    #[error("a rule's name has 1 to 64 printable characters")]
    RuleName,
    #[error("a rule before it has the same name")]
    RuleTwice,
    #[error("{0}")]
    When(BadCondition),
    #[error("the condition is never true")]
    Never,
    #[error("the rule {0:?} before it has the same condition, and takes its calls")]
    Same(String),
    #[error("the rule {0:?} before it is always true, and takes its calls")]
    Behind(String),
    #[error("auto and balanced have a goal, and {} has none", .0.name())]
    NoGoal(Strategy),
    #[error("a share is from 1 to 100 percent")]
    Percent,
    #[error("a call costs something")]
    Free,
    #[error("pinned leads to one target")]
    Pinned,
    #[error("priority goes by the order of tiers: put each target into a tier of its own")]
    Priority,
    #[error("a policy has from 1 to {MOST_TIERS} tiers")]
    Tiers,
    #[error("a policy has at most {MOST_TIERS} tiers")]
    TooManyTiers,
    #[error("a tier has from 1 to {MOST_TARGETS} targets")]
    Targets,
    #[error("the weights of a tier are not all 0")]
    NoWeight,
    #[error("a weight is a whole number from 0 to {MOST_WEIGHT}")]
    Weight,
    #[error("there is no model {0:?}")]
    UnknownModel(String),
    #[error("{0:?} is a routing policy, and a policy leads to models only")]
    IsPolicy(String),
    #[error("no provider {provider:?} serves {model:?}")]
    NotThere { provider: String, model: String },
    #[error("the tier leads there already")]
    Twice,
    #[error("there is no model {name:?}")]
    NoSuchModel { field: &'static str, name: String },
    #[error("there is no provider {name:?}")]
    NoSuchProvider { field: &'static str, name: String },
    #[error("a list has at most {MOST_WORDS} entries")]
    Words(&'static str),
    #[error("an entry has 1 to 63 letters, digits and signs")]
    Word(&'static str),
    #[error("a failure is named once")]
    FailureTwice,
    #[error("say how often a call is tried, or for how long")]
    NoTerms,
    #[error("a call is tried from 1 to {} times", Retry::MOST_ATTEMPTS)]
    Attempts,
    #[error("a call may take from {} to {} seconds", Timeouts::RANGE.start(), Timeouts::RANGE.end())]
    Seconds(&'static str),
    #[error("a session keeps its model for 1 to {} minutes", Stick::MOST_MINUTES)]
    Minutes,
    #[error("from 1 to {} percent of the calls may be sent to a second", Hedge::MOST_PERCENT)]
    HedgePercent,
    #[error(
        "a second is asked after \"p95\", or after {} to {} milliseconds",
        Hedge::MILLISECONDS.start(),
        Hedge::MILLISECONDS.end()
    )]
    HedgeAfter,
    #[error("a call that is tried once is never sent to a second")]
    HedgeAlone,
    #[error("no model can take its calls: {0}")]
    Nobody(Nobody),
}

impl Why {
    pub fn field(&self) -> &'static str {
        match self {
            Self::Rules | Self::Twice | Self::RuleTwice | Self::Behind(_) => "",
            Self::RuleName => ".name",
            Self::When(_) | Self::Never | Self::Same(_) => ".when",
            Self::NoGoal(_) | Self::Percent | Self::Free => ".goal",
            Self::Pinned | Self::Priority | Self::Tiers | Self::TooManyTiers => ".tiers",
            Self::Targets | Self::NoWeight => ".targets",
            Self::Weight => ".weight",
            Self::UnknownModel(_) | Self::IsPolicy(_) => ".model",
            Self::NotThere { .. } => ".provider",
            Self::NoSuchModel { field, .. }
            | Self::NoSuchProvider { field, .. }
            | Self::Words(field)
            | Self::Word(field) => field,
            Self::FailureTwice => ".fallback.on",
            Self::NoTerms => ".retry",
            Self::Attempts => ".retry.attempts",
            Self::Seconds(field) => field,
            Self::Minutes => ".stick.minutes",
            Self::HedgePercent => ".hedge.most_percent",
            Self::HedgeAfter => ".hedge.after",
            Self::HedgeAlone => ".hedge",
            Self::Nobody(_) => ".constraints",
        }
    }

    const fn is_of_constraint(&self) -> bool {
        matches!(
            self,
            Self::NoSuchModel { .. } | Self::NoSuchProvider { .. } | Self::Words(_) | Self::Word(_)
        )
    }

    const fn is_of_rule(&self) -> bool {
        matches!(
            self,
            Self::RuleName
                | Self::RuleTwice
                | Self::When(_)
                | Self::Never
                | Self::Same(_)
                | Self::Behind(_)
        )
    }
}

impl Flaw {
    /// `rules[0].choose.tiers[1].targets[0].model`; of tiers alone without what is around them.
    fn path(&self, is_plain: bool) -> String {
        let mut path = match self.at {
            At::Rules => "rules".to_owned(),
            At::Rule(rule) if self.why.is_of_rule() => format!("rules[{rule}]"),
            At::Rule(rule) => format!("rules[{rule}].choose"),
            At::Otherwise if is_plain => String::new(),
            At::Otherwise => "otherwise".to_owned(),
        };
        let add = |path: &mut String, part: &str| {
            if !path.is_empty() || !part.starts_with('.') {
                path.push_str(part);
            } else {
                path.push_str(&part[1..]);
            }
        };
        if let Some(tier) = self.tier {
            add(&mut path, &format!(".tiers[{tier}]"));
        }
        if let Some(target) = self.target {
            add(&mut path, &format!(".targets[{target}]"));
        }
        if self.why.is_of_constraint() {
            add(&mut path, ".constraints.");
        }
        let field = self.why.field();
        if !field.is_empty() {
            add(&mut path, field);
        }
        path
    }
}

/// All that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaws {
    pub list: Vec<Flaw>,
    /// Whether it says nothing but tiers, as callers may write it.
    is_plain: bool,
}

impl Flaws {
    pub(in crate::policies) fn of(list: Vec<Flaw>, is_plain: bool) -> Result<(), Self> {
        if list.is_empty() { Ok(()) } else { Err(Self { list, is_plain }) }
    }

    /// Each with its path: `tiers[0].targets[1].model: there is no model "x"`.
    pub fn told(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|it| format!("{}: {}", it.path(self.is_plain), it.why))
    }

    pub fn problems(&self) -> Vec<Problem> {
        let field = if self.is_plain { "tiers" } else { "document" };
        self.told().map(|message| Problem { field, message }).collect()
    }
}

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told().collect::<Vec<_>>().join("; "))
    }
}
