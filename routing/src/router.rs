//! A prompt judged: what it is for, how hard it is, and what each model would make of it.

use crate::{
    features::{Extractor, Features, Turn},
    heads::Heads,
    language::Language,
    learned::Learned,
    quality::{Basis, Expected, Prior},
    task::{TASKS, Task},
};

/// Everything that was learned from public data.
#[derive(Clone, Debug)]
pub struct Router {
    pub(crate) extractor: Extractor,
    /// One head for each task.
    pub(crate) tasks: Heads,
    /// One head: how many more models answer such a prompt well than usually do.
    pub(crate) ease: Heads,
    pub(crate) prior: Prior,
    pub(crate) by_length: ByLength,
    /// How long answers are, by task, in tokens, where the data says.
    pub(crate) output: [Option<u32>; TASKS],
    pub(crate) version: String,
}

/// How much oftener every model fails at a long prompt, by the logarithm of its words: where it is
/// as often as usual, and how the logarithm of how often rises.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ByLength {
    pub middle: f32,
    pub rises: f32,
}

impl ByLength {
    /// With so many times the failures, what is good fails little oftener, and what is bad much.
    fn of(self, quality: f32, features: &Features) -> f32 {
        const MOST: f32 = 0.7;
        // Of a prompt of which no word is left its length is not known.
        if features.words == 0 {
            return quality;
        }
        let times = (self.rises * (features.length() - self.middle)).clamp(-MOST, MOST).exp();
        // Whoever is likely to fail anyway is still likelier to be right than whoever is likelier to.
        (1.0 - (1.0 - quality) * times).max(quality / 4.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub features: Features,
    pub task: Task,
    pub language: Language,
    /// By how much more of all models answer such a prompt well than usually do; below zero for
    /// a hard one.
    pub ease: f32,
}

/// What is expected of a model, by task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing([Expected; TASKS]);

impl Standing {
    pub fn at(&self, task: Task) -> Expected {
        let unknown = Expected { quality: 0.5, basis: Basis::Neutral };
        self.0.get(task.index()).copied().unwrap_or(unknown)
    }
}

/// The most that `ease` is believed.
const MOST_EASE: f32 = 0.4;

impl Judged {
    /// As somebody found it before, of whose words nothing is left.
    pub fn told(task: Task, language: Language, ease: f32) -> Self {
        Self { features: Features::blank(language), task, language, ease }
    }

    /// From 0 to 1: the harder the higher.
    pub fn complexity(&self) -> f32 {
        f32::midpoint(-self.ease / MOST_EASE, 1.0).clamp(0.0, 1.0)
    }
}

impl Router {
    /// A digest of what it learned, short enough for a header.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    pub fn judge(&self, turn: &Turn<'_>) -> Judged {
        let features = self.extractor.look(turn);
        let task = self.task(&features);
        let [ease] = self.ease.scores(&features);
        let ease = ease.clamp(-MOST_EASE, MOST_EASE);
        Judged { task, language: features.language, ease, features }
    }

    fn task(&self, features: &Features) -> Task {
        Task::best(&self.tasks.scores(features))
    }

    /// What answers to such prompts come to, in tokens, where the data says.
    pub fn expected_output(&self, task: Task) -> Option<u32> {
        self.output.get(task.index()).copied().flatten()
    }

    /// What to expect of a model before anybody's labels, by task: to be asked once for each model.
    /// `output_price` is in millionths of a dollar for a million tokens.
    pub fn standing(&self, model: &str, output_price: Option<u64>) -> Standing {
        Standing(Task::ALL.map(|task| self.prior.expected(model, task, output_price)))
    }

    /// The same of one that callers and its vendor may have two names for: the callers' counts,
    /// unless nothing is known of it.
    pub fn standing_of(&self, name: &str, vendors: &str, output_price: Option<u64>) -> Standing {
        let is_known = self.prior.known(name).is_some();
        self.standing(if is_known { name } else { vendors }, output_price)
    }

    /// What is expected of a model for one prompt before anybody's labels: its standing, and that
    /// all fail oftener the longer a prompt is, so that which of them is asked matters more.
    ///
    /// Nothing else of a prompt has a part in it: a difficulty that was learned from the words of
    /// some sets ranks others' prompts no better than chance (`make eval-router R4`), and is only
    /// told.
    pub fn expected(&self, features: &Features, task: Task, standing: &Standing) -> Expected {
        let it = standing.at(task);
        Expected { quality: self.by_length.of(it.quality, features), ..it }
    }

    /// What a model is to make of a prompt: what is expected of it, and what the tenant's own
    /// labels say.
    pub fn quality(
        &self,
        judged: &Judged,
        model: &str,
        standing: &Standing,
        learned: Option<&Learned>,
    ) -> f32 {
        let expected = self.expected(&judged.features, judged.task, standing);
        let quality = match learned {
            Some(learned) => learned.quality(&judged.features, judged.task, model, expected),
            None => expected.quality,
        };
        quality.clamp(0.0, 1.0)
    }
}
