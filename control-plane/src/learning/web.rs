//! The page of what was learned, and what people say of answers.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{feedback::BEST, money::Money, snapshot::Goal};

use super::{
    Exploring, Lesson, Sources, Spending, State, judge, lessons,
    savings::{self, Counts, Interval, Savings, USUAL_DAYS, take_no_time},
    set_exploring, sources, state, switch,
};
use crate::{
    access::{Doors, Grant, Permission, may},
    requests::{self, RequestError},
    upstreams,
    web::{
        Failure, Form, Frame, Moment, Page, Problems, Search, Section, or_problems,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/learning", show);
    doors.post("/orgs/{org}/learning", change);
    doors.post("/orgs/{org}/learning/exploration", explore);
    doors.post("/orgs/{org}/requests/{request}/feedback", say);
}

#[derive(Template)]
#[template(path = "learning/show.html")]
struct LearningPage {
    frame: Frame,
    state: State,
    learned: Option<Moment>,
    lines: Vec<Line>,
    spending: Vec<SpendingLine>,
    sources: Sources,
    may_change: bool,
    /// A call that says something.
    example: String,
    /// What routing saves, for whom that is to see.
    savings: Option<Savings>,
    /// Whether that takes a while, and nobody asked for it yet.
    savings_wait: bool,
    spans: [u16; 3],
    form: ExplorationForm,
    /// What savings may be compared with.
    baselines: Vec<(String, String)>,
    problems: Problems,
}

/// How far back one may look, in days.
const SPANS: [u16; 3] = [7, 14, USUAL_DAYS];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Look {
    days: Option<u16>,
}

/// What is typed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExplorationForm {
    per_mille: String,
    baseline: String,
}

impl ExplorationForm {
    fn of(it: Exploring) -> Self {
        let baseline = it.baseline.unwrap_or_default();
        Self { per_mille: it.per_mille.to_string(), baseline }
    }

    fn exploring(&self) -> Result<Exploring, Problems> {
        let wrong = "a whole number from 0 to 100: of a thousand calls";
        let per_mille = self.per_mille.trim().parse();
        let per_mille = per_mille.map_err(|_| Problems::one("per_mille", wrong))?;
        let baseline = Some(self.baseline.clone()).filter(|it| !it.is_empty());
        Ok(Exploring { per_mille, baseline })
    }
}

impl LearningPage {
    /// What savings are compared with.
    fn baseline(&self) -> &str {
        let of = self.savings.as_ref().and_then(|it| it.baseline.as_ref());
        of.map_or("", |it| it.model.as_str())
    }

    /// What is saved of what the baseline costs, and between what that lies.
    fn saved(&self) -> Option<(String, String)> {
        let it = self.savings.as_ref()?.cost.result.as_ref()?;
        Some((percent_of(it.saved.estimate), between(&it.saved)))
    }

    /// Why nothing is said.
    fn too_few(&self, it: &Counts) -> String {
        let Counts { led, drawn, needed } = it;
        match drawn < needed {
            true => format!("Not enough calls to say: {drawn} of {needed} drawn to it"),
            false if led < needed => format!("Not enough calls to say: {led} of {needed} led"),
            false => "Nothing to compare with: it costs nothing".to_owned(),
        }
    }

    fn share(&self, of: &f64) -> String {
        percent_of(*of)
    }

    /// The same by prices alone.
    fn saved_by_price(&self) -> Option<String> {
        Some(percent_of(self.savings.as_ref()?.by_price.saved()?))
    }

    /// By how much better answers are, in points of a hundred.
    fn better(&self) -> Option<(String, String)> {
        let it = self.savings.as_ref()?.quality.result.as_ref()?;
        Some((points(it.difference.estimate), {
            let (low, high) = (points(it.difference.low), points(it.difference.high));
            format!("{low} to {high}")
        }))
    }
}

fn between(it: &Interval) -> String {
    format!("{} to {}", percent_of(it.low), percent_of(it.high))
}

/// `41.2 %`, `−3.0 %`.
fn percent_of(share: f64) -> String {
    signed(share, "") + " %"
}

/// `+1.2`, `−3.0`.
fn points(share: f64) -> String {
    signed(share, "+")
}

fn signed(share: f64, plus: &str) -> String {
    let hundredths = share * 100.0;
    let sign = if hundredths <= -0.05 { "−" } else { plus };
    format!("{sign}{:.1}", hundredths.abs())
}

/// One model's answers to one kind of prompt.
struct Line {
    model: String,
    task: String,
    outcomes: u32,
    said: String,
    expected: String,
    now: String,
}

impl Line {
    fn of(it: Lesson) -> Self {
        Self {
            task: it.task.replace('_', " "),
            model: it.model,
            outcomes: it.outcomes,
            said: percent(it.said),
            expected: percent(it.expected),
            now: percent(it.now),
        }
    }
}

/// What a policy spends a dollar for.
struct SpendingLine {
    policy: String,
    goal: String,
    /// What likelier a good answer, by one in a hundred, may cost.
    point: String,
    calls: String,
}

impl SpendingLine {
    fn of(it: &Spending) -> Self {
        let price = it.price_of_a_point();
        Self {
            policy: it.name().to_owned(),
            goal: match it.goal() {
                Goal::QualityPercent(it) => format!("Answers {it} % as good as the best"),
                Goal::CostPercent(it) => format!("{it} % of what the dearest costs"),
                Goal::MostMicroDollars(_) => "What a call may cost".to_owned(),
            },
            point: match price {
                None => "any price".to_owned(),
                Some(Money::ZERO) => "nothing: the cheapest will do".to_owned(),
                Some(price) => price.to_string(),
            },
            calls: requests::grouped(it.calls().into()),
        }
    }
}

fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    look: Search<Look>,
) -> Result<Page<LearningPage>, Failure> {
    Ok(Page(page(&grant, look.days, None).await?))
}

async fn page<P>(
    grant: &Grant<P>,
    days: Option<u16>,
    typed: Option<(ExplorationForm, Problems)>,
) -> Result<LearningPage, Failure> {
    let mut work = grant.begin().await?;
    let state = state(&mut work).await?;
    let lines = lessons(&mut work, &state).await?.into_iter().map(Line::of).collect();
    let spending = state.worths.iter().map(SpendingLine::of).collect();
    let example = format!(
        "curl {}/v1/feedback \\\n  -H \"Authorization: Bearer $TURNPIKE_API_KEY\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"request_id\": \"req_…\", \"label\": \"good\"}}'",
        grant.visit.data_url,
    );
    let is_shown = grant.may(Permission::ViewUsage);
    let is_asked = days.is_some() || is_shown && take_no_time(&mut work, USUAL_DAYS).await?;
    let savings = match is_shown && is_asked {
        true => Some(savings::savings(&mut work, days.unwrap_or(USUAL_DAYS)).await?),
        false => None,
    };
    let mut models: Vec<_> = upstreams::catalogue(&mut work)
        .await?
        .into_iter()
        .map(|it| it.offered.model.name)
        .collect();
    models.extend(state.baseline.clone());
    models.sort_unstable();
    models.dedup();
    let best = [(String::new(), "Whichever is expected to answer best".to_owned())];
    let baselines = best.into_iter().chain(models.into_iter().map(|it| (it.clone(), it))).collect();
    let (form, problems) =
        typed.unwrap_or_else(|| (ExplorationForm::of(state.exploring()), Problems::none()));
    Ok(LearningPage {
        frame: grant.frame(Section::Policies),
        sources: sources(&mut work).await?,
        savings_wait: is_shown && savings.is_none(),
        savings,
        spans: SPANS,
        form,
        baselines,
        problems,
        learned: state.learned_at.map(|it| Moment::new(it, grant.zone())),
        state,
        lines,
        spending,
        may_change: grant.may(Permission::ManagePolicies) && !grant.membership.is_archived,
        example,
    })
}

async fn explore(
    grant: Grant<may::ManagePolicies>,
    form: Form<ExplorationForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { set_exploring(&mut work, form.exploring()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            grant.platform.nudges.snapshot.notify_one();
            Ok(see_other_saying(&grant.path("/learning"), "Exploration saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, None, Some((form.0, problems))).await?).again())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchForm {
    is_on: bool,
}

async fn change(
    grant: Grant<may::ManagePolicies>,
    form: Form<SwitchForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    switch(&mut work, form.is_on).await?;
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    let said = if form.is_on { "Calls are routed by feedback" } else { "Feedback is left aside" };
    Ok(see_other_saying(&grant.path("/learning"), said))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerdictForm {
    label: String,
}

async fn say(
    grant: Grant<may::ViewRequests>,
    path: Path<(String, String)>,
    form: Form<VerdictForm>,
) -> Result<HttpResponse, Failure> {
    let request = path.1.parse().map_err(|_| RequestError::NotFound)?;
    let per_mille = match form.label.as_str() {
        "good" => BEST,
        "bad" => 0,
        _ => return Err(Problems::one("label", "say good or bad").into()),
    };
    let mut work = grant.begin().await?;
    judge(&mut work, request, None, per_mille).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path(&format!("/requests/{request}")), "Thank you, that is noted"))
}
