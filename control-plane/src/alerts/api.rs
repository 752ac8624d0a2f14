//! Alerts and webhooks in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::{BudgetId, WebhookId};
use utoipa::ToSchema;

use super::{
    Alert, Delivery, Webhook, add, deliveries, exposed, latest, remove, send, try_webhook, webhook,
    webhook_in, webhooks,
};
use crate::{
    access::{Doors, Grant, may},
    web::{Created, Deleted, Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    let all = "/api/v1/orgs/{org}/webhooks";
    let one = "/api/v1/orgs/{org}/webhooks/{webhook}";
    doors.api(Method::GET, "/api/v1/orgs/{org}/alerts", "List the latest alerts of budgets", list);
    doors.api(Method::GET, all, "List webhooks", list_webhooks);
    doors.api(Method::POST, all, "Add a webhook", create);
    doors.api(Method::DELETE, one, "Remove a webhook", delete);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/webhooks/{webhook}/deliveries",
        "List what was sent to a webhook",
        list_deliveries,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/webhooks/{webhook}/test",
        "Send a test to a webhook",
        test,
    );
}

#[derive(Serialize, ToSchema)]
struct Alerts {
    /// The latest fifty.
    data: Vec<Alert>,
}

#[derive(Serialize, ToSchema)]
struct Webhooks {
    data: Vec<Webhook>,
}

#[derive(Serialize, ToSchema)]
struct Deliveries {
    /// The latest fifty.
    data: Vec<Delivery>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWebhook {
    url: String,
    /// Told of this budget's alerts alone. Of all when left out.
    budget: Option<BudgetId>,
}

#[derive(Serialize, ToSchema)]
struct AddedWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// Signs every message, as standardwebhooks.com says it. It is not shown again.
    secret: String,
}

#[derive(Serialize, ToSchema)]
struct Tried {
    outcome: String,
}

async fn list(grant: Grant<may::ViewBudgets>) -> Result<Json<Alerts>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Alerts { data: latest(&mut work, None).await? }))
}

async fn list_webhooks(grant: Grant<may::ViewBudgets>) -> Result<Json<Webhooks>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Webhooks { data: webhooks(&mut work).await? }))
}

async fn create(
    grant: Grant<may::ManageBudgets>,
    input: Input<NewWebhook>,
) -> Result<Created<AddedWebhook>, Failure> {
    let mut work = grant.begin().await?;
    let platform = &grant.platform;
    let sealer = &platform.secrets.webhooks;
    let added = add(&mut work, &platform.egress, sealer, &input.url, input.budget).await;
    let (id, secret): (WebhookId, _) = added?;
    let webhook = webhook(&mut work, id).await?;
    work.commit().await?;
    Ok(Created(AddedWebhook { webhook, secret: exposed(&secret) }))
}

async fn delete(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
) -> Result<Deleted, Failure> {
    let mut work = grant.begin().await?;
    remove(&mut work, webhook_in(&path.1)?).await?;
    work.commit().await?;
    Ok(Deleted)
}

async fn list_deliveries(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<Deliveries>, Failure> {
    let id = webhook_in(&path.1)?;
    let mut work = grant.begin().await?;
    webhook(&mut work, id).await?;
    Ok(Json(Deliveries { data: deliveries(&mut work, id).await? }))
}

async fn test(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<Tried>, Failure> {
    let id = webhook_in(&path.1)?;
    let mut work = grant.begin().await?;
    let delivery = try_webhook(&mut work, id).await?;
    work.commit().await?;
    let outcome = send(&grant.platform, grant.organization(), delivery).await?;
    Ok(Json(Tried { outcome: outcome.to_string() }))
}
