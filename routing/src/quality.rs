//! How good a model's answers are, before anybody asked it here: what public data says of each
//! task, joined to the names that people give to models, and a guess by price for the rest.

use std::collections::BTreeMap;

use crate::task::{TASKS, Task};

/// A share of good answers by task, and of how many answers that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub quality: [Option<f32>; TASKS],
    pub seen: u32,
}

/// What is known of models, by `family` of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prior {
    pub models: BTreeMap<String, Known>,
    /// Quality over the decimal logarithm of what a million tokens of output cost in dollars:
    /// where it starts, and how it rises.
    pub by_price: [f32; 2],
}

/// Where a model's quality is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Answers of this model to such tasks.
    Measured,
    /// Its answers to other tasks.
    OtherTasks,
    /// Only what it costs.
    Price,
    /// Nothing at all.
    Neutral,
}

impl Basis {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::OtherTasks => "other_tasks",
            Self::Price => "price",
            Self::Neutral => "neutral",
        }
    }
}

/// What is expected of a model for one task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub quality: f32,
    pub basis: Basis,
}

const NEUTRAL: f32 = 0.5;

impl Prior {
    pub fn known(&self, model: &str) -> Option<&Known> {
        self.models.get(&family(model))
    }

    /// `output_price` is what a million tokens of output cost, in millionths of a dollar.
    pub fn expected(&self, model: &str, task: Task, output_price: Option<u64>) -> Expected {
        if let Some(known) = self.known(model) {
            if let Some(quality) = known.quality.get(task.index()).copied().flatten() {
                return Expected { quality, basis: Basis::Measured };
            }
            let told: Vec<f32> = known.quality.iter().copied().flatten().collect();
            if let Some(quality) = mean(&told) {
                return Expected { quality, basis: Basis::OtherTasks };
            }
        }
        match output_price {
            Some(price) => Expected { quality: self.by_price(price), basis: Basis::Price },
            None => Expected { quality: NEUTRAL, basis: Basis::Neutral },
        }
    }

    /// Held within what there were prices of: 2 cents to 100 dollars.
    pub fn by_price(&self, output_price: u64) -> f32 {
        let [starts, rises] = self.by_price;
        let price = u32::try_from(output_price.clamp(20_000, 100_000_000)).unwrap_or(u32::MAX);
        (starts + rises * logarithm(price)).clamp(0.05, 0.95)
    }
}

/// Of dollars, from millionths of them.
/// A score, and no amount.
fn logarithm(millionths: u32) -> f32 {
    (f64::from(millionths) / 1e6).log10() as f32
}

fn mean(of: &[f32]) -> Option<f32> {
    let count = u16::try_from(of.len()).ok().filter(|it| *it > 0)?;
    Some(of.iter().sum::<f32>() / f32::from(count))
}

/// A model's name without who sells it, when it was made and how it was tuned: by which names of
/// data sets and of vendors meet.
pub fn family(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split('@').next().unwrap_or(name).to_ascii_lowercase().replace(['_', '.'], "-");
    let mut words: Vec<&str> = name.split('-').filter(|it| !it.is_empty()).collect();
    const SAYS_LITTLE: [&str; 14] = [
        "meta",
        "instruct",
        "inst",
        "chat",
        "it",
        "latest",
        "exp",
        "preview",
        "fp8",
        "hf",
        "versatile",
        "instant",
        "maas",
        "v1:0",
    ];
    words.retain(|it| !SAYS_LITTLE.contains(it));
    // Days and versions at the end, of which `4` or `3` before them are no part.
    while words.len() > 1 && words.last().is_some_and(|it| is_date(it)) {
        words.pop();
    }
    words.join("-")
}

/// `20241022`, `0314`, `08` or `002`; not the `4` of gpt-4, nor its `100` billion parameters.
fn is_date(it: &str) -> bool {
    let has_length = it.len() > 3 || it.len() == 2 || it.len() == 3 && it.starts_with('0');
    has_length && it.bytes().all(|it| it.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prior() -> Prior {
        let mut quality = [None; TASKS];
        quality[Task::Code.index()] = Some(0.8);
        quality[Task::Qa.index()] = Some(0.6);
        let models = [("gpt-4o".to_owned(), Known { quality, seen: 100 })].into();
        Prior { models, by_price: [0.5, 0.1] }
    }

    #[test]
    fn names_of_one_model_meet() {
        for (one, other) in [
            ("gpt-4o-2024-08-06", "openai/gpt-4o"),
            ("Meta-Llama-3.1-70B-Instruct@hyperbolic", "llama-3.1-70b"),
            ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest"),
            ("gpt-4-0314", "gpt-4"),
            ("chatgpt-4o-latest-24-09-07", "chatgpt-4o"),
        ] {
            assert_eq!(family(one), family(other));
        }
        assert_ne!(family("gpt-4o"), family("gpt-4o-mini"));
        assert_ne!(family("claude-3-opus"), family("claude-4-opus"));
    }

    #[test]
    fn what_is_known_comes_before_what_is_guessed() {
        let told = |model, task, price| {
            let it = prior().expected(model, task, price);
            (it.basis, (it.quality * 100.0).round())
        };
        assert_eq!(told("gpt-4o", Task::Code, None), (Basis::Measured, 80.0));
        assert_eq!(told("gpt-4o", Task::Chat, None), (Basis::OtherTasks, 70.0));
        assert_eq!(told("new", Task::Chat, Some(10_000_000)), (Basis::Price, 60.0));
        assert_eq!(told("new", Task::Chat, None), (Basis::Neutral, 50.0));
    }

    proptest! {
        #[test]
        fn any_name_has_a_family_that_is_its_own(name in "\\PC{0,40}", price: u64) {
            prop_assert_eq!(family(&family(&name)), family(&name));
            let it = prior().expected(&name, Task::Qa, Some(price));
            prop_assert!((0.0..=1.0).contains(&it.quality));
        }
    }
}
