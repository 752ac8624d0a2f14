//! What a tenant's own outcomes say: by task and model, and by what a prompt is like.
//!
//! A label changes the table at once. The corrections, of which there is one for each model, are
//! learned anew from all labels that are kept, when somebody says so: a job, or a test.

use std::sync::Arc;

use crate::{
    features::Features,
    heads::{self, Example, Ridge},
    learned::{Correction, LONGEST_NAME, Learned, MOST_WEIGHTS, of_table},
    task::Task,
};

/// So many labels are kept, the newest.
pub const MOST_LABELS: usize = 20_000;
/// So many models are learned of.
pub const MOST_MODELS: usize = 64;

/// How a tenant's outcomes are weighed. `Default` is in the middle of what cross-validation chose,
/// which differs from fold to fold; `make eval-router` says what the default itself reaches (R5, R6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How many labels what was expected is worth.
    pub prior: f32,
    pub ridge: Ridge,
    /// How much of a correction counts at first; all of it does after many times `half` labels.
    pub least: f32,
    pub half: f32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            prior: 20.0,
            ridge: Ridge { strength: 0.1, grams: 1.0, passes: 40 },
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

    /// Learns the corrections anew.
    pub fn refit(&mut self) {
        let Terms { prior, ridge, .. } = self.learned.terms;
        let each = MOST_WEIGHTS / self.learned.models.len().max(1);
        for (name, model) in &mut self.learned.models {
            let rows = self.labels.iter().filter(|it| it.0.model == *name);
            let examples: Vec<_> = rows
                .map(|(it, weight)| {
                    let told = of_table(&model.table, it.task, it.expected, prior);
                    let target = f64::from(it.score - told);
                    Example { features: &it.features, target, weight: f64::from(*weight) }
                })
                .collect();
            model.correction = Correction::of(&heads::Learned::from(&examples, ridge), each);
        }
    }
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
    fn no_more_models_than_there_is_room_for() {
        let mut tenant = Tenant::default();
        for at in 0..=MOST_MODELS {
            let it = Label { model: at.to_string(), ..label(&[], 1.0) };
            assert_eq!(tenant.learn(it), at < MOST_MODELS);
        }
    }
}
