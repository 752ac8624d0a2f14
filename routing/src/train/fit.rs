//! From data to a router, in the same steps each time.

use std::collections::BTreeMap;

use super::{
    common_words::COMMON,
    data::{Data, Labelled, OURS, Outcomes, Text},
    evaluate::mean,
};
use crate::{
    features::{Extractor, Features, Turn},
    heads::{Example, Heads, Learned, Ridge},
    language::{self, BUCKETS, HEADED, Language, LanguageHead},
    quality::{Known, Prior, family},
    router::{ByLength, Router},
    task::{TASKS, Task},
};

/// List prices, in dollars for a million tokens of output, when the data was made (2024): what
/// vendors published for their own models, and Together for open ones.
const PRICES: [(&str, f64); 27] = [
    ("gpt-4o", 10.0),
    ("gpt-4o-mini", 0.6),
    ("gpt-4-turbo", 30.0),
    ("gpt-4", 60.0),
    ("gpt-3-5-turbo", 1.5),
    ("o1-mini", 12.0),
    ("o1", 60.0),
    ("claude-3-opus", 75.0),
    ("claude-3-5-sonnet", 15.0),
    ("claude-3-sonnet", 15.0),
    ("claude-3-haiku", 1.25),
    ("claude-3-5-haiku", 4.0),
    ("gemini-1-5-pro", 5.0),
    ("gemini-1-5-flash", 0.3),
    ("mistral-large", 6.0),
    ("deepseek-v2-5", 0.28),
    ("grok-2", 10.0),
    ("llama-3-1-405b", 3.5),
    ("llama-3-1-70b", 0.88),
    ("llama-3-1-8b", 0.18),
    ("mixtral-8x7b", 0.6),
    ("qwen2-5-72b", 1.2),
    ("qwen2-5-7b", 0.3),
    ("gemma-2-27b", 0.8),
    ("gemma-2-9b", 0.3),
    ("mistral-7b", 0.2),
    ("phi-3-mini-4k", 0.52),
];

pub fn price_of(model: &str) -> Option<f64> {
    let family = family(model);
    PRICES.iter().find(|it| it.0 == family).map(|it| it.1)
}

/// Of a prompt that we wrote: so many of those that were collected.
const OURS_COUNT: f64 = 2.0;

pub const TASK_RIDGE: Ridge = Ridge { strength: 0.3, grams: 1.5, passes: 25 };
pub const EASE_RIDGE: Ridge = Ridge { strength: 0.01, grams: 1.0, passes: 25 };

pub fn turn(text: &str) -> Turn<'_> {
    Turn { text, ..Turn::default() }
}

pub fn train(data: &Data) -> Router {
    let language = language_head(data.languages.iter());
    let extractor = Extractor::new(language);
    let labelled: Vec<_> = data.tasks.iter().chain(&data.tasks_dev).collect();
    let looked: Vec<_> = labelled.iter().map(|it| extractor.look(&turn(&it.prompt))).collect();
    let tasks = task_heads(&labelled.iter().copied().zip(&looked).collect::<Vec<_>>(), TASK_RIDGE);
    let nothing = Heads::of(&[Learned::from(&[], EASE_RIDGE)]);
    let mut router = Router {
        extractor,
        tasks,
        ease: nothing,
        prior: Prior::default(),
        by_length: ByLength::default(),
        output: [None; TASKS],
        version: "in training".to_owned(),
    };
    learn_outcomes(&mut router, &data.outcomes);
    router
}

/// All that is learned of which models answer what well.
pub fn learn_outcomes(router: &mut Router, sets: &[Outcomes]) {
    let looked: Vec<Vec<_>> = sets
        .iter()
        .map(|set| set.prompts.iter().map(|it| router.judge(&turn(&it.text))).collect())
        .collect();
    let judged: Vec<Vec<(Task, &Features)>> =
        looked.iter().map(|set| set.iter().map(|it| (it.task, &it.features)).collect()).collect();
    router.prior = prior(sets, &judged);
    router.ease = ease_head(sets, &judged, &router.prior, EASE_RIDGE);
    router.by_length = by_length(sets, &judged);
    router.output = [None; TASKS];
    for task in Task::ALL {
        router.output[task.index()] = output(sets, &judged, task);
    }
}

/// By how often a mark is seen in each language, smoothed; what is common to all says nothing.
pub fn language_head<'a>(texts: impl Iterator<Item = &'a Text>) -> LanguageHead {
    const SMOOTHING: f64 = 0.3;
    let mut counts = vec![[0.0_f64; HEADED]; BUCKETS];
    let mut count = |text: &str, code: &str, by: f64| {
        let Some(lane) = Language::from_code(code).and_then(Language::lane) else { return };
        language::marks(text, |bucket| counts[bucket][lane] += by);
    };
    for (code, words) in COMMON {
        let words: Vec<_> = words.split(' ').collect();
        words.chunks(30).for_each(|it| count(&it.join(" "), code, 3.0));
    }
    for it in texts {
        count(&it.text, &it.language, 1.0);
    }
    let mut totals = [0.0_f64; HEADED];
    for row in &counts {
        totals.iter_mut().zip(row).for_each(|(total, it)| *total += it);
    }
    let buckets = f64::from(u32::try_from(BUCKETS).unwrap_or(u32::MAX));
    let mut rows = Vec::with_capacity(BUCKETS * HEADED);
    for row in &counts {
        let logs: Vec<f64> = row
            .iter()
            .zip(totals)
            .map(|(it, total)| ((it + SMOOTHING) / (total + SMOOTHING * buckets)).ln())
            .collect();
        let middle = logs.iter().sum::<f64>() / f64::from(u8::try_from(HEADED).unwrap_or(u8::MAX));
        rows.extend(logs.iter().map(|it| byte((it - middle) * 16.0)));
    }
    LanguageHead::new(rows).expect("a row for each bucket")
}

/// Rounded and held within bounds before.
fn byte(it: f64) -> i8 {
    it.round().clamp(-127.0, 127.0) as i8
}

/// Scores need few digits.
pub const fn narrow(it: f64) -> f32 {
    it as f32
}

/// So much of rare tasks' rows is evened out: 0 nothing, 1 all.
const EVENED: f64 = 0.6;

pub fn task_heads(rows: &[(&Labelled, &Features)], by: Ridge) -> Heads {
    let mut counts = [0.0_f64; TASKS];
    rows.iter().for_each(|(it, _)| counts[it.task.index()] += 1.0);
    let most = counts.iter().copied().fold(1.0, f64::max);
    let learned: Vec<_> = Task::ALL
        .into_iter()
        .map(|task| {
            let examples: Vec<_> = rows
                .iter()
                .map(|(it, features)| Example {
                    features,
                    target: if it.task == task { 1.0 } else { 0.0 },
                    weight: (most / counts[it.task.index()]).powf(EVENED)
                        * if it.source == OURS { OURS_COUNT } else { 1.0 },
                })
                .collect();
            Learned::from(&examples, by)
        })
        .collect();
    Heads::of(&learned)
}

/// How good models are by task. Each set of outcomes has its own difficulty and its own models,
/// so what is fitted is a model's strength and a set's ease, in log odds; a model's quality is
/// what it would be on an average set of the task.
fn prior(sets: &[Outcomes], judged: &[Vec<(Task, &Features)>]) -> Prior {
    let mut models: BTreeMap<String, Known> = BTreeMap::new();
    for task in Task::ALL {
        let mut cells: Vec<(String, usize, f64, f64)> = Vec::new();
        for (at, (set, judged)) in sets.iter().zip(judged).enumerate() {
            for (lane, model) in set.models.iter().enumerate() {
                let (mut good, mut seen) = (0.0, 0.0);
                for (prompt, _) in set.prompts.iter().zip(judged).filter(|(_, it)| it.0 == task) {
                    if let Some(right) = prompt.right[lane] {
                        good += f64::from(right);
                        seen += 1.0;
                    }
                }
                if seen >= 20.0 {
                    let odds = ((good + 1.0) / (seen - good + 1.0)).ln();
                    cells.push((family(model), at, odds, seen));
                }
            }
        }
        for (model, (strength, seen)) in strengths(&cells, sets.len()) {
            let known = models.entry(model).or_insert(Known { quality: [None; TASKS], seen: 0 });
            let quality = 1.0 / (1.0 + (-strength).exp());
            known.quality[task.index()] = Some(narrow((quality * 1_000.0).round() / 1_000.0));
            known.seen += whole(seen);
        }
    }
    let by_price = by_price(&models);
    Prior { models, by_price }
}

fn strengths(cells: &[(String, usize, f64, f64)], sets: usize) -> BTreeMap<String, (f64, f64)> {
    let mut ease = vec![0.0; sets];
    let mut strength: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for _ in 0..30 {
        let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for (model, set, odds, seen) in cells {
            let sum = sums.entry(model.clone()).or_default();
            sum.0 += seen * (odds - ease[*set]);
            sum.1 += seen;
        }
        strength = sums.into_iter().map(|(it, (sum, seen))| (it, (sum / seen, seen))).collect();
        let mut sums = vec![(0.0, 0.0); sets];
        for (model, set, odds, seen) in cells {
            sums[*set].0 += seen * (odds - strength[model].0);
            sums[*set].1 += seen;
        }
        ease = sums.iter().map(|(sum, seen)| if *seen > 0.0 { sum / seen } else { 0.0 }).collect();
        // What all have in common is the models'.
        let seen: f64 = sums.iter().map(|it| it.1).sum();
        let middle =
            ease.iter().zip(&sums).map(|(it, sum)| it * sum.1).sum::<f64>() / seen.max(1.0);
        ease.iter_mut().for_each(|it| *it -= middle);
    }
    strength
}

/// The line through quality over the logarithm of price, of the models whose price is known.
fn by_price(models: &BTreeMap<String, Known>) -> [f32; 2] {
    let mut points = Vec::new();
    for (name, known) in models {
        let Some(price) = price_of(name) else { continue };
        points.extend(known.quality.iter().flatten().map(|it| (price.log10(), f64::from(*it))));
    }
    if points.is_empty() {
        return [0.5, 0.0];
    }
    let count = f64::from(whole_of(points.len()));
    let middle = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (middle(|it| it.0), middle(|it| it.1));
    let across: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
    let along: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    let rises = if along > 0.0 { across / along } else { 0.0 };
    [y - rises * x, rises].map(narrow)
}

/// How much oftener models fail at long prompts: within each set by itself, for sets of long prompts
/// are harder or easier for other reasons; and of all sets the middle one, for they differ much.
fn by_length(sets: &[Outcomes], judged: &[Vec<(Task, &Features)>]) -> ByLength {
    let (mut middles, mut slopes) = (Vec::new(), Vec::new());
    for (set, judged) in sets.iter().zip(judged) {
        let rates = set.rates();
        let lengths: Vec<f64> = judged.iter().map(|it| f64::from(it.1.length())).collect();
        let (Some(middle), Some(rate)) = (mean(&lengths), mean(&rates)) else { continue };
        let (mut across, mut along) = (0.0, 0.0);
        for (prompt, length) in set.prompts.iter().zip(&lengths) {
            let less = |(right, rate): (&Option<f32>, &f64)| right.map(|it| rate - f64::from(it));
            let less: Vec<f64> = prompt.right.iter().zip(&rates).filter_map(less).collect();
            across += (length - middle) * mean(&less).unwrap_or(0.0);
            along += (length - middle).powi(2);
        }
        middles.push(middle);
        if along > 0.0 && rate < 1.0 {
            slopes.push(across / along / (1.0 - rate));
        }
    }
    slopes.sort_by(f64::total_cmp);
    let inner = slopes.len().saturating_sub(1) / 2..slopes.len() / 2 + 1;
    let rises = slopes.get(inner).and_then(mean).unwrap_or(0.0);
    let kept = |it: f64| narrow((it * 1_000.0).round() / 1_000.0);
    ByLength { middle: kept(mean(&middles).unwrap_or(0.0)), rises: kept(rises) }
}

/// How much more of all models answer a prompt well than usually do prompts of its task.
pub fn ease_head(
    sets: &[Outcomes],
    judged: &[Vec<(Task, &Features)>],
    prior: &Prior,
    by: Ridge,
) -> Heads {
    let mut rows = Vec::new();
    for (set, judged) in sets.iter().zip(judged) {
        // Sets count alike, however many prompts they have.
        let weight = 1_000.0 / f64::from(whole_of(set.prompts.len()));
        for (prompt, (task, features)) in set.prompts.iter().zip(judged) {
            let more = |(model, right): (&String, &Option<f32>)| {
                let usual = prior.expected(model, *task, None).quality;
                right.map(|it| f64::from(it - usual))
            };
            let known: Vec<f64> = set.models.iter().zip(&prompt.right).filter_map(more).collect();
            if let Some(target) = mean(&known) {
                rows.push(Example { features, target, weight });
            }
        }
    }
    Heads::of(&[Learned::from(&rows, by)])
}

/// A token for four characters, of answers of sets most of whose prompts are of the task.
fn output(sets: &[Outcomes], judged: &[Vec<(Task, &Features)>], task: Task) -> Option<u32> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (set, judged) in sets.iter().zip(judged) {
        let of_task = f64::from(whole_of(judged.iter().filter(|it| it.0 == task).count()));
        let is_most = of_task * 2.0 > f64::from(whole_of(judged.len()));
        if let Some(chars) = set.answer_chars.filter(|_| is_most) {
            sum += chars / 4.0 * of_task;
            count += of_task;
        }
    }
    (count > 0.0).then(|| whole(sum / count))
}

fn whole_of(it: usize) -> u32 {
    u32::try_from(it).unwrap_or(u32::MAX)
}

/// A count.
fn whole(it: f64) -> u32 {
    it.round().max(0.0) as u32
}
