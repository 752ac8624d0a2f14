//! Prompts of the sets as one tenant's traffic, and what the learner makes of its labels.

use std::sync::Arc;

use super::{
    curves::{Many, Pair},
    fold,
};
use crate::{
    features::Features,
    heads::Ridge,
    quality::Expected,
    router::Router,
    task::Task,
    tenant::{Label, MOST_LABELS, Tenant, Terms},
    train::{Draws, data::Outcomes, fit},
    weights::digest,
};

/// A prompt of a workload, with what each of its models is expected to make of it, and made.
#[derive(Clone, Debug)]
pub struct Case {
    pub text: Arc<str>,
    pub features: Arc<Features>,
    pub task: Task,
    pub expected: Vec<Expected>,
    pub right: Vec<f32>,
    pub cost: Vec<f64>,
}

/// Prompts of which all of `models` answers are known.
pub fn cases(router: &Router, set: &Outcomes, models: &[usize]) -> Vec<Case> {
    let output = set.answer_chars.map_or(300.0, |it| it / 4.0);
    let mut cases = Vec::new();
    for prompt in &set.prompts {
        let right: Option<Vec<f32>> = models.iter().map(|it| prompt.right[*it]).collect();
        let Some(right) = right else { continue };
        let judged = router.judge(&fit::turn(&prompt.text));
        let price = |at: &usize| fit::price_of(&set.models[*at]);
        let expected = |at: &usize| {
            let millionths = price(at).map(|it| whole(it * 1e6));
            let standing = router.standing(&set.models[*at], millionths);
            router.expected(&judged.features, judged.task, &standing)
        };
        // Input is a quarter of what output costs with most vendors; the open models' prices are
        // one for both, which is to their disadvantage here.
        let input = f64::from(u32::try_from(prompt.text.len()).unwrap_or(u32::MAX)) / 4.0;
        let cost = |at: &usize| price(at).unwrap_or(1.0) * (input / 4.0 + output);
        cases.push(Case {
            text: prompt.text.as_str().into(),
            task: judged.task,
            expected: models.iter().map(expected).collect(),
            right,
            cost: models.iter().map(cost).collect(),
            features: Arc::new(judged.features),
        });
    }
    cases
}

/// A list price.
fn whole(it: f64) -> u64 {
    it as u64
}

/// The strong and the weak model of a set.
pub fn pair_cases(router: &Router, set: &Outcomes) -> Vec<Case> {
    cases(router, set, &[set.strong, set.weak])
}

/// Of each set its two models; of the largest as many prompts as of the second-largest.
pub fn mixed(router: &Router, sets: &[Outcomes]) -> Vec<Case> {
    let mut all = Vec::new();
    for set in sets {
        let mut cases = pair_cases(router, set);
        Draws::new(11).shuffle(&mut cases);
        cases.truncate(1_510);
        all.append(&mut cases);
    }
    all
}

/// What is tried where settings are chosen.
pub fn grid() -> Vec<Terms> {
    let usual = Terms::default();
    let mut all = Vec::new();
    for grams in [1.0, 2.0] {
        for strength in [0.03, 0.1, 0.3] {
            for easy in [0.03, 0.1] {
                for half in [300.0, 1_500.0] {
                    let ridge = Ridge { strength, grams, ..usual.ridge };
                    let ease = Ridge { strength: easy, grams, ..usual.ease };
                    all.push(Terms { ridge, ease, half, ..usual });
                }
            }
        }
    }
    all
}

/// What to expect of each model for `test`, from all models' labels of `train`.
pub fn predict(train: &[&Case], test: &[&Case], terms: Terms) -> Vec<Vec<f64>> {
    let tenant = learn(train, terms);
    test.iter().map(|it| predicted(&tenant, it)).collect()
}

pub fn learn(train: &[&Case], terms: Terms) -> Tenant {
    let mut tenant = Tenant::new(terms);
    for case in train {
        for (at, (&score, expected)) in case.right.iter().zip(&case.expected).enumerate() {
            tenant.learn(Label {
                features: case.features.clone(),
                task: case.task,
                model: at.to_string(),
                expected: expected.quality,
                score,
            });
        }
    }
    tenant.refit();
    tenant
}

fn predicted(tenant: &Tenant, case: &Case) -> Vec<f64> {
    let of = |(at, expected): (usize, &Expected)| {
        tenant.learned().quality(&case.features, case.task, &at.to_string(), *expected)
    };
    case.expected.iter().enumerate().map(of).map(f64::from).collect()
}

pub fn pair(case: &Case, predicted: &[f64]) -> Pair {
    Pair {
        strong: f64::from(case.right[0]),
        weak: f64::from(case.right[1]),
        gain: predicted[0] - predicted[1],
        tie: digest(case.text.as_bytes()),
    }
}

pub fn many(case: &Case, predicted: &[f64]) -> Many {
    Many {
        expected: predicted.to_vec(),
        right: case.right.iter().map(|it| f64::from(*it)).collect(),
        cost: case.cost.clone(),
    }
}

/// The settings whose predictions on folds of `train` itself are least far from what came, squared:
/// which says more of so few prompts than in what order they are, or what choices cost.
pub fn choose(train: &[&Case], round: u64) -> Terms {
    const FOLDS: usize = 3;
    let far = |terms: Terms| -> f64 {
        let of_fold = |at: usize| {
            let (test, rest): (Vec<&Case>, Vec<&Case>) =
                train.iter().partition(|it| fold(&it.text, FOLDS, 1_000 + round) == at);
            let told = predict(&rest, &test, terms);
            test.iter().zip(told).map(|(case, it)| squares(case, &it)).sum::<f64>()
        };
        (0..FOLDS).map(of_fold).sum()
    };
    let scored = grid().into_iter().map(|it| (far(it), it));
    let best = scored.min_by(|one, other| one.0.total_cmp(&other.0));
    best.map_or_else(Terms::default, |it| it.1)
}

fn squares(case: &Case, predicted: &[f64]) -> f64 {
    case.right.iter().zip(predicted).map(|(right, it)| (f64::from(*right) - it).powi(2)).sum()
}

/// Every case once, as predicted by what was learned from the other folds, or from as many of
/// their cases as a tenant's labels have room for: on the terms that are given, or that do best
/// among those.
pub fn out_of_fold(cases: &[Case], terms: Option<Terms>, round: u64) -> Vec<(&Case, Vec<f64>)> {
    const FOLDS: usize = 5;
    let mut all = Vec::new();
    for at in 0..FOLDS {
        let (test, mut train): (Vec<&Case>, Vec<&Case>) =
            cases.iter().partition(|it| fold(&it.text, FOLDS, round) == at);
        let models = train.first().map_or(1, |it| it.right.len());
        train.truncate(MOST_LABELS / models.max(1));
        let terms = terms.unwrap_or_else(|| choose(&train, round));
        note(&terms);
        let predicted = predict(&train, &test, terms);
        all.extend(test.into_iter().zip(predicted));
    }
    all
}

/// Labels of `labelled` prompts that are drawn, and the rest predicted: on the terms that are
/// given, or that do best among those labels.
pub fn few_labels(
    cases: &[Case],
    labelled: usize,
    terms: Option<Terms>,
    round: u64,
) -> Vec<(&Case, Vec<f64>)> {
    let mut drawn: Vec<&Case> = cases.iter().collect();
    Draws::new(round + 1).shuffle(&mut drawn);
    let (train, test) = drawn.split_at(labelled.min(drawn.len()));
    let terms = terms.unwrap_or_else(|| choose(train, round));
    note(&terms);
    let predicted = predict(train, test, terms);
    test.iter().copied().zip(predicted).collect()
}

fn note(terms: &Terms) {
    if std::env::var_os("TURNPIKE_ROUTING_TERMS").is_some() {
        let Ridge { strength, grams, .. } = terms.ridge;
        let (ease, half) = (terms.ease.strength, terms.half);
        eprintln!("  chosen: strength {strength} ease {ease} grams {grams} half {half}");
    }
}
