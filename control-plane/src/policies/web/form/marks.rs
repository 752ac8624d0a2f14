//! What is wrong with what was typed, each at the field that has it.

use std::fmt;

use shared::failure::Problem;

use super::PolicyForm;
use crate::policies::{
    Flaw, Flaws,
    check::{At, Why},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policies::web) struct Mark {
    pub field: String,
    pub message: String,
}

/// As [`Problems`](crate::web::Problems), of fields of which there may be any number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policies::web) struct Marks(Vec<Mark>);

impl Marks {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn add(&mut self, field: impl Into<String>, message: impl fmt::Display) {
        self.0.push(Mark { field: field.into(), message: message.to_string() });
    }

    /// Keeps the value, or notes why there is none.
    pub fn take<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, field: impl AsRef<str>) -> Option<&str> {
        let field = field.as_ref();
        self.0.iter().find(|it| it.field == field).map(|it| it.message.as_str())
    }

    pub fn list(&self) -> &[Mark] {
        &self.0
    }
}

impl From<Vec<Problem>> for Marks {
    fn from(list: Vec<Problem>) -> Self {
        let mark = |it: Problem| Mark { field: it.field.to_owned(), message: it.message };
        Self(list.into_iter().map(mark).collect())
    }
}

impl PolicyForm {
    /// Where in the form each flaw is, with its path in the document.
    pub fn marks(&self, flaws: &Flaws) -> Marks {
        let mut marks = Marks::none();
        for (flaw, told) in flaws.list.iter().zip(flaws.told()) {
            marks.add(self.field_of(flaw), told);
        }
        marks
    }

    /// The form with something open that has a flaw, where what is open has none.
    pub fn at_flaw(self, flaws: &Flaws) -> Self {
        let is_here = |it: &Flaw| match it.at {
            At::Rules => true,
            At::Rule(place) => self.opened() == Some(place),
            At::Otherwise => self.open.is_empty(),
        };
        if self.is_text() || flaws.list.iter().any(is_here) {
            return self;
        }
        let first = flaws.list.iter().find_map(|it| match it.at {
            At::Rule(place) => Some(place),
            At::Rules | At::Otherwise => None,
        });
        self.opening(first)
    }

    fn field_of(&self, flaw: &Flaw) -> String {
        if self.is_text() {
            return "document".to_owned();
        }
        match flaw.at {
            At::Rules => return "rules".to_owned(),
            At::Rule(place) if self.opened() != Some(place) => return rule(place),
            At::Otherwise if !self.open.is_empty() => return "otherwise".to_owned(),
            At::Rule(_) | At::Otherwise => (),
        }
        match (flaw.tier, flaw.target) {
            (Some(tier), target) => match self.place_of(tier, target.unwrap_or(0)) {
                Some(place) => format!("model-{}", place + 1),
                None => "tiers".to_owned(),
            },
            (None, _) => input_of(&flaw.why).to_owned(),
        }
    }
}

/// What a rule that is not open is marked by.
pub(super) fn rule(place: usize) -> String {
    format!("rule-{}", place + 1)
}

/// The input for what a part of a choice, or of a rule, says.
fn input_of(why: &Why) -> &'static str {
    match why.field() {
        "" if matches!(why, Why::Behind(_)) => "when",
        "" | ".name" => "rule_name",
        ".when" => "when",
        ".goal" => "goal_value",
        ".tiers" => "tiers",
        ".fallback.on" => "fallback",
        ".retry" | ".retry.attempts" => "attempts",
        ".retry.first_byte_seconds" => "first_byte_seconds",
        ".retry.total_seconds" => "total_seconds",
        ".stick.minutes" => "stick_minutes",
        ".hedge" => "hedge",
        ".hedge.after" => "hedge_milliseconds",
        ".hedge.most_percent" => "hedge_percent",
        "capabilities" => "capability",
        of @ ("models" | "not_models" | "providers" | "not_providers" | "regions"
        | "quantizations") => of,
        _ => "choice",
    }
}
