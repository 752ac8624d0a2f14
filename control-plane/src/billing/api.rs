//! Billing settings and credits in the management API.

use actix_web::http::Method;
use serde::Serialize;
use shared::{ids::CreditId, money::Cents};
use utoipa::ToSchema;

use super::{Settings, Terms, change_settings, settings, terms};
use crate::{
    access::{Doors, Grant, may},
    cost_centers::Day,
    ledger::credits::{self, CreditKind},
    web::{Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    let billing = "/api/v1/orgs/{org}/billing";
    doors.api(Method::GET, billing, "Show billing settings and terms", show);
    doors.api(Method::PUT, billing, "Change billing settings", change);
    doors.api(Method::GET, "/api/v1/orgs/{org}/billing/credits", "List credits", show_credits);
}

#[derive(Serialize, ToSchema)]
struct Billing {
    settings: Settings,
    /// What the platform agreed with the organization.
    terms: Terms,
}

#[derive(Serialize, ToSchema)]
struct Credits {
    /// In the order in which they are used.
    data: Vec<ShownCredit>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Credit)]
struct ShownCredit {
    id: CreditId,
    kind: CreditKind,
    name: String,
    priority: i16,
    amount: Cents,
    left: Cents,
    effective_on: Day,
    /// The first day on which it is worth nothing.
    expires_on: Option<Day>,
}

async fn show(grant: Grant<may::ViewInvoices>) -> Result<Json<Billing>, Failure> {
    let mut work = grant.begin().await?;
    let settings = settings(&mut work).await?;
    Ok(Json(Billing { settings, terms: terms(&mut work).await? }))
}

async fn change(
    grant: Grant<may::ManageBilling>,
    input: Input<Settings>,
) -> Result<Json<Billing>, Failure> {
    let mut work = grant.begin().await?;
    change_settings(&mut work, input.0).await?;
    let billing = Billing { settings: settings(&mut work).await?, terms: terms(&mut work).await? };
    work.commit().await?;
    Ok(Json(billing))
}

async fn show_credits(grant: Grant<may::ViewInvoices>) -> Result<Json<Credits>, Failure> {
    let mut work = grant.begin().await?;
    let credits = credits::list(&mut work).await?;
    let shown = credits.into_iter().map(|it| ShownCredit {
        id: it.id,
        kind: it.kind,
        name: it.name,
        priority: it.priority,
        amount: it.amount,
        left: it.left,
        effective_on: it.effective_on.into(),
        expires_on: it.expires_on.map(Day::from),
    });
    Ok(Json(Credits { data: shown.collect() }))
}
