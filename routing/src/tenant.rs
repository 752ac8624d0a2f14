//! What a tenant's own outcomes say: by task and model, and by what a prompt is like.
//!
//! A label changes the table at once. The corrections, of which there is one for each model, are
//! learned anew from all labels that are kept, when somebody says so: a job, or a test.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    features::Features,
    heads::{Example, Heads, Learned, Ridge},
    quality::Expected,
    task::{TASKS, Task},
};

/// So many labels are kept, the newest.
const MOST_LABELS: usize = 20_000;
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

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    good: f32,
    seen: f32,
}

#[derive(Clone, Debug)]
struct Learner {
    table: [Counts; TASKS],
    correction: Heads,
}

/// One tenant's outcomes and what was learned from them.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    terms: Terms,
    labels: Vec<Label>,
    models: BTreeMap<String, Learner>,
}

impl Tenant {
    pub fn new(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// Counts at once. Of more models than `MOST_MODELS` the later are not learned of, and a score
    /// that is none is not taken. Says whether it was.
    pub fn learn(&mut self, label: Label) -> bool {
        let is_new = !self.models.contains_key(&label.model);
        if !(0.0..=1.0).contains(&label.score) || is_new && self.models.len() >= MOST_MODELS {
            return false;
        }
        if self.labels.len() >= MOST_LABELS {
            let oldest = self.labels.remove(0);
            self.count(&oldest, -1.0);
        }
        self.count(&label, 1.0);
        self.labels.push(label);
        true
    }

    fn count(&mut self, label: &Label, by: f32) {
        let learner = self
            .models
            .entry(label.model.clone())
            .or_insert_with(|| Learner { table: Default::default(), correction: Heads::default() });
        if let Some(counts) = learner.table.get_mut(label.task.index()) {
            counts.good = (counts.good + by * label.score).max(0.0);
            counts.seen = (counts.seen + by).max(0.0);
        }
    }

    /// Learns the corrections anew.
    pub fn refit(&mut self) {
        let terms = self.terms;
        let tables: BTreeMap<_, _> =
            self.models.iter().map(|(it, at)| (it.clone(), at.table)).collect();
        for (model, learner) in &mut self.models {
            let table = tables.get(model).copied().unwrap_or_default();
            let rows = self.labels.iter().filter(|it| it.model == *model);
            let examples: Vec<_> = rows
                .map(|it| {
                    let told = of_table(&table, it.task, it.expected, terms.prior);
                    let target = f64::from(it.score - told);
                    Example { features: &it.features, target, weight: 1.0 }
                })
                .collect();
            learner.correction = Heads::of(&[Learned::from(&examples, terms.ridge)]);
        }
    }

    /// What is to be expected of a model here, of which `expected` was known before.
    pub fn quality(&self, features: &Features, task: Task, model: &str, expected: Expected) -> f32 {
        let Some(learner) = self.models.get(model) else { return expected.quality };
        let told = of_table(&learner.table, task, expected.quality, self.terms.prior);
        let [correction] = learner.correction.scores(features);
        let seen: f32 = learner.table.iter().map(|it| it.seen).sum();
        told + self.share(seen) * correction
    }

    fn share(&self, seen: f32) -> f32 {
        let Terms { least, half, .. } = self.terms;
        least + (1.0 - least) * seen / (seen + half)
    }
}

fn of_table(table: &[Counts; TASKS], task: Task, expected: f32, prior: f32) -> f32 {
    let counts = table.get(task.index()).copied().unwrap_or_default();
    (counts.good + prior * expected) / (counts.seen + prior).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{features::NUMERIC, language::Language, quality::Basis};

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
        let quality = |tenant: &Tenant, task| tenant.quality(&features(&[9]), task, "a", EXPECTED);
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
        let quality = |word| tenant.quality(&features(&[word]), Task::Qa, "a", EXPECTED);
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
