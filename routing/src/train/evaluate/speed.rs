//! How long a decision takes, on this machine, now.

use std::{hint::black_box, time::Instant};

use crate::{
    choice::{Goal, Offer, solve},
    features::Turn,
    router::Router,
    words::boundary,
};

/// In microseconds: the middle and the 99th of 100 of many decisions.
pub struct Speed {
    pub middle: f64,
    pub p99: f64,
}

/// Features, task, language, what to expect of 20 models, and their order, for prompts cut or
/// repeated to `bytes`.
pub fn decisions(router: &Router, texts: &[&str], bytes: usize) -> Speed {
    let texts: Vec<String> = texts.iter().map(|it| fill(it, bytes)).collect();
    let names = router.prior().models.keys().take(20).zip(1_u32..);
    // Once for a model and not for a prompt, as a proxy does it.
    let standings: Vec<_> = names
        .map(|(model, at)| (router.standing(model, Some(u64::from(at) * 1_000_000)), at))
        .collect();
    let mut took = Vec::new();
    for round in 0..6 {
        for text in &texts {
            let began = Instant::now();
            let judged = router.judge(&Turn { text, ..Turn::default() });
            let offers: Vec<Offer> = standings
                .iter()
                .map(|(standing, at)| {
                    let quality = router.quality(&judged, "", standing, None);
                    Offer { quality, cost: u64::from(*at) * 1_000, latency_ms: 0 }
                })
                .collect();
            let order = solve([&offers[..]].into_iter(), Goal::Quality(0.95)).order(&offers);
            black_box(order);
            if round > 0 {
                took.push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    quantiles(took)
}

/// The features with task, language and ease alone.
pub fn judging(router: &Router, texts: &[&str], bytes: usize) -> Speed {
    let texts: Vec<String> = texts.iter().map(|it| fill(it, bytes)).collect();
    let mut took = Vec::new();
    for round in 0..6 {
        for text in &texts {
            let began = Instant::now();
            black_box(router.judge(&Turn { text, ..Turn::default() }));
            if round > 0 {
                took.push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    quantiles(took)
}

fn fill(text: &str, bytes: usize) -> String {
    let mut filled = String::new();
    while filled.len() < bytes && !text.is_empty() {
        filled.push_str(text);
        filled.push(' ');
    }
    filled.truncate(boundary(&filled, bytes));
    filled
}

fn quantiles(mut took: Vec<f64>) -> Speed {
    took.sort_by(f64::total_cmp);
    let at = |of: usize| took.get(took.len() * of / 100).copied().unwrap_or(f64::NAN);
    Speed { middle: at(50), p99: at(99) }
}
