//! How often tasks and languages are told.

use super::{Figure, bootstrap, count, fold};
use crate::{
    features::{Extractor, Features},
    language::Language,
    task::{TASKS, Task},
    train::{
        data::{Data, Labelled, Text},
        fit,
    },
};

pub struct Tasks {
    pub accuracy: Figure,
    /// Of those tasks that the data has.
    pub macro_f1: Figure,
    pub f1: [f64; TASKS],
    /// Trained on the other sources alone.
    pub foreign: f64,
}

/// How the head is learned, the cues and the prompts that we wrote were chosen with these folds in
/// view, once: of held-back prompts somewhat less is to be expected.
///
/// By five folds of what is kept apart: trained on all other sources' prompts and on the other
/// folds'.
pub fn tasks(data: &Data, extractor: &Extractor) -> Tasks {
    const FOLDS: usize = 5;
    let look = |it: &Labelled| extractor.look(&fit::turn(&it.prompt));
    let train: Vec<Features> = data.tasks.iter().map(look).collect();
    let dev: Vec<Features> = data.tasks_dev.iter().map(look).collect();
    let told = |heads: &crate::heads::Heads, it: &Features| Task::best(&heads.scores(it));
    let mut pairs = Vec::new();
    let all: Vec<_> = data.tasks.iter().zip(&train).collect();
    let foreign = fit::task_heads(&all, fit::TASK_RIDGE);
    for at in 0..FOLDS {
        let is_test = |it: &Labelled| fold(&it.prompt, FOLDS, 0) == at;
        let mut rows = all.clone();
        rows.extend(data.tasks_dev.iter().zip(&dev).filter(|(it, _)| !is_test(it)));
        let heads = fit::task_heads(&rows, fit::TASK_RIDGE);
        let test = data.tasks_dev.iter().zip(&dev).filter(|(it, _)| is_test(it));
        for (it, features) in test {
            let (is, told) = (it.task, told(&heads, features));
            if std::env::var_os("TURNPIKE_ROUTING_ERRORS").is_some() && is != told {
                let text: String = it.prompt.chars().take(150).collect();
                eprintln!("{} told {}: {}", is.name(), told.name(), text.replace('\n', " "));
            }
            pairs.push((is, told));
        }
    }
    let right = |of: &[(Task, Task)]| share(of, |it| it.0 == it.1);
    let all: Vec<_> =
        data.tasks_dev.iter().zip(&dev).map(|(it, at)| (it.task, told(&foreign, at))).collect();
    Tasks {
        accuracy: bootstrap(&pairs, right),
        macro_f1: bootstrap(&pairs, macro_f1),
        f1: Task::ALL.map(|it| f1(&pairs, it)),
        foreign: right(&all),
    }
}

fn share<T>(of: &[T], is: impl Fn(&T) -> bool) -> f64 {
    count(of.iter().filter(|it| is(it)).count()) / count(of.len().max(1))
}

fn f1(pairs: &[(Task, Task)], task: Task) -> f64 {
    let both = count(pairs.iter().filter(|it| it.0 == task && it.1 == task).count());
    let either = count(pairs.iter().filter(|it| it.0 == task).count())
        + count(pairs.iter().filter(|it| it.1 == task).count());
    if either > 0.0 { 2.0 * both / either } else { f64::NAN }
}

fn macro_f1(pairs: &[(Task, Task)]) -> f64 {
    let there = |it: &Task| pairs.iter().any(|pair| pair.0 == *it);
    let all: Vec<f64> = Task::ALL.into_iter().filter(there).map(|it| f1(pairs, it)).collect();
    super::mean(&all).unwrap_or(f64::NAN)
}

/// The twenty that most text is in.
pub const TOP: [&str; 20] = [
    "en", "zh", "es", "ar", "hi", "pt", "ru", "ja", "de", "fr", "ko", "it", "tr", "vi", "pl", "nl",
    "id", "sv", "uk", "fa",
];

/// Of sentences in these languages, how many are told, by five folds; the head knows others too,
/// and may err by naming them.
pub fn languages(data: &Data) -> Figure {
    const FOLDS: usize = 5;
    let mut told = Vec::new();
    for at in 0..FOLDS {
        let is_test = |it: &Text| fold(&it.text, FOLDS, 0) == at;
        let head = fit::language_head(data.languages.iter().filter(|it| !is_test(it)));
        let test = data.languages.iter().filter(|it| is_test(it) && it.is_sentence);
        for it in test.filter(|it| TOP.contains(&it.language.as_str())) {
            let found: Language = head.detect(&it.text);
            if std::env::var_os("TURNPIKE_ROUTING_ERRORS").is_some() && found.code() != it.language
            {
                eprintln!("{} told {}: {}", it.language, found.code(), it.text);
            }
            told.push(found.code() == it.language);
        }
    }
    bootstrap(&told, |it| share(it, |it| *it))
}
