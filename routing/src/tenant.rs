//! What a tenant's own outcomes say: by task and model, and by what a prompt is like.
//!
//! A label changes the table at once. What makes a prompt easy, which is one for all models, and the
//! corrections, of which there is one for each, are learned anew from all labels that are kept, when
//! somebody says so: a job, or a test.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    features::{Features, HASHED},
    heads::{self, Example, Ridge},
    learned::{Correction, LONGEST_NAME, Learned, MOST_WEIGHTS, eased, of_table},
    task::Task,
};

/// So many labels are kept, the newest.
pub const MOST_LABELS: usize = 20_000;
/// So many models are learned of.
pub const MOST_MODELS: usize = 64;

/// How a tenant's outcomes are weighed. `Default` is among what cross-validation chose, which differs
/// from fold to fold; `make eval-router` says what the default itself reaches (R5, R6, R7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How many labels what was expected is worth.
    pub prior: f32,
    pub ridge: Ridge,
    /// How ease is learned, which all models' labels teach.
    pub ease: Ridge,
    /// How much of a correction counts at first; all of it does after many times `half` labels.
    pub least: f32,
    pub half: f32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            prior: 20.0,
            ridge: Ridge { strength: 0.03, grams: 2.0, passes: 40 },
            ease: Ridge { strength: 0.03, grams: 2.0, passes: 20 },
            least: 0.2,
            half: 300.0,
        }
    }
}

/// What came of one answer.
#[derive(Clone, Debug)]
pub struct Label {
    pub features: Arc<Features>,
    pub task: Task,
    pub model: String,
    /// What had been expected of the model for this prompt.
    pub expected: f32,
    /// From 0 to 1.
    pub score: f32,
}

/// One tenant's outcomes and what was learned from them.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Each with how much it counts.
    labels: Vec<(Label, f32)>,
    learned: Learned,
}

impl Tenant {
    pub fn new(terms: Terms) -> Self {
        let learned = Learned { terms, ..Learned::default() };
        Self { labels: Vec::new(), learned }
    }

    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Counts at once. Of more models than `MOST_MODELS` the later are not learned of, and a score
    /// that is none is not taken. Says whether it was.
    pub fn learn(&mut self, label: Label) -> bool {
        self.learn_some(label, 1.0)
    }

    /// The same of one that counts for less than a whole label: that is known less surely.
    pub fn learn_some(&mut self, label: Label, weight: f32) -> bool {
        let models = &self.learned.models;
        let has_room = models.contains_key(&label.model) || models.len() < MOST_MODELS;
        let is_named = label.model.len() <= LONGEST_NAME;
        if !(0.0..=1.0).contains(&label.score)
            || !(0.0..=1.0).contains(&weight)
            || !has_room
            || !is_named
        {
            return false;
        }
        if self.labels.len() >= MOST_LABELS {
            let (oldest, weight) = self.labels.remove(0);
            self.count(&oldest, -weight);
        }
        self.count(&label, weight);
        self.labels.push((label, weight));
        true
    }

    fn count(&mut self, label: &Label, by: f32) {
        let model = self.learned.models.entry(label.model.clone()).or_default();
        if let Some(counts) = model.table.get_mut(label.task.index()) {
            counts.good = (counts.good + by * label.score).max(0.0);
            counts.seen = (counts.seen + by).max(0.0);
        }
    }

    /// Learns the ease and the corrections anew.
    pub fn refit(&mut self) {
        let Terms { prior, ridge, .. } = self.learned.terms;
        let ease = self.ease();
        // Half of what there is room for goes to what all models share.
        self.learned.ease =
            Correction::of(&ease, &met(self.labels.iter().map(|it| &it.0)), MOST_WEIGHTS / 2);
        let each = MOST_WEIGHTS / 2 / self.learned.models.len().max(1);
        for (name, model) in &mut self.learned.models {
            let rows: Vec<_> = self.labels.iter().filter(|it| it.0.model == *name).collect();
            let examples: Vec<_> = rows
                .iter()
                .map(|(it, weight)| {
                    let told = of_table(&model.table, it.task, it.expected, prior);
                    let told = eased(told, heads::narrow(ease.says(&it.features)));
                    let target = f64::from(it.score - told);
                    Example { features: &it.features, target, weight: f64::from(*weight) }
                })
                .collect();
            let head = heads::Learned::from(&examples, ridge);
            model.correction = Correction::of(&head, &met(rows.iter().map(|it| &it.0)), each);
        }
    }

    /// How much easier a prompt is than the table says, for every model alike, in log odds: by
    /// Newton's steps, each of which is a ridge regression.
    fn ease(&self) -> heads::Learned {
        const STEPS: u32 = 4;
        let Terms { prior, ease, .. } = self.learned.terms;
        let prompts = self.prompts(prior);
        let mut head = heads::Learned::from(&[], ease);
        for _ in 0..STEPS {
            let examples: Vec<_> = prompts.iter().map(|it| it.pulled(&head)).collect();
            head = heads::Learned::from(&examples, ease);
        }
        head
    }

    /// Labels of the same words are of one prompt, whichever models answered it.
    fn prompts(&self, prior: f32) -> Vec<Answered<'_>> {
        let mut prompts: BTreeMap<&[u16], Answered<'_>> = BTreeMap::new();
        for (it, weight) in self.labels.iter().filter(|it| it.1 > 0.0) {
            let Some(model) = self.learned.models.get(&it.model) else { continue };
            let told = of_table(&model.table, it.task, it.expected, prior);
            let prompt = prompts
                .entry(&it.features.grams)
                .or_insert_with(|| Answered { features: &it.features, answers: Vec::new() });
            prompt.answers.push(Answer { told, score: it.score, weight: *weight });
        }
        prompts.into_values().collect()
    }
}

/// A prompt, and what came of it.
struct Answered<'a> {
    features: &'a Features,
    answers: Vec<Answer>,
}

/// What the table says of an answer, how good it was, and how much that counts, which is not
/// nothing.
struct Answer {
    told: f32,
    score: f32,
    weight: f32,
}

impl<'a> Answered<'a> {
    /// Where one of Newton's steps leads from what `head` says, and how much it is to count.
    fn pulled(&self, head: &heads::Learned) -> Example<'a> {
        /// An answer that nobody doubted teaches little, and not nothing.
        const LEAST: f64 = 0.02;
        let said = head.says(self.features);
        let (mut weight, mut pull) = (0.0, 0.0);
        for it in &self.answers {
            let (told, counts) =
                (f64::from(eased(it.told, heads::narrow(said))), f64::from(it.weight));
            weight += counts * (told * (1.0 - told)).max(LEAST);
            pull += counts * (f64::from(it.score) - told);
        }
        Example { features: self.features, target: said + pull / weight, weight }
    }
}

/// In how many labels each word is.
fn met<'a>(labels: impl IntoIterator<Item = &'a Label>) -> Vec<u32> {
    let mut met = vec![0; HASHED];
    for it in labels {
        for gram in &it.features.grams {
            if let Some(count) = met.get_mut(usize::from(*gram)) {
                *count += 1;
            }
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        features::NUMERIC,
        language::Language,
        quality::{Basis, Expected},
    };

    const EXPECTED: Expected = Expected { quality: 0.5, basis: Basis::Neutral };

    fn features(grams: &[u16]) -> Arc<Features> {
        let mut numbers = [0.0; NUMERIC];
        numbers[0] = 1.0;
        Arc::new(Features { grams: grams.to_vec(), numbers, language: Language::ENGLISH, words: 1 })
    }

    fn label(grams: &[u16], score: f32) -> Label {
        Label { features: features(grams), task: Task::Qa, model: "a".into(), expected: 0.5, score }
    }

    #[test]
    fn outcomes_outweigh_what_was_expected() {
        let mut tenant = Tenant::default();
        let quality =
            |tenant: &Tenant, task| tenant.learned().quality(&features(&[9]), task, "a", EXPECTED);
        assert!((quality(&tenant, Task::Qa) - 0.5).abs() < 1e-6);
        for _ in 0..200 {
            assert!(tenant.learn(label(&[1], 1.0)));
        }
        assert!(quality(&tenant, Task::Qa) > 0.9);
        assert!(
            (quality(&tenant, Task::Code) - 0.5).abs() < 1e-6,
            "of another task nothing is said"
        );
        assert!(!tenant.learn(label(&[1], f32::NAN)) && !tenant.learn(label(&[1], 1.5)));
    }

    #[test]
    fn what_goes_wrong_with_some_words_is_corrected_for() {
        let mut tenant = Tenant::default();
        for at in 0..100 {
            tenant.learn(label(&[1, 100 + at], 1.0));
            tenant.learn(label(&[2, 300 + at], 0.0));
        }
        tenant.refit();
        let quality = |word| tenant.learned().quality(&features(&[word]), Task::Qa, "a", EXPECTED);
        assert!(quality(1) > quality(2) + 0.2, "{} {}", quality(1), quality(2));
    }

    #[test]
    fn what_is_less_sure_counts_for_less() {
        let quality = |weight| {
            let mut tenant = Tenant::default();
            (0..40).for_each(|_| assert!(tenant.learn_some(label(&[1], 0.0), weight)));
            tenant.refit();
            tenant.learned().quality(&features(&[1]), Task::Qa, "a", EXPECTED)
        };
        assert!(quality(1.0) < quality(0.25) - 0.05, "{} {}", quality(1.0), quality(0.25));
        assert!(quality(0.25) < quality(0.0) - 0.05);
        assert!((quality(0.0) - 0.5).abs() < 1e-3, "{}", quality(0.0));
        let mut tenant = Tenant::default();
        for weight in [-0.1, 1.1, f32::NAN] {
            assert!(!tenant.learn_some(label(&[1], 0.0), weight));
        }
    }

    #[test]
    fn what_was_hard_for_others_is_expected_to_be_hard_for_one_that_was_asked_little() {
        let mut tenant = Tenant::default();
        for at in 0..100 {
            for model in ["a", "b", "c"] {
                tenant.learn(Label { model: model.into(), ..label(&[1, 100 + at], 1.0) });
                tenant.learn(Label { model: model.into(), ..label(&[2, 300 + at], 0.0) });
            }
        }
        for score in [0.0, 1.0] {
            tenant.learn(Label { model: "d".into(), ..label(&[3], score) });
        }
        tenant.refit();
        let quality = |word| tenant.learned().quality(&features(&[word]), Task::Qa, "d", EXPECTED);
        assert!(quality(1) > quality(2) + 0.2, "{} {}", quality(1), quality(2));
    }

    #[test]
    fn no_more_models_than_there_is_room_for() {
        let mut tenant = Tenant::default();
        for at in 0..=MOST_MODELS {
            let it = Label { model: at.to_string(), ..label(&[], 1.0) };
            assert_eq!(tenant.learn(it), at < MOST_MODELS);
        }
    }
}
