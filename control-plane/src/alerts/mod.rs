//! Alerts: that a budget has passed a threshold, told to people by mail and to programs by
//! webhooks.
//!
//! The script that counts a call writes into a stream that a threshold was passed; a job takes
//! it from there. What it tells it writes in one transaction with the alert, so that each
//! alert is told once, however often the job is interrupted. A webhook's address is checked
//! like a provider's, and its secret is shown once.

mod api;
mod delivery;
mod letter;
mod store;
mod taker;
#[cfg(test)]
mod tests;
mod web;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem},
    ids::{BudgetId, DeliveryId, OrganizationId, WebhookId},
    random,
    seal::Sealer,
};
use time::OffsetDateTime;
use url::Url;

pub use self::{
    delivery::{Outcome, deliver_due, forget_old, send},
    taker::take,
};
use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    budgets::{self, Budget, BudgetError, live::Counted},
    egress::Egress,
    mail, members, organizations,
    platform::Platform,
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// More than anybody tells.
const MOST_WEBHOOKS: i64 = 20;
/// How many are sent for a try within a minute.
const MOST_TRIES: i64 = 10;
/// How many letters one alert is at most.
const MOST_LETTERS: usize = 100;

/// A threshold that a window of a budget has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BudgetAlert)]
pub struct Alert {
    pub budget: BudgetId,
    pub budget_name: String,
    pub percent: i16,
    /// What was spent then, in US dollars.
    pub spent_usd: String,
    /// Of what it was passed.
    #[schema(value_type = String)]
    pub kind: Counted,
    /// How much was spent of that: US dollars, or a number.
    pub amount: String,
    /// What the cap on it was. Null where nobody noted it.
    pub cap: Option<String>,
    /// Both in words.
    #[serde(skip)]
    pub how: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
}

/// An address that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Webhook {
    pub id: WebhookId,
    pub url: String,
    /// Told of this budget's alerts alone; of all where null.
    pub budget: Option<BudgetId>,
    pub budget_name: Option<String>,
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// A message to a webhook, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    pub id: DeliveryId,
    /// `budget.threshold_reached` or `test`.
    pub event: String,
    pub attempts: i32,
    /// The HTTP status of the last answer; null where there was none.
    pub last_status: Option<i16>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<OffsetDateTime>,
    /// When the next attempt is made, where one will be.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<OffsetDateTime>,
}

/// The latest first.
pub async fn latest(work: &mut Work, budget: Option<BudgetId>) -> Result<Vec<Alert>, AlertError> {
    let organization = work.organization;
    Ok(store::latest(work, organization, budget).await?)
}

pub async fn webhooks(work: &mut Work) -> Result<Vec<Webhook>, AlertError> {
    let organization = work.organization;
    Ok(store::webhooks(work, organization, None).await?)
}

pub async fn webhook(work: &mut Work, id: WebhookId) -> Result<Webhook, AlertError> {
    let organization = work.organization;
    let found = store::webhooks(work, organization, Some(id)).await?.pop();
    found.ok_or(AlertError::NoWebhook)
}

/// What was sent to it, the latest first.
pub async fn deliveries(work: &mut Work, id: WebhookId) -> Result<Vec<Delivery>, AlertError> {
    let organization = work.organization;
    Ok(store::deliveries(work, organization, id).await?)
}

/// Adds one. Its secret is in the answer and nowhere else.
pub async fn add(
    work: &mut Work,
    egress: &Egress,
    sealer: &Sealer,
    url: &str,
    budget: Option<BudgetId>,
) -> Result<(WebhookId, SecretString), AlertError> {
    let address = address(egress, url)?;
    let name = match budget {
        Some(budget) => Some(budgets::find(work, budget).await?.name),
        None => None,
    };
    let organization = work.organization;
    if store::count(work, organization).await? >= MOST_WEBHOOKS {
        return Err(AlertError::TooMany);
    }
    let id = WebhookId::generate();
    let bytes = random::bytes::<32>();
    let sealed = sealer.seal(&bytes, &purpose(organization, id));
    let by = work.actor.person();
    store::insert(work, organization, id, (address.as_str(), budget, &sealed), by).await?;
    let told = serde_json::json!({ "url": address.as_str(), "budget": name });
    let entry = Entry::new("webhook.added", id, host(&address)).after(told);
    audit::record(work, entry).await?;
    Ok((id, format!("whsec_{}", BASE64.encode(bytes)).into()))
}

pub async fn remove(work: &mut Work, id: WebhookId) -> Result<(), AlertError> {
    let before = webhook(work, id).await?;
    let organization = work.organization;
    store::delete(work, organization, id).await?;
    let told = serde_json::json!({ "url": before.url, "budget": before.budget_name });
    audit::record(work, Entry::new("webhook.removed", id, &before.url).before(told)).await?;
    Ok(())
}

/// What a webhook's secret is sealed for: this one, of this organization.
fn purpose(organization: OrganizationId, id: WebhookId) -> String {
    format!("v1|{organization}|{id}|webhook")
}

fn address(egress: &Egress, text: &str) -> Result<Url, Problems> {
    let text = text.trim();
    if text.len() > 500 {
        return Err(Problems::one("url", "an address has at most 500 characters"));
    }
    let url: Url = text.parse().map_err(|_| {
        Problems::one("url", "enter an address like https://hooks.example.com/turnpike")
    })?;
    egress.permits(&url).map_err(|it| Problems::one("url", it))?;
    Ok(url)
}

fn host(address: &Url) -> String {
    address.host_str().unwrap_or_default().to_owned()
}

/// Puts a message for a try into the outbox of webhooks.
pub async fn try_webhook(work: &mut Work, id: WebhookId) -> Result<DeliveryId, AlertError> {
    let organization = work.organization;
    webhook(work, id).await?;
    if store::tries_of_a_minute(work, organization).await? >= MOST_TRIES {
        return Err(AlertError::TooManyTries);
    }
    let body = serde_json::json!({
        "type": "test", "timestamp": now_text(),
        "data": { "message": "This is how Turnpike tells you of alerts." },
    });
    let delivery = DeliveryId::generate();
    store::queue(work, organization, delivery, id, ("test", &body.to_string())).await?;
    Ok(delivery)
}

/// Sends a letter for a try to everybody whom the budget's alerts are told. Says how many.
pub async fn try_mail(
    work: &mut Work,
    platform: &Platform,
    id: BudgetId,
) -> Result<usize, AlertError> {
    let budget = budgets::find(work, id).await?;
    if !budgets::may_be_tried(work, id).await? {
        return Err(AlertError::TooManyTries);
    }
    let letter = letter::of_a_try(work, platform, &budget).await?;
    let sent = mail_to(work, platform, &budget, &letter).await?;
    audit::record(work, Entry::new("budget.alert_tested", id, &budget.name)).await?;
    Ok(sent)
}

async fn mail_to(
    work: &mut Work,
    platform: &Platform,
    budget: &Budget,
    letter: &letter::Words,
) -> Result<usize, AlertError> {
    let mut people = members::emails_of(work, &budget.terms.alert_roles).await?;
    people.truncate(MOST_LETTERS);
    for to in &people {
        let (subject, text) = (letter.subject.clone(), letter.text.clone());
        let letter = mail::Letter { to: to.clone(), subject, text };
        mail::queue(work, &platform.secrets.mail, &letter).await?;
    }
    Ok(people.len())
}

/// Writes an alert down and tells it, as part of `work`: once, however often it is asked for.
/// Says whether it was new.
async fn raise_alarm(
    work: &mut Work,
    platform: &Platform,
    passed: &taker::Passed,
) -> Result<bool, AlertError> {
    let organization = work.organization;
    let budget = budgets::find(work, passed.budget).await?;
    if budget.is_archived() || !store::insert_alert(work, organization, passed).await? {
        return Ok(false);
    }
    let letter = letter::of_an_alert(work, platform, &budget, passed).await?;
    mail_to(work, platform, &budget, &letter).await?;
    let body = letter::message(work, platform, &budget, passed).await?;
    for webhook in store::webhooks(work, organization, None).await? {
        if webhook.budget.is_none_or(|it| it == budget.id) {
            let message = ("budget.threshold_reached", body.as_str());
            let delivery = DeliveryId::generate();
            store::queue(work, organization, delivery, webhook.id, message).await?;
        }
    }
    Ok(true)
}

fn now_text() -> String {
    let now = OffsetDateTime::now_utc();
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

async fn organization_name(work: &mut Work) -> Result<(String, String), AlertError> {
    let found = organizations::find(work).await?;
    Ok((found.name, found.slug))
}

fn webhook_in(text: &str) -> Result<WebhookId, AlertError> {
    text.parse().map_err(|_| AlertError::NoWebhook)
}

/// What signs messages to a webhook.
fn signature(secret: &[u8], id: DeliveryId, timestamp: i64, body: &str) -> String {
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag.as_ref()))
}

/// As the page shows it once.
fn exposed(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}

#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error("there is no such webhook")]
    NoWebhook,
    #[error("you have {MOST_WEBHOOKS} webhooks, which is the most")]
    TooMany,
    #[error("alerts were tried too often: wait a minute, then try again")]
    TooManyTries,
    #[error("the store of alerts failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for AlertError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::Budget(error) => error.kind(),
            Self::NoWebhook => Kind::NotFound,
            Self::TooMany => Kind::Conflict,
            Self::TooManyTries => Kind::RateLimited,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Budget(error) => error.code(),
            Self::Refused(_)
            | Self::NoWebhook
            | Self::TooMany
            | Self::TooManyTries
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::TooMany => vec![Problem { field: "url", message: self.to_string() }],
            Self::Budget(_) => {
                vec![Problem { field: "budget", message: "choose a budget of yours".to_owned() }]
            }
            Self::NoWebhook | Self::TooManyTries | Self::Store(_) => Vec::new(),
        }
    }
}
