//! The words in which alerts are told.

use serde_json::json;
use shared::money::Money;
use time::OffsetDateTime;

use super::{AlertError, now_text, organization_name, taker::Passed};
use crate::{
    access::Work,
    budgets::{Budget, caps, live::Counted, scope},
    platform::Platform,
    web::Moment,
};

pub(super) struct Words {
    pub subject: String,
    pub text: String,
}

pub(super) async fn of_an_alert(
    work: &mut Work,
    platform: &Platform,
    budget: &Budget,
    passed: &Passed,
) -> Result<Words, AlertError> {
    let (organization, slug) = organization_name(work).await?;
    let Passed { percent, spent, kind, amount, cap, .. } = *passed;
    let (spent, amount, cap) = (Money::from_nanos(spent), kind.words(amount), kind.words(cap));
    let how = match kind {
        Counted::Money => format!("{amount} of {cap} is spent"),
        Counted::Requests | Counted::Tokens => {
            format!("{amount} of {cap} are used, and {spent} is spent")
        }
    };
    let beyond = match budget.terms.is_hard {
        true => "Calls that it does not cover are refused, with HTTP status 402.",
        false => "It only alerts: calls go on.",
    };
    let kind = scope::title(budget.scope);
    Ok(Words {
        subject: format!("Budget “{}” has reached {percent} %", budget.name),
        text: format!(
            "The budget “{}” of {organization} has reached {percent} %: {how}.\n\n\
             It is on: {kind} {}\n{}{beyond}\n\n\
             See it, or raise it for a while: {}\n",
            budget.name,
            budget.scope_name,
            resets(budget, passed.window),
            link(platform, &slug, budget),
        ),
    })
}

fn resets(budget: &Budget, window: i64) -> String {
    let span = budget.period.span_at(&budget.zone, window);
    let ends = OffsetDateTime::from_unix_timestamp(span.end_ms / 1_000);
    match ends {
        Ok(at) if span.end_ms < i64::MAX => {
            format!("It starts anew on: {}\n", Moment::new(at, budget.zone.as_str()).text())
        }
        _ => String::new(),
    }
}

pub(super) async fn of_a_try(
    work: &mut Work,
    platform: &Platform,
    budget: &Budget,
) -> Result<Words, AlertError> {
    let (organization, slug) = organization_name(work).await?;
    Ok(Words {
        subject: format!("Test: alerts of budget “{}”", budget.name),
        text: format!(
            "This is a test. When the budget “{}” of {organization} passes one of its \
             thresholds, you are told like this.\n\n{}\n",
            budget.name,
            link(platform, &slug, budget),
        ),
    })
}

fn link(platform: &Platform, slug: &str, budget: &Budget) -> String {
    platform.link(&format!("/orgs/{slug}/budgets/{}", budget.id))
}

/// As programs are told it.
pub(super) async fn message(
    work: &mut Work,
    platform: &Platform,
    budget: &Budget,
    passed: &Passed,
) -> Result<String, AlertError> {
    let (_, slug) = organization_name(work).await?;
    let caps = caps::SaidCaps::from(budget.caps_at(OffsetDateTime::now_utc()));
    let message = json!({
        "type": "budget.threshold_reached",
        "timestamp": now_text(),
        "data": {
            "organization": slug,
            "budget": budget.id,
            "name": budget.name,
            "scope": budget.scope,
            "scope_name": budget.scope_name,
            "percent": passed.percent,
            "kind": passed.kind.name(),
            "amount": passed.kind.exact(passed.amount),
            "cap": passed.kind.exact(passed.cap),
            "spent_usd": Money::from_nanos(passed.spent).exact(),
            "caps": caps,
            "hard": budget.terms.is_hard,
            "window_start_ms": passed.window,
            "url": link(platform, &slug, budget),
        },
    });
    Ok(message.to_string())
}
