//! The page of one request: what happened, step by step, and why.

use std::collections::HashMap;

use actix_web::{Responder, web::Path};
use askama::Template;
use shared::{
    counters::Counted,
    event::{Attempt, Event, Outcome, UsageSource, Weighed},
    failure::Code,
    ids::BudgetId,
    money::Money,
};
use time::OffsetDateTime;

use super::{
    RequestError, find,
    line::{Line, grouped, took},
};
use crate::{
    access::{Doors, Grant, may},
    budgets,
    learning::{self, Verdicts},
    web::{Failure, Frame, Moment, Page, Section},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/requests/{request}", show);
}

#[derive(Template)]
#[template(path = "requests/show.html")]
struct RequestPage {
    frame: Frame,
    line: Line,
    title: String,
    ended: &'static str,
    steps: Vec<Step>,
    candidates: Vec<Candidate>,
    tokens: Vec<(&'static str, String)>,
    bill: Vec<BillLine>,
    counted: Vec<Counting>,
    error: Option<Code>,
    /// What was said of the answer, where there was one.
    verdicts: Option<Verdicts>,
    json: String,
}

impl RequestPage {
    fn event(&self) -> &Event {
        self.line.event()
    }

    /// How many were asked in vain.
    fn failed(&self) -> usize {
        let answered = |it: &&Attempt| it.outcome != "answered";
        self.event().attempts.iter().filter(answered).count()
    }

    /// What people and programs said of the answer, in words.
    fn said(&self) -> String {
        let Some(Verdicts { count, good, own }) = &self.verdicts else { return String::new() };
        let all = match (*count, *good) {
            (0, _) => "Nobody has said yet how good the answer was.".to_owned(),
            (1, 1) => "One said that it was good.".to_owned(),
            (1, _) => "One said that it was bad.".to_owned(),
            (count, good) => format!("{good} of {count} said that it was good."),
        };
        match own {
            None => all,
            Some(own) if *own >= shared::feedback::BEST / 2 => format!("{all} You said good."),
            Some(_) => format!("{all} You said bad."),
        }
    }

    /// Whether it is known what the prompt was like.
    fn is_learned_from(&self) -> bool {
        self.line.request.features.is_some()
    }

    fn usage_said_by(&self) -> &'static str {
        match self.event().usage_source {
            UsageSource::Upstream => "As the provider counted.",
            UsageSource::Estimated => "The most that it may have been: the provider did not say.",
            UsageSource::Interrupted => {
                "The most that it may have been by what came: the answer broke off."
            }
            UsageSource::None => "Nobody said what was used.",
        }
    }
}

/// One thing that happened on a call's way.
struct Step {
    title: String,
    about: String,
    took: String,
}

/// A place that might have answered.
struct Candidate {
    model: String,
    provider: String,
    /// How good, dear and slow it was expected to be, as far as anybody had to know.
    quality: String,
    cost: String,
    time: String,
    /// What it was, of those that were asked in this order, or why it was not.
    verdict: String,
}

impl Candidate {
    fn of((at, it): (usize, &Weighed)) -> Self {
        let percent = |ppm: u32| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10);
        let verdict = match &it.why {
            Some(why) => format!("Not asked: {}", why.replace('_', " ")),
            None if at == 0 => "First".to_owned(),
            None => format!("If those before it fail, number {}", at + 1),
        };
        Self {
            model: it.model.clone(),
            provider: it.provider.clone().unwrap_or_default(),
            quality: it.quality_ppm.map(percent).unwrap_or_default(),
            cost: it.cost.map(|it| it.to_string()).unwrap_or_default(),
            time: it.latency_ms.map(took).unwrap_or_default(),
            verdict: match it.propensity_ppm {
                Some(ppm) => format!("{verdict}; {} likely to be the first", percent(ppm)),
                None => verdict,
            },
        }
    }
}

/// What an attempt cost.
struct BillLine {
    model: String,
    provider: String,
    tokens: String,
    source: &'static str,
    price: String,
    /// To the last pico-dollar.
    cost: String,
}

impl BillLine {
    fn of(line: &shared::event::Line) -> Self {
        let (whole, rest) = (line.cost.picos() / 1_000, line.cost.picos() % 1_000);
        let (read, written) = (line.usage.total_input(), line.usage.total_output());
        Self {
            model: line.model.clone(),
            provider: line.provider.clone(),
            tokens: format!("{} / {}", grouped(read), grouped(written)),
            source: match line.source {
                UsageSource::Upstream => "the provider",
                UsageSource::Estimated => "us: it did not say",
                UsageSource::Interrupted => "us: it broke off",
                UsageSource::None => "nobody",
            },
            price: line.price.map_or_else(|| "none".to_owned(), |it| format!("revision {it}")),
            cost: format!("${}{:03}", Money::from_nanos(whole).exact(), rest.unsigned_abs()),
        }
    }
}

/// What a budget was told of a call.
struct Counting {
    budget: BudgetId,
    name: String,
    /// Nothing where it counts for ever.
    since: Option<Moment>,
    requests: i64,
    tokens: String,
    money: String,
}

impl Counting {
    fn of(counted: &Counted, names: &HashMap<BudgetId, String>, zone: &str) -> Self {
        let at = i128::from(counted.window) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(at).ok();
        Self {
            budget: counted.budget,
            name: names.get(&counted.budget).cloned().unwrap_or_default(),
            since: at.filter(|_| counted.window > 0).map(|it| Moment::new(it, zone)),
            requests: counted.amounts.requests,
            tokens: grouped(counted.amounts.tokens.unsigned_abs()),
            money: format!("${}", Money::from_nanos(counted.amounts.money).exact()),
        }
    }
}

async fn show(
    grant: Grant<may::ViewRequests>,
    path: Path<(String, String)>,
) -> Result<impl Responder, Failure> {
    let id = path.1.parse().map_err(|_| RequestError::NotFound)?;
    let mut work = grant.begin().await?;
    let request = find(&mut work, id).await?;
    let json = serde_json::to_string_pretty(&request).unwrap_or_default();
    let verdicts = match &request.event.served {
        Some(served) => Some(learning::verdicts(&mut work, id, &served.model).await?),
        None => None,
    };
    let counted = &request.event.counted;
    let names = budgets::names_of(&mut work, counted.iter().map(|it| it.budget)).await?;
    let counted = counted.iter().map(|it| Counting::of(it, &names, grant.zone())).collect();
    let line = Line::of(request, grant.zone());
    Ok(Page(RequestPage {
        frame: grant.frame(Section::Requests),
        title: title(line.event()),
        ended: ended(line.event().outcome),
        steps: steps(&line),
        candidates: candidates(line.event()),
        tokens: tokens(line.event()),
        bill: line.event().lines.iter().map(BillLine::of).collect(),
        counted,
        error: error(line.event()),
        verdicts,
        json,
        line,
    }))
}

fn candidates(event: &Event) -> Vec<Candidate> {
    let weighed = event.decision.iter().flat_map(|it| &it.candidates);
    weighed.enumerate().map(Candidate::of).collect()
}

fn title(event: &Event) -> String {
    match (&event.served, event.outcome) {
        (Some(served), Outcome::Success | Outcome::Broken | Outcome::Gone) => {
            format!("Why this request went to {}", served.upstream_model)
        }
        (_, Outcome::Gone) => "The client hung up before anybody answered".to_owned(),
        (_, Outcome::ClientError) => "Why this request was refused".to_owned(),
        (_, Outcome::Success | Outcome::ServerError | Outcome::Broken) => {
            "Why this request was not served".to_owned()
        }
    }
}

const fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "The answer arrived whole.",
        Outcome::ClientError => "The request was refused.",
        Outcome::ServerError => "Nobody could serve it.",
        Outcome::Broken => "The answer broke off, and the client was told so.",
        Outcome::Gone => "The client hung up before the end.",
    }
}

fn steps(line: &Line) -> Vec<Step> {
    let event = line.event();
    let mut steps = vec![Step {
        title: "Key accepted".to_owned(),
        about: format!("“{}”, for {}.", line.key(), event.endpoint),
        took: String::new(),
    }];
    if event.reason.is_some() {
        let reason = event.decision.as_ref().map(|it| it.reason.clone());
        let about = reason.unwrap_or_else(|| format!("{}.", line.why()));
        steps.push(Step { title: "Routed".to_owned(), about, took: String::new() });
    }
    steps.extend(event.attempts.iter().map(|it| {
        let status = it.status.map(|it| format!(" with {it}")).unwrap_or_default();
        let how = match &*it.outcome {
            "answered" => format!("Answered{status}."),
            "outrun" => "Another that was asked as well began sooner.".to_owned(),
            other => format!("Failed{status}: {}.", other.replace('_', " ")),
        };
        let title = format!("Asked {} for {}", it.provider, it.model);
        Step { title, about: how, took: took(it.took_ms) }
    }));
    if let Some(after) = line.first_byte() {
        let about = format!("The first byte went out after {after}.");
        steps.push(Step { title: "Answer began".to_owned(), about, took: String::new() });
    }
    let about = ended(event.outcome).to_owned();
    steps.push(Step { title: event.outcome.title().to_owned(), about, took: line.total() });
    steps
}

/// The classes that most calls have, and of the others those that occur.
fn tokens(event: &Event) -> Vec<(&'static str, String)> {
    let usage = event.usage;
    let usual = [
        ("Input", usage.input),
        ("Cached input", usage.cached_input),
        ("Written to a cache", usage.cache_write),
        ("Output", usage.output),
        ("Reasoning", usage.reasoning),
    ];
    let rare = [
        ("Written to a cache for an hour", usage.cache_write_1h),
        ("Audio input", usage.audio_input),
        ("Cached audio input", usage.cached_audio_input),
        ("Audio output", usage.audio_output),
        ("Image output", usage.image_output_tokens),
    ];
    let pieces = [("Images", usage.image_output), ("Searches", usage.searches)];
    let occurs = |it: &(&str, u64)| it.1 > 0;
    let total = [("Total", usage.total())];
    let tokens = usual.into_iter().chain(rare.into_iter().filter(occurs)).chain(total);
    let all = tokens.chain(pieces.into_iter().filter(occurs));
    all.map(|(class, count)| (class, grouped(count))).collect()
}

fn error(event: &Event) -> Option<Code> {
    let name = event.error.as_deref()?;
    Code::ALL.iter().find(|it| it.name == name).copied()
}
