//! The page of what was learned, and what people say of answers.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::feedback::BEST;

use super::{Lesson, State, judge, lessons, state, switch};
use crate::{
    access::{Doors, Grant, Permission, may},
    requests::RequestError,
    web::{Failure, Form, Frame, Moment, Page, Problems, Section, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/learning", show);
    doors.post("/orgs/{org}/learning", change);
    doors.post("/orgs/{org}/requests/{request}/feedback", say);
}

#[derive(Template)]
#[template(path = "learning/show.html")]
struct LearningPage {
    frame: Frame,
    state: State,
    learned: Option<Moment>,
    lines: Vec<Line>,
    may_change: bool,
    /// A call that says something.
    example: String,
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

fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

async fn show(grant: Grant<may::ViewCatalogue>) -> Result<Page<LearningPage>, Failure> {
    let mut work = grant.begin().await?;
    let state = state(&mut work).await?;
    let lines = lessons(&mut work, &state).await?.into_iter().map(Line::of).collect();
    let example = format!(
        "curl {}/v1/feedback \\\n  -H \"Authorization: Bearer $TURNPIKE_API_KEY\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"request_id\": \"req_…\", \"label\": \"good\"}}'",
        grant.visit.data_url,
    );
    Ok(Page(LearningPage {
        frame: grant.frame(Section::Policies),
        learned: state.learned_at.map(|it| Moment::new(it, grant.zone())),
        state,
        lines,
        may_change: grant.may(Permission::ManagePolicies) && !grant.membership.is_archived,
        example,
    }))
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
