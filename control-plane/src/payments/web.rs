//! Paying: the button on an invoice, and what the organization pays with.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{ids::InvoiceId, money::Cents};
use time::OffsetDateTime;
use url::Url;

use super::{
    Collection, Customer, Outcome, PaymentError, Rail, Refund, RefundState, Stage, Standing,
    pay_now, portal, provider::Pages, set_up, take_up_choice,
};
use crate::{
    access::{Doors, Grant, may},
    invoices::{self, InvoiceError},
    web::{Failure, Form, Frame, Moment, Nothing, Page, Search, Section, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.post("/orgs/{org}/invoices/{invoice}/pay", pay);
    doors.get("/orgs/{org}/billing/card", come_back);
    doors.post("/orgs/{org}/billing/card", choose);
    doors.post("/orgs/{org}/billing/portal", leave);
}

/// How an invoice is being paid, as its page shows it.
pub struct PaymentPart {
    pub standing: Standing,
    pub attempts: Vec<AttemptRow>,
    pub refunds: Vec<RefundRow>,
    pub charged_at: Option<Moment>,
}

pub struct AttemptRow {
    pub asked_at: Moment,
    pub outcome: Option<Outcome>,
    pub about: String,
}

pub struct RefundRow {
    pub asked_at: Moment,
    pub note: InvoiceId,
    pub number: String,
    pub amount: Cents,
    pub state: RefundState,
    pub about: String,
}

impl PaymentPart {
    pub fn new(standing: Standing, zone: &str) -> Self {
        let row = |it: &super::Attempt| AttemptRow {
            asked_at: Moment::new(it.asked_at, zone),
            outcome: it.outcome,
            about: it.about.clone(),
        };
        let refund = |it: &Refund| RefundRow {
            asked_at: Moment::new(it.asked_at, zone),
            note: it.note,
            number: it.number.clone(),
            amount: it.amount,
            state: it.state,
            about: it.about.clone(),
        };
        Self {
            refunds: standing.refunds.iter().map(refund).collect(),
            attempts: standing.attempts.iter().map(row).collect(),
            charged_at: standing.charged_at.map(|it| Moment::new(it, zone)),
            standing,
        }
    }

    pub fn collection(&self) -> &Collection {
        &self.standing.collection
    }

    pub fn is_by_hand(&self) -> bool {
        self.collection().stage == Stage::ByHand
    }
}

/// What the organization pays with, as its billing page shows it.
pub struct CardPart {
    pub card: Option<String>,
    pub expires: String,
    /// Whether the provider knows the organization, and has a page for it.
    pub is_known: bool,
}

impl CardPart {
    pub fn new(customer: Option<&Customer>) -> Self {
        Self {
            card: customer.and_then(Customer::card),
            expires: customer.map(|it| it.expires.clone()).unwrap_or_default(),
            is_known: customer.is_some_and(|it| it.remote.is_some()),
        }
    }
}

/// On the way to a page of the provider's. Not a redirect: a form of ours leads to pages of ours.
#[derive(Template)]
#[template(path = "payments/leaving.html")]
struct LeavingPage {
    frame: Frame,
    to: Url,
    back: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    #[serde(default)]
    session: String,
}

fn rail<P>(grant: &Grant<P>) -> Result<&Rail, PaymentError> {
    grant.platform.payments.as_ref().ok_or(PaymentError::NotCollected)
}

async fn pay(
    grant: Grant<may::ManageBilling>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id: InvoiceId = path.1.parse().map_err(|_| InvoiceError::NotFound)?;
    let mut work = grant.begin().await?;
    invoices::find(&mut work, id).await?;
    let (rail, now) = (rail(&grant)?, OffsetDateTime::now_utc());
    let notice = match pay_now(rail, &grant.platform.db, work, id, now).await {
        Ok(it) => outcome_of(&it),
        Err(error @ (PaymentError::NoCard | PaymentError::NothingToPay)) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    Ok(see_other_saying(&grant.path(&format!("/invoices/{id}")), &notice))
}

/// What came of it, for whoever asked.
pub(super) fn outcome_of(it: &Collection) -> String {
    match it.stage {
        Stage::Paid => "Paid. Thank you".to_owned(),
        Stage::Open if it.failures == 0 && !it.declined.is_empty() => {
            format!("The card was declined: {}", it.declined)
        }
        Stage::New
        | Stage::Drafted
        | Stage::Lined
        | Stage::Open
        | Stage::Uncollectible
        | Stage::ByHand
        | Stage::Void => {
            "Not paid yet: the payment provider did not answer. It is tried again by itself"
                .to_owned()
        }
    }
}

async fn choose(
    grant: Grant<may::ManageBilling>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let rail = rail(&grant)?;
    let billing = grant.path("/billing");
    let pages = Pages {
        done: ours(&grant, &grant.path("/billing/card"))?,
        cancelled: ours(&grant, &billing)?,
    };
    let (db, organization) = (&grant.platform.db, grant.organization());
    let to = set_up(rail, db, organization, &pages, OffsetDateTime::now_utc()).await?;
    Ok(leaving(&grant, to, billing))
}

async fn leave(
    grant: Grant<may::ManageBilling>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let rail = rail(&grant)?;
    let billing = grant.path("/billing");
    let back = ours(&grant, &billing)?;
    let (db, organization) = (&grant.platform.db, grant.organization());
    let to = portal(rail, db, organization, &back, OffsetDateTime::now_utc()).await?;
    Ok(leaving(&grant, to, billing))
}

fn leaving<P>(grant: &Grant<P>, to: Url, back: String) -> HttpResponse {
    let frame = grant.frame(Section::Billing);
    Page(LeavingPage { frame, to, back }).with(actix_web::http::StatusCode::OK)
}

/// A page of ours, for somebody who is elsewhere.
fn ours<P>(grant: &Grant<P>, path: &str) -> Result<Url, PaymentError> {
    let link = grant.platform.link(path).parse();
    link.map_err(|_| PaymentError::NotFound)
}

async fn come_back(
    grant: Grant<may::ManageBilling>,
    which: Search<Session>,
) -> Result<HttpResponse, Failure> {
    let rail = rail(&grant)?;
    let (db, organization) = (&grant.platform.db, grant.organization());
    let is_name = !which.session.is_empty()
        && which.session.len() <= 200
        && which.session.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    let now = OffsetDateTime::now_utc();
    let is_taken = is_name && take_up_choice(rail, db, organization, &which.session, now).await?;
    if is_taken {
        grant.platform.nudges.collections.notify_one();
    }
    let notice =
        if is_taken { "Invoices are paid with that card now" } else { "No card was chosen" };
    Ok(see_other_saying(&grant.path("/billing"), notice))
}
