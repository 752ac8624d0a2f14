//! Feedback and what is learned from it in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::feedback::BEST;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    Exploring, Lesson, Sources, Spending, judge, lessons,
    savings::{self, Savings, USUAL_DAYS},
    set_exploring, sources, state, switch,
};
use crate::{
    access::{Doors, Grant, may},
    requests::RequestError,
    web::{Deleted, Failure, Input, Json, Problems, Search},
};

pub fn doors(doors: &mut Doors) {
    let learning = "/api/v1/orgs/{org}/learning";
    doors.api(Method::GET, learning, "Show what was learned from feedback", show);
    doors.api(Method::PUT, learning, "Choose whether proxies learn from feedback", put);
    doors.api(
        Method::PUT,
        "/api/v1/orgs/{org}/learning/exploration",
        "Choose how many calls are explored, and what savings are compared with",
        put_exploration,
    );
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/learning/savings",
        "Show what comparing models saves, as measured",
        show_savings,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/requests/{request}/feedback",
        "Say how good a request's answer was",
        say,
    );
}

/// What was learned from an organization's feedback.
#[derive(Serialize, ToSchema)]
struct Learning {
    /// Whether proxies judge models by it.
    is_on: bool,
    /// What `POST /v1/route` calls it; null where nothing was learned yet.
    version: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    learned_at: Option<OffsetDateTime>,
    /// From how many outcomes,
    outcomes: i32,
    /// and how many came since.
    fresh: i32,
    lessons: Vec<Lesson>,
    exploration: Exploring,
    sources: Sources,
    /// What policies spend a dollar for, so that calls come to their goals together.
    worths: Vec<Spending>,
}

/// How far is looked back.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct SavingsSearch {
    /// In days, 30 at most.
    days: Option<u16>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LearningSwitch {
    /// Whether proxies are to judge models by the organization's feedback.
    is_on: bool,
}

/// How good an answer was: `score` or `label`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFeedback {
    /// From 0 to 1.
    score: Option<f64>,
    label: Option<Label>,
    /// Another model than the one that answered, of whose answer to the same prompt it is said.
    model: Option<String>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FeedbackLabel)]
enum Label {
    Good,
    Bad,
}

impl NewFeedback {
    fn per_mille(&self) -> Result<u16, Problems> {
        match (self.score, self.label) {
            (Some(score), None) if (0.0..=1.0).contains(&score) => {
                // Held within bounds.
                Ok((score * f64::from(BEST)).round() as u16)
            }
            (None, Some(Label::Good)) => Ok(BEST),
            (None, Some(Label::Bad)) => Ok(0),
            (Some(_), None) => Err(Problems::one("score", "a score is a number from 0 to 1")),
            (Some(_), Some(_)) | (None, None) => {
                Err(Problems::one("score", "say a score or a label, and not both"))
            }
        }
    }
}

async fn show(grant: Grant<may::ViewCatalogue>) -> Result<Json<Learning>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(learning(&mut work).await?))
}

async fn put(
    grant: Grant<may::ManagePolicies>,
    input: Input<LearningSwitch>,
) -> Result<Json<Learning>, Failure> {
    let mut work = grant.begin().await?;
    switch(&mut work, input.is_on).await?;
    let learning = learning(&mut work).await?;
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(Json(learning))
}

async fn learning(work: &mut crate::access::Work) -> Result<Learning, super::LearningError> {
    let state = state(work).await?;
    let lessons = lessons(work, &state).await?;
    let (exploration, sources) = (state.exploring(), sources(work).await?);
    let super::State { is_on, fresh, version, labels, learned_at, worths, .. } = state;
    let (outcomes, worths) = (labels, worths.0);
    Ok(Learning {
        is_on,
        version,
        learned_at,
        outcomes,
        fresh,
        lessons,
        exploration,
        sources,
        worths,
    })
}

async fn put_exploration(
    grant: Grant<may::ManagePolicies>,
    input: Input<Exploring>,
) -> Result<Json<Learning>, Failure> {
    let mut work = grant.begin().await?;
    set_exploring(&mut work, input.0).await?;
    let learning = learning(&mut work).await?;
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(Json(learning))
}

async fn show_savings(
    grant: Grant<may::ViewUsage>,
    search: Search<SavingsSearch>,
) -> Result<Json<Savings>, Failure> {
    let days = search.days.unwrap_or(USUAL_DAYS);
    let mut work = grant.begin().await?;
    Ok(Json(savings::savings(&mut work, days).await?))
}

async fn say(
    grant: Grant<may::ViewRequests>,
    path: Path<(String, String)>,
    input: Input<NewFeedback>,
) -> Result<Deleted, Failure> {
    let request = path.1.parse().map_err(|_| RequestError::NotFound)?;
    let per_mille = input.per_mille()?;
    let mut work = grant.begin().await?;
    judge(&mut work, request, input.0.model, per_mille).await?;
    work.commit().await?;
    Ok(Deleted)
}
