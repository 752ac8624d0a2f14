//! Inputs that were refused, each with the reason.

use std::fmt;

use shared::failure::{Classified, Kind, Problem};

/// What is wrong with a form or a body, field by field. Collects, so that whoever
/// typed it hears of everything at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn one(field: &'static str, message: impl fmt::Display) -> Self {
        let mut problems = Self::none();
        problems.add(field, message);
        problems
    }

    pub fn add(&mut self, field: &'static str, message: impl fmt::Display) {
        self.0.push(Problem { field, message: message.to_string() });
    }

    /// Keeps the value, or notes why there is none.
    pub fn take<T, E: fmt::Display>(
        &mut self,
        field: &'static str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// Both values, or everything that is wrong with either.
    pub fn both<A, B>(one: Result<A, Self>, other: Result<B, Self>) -> Result<(A, B), Self> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (one, other) => {
                let (one, other) = (one.err(), other.err());
                Err(Self(one.into_iter().chain(other).flat_map(|it| it.0).collect()))
            }
        }
    }

    /// Ends the collecting: to be called before the values are used.
    pub fn check(&self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self.clone()) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|it| it.field == field).map(|it| it.message.as_str())
    }

    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(list: Vec<Problem>) -> Self {
        Self(list)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> =
            self.0.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
        f.write_str(&words.join("; "))
    }
}

impl std::error::Error for Problems {}

impl Classified for Problems {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn problems(&self) -> Vec<Problem> {
        self.0.clone()
    }
}
