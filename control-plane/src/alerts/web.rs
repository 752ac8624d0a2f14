//! The pages of alerts and webhooks.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::ids::{BudgetId, WebhookId};

use super::{
    Alert, AlertError, Delivery, Outcome, Webhook, add, deliveries, exposed, latest, remove, send,
    try_mail, try_webhook, webhook, webhook_in, webhooks,
};
use crate::{
    access::{Doors, Grant, Permission, may},
    budgets,
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Section, optional, or_problems,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/budgets/alerts", show);
    doors.post("/orgs/{org}/budgets/alerts/webhooks", create);
    doors.get("/orgs/{org}/budgets/alerts/webhooks/{webhook}", show_webhook);
    doors.post("/orgs/{org}/budgets/alerts/webhooks/{webhook}/test", test_webhook);
    doors.post("/orgs/{org}/budgets/alerts/webhooks/{webhook}/remove", forget);
    doors.post("/orgs/{org}/budgets/{budget}/test-alert", test_mail);
}

#[derive(Template)]
#[template(path = "budgets/alerts.html")]
struct AlertsPage {
    frame: Frame,
    alerts: Vec<AlertLine>,
    webhooks: Vec<Webhook>,
    budgets: Vec<(String, String)>,
    form: WebhookForm,
    may_change: bool,
    problems: Problems,
}

struct AlertLine {
    it: Alert,
    at: Moment,
}

#[derive(Template)]
#[template(path = "budgets/webhook.html")]
struct WebhookPage {
    frame: Frame,
    webhook: Webhook,
    created: Moment,
    deliveries: Vec<DeliveryLine>,
    may_change: bool,
}

struct DeliveryLine {
    it: Delivery,
    at: Moment,
    ended: Option<Moment>,
    next: Option<Moment>,
}

impl DeliveryLine {
    fn state(&self) -> (&'static str, &'static str) {
        match (&self.ended, &self.next) {
            (Some(_), _) => ("ok", "Delivered"),
            (None, Some(_)) if self.it.attempts == 0 => ("", "Waiting"),
            (None, Some(_)) => ("warn", "Tried again"),
            (None, None) => ("bad", "Given up"),
        }
    }
}

#[derive(Template)]
#[template(path = "budgets/webhook_added.html")]
struct AddedPage {
    frame: Frame,
    id: WebhookId,
    url: String,
    secret: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebhookForm {
    url: String,
    /// All of them where empty.
    budget: String,
}

async fn show(grant: Grant<may::ViewBudgets>) -> Result<Page<AlertsPage>, Failure> {
    Ok(Page(page(&grant, WebhookForm::default(), Problems::none()).await?))
}

async fn page<P>(
    grant: &Grant<P>,
    form: WebhookForm,
    problems: Problems,
) -> Result<AlertsPage, Failure> {
    let mut work = grant.begin().await?;
    let alerts = latest(&mut work, None).await?;
    let webhooks = webhooks(&mut work).await?;
    let budgets = budgets::in_force(&mut work).await?;
    let all = (String::new(), "All budgets".to_owned());
    let one = budgets.into_iter().map(|it| (it.id.to_string(), it.name));
    let line = |it: Alert| AlertLine { at: Moment::new(it.at, grant.zone()), it };
    Ok(AlertsPage {
        frame: grant.frame(Section::Budgets),
        alerts: alerts.into_iter().map(line).collect(),
        webhooks,
        budgets: [all].into_iter().chain(one).collect(),
        form,
        may_change: grant.may(Permission::ManageBudgets) && !grant.membership.is_archived,
        problems,
    })
}

async fn create(
    grant: Grant<may::ManageBudgets>,
    form: Form<WebhookForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let platform = &grant.platform;
    let outcome = async {
        let budget = optional::<BudgetId>(&form.budget);
        let budget = budget.map_err(|_| Problems::one("budget", "choose a budget of yours"))?;
        let sealer = &platform.secrets.webhooks;
        add(&mut work, &platform.egress, sealer, &form.url, budget).await
    }
    .await;
    match or_problems(outcome)? {
        Ok((id, secret)) => {
            work.commit().await?;
            let (frame, url) = (grant.frame(Section::Budgets), form.0.url);
            let page = AddedPage { frame, id, url, secret: exposed(&secret) };
            Ok(Page(page).with(actix_web::http::StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, form.0, problems).await?).again())
        }
    }
}

async fn show_webhook(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Page<WebhookPage>, Failure> {
    let id = webhook_in(&path.1)?;
    let mut work = grant.begin().await?;
    let webhook = webhook(&mut work, id).await?;
    let deliveries = deliveries(&mut work, id).await?;
    let zone = grant.zone();
    let line = |it: Delivery| DeliveryLine {
        at: Moment::new(it.created_at, zone),
        ended: it.delivered_at.map(|at| Moment::new(at, zone)),
        next: it.next_attempt_at.map(|at| Moment::new(at, zone)),
        it,
    };
    Ok(Page(WebhookPage {
        frame: grant.frame(Section::Budgets),
        created: Moment::new(webhook.created_at, zone),
        webhook,
        deliveries: deliveries.into_iter().map(line).collect(),
        may_change: grant.may(Permission::ManageBudgets) && !grant.membership.is_archived,
    }))
}

async fn test_webhook(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id = webhook_in(&path.1)?;
    let mut work = grant.begin().await?;
    let delivery = try_webhook(&mut work, id).await?;
    work.commit().await?;
    let outcome: Outcome = send(&grant.platform, grant.organization(), delivery).await?;
    let path = grant.path(&format!("/budgets/alerts/webhooks/{id}"));
    Ok(see_other_saying(&path, &outcome.to_string()))
}

async fn forget(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id = webhook_in(&path.1)?;
    let mut work = grant.begin().await?;
    remove(&mut work, id).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path("/budgets/alerts"), "Webhook removed"))
}

async fn test_mail(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id: BudgetId =
        path.1.parse().map_err(|_| AlertError::Budget(budgets::BudgetError::NotFound))?;
    let mut work = grant.begin().await?;
    let sent = try_mail(&mut work, &grant.platform, id).await?;
    work.commit().await?;
    grant.platform.nudges.mail.notify_one();
    let notice = match sent {
        0 => "Nobody is told of this budget by mail".to_owned(),
        1 => "A test is on its way to one person".to_owned(),
        sent => format!("A test is on its way to {sent} people"),
    };
    Ok(see_other_saying(&grant.path(&format!("/budgets/{id}")), &notice))
}
