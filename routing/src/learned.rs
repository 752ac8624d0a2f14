//! What was learned from a tenant's outcomes, without the outcomes: small enough to travel to every
//! proxy, and ready to be asked there.
//!
//! Always holds: of all models together no more than [`MOST_WEIGHTS`] words and pairs of words are
//! remembered, those that say most, so that it travels in some 110 KB at most and takes up
//! 700 KB where it is asked; what was written before there was an ease is still read, and says
//! what it said; whatever bytes come, what is made of them answers with a number.

use std::collections::BTreeMap;

use crate::{
    features::{Features, HASHED, NUMERIC},
    heads,
    kept::{Left, put_ascending},
    quality::Expected,
    task::{TASKS, Task},
    tenant::{MOST_MODELS, Terms},
    weights::digest,
};

/// So many words and pairs are remembered, of all models together.
pub const MOST_WEIGHTS: usize = 40_960;
/// A longer name is nobody's.
pub const LONGEST_NAME: usize = 255;

const FORMAT: u8 = 2;
/// Without an ease.
const BEFORE: u8 = 1;
/// No weight, and no count, is so far from nothing.
const MOST: f32 = 1e6;
const BITS: usize = HASHED / 64;

/// How many answers were seen, and how good they were together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub good: f32,
    pub seen: f32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub table: [Counts; TASKS],
    pub correction: Correction,
}

/// A head of which only the words are remembered that say something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Correction {
    /// What a step of a weight is worth.
    step: f32,
    numbers: [f32; NUMERIC],
    /// Which words there are weights of, a bit each, and of how many that is before each 64.
    present: Box<[u64; BITS]>,
    before: Box<[u16; BITS]>,
    weights: Vec<i8>,
}

impl Default for Correction {
    fn default() -> Self {
        Self {
            step: 0.0,
            numbers: [0.0; NUMERIC],
            present: Box::new([0; BITS]),
            before: Box::new([0; BITS]),
            weights: Vec::new(),
        }
    }
}

impl Correction {
    /// Keeps the `most` weights that say most: far from nothing, and of words that are `met` often.
    pub fn of(head: &heads::Learned, met: &[u32], most: usize) -> Self {
        let furthest = head.grams.iter().fold(0.0_f64, |most, it| most.max(it.abs()));
        let step = heads::narrow(furthest / 127.0);
        let rounded = |it: f64| if step > 0.0 { heads::rounded(it / f64::from(step)) } else { 0 };
        let all = (0..=u16::MAX).zip(head.grams.iter().map(|it| rounded(*it)));
        let mut said: Vec<(u16, i8)> = all.filter(|it| it.1 != 0).collect();
        if said.len() > most {
            let says = |(at, it): &(u16, i8)| {
                let met = met.get(usize::from(*at)).copied().unwrap_or_default();
                u64::from(it.unsigned_abs()).pow(2) * u64::from(met)
            };
            // Of equals the first.
            said.sort_by_key(|it| (std::cmp::Reverse(says(it)), it.0));
            said.truncate(most);
            said.sort_unstable();
        }
        Self::remembering(step, head.numbers.map(heads::narrow), &said)
    }

    fn remembering(step: f32, numbers: [f32; NUMERIC], said: &[(u16, i8)]) -> Self {
        let mut it = Self { step, numbers, ..Self::default() };
        for (at, _) in said {
            if let Some(bits) = it.present.get_mut(usize::from(at >> 6)) {
                *bits |= 1 << (at & 63);
            }
        }
        let mut count = 0_u32;
        for (bits, before) in it.present.iter().zip(it.before.iter_mut()) {
            // `MOST_WEIGHTS` fits.
            *before = u16::try_from(count).unwrap_or(u16::MAX);
            count += bits.count_ones();
        }
        it.weights = said.iter().map(|it| it.1).collect();
        it
    }

    fn weight(&self, gram: u16) -> i32 {
        let (at, bit) = (usize::from(gram >> 6), 1_u64 << (gram & 63));
        let (Some(bits), Some(before)) = (self.present.get(at), self.before.get(at)) else {
            return 0;
        };
        if bits & bit == 0 {
            return 0;
        }
        let nth = usize::from(*before) + (bits & (bit - 1)).count_ones() as usize;
        self.weights.get(nth).map_or(0, |it| i32::from(*it))
    }

    fn score(&self, features: &Features) -> f32 {
        let sum: i32 = features.grams.iter().map(|it| self.weight(*it)).sum();
        let numbers = self.numbers.iter().zip(&features.numbers);
        let counted: f32 = numbers.map(|(weight, it)| weight * it).sum();
        heads::as_score(sum) * self.step * heads::narrow(heads::value(features)) + counted
    }

    fn said(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|it| {
            self.present.get(usize::from(it >> 6)).is_some_and(|bits| bits >> (it & 63) & 1 == 1)
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.step.to_le_bytes());
        to.extend(self.numbers.iter().flat_map(|it| it.to_le_bytes()));
        to.extend(u32::try_from(self.weights.len()).unwrap_or(u32::MAX).to_le_bytes());
        put_ascending(to, self.said());
        to.extend(self.weights.iter().map(|it| it.cast_unsigned()));
    }

    fn read(left: &mut Left<'_>) -> Option<Self> {
        let step = left.number(MOST)?;
        let mut numbers = [0.0; NUMERIC];
        for it in &mut numbers {
            *it = left.number(MOST)?;
        }
        let count = usize::try_from(u32::from_le_bytes(left.take()?)).ok()?;
        if count > MOST_WEIGHTS {
            return None;
        }
        let grams = left.ascending(count)?;
        let weights = left.bytes(count)?.iter().map(|it| it.cast_signed());
        let said: Vec<_> = grams.into_iter().zip(weights).collect();
        Some(Self::remembering(step, numbers, &said))
    }
}

/// One tenant's table, what makes a prompt easy for every model, and what is each model's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    pub(crate) terms: Terms,
    /// In log odds.
    pub(crate) ease: Correction,
    pub(crate) models: BTreeMap<String, Model>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are nothing that was learned, or of another version")]
pub struct NotLearned;

impl Learned {
    /// What is to be expected of a model here, of which `expected` was known before.
    pub fn quality(&self, features: &Features, task: Task, model: &str, expected: Expected) -> f32 {
        let Some(model) = self.models.get(model) else { return expected.quality };
        let told = of_table(&model.table, task, expected.quality, self.terms.prior);
        let seen: f32 = model.table.iter().map(|it| it.seen).sum();
        let told = eased(told, self.ease.score(features));
        bounded(told + self.share(seen) * model.correction.score(features))
    }

    /// What the table alone says of a model's answers to a task, of which `expected` was known
    /// before.
    pub fn usual(&self, task: Task, model: &str, expected: Expected) -> f32 {
        let Some(model) = self.models.get(model) else { return expected.quality };
        of_table(&model.table, task, expected.quality, self.terms.prior).clamp(0.0, 1.0)
    }

    /// Of each model and task the outcomes that were seen, where there are any.
    pub fn counts(&self) -> impl Iterator<Item = (&str, Task, Counts)> {
        self.models.iter().flat_map(|(name, it)| {
            let counted = Task::ALL.into_iter().zip(it.table).filter(|(_, it)| it.seen > 0.0);
            counted.map(|(task, counts)| (name.as_str(), task, counts))
        })
    }

    fn share(&self, seen: f32) -> f32 {
        let Terms { least, half, .. } = self.terms;
        least + (1.0 - least) * seen / (seen + half)
    }

    pub fn encode(&self) -> Vec<u8> {
        let Terms { prior, least, half, .. } = self.terms;
        let mut bytes = vec![FORMAT];
        bytes.extend([prior, least, half].iter().flat_map(|it| it.to_le_bytes()));
        self.ease.write(&mut bytes);
        bytes.push(u8::try_from(self.models.len()).unwrap_or(u8::MAX));
        for (name, model) in &self.models {
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.as_bytes());
            let counts = model.table.iter().flat_map(|it| [it.good, it.seen]);
            bytes.extend(counts.flat_map(f32::to_le_bytes));
            model.correction.write(&mut bytes);
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, NotLearned> {
        let mut left = Left(bytes);
        let learned = Self::read(&mut left).ok_or(NotLearned)?;
        if left.0.is_empty() { Ok(learned) } else { Err(NotLearned) }
    }

    fn read(left: &mut Left<'_>) -> Option<Self> {
        let [format] = left.take()?;
        if ![BEFORE, FORMAT].contains(&format) {
            return None;
        }
        let mut positive = || left.number(MOST).filter(|it| *it > 0.0);
        let (prior, least, half) = (positive()?, positive()?, positive()?);
        let terms = Terms { prior, least, half, ..Terms::default() };
        let ease = if format == BEFORE { Correction::default() } else { Correction::read(left)? };
        let mut weights = ease.weights.len();
        let mut learned = Self { terms, ease, models: BTreeMap::new() };
        let [count] = left.take()?;
        for _ in 0..count {
            let (name, model) = Self::read_model(left)?;
            weights += model.correction.weights.len();
            if weights > MOST_WEIGHTS || learned.models.insert(name, model).is_some() {
                return None;
            }
        }
        (learned.models.len() <= MOST_MODELS).then_some(learned)
    }

    fn read_model(left: &mut Left<'_>) -> Option<(String, Model)> {
        let [length] = left.take()?;
        let name = std::str::from_utf8(left.bytes(length.into())?).ok()?.to_owned();
        let mut table = [Counts::default(); TASKS];
        for it in &mut table {
            let (good, seen) = (left.number(MOST)?, left.number(MOST)?);
            if good < 0.0 || seen < 0.0 {
                return None;
            }
            *it = Counts { good, seen };
        }
        Some((name, Model { table, correction: Correction::read(left)? }))
    }

    /// A digest of `encoded`, short enough for a header.
    pub fn version(encoded: &[u8]) -> String {
        format!("{:08x}", digest(encoded) >> 32)
    }
}

/// Within 0 and 1, and still more for what is more: cut off, the best would all be the same.
fn bounded(quality: f32) -> f32 {
    const EDGE: f32 = 0.1;
    let beyond = |by: f32| EDGE * (-by / EDGE).exp();
    if quality > 1.0 - EDGE {
        1.0 - beyond(quality - (1.0 - EDGE))
    } else if quality < EDGE {
        beyond(EDGE - quality)
    } else {
        quality
    }
}

/// What becomes of a quality where all models have it easier by so much, in log odds.
pub(crate) fn eased(quality: f32, by: f32) -> f32 {
    const EDGE: f32 = 0.001;
    if by.to_bits() == 0 {
        return quality;
    }
    let quality = quality.clamp(EDGE, 1.0 - EDGE);
    1.0 / (1.0 + (1.0 - quality) / quality * (-by).exp())
}

pub(crate) fn of_table(table: &[Counts; TASKS], task: Task, expected: f32, prior: f32) -> f32 {
    let counts = table.get(task.index()).copied().unwrap_or_default();
    (counts.good + prior * expected) / (counts.seen + prior).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Label, Tenant, Turn, quality::Basis, router};

    const EXPECTED: Expected = Expected { quality: 0.5, basis: Basis::Neutral };

    fn look(text: &str) -> Features {
        router().judge(&Turn { text, ..Turn::default() }).features
    }

    fn learned(labels: Vec<(String, String, f32)>) -> Learned {
        let mut tenant = Tenant::default();
        for (text, model, score) in labels {
            let features = look(&text).into();
            tenant.learn(Label { features, task: Task::Qa, model, expected: 0.5, score });
        }
        tenant.refit();
        tenant.learned().clone()
    }

    fn labels() -> impl Strategy<Value = Vec<(String, String, f32)>> {
        prop::collection::vec(("[a-e ]{0,20}", "[a-c]", 0.0_f32..=1.0), 0..40)
    }

    /// A head that has something to say of many words.
    fn head(weights: impl Iterator<Item = f64>) -> heads::Learned {
        heads::Learned { grams: weights.take(HASHED).collect(), numbers: [0.5; NUMERIC] }
    }

    #[test]
    fn the_better_of_two_very_good_ones_is_still_the_better() {
        let all = [-9.0, -0.2, 0.0, 0.1, 0.5, 0.9, 1.0, 1.2, 9.0].map(bounded);
        assert!(all.is_sorted() && all.iter().all(|it| (0.0..=1.0).contains(it)), "{all:?}");
        assert!(all[7] > all[6] && all[1] < all[2] && (all[4] - 0.5).abs() < f32::EPSILON);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let head = head((0..HASHED).map(|it| if it % 5 == 0 { 1.0 } else { 0.01 }));
        let kept = Correction::of(&head, &[1; HASHED], 20_000);
        assert_eq!(kept.weights.len(), 20_000);
        let strong = kept.weights.iter().filter(|it| **it == 127).count();
        assert_eq!(strong, HASHED.div_ceil(5), "what says most stays");
        assert_eq!((kept.weight(0), kept.weight(1), kept.weight(65_530)), (127, 1, 127));
        assert_eq!((kept.weight(65_531), kept.weight(65_534)), (0, 0));
    }

    #[test]
    fn the_most_that_there_can_be_travels_in_little() {
        let step = |it: usize| if it.is_multiple_of(100) { 1.0 } else { 0.0 };
        let kept = |of: &dyn Fn(usize) -> f64, most| {
            Correction::of(&head((0..HASHED).map(of)), &[1; HASHED], most)
        };
        let model = Model {
            table: [Counts { good: 1.0, seen: 3.0 }; TASKS],
            correction: kept(&|it| step(it), MOST_WEIGHTS / 2 / MOST_MODELS),
        };
        let named = |it| (format!("a-name-of-usual-length-{it}"), model.clone());
        let whole = Learned {
            terms: Terms::default(),
            ease: kept(&|_| 1.0, MOST_WEIGHTS / 2),
            models: (0..MOST_MODELS).map(named).collect(),
        };
        let bytes = whole.encode();
        assert!(bytes.len() < 112 * 1024, "{}", bytes.len());
        assert_eq!(Learned::decode(&bytes), Ok(whole));
    }

    #[test]
    fn what_was_written_without_an_ease_is_still_read() {
        let rows = vec![("a b".into(), "a".into(), 1.0), ("c d".into(), "b".into(), 0.0)];
        let whole = Learned { ease: Correction::default(), ..learned(rows) };
        let (mut bytes, mut ease) = (whole.encode(), Vec::new());
        whole.ease.write(&mut ease);
        let head = 1 + 3 * size_of::<f32>();
        bytes.drain(head..head + ease.len());
        bytes[0] = BEFORE;
        assert_eq!(Learned::decode(&bytes), Ok(whole));
        bytes[0] = FORMAT + 1;
        assert_eq!(Learned::decode(&bytes), Err(NotLearned));
    }

    #[test]
    fn what_is_easier_for_all_is_still_no_more_than_certain() {
        let all = [-1e9, -2.0, -0.1, 0.0, 0.1, 2.0, 1e9].map(|it| eased(0.7, it));
        assert!(all.is_sorted() && all.iter().all(|it| (0.0..=1.0).contains(it)), "{all:?}");
        assert!((all[3] - 0.7).abs() < f32::EPSILON);
        assert!([0.0, 1.0].iter().all(|it| eased(*it, 1e9) <= 1.0 && eased(*it, -1e9) >= 0.0));
    }

    proptest! {
        #[test]
        fn what_travels_says_the_same(labels in labels(), text in "[a-e ]{0,20}") {
            let learned = learned(labels);
            let bytes = learned.encode();
            let there = Learned::decode(&bytes).unwrap();
            prop_assert_eq!(&there, &learned);
            prop_assert_eq!(Learned::version(&there.encode()), Learned::version(&bytes));
            let features = look(&text);
            for model in ["a", "b", "c", "d"] {
                let quality = |it: &Learned| it.quality(&features, Task::Qa, model, EXPECTED);
                prop_assert_eq!(quality(&there), quality(&learned));
            }
        }

        #[test]
        fn any_bytes_are_no_panic_and_answer_with_a_number(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at: prop::sample::Index, to: u8,
        ) {
            let _ = Learned::decode(&bytes);
            let mut spoilt = learned(vec![("a b".into(), "a".into(), 1.0)]).encode();
            let at = at.index(spoilt.len());
            spoilt[at] = to;
            if let Ok(learned) = Learned::decode(&spoilt) {
                let quality = learned.quality(&look("a b"), Task::Qa, "a", EXPECTED);
                prop_assert!(!quality.is_nan());
            }
        }
    }
}
