//! What the router reaches on the data, each figure on prompts that it was not trained on.
//!
//! **Folds.** Prompts go into folds by a digest of their text, so that the same prompt twice is in
//! one fold. Settings of the learner are chosen by folds within the training folds (nested): a
//! fold that is measured has no say in anything.

mod curves;
mod report;
mod speed;
mod texts;
mod workloads;

pub use self::report::report;
use crate::weights::digest;

/// Counts are small.
pub const fn count(it: usize) -> f64 {
    it as f64
}

pub fn mean(of: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().sum::<f64>() / count(of.len()))
}

/// Which of `folds` a text is in, the `round`th time that they are made.
pub fn fold(text: &str, folds: usize, round: u64) -> usize {
    super::Draws::new(digest(text.as_bytes()) ^ round.wrapping_mul(0x9e37_79b9)).below(folds)
}

/// A figure and the middle 95 % of what it comes to when prompts are drawn again.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Draws as many again as there are, 200 times.
pub fn bootstrap<T: Clone>(items: &[T], of: impl Fn(&[T]) -> f64) -> Figure {
    let mut draws = super::Draws::new(7);
    let mut values: Vec<f64> = (0..200)
        .map(|_| {
            let drawn: Vec<T> = (0..items.len())
                .filter_map(|_| items.get(draws.below(items.len())).cloned())
                .collect();
            of(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    Figure { value: of(items), low: at(5), high: at(194) }
}
