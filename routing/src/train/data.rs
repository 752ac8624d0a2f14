//! The data sets, as they are in the directory.

use std::{fs, path::Path};

use serde_json::Value;

use super::{csv, exemplars::EXEMPLARS};
use crate::{task::Task, weights::digest};

/// The source of what we wrote.
pub const OURS: &str = "ours";

/// What is trained on and measured by.
#[derive(Clone, Debug)]
pub struct Data {
    pub languages: Vec<Text>,
    pub tasks: Vec<Labelled>,
    /// Kept apart, of other sources than `tasks`.
    pub tasks_dev: Vec<Labelled>,
    pub outcomes: Vec<Outcomes>,
    /// A line for each file: its name, rows, and digest.
    pub sources: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Text {
    pub text: String,
    pub language: String,
    pub is_sentence: bool,
}

#[derive(Clone, Debug)]
pub struct Labelled {
    pub prompt: String,
    pub task: Task,
    pub source: String,
}

#[derive(Clone, Debug)]
pub struct Prompt {
    pub text: String,
    /// Of each model: from 0 to 1, or nobody knows.
    pub right: Vec<Option<f32>>,
}

/// Which models answered which prompts well.
#[derive(Clone, Debug)]
pub struct Outcomes {
    pub name: &'static str,
    pub models: Vec<String>,
    pub prompts: Vec<Prompt>,
    /// How long answers were on average, in characters, where it says.
    pub answer_chars: Option<f64>,
    /// Of which models `strong` and `weak` are in comparisons of two.
    pub strong: usize,
    pub weak: usize,
}

/// The file, what it is called, and which two models are compared.
const OUTCOMES: [(&str, &str, &str, &str); 5] = [
    ("routing_gold_mmlu1500.csv", "mmlu", "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    ("routing_gold_gsm8k300.csv", "gsm8k", "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    ("mmlu_pro_dev.csv", "mmlu-pro", "gemini-1.5-pro-002", "Mixtral-8x7B-Instruct-v0.1"),
    ("zeroeval_crux.csv", "crux", "gpt-4-turbo-2024-04-09", "Mixtral-8x7B-Instruct-v0.1"),
    ("zeroeval_math-l5.csv", "math-l5", "gpt-4-turbo-2024-04-09", "gpt-3.5-turbo-0125"),
];

impl Data {
    pub fn load(directory: &Path) -> Result<Self, String> {
        let mut sources = Vec::new();
        let mut read = |file: &str| {
            let text =
                fs::read_to_string(directory.join(file)).map_err(|it| format!("{file}: {it}"))?;
            sources.push(format!("{file} {} bytes {:016x}", text.len(), digest(text.as_bytes())));
            Ok::<_, String>(text)
        };
        let languages = json_lines(&read("langdetect_dev.jsonl")?, |it| {
            Some(Text {
                text: it["text"].as_str()?.to_owned(),
                language: it["lang"].as_str()?.to_owned(),
                is_sentence: it["kind"] == "sentence",
            })
        });
        let labelled = |it: &Value| {
            Some(Labelled {
                prompt: it["prompt"].as_str()?.to_owned(),
                task: Task::named(it["label"].as_str()?)?,
                source: it["source"].as_str()?.to_owned(),
            })
        };
        let mut tasks = json_lines(&read("tasktype_train_permissive.jsonl")?, labelled);
        for (task, prompts) in EXEMPLARS {
            tasks.extend(prompts.iter().map(|it| Labelled {
                prompt: (*it).into(),
                task: *task,
                source: OURS.into(),
            }));
        }
        let tasks_dev = json_lines(&read("tasktype_dev_permissive.jsonl")?, labelled);
        let mut outcomes = Vec::new();
        for (file, name, strong, weak) in OUTCOMES {
            let it = Outcomes::parse(name, &read(file)?, strong, weak);
            outcomes.push(it.ok_or_else(|| format!("{file}: its columns are not understood"))?);
        }
        Ok(Self { languages, tasks, tasks_dev, outcomes, sources })
    }

    /// Without one of the sets of outcomes.
    pub fn without(&self, name: &str) -> Self {
        let mut data = self.clone();
        data.outcomes.retain(|it| it.name != name);
        data
    }

    pub fn set(&self, name: &str) -> Option<&Outcomes> {
        self.outcomes.iter().find(|it| it.name == name)
    }
}

fn json_lines<T>(text: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    text.lines().filter_map(|it| read(&serde_json::from_str(it).ok()?)).collect()
}

impl Outcomes {
    pub fn parse(name: &'static str, text: &str, strong: &str, weak: &str) -> Option<Self> {
        const NO_MODELS: [&str; 7] =
            ["id", "prompt", "domain", "category", "src", "task", "contaminated"];
        let rows = csv::rows(text);
        let (names, rows) = rows.split_first()?;
        let prompt = names.iter().position(|it| it == "prompt")?;
        let is_length = |it: &str| it.ends_with("_resp_chars") || it.ends_with("|out_chars");
        let is_model = |it: &str| !NO_MODELS.contains(&it) && !is_length(it);
        let columns: Vec<usize> =
            (0..names.len()).filter(|at| names.get(*at).is_some_and(|it| is_model(it))).collect();
        let models: Vec<String> = columns.iter().filter_map(|at| names.get(*at).cloned()).collect();
        let lengths: Vec<f64> = (0..names.len())
            .filter(|at| names.get(*at).is_some_and(|it| is_length(it)))
            .flat_map(|at| rows.iter().filter_map(move |it| it.get(at)?.parse::<f64>().ok()))
            .collect();
        let prompts = rows
            .iter()
            .filter(|it| it.len() == names.len())
            .filter_map(|row| {
                let right = |at: &usize| row.get(*at).and_then(|it| it.parse().ok());
                Some(Prompt {
                    text: row.get(prompt)?.clone(),
                    right: columns.iter().map(right).collect(),
                })
            })
            .collect();
        let place = |model: &str| models.iter().position(|it| it == model);
        let (strong, weak) = (place(strong)?, place(weak)?);
        let answer_chars = super::evaluate::mean(&lengths);
        Some(Self { name, models, prompts, answer_chars, strong, weak })
    }

    /// How often each model is right, of what is known.
    pub fn rates(&self) -> Vec<f64> {
        let rate = |at: usize| {
            let known: Vec<f64> = self
                .prompts
                .iter()
                .filter_map(|it| it.right.get(at).copied().flatten().map(f64::from))
                .collect();
            super::evaluate::mean(&known).unwrap_or(0.0)
        };
        (0..self.models.len()).map(rate).collect()
    }
}
