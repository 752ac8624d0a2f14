//! Linear heads over features: learned by ridge regression, kept in a byte a weight.
//!
//! The same few lines learn which task a prompt is, how hard it is, and a tenant's
//! own corrections. What is minimized has one minimum, so that the same rows in the same order
//! give the same heads.

use crate::features::{Features, HASHED, NUMERIC};

/// How a head is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ridge {
    /// How much an error counts against large weights.
    pub strength: f64,
    /// How much all words and pairs count together, beside the counted features.
    pub grams: f64,
    pub passes: u32,
}

/// Some heads, whose weights for one word stand together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heads {
    count: usize,
    /// `HASHED` rows of `count`.
    grams: Vec<i8>,
    /// What a step of `grams` is worth, for each head.
    steps: Vec<f32>,
    /// `NUMERIC` rows of `count`.
    numbers: Vec<f32>,
}

/// One head as it was learned.
pub struct Learned {
    pub(crate) grams: Vec<f64>,
    pub(crate) numbers: [f64; NUMERIC],
}

/// Something to learn from.
#[derive(Clone, Copy)]
pub struct Example<'a> {
    pub features: &'a Features,
    pub target: f64,
    /// Of how many others it is worth.
    pub weight: f64,
}

impl Learned {
    /// By going through the rows' dual variables in turn, which needs no step size.
    pub fn from(examples: &[Example<'_>], by: Ridge) -> Self {
        let mut learned = Self { grams: vec![0.0; HASHED], numbers: [0.0; NUMERIC] };
        let mut duals = vec![0.0; examples.len()];
        for _ in 0..by.passes {
            let mut most = 0.0_f64;
            for at in strides(examples.len()) {
                let (Some(it), Some(dual)) = (examples.get(at), duals.get_mut(at)) else {
                    continue;
                };
                let value = value(it.features) * by.grams;
                let strength = by.strength * it.weight;
                if strength <= 0.0 {
                    continue;
                }
                let norm = squares(it.features) + by.grams * by.grams + 1.0 / strength;
                let error = it.target - learned.at(it.features, value) - *dual / strength;
                let step = error / norm;
                *dual += step;
                most = most.max(step.abs());
                learned.moves(it.features, value, step);
            }
            if most < 1e-6 {
                break;
            }
        }
        // What a word counts is part of its weight from here on.
        learned.grams.iter_mut().for_each(|it| *it *= by.grams);
        learned
    }

    pub fn says(&self, features: &Features) -> f64 {
        self.at(features, value(features))
    }

    fn at(&self, features: &Features, value: f64) -> f64 {
        let weight = |it: &u16| self.grams.get(usize::from(*it)).copied().unwrap_or(0.0);
        let grams: f64 = features.grams.iter().map(weight).sum();
        let numbers = features.numbers.iter().zip(&self.numbers);
        grams * value + numbers.map(|(it, weight)| f64::from(*it) * weight).sum::<f64>()
    }

    fn moves(&mut self, features: &Features, value: f64, step: f64) {
        for it in &features.grams {
            if let Some(weight) = self.grams.get_mut(usize::from(*it)) {
                *weight += step * value;
            }
        }
        for (weight, it) in self.numbers.iter_mut().zip(&features.numbers) {
            *weight += step * f64::from(*it);
        }
    }
}

/// All places below `count`, far ones after each other: rows are often sorted by what they teach,
/// and a thousand of a kind in a row are slowly unlearned.
fn strides(count: usize) -> impl Iterator<Item = usize> {
    // A prime beyond what is ever learned from, so that every place is met.
    const STRIDE: usize = 1_000_003;
    (0..count).map(move |it| it.wrapping_mul(STRIDE) % count)
}

/// What one word of a prompt counts: all of them together have length one.
pub fn value(features: &Features) -> f64 {
    let grams = u32::try_from(features.grams.len()).unwrap_or(u32::MAX);
    1.0 / f64::from(grams.max(1)).sqrt()
}

fn squares(features: &Features) -> f64 {
    features.numbers.iter().map(|it| f64::from(*it) * f64::from(*it)).sum()
}

impl Heads {
    /// Rounds to what is kept.
    #[cfg(any(test, feature = "train"))]
    pub fn of(learned: &[Learned]) -> Self {
        let count = learned.len();
        let mut heads = Self {
            count,
            grams: vec![0; HASHED * count],
            steps: vec![0.0; count],
            numbers: vec![0.0; NUMERIC * count],
        };
        for (at, it) in learned.iter().enumerate() {
            let most = it.grams.iter().fold(0.0_f64, |most, it| most.max(it.abs()));
            let step = narrow(most / 127.0);
            let rounds = |it: f64| if step > 0.0 { rounded(it / f64::from(step)) } else { 0 };
            let lane = heads.grams.iter_mut().skip(at).step_by(count);
            lane.zip(&it.grams).for_each(|(to, weight)| *to = rounds(*weight));
            let lane = heads.numbers.iter_mut().skip(at).step_by(count);
            lane.zip(&it.numbers).for_each(|(to, weight)| *to = narrow(*weight));
            heads.steps.iter_mut().skip(at).take(1).for_each(|to| *to = step);
        }
        heads
    }

    /// From what `parts` told of it. `None` if they do not fit together.
    pub fn from_parts(steps: Vec<f32>, numbers: Vec<f32>, grams: Vec<i8>) -> Option<Self> {
        let count = steps.len();
        let fits = numbers.len() == NUMERIC * count && grams.len() == HASHED * count;
        let is_finite = steps.iter().chain(&numbers).all(|it| it.is_finite());
        (fits && is_finite).then_some(Self { count, grams, steps, numbers })
    }

    #[cfg(any(test, feature = "train"))]
    pub fn parts(&self) -> (&[f32], &[f32], &[i8]) {
        (&self.steps, &self.numbers, &self.grams)
    }

    /// What each of the `N` heads says; where there are others than so many, nothing.
    pub fn scores<const N: usize>(&self, features: &Features) -> [f32; N] {
        if self.count != N {
            return [0.0; N];
        }
        let mut sums = [0_i32; N];
        for &it in &features.grams {
            let from = usize::from(it) * N;
            let row = self.grams.get(from..).and_then(<[i8]>::first_chunk::<N>);
            if let Some(row) = row {
                sums.iter_mut().zip(row).for_each(|(sum, &it)| *sum += i32::from(it));
            }
        }
        let value = narrow(value(features));
        let mut scores = [0.0; N];
        for ((score, sum), step) in scores.iter_mut().zip(sums).zip(&self.steps) {
            *score = as_score(sum) * step * value;
        }
        for (row, &it) in self.numbers.chunks_exact(N.max(1)).zip(&features.numbers) {
            scores.iter_mut().zip(row).for_each(|(score, weight)| *score += weight * it);
        }
        scores
    }
}

/// Rounded and held within bounds before.
pub fn rounded(it: f64) -> i8 {
    it.round().clamp(-127.0, 127.0) as i8
}

/// Weights need few digits.
pub const fn narrow(it: f64) -> f32 {
    it as f32
}

/// At most 127 times some thousands, and so exact.
pub const fn as_score(it: i32) -> f32 {
    it as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Language;

    const BY: Ridge = Ridge { strength: 10.0, grams: 1.0, passes: 50 };

    fn features(grams: &[u16], first: f32) -> Features {
        let mut numbers = [0.0; NUMERIC];
        numbers[0] = 1.0;
        numbers[1] = first;
        Features { grams: grams.to_vec(), numbers, language: Language::ENGLISH, words: 1 }
    }

    #[test]
    fn a_word_that_goes_with_a_target_is_learned() {
        let rows: Vec<_> =
            (0..40_u16).map(|it| (features(&[it % 2, 100 + it], 0.0), f64::from(it % 2))).collect();
        let examples: Vec<_> = rows
            .iter()
            .map(|(features, target)| Example { features, target: *target, weight: 1.0 })
            .collect();
        let heads = Heads::of(&[Learned::from(&examples, BY), Learned::from(&[], BY)]);
        let [high, nothing] = heads.scores(&features(&[1, 7_777], 0.0));
        let [low, _] = heads.scores(&features(&[0, 7_777], 0.0));
        assert!(high > 0.6 && low < 0.4, "{high} {low}");
        assert!(nothing.abs() < f32::EPSILON);
        let again = Heads::of(&[Learned::from(&examples, BY), Learned::from(&[], BY)]);
        assert_eq!(heads, again);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert!(Heads::from_parts(vec![1.0], vec![0.0; NUMERIC], vec![0; HASHED]).is_some());
        assert!(Heads::from_parts(vec![1.0], vec![0.0; NUMERIC], vec![0; 3]).is_none());
        assert!(Heads::from_parts(vec![f32::NAN], vec![0.0; NUMERIC], vec![0; HASHED]).is_none());
    }
}
