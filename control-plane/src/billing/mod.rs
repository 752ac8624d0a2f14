//! Who bills whom, and on what terms: what an organization says of itself, what the platform
//! agreed with it, and whom invoices are from.
//!
//! An invoice keeps what it was written with, so a change here is one of the next invoice.

mod api;
mod month;
mod store;
#[cfg(test)]
mod tests;
mod web;

use serde::{Deserialize, Serialize};
use shared::{
    failure::{Classified, Kind, Problem},
    money::Cents,
};
use sqlx::PgConnection;

pub use self::{
    month::{BadMonth, Month},
    web::CreditRow,
};
use crate::{
    access::{Actor, Doors, Origin, Work},
    audit::{self, Entry},
    identity::EmailAddress,
    ledger::LedgerError,
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// How many addresses invoices are sent to at most.
const MOST_EMAILS: usize = 10;

/// What there is an invoice for, each month.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Grouping {
    #[default]
    Organization,
    Project,
    CostCenter,
}

impl Grouping {
    pub const ALL: [Self; 3] = [Self::Organization, Self::Project, Self::CostCenter];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Project => "project",
            Self::CostCenter => "cost_center",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Organization => "One invoice, with a section for each project",
            Self::Project => "One invoice for each project",
            Self::CostCenter => "One invoice for each cost center",
        }
    }
}

/// What an organization says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = BillingSettings)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who is billed. The organization's name where it is empty.
    pub legal_name: String,
    pub address: String,
    pub tax_id: String,
    /// Stands on every invoice.
    pub purchase_order: String,
    /// Whom invoices are sent to; the members who bill where there are none.
    pub emails: Vec<String>,
    pub grouping: Grouping,
}

impl Settings {
    fn checked(mut self) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        for (field, text, most) in [
            ("legal_name", &mut self.legal_name, 200),
            ("address", &mut self.address, 500),
            ("tax_id", &mut self.tax_id, 50),
            ("purchase_order", &mut self.purchase_order, 100),
        ] {
            *text = text.replace("\r\n", "\n").trim().to_owned();
            check_text(&mut problems, field, text, most);
        }
        if self.emails.len() > MOST_EMAILS {
            problems.add("emails", format!("invoices are sent to at most {MOST_EMAILS} addresses"));
        }
        for email in &self.emails {
            problems.take("emails", email.parse::<EmailAddress>());
        }
        problems.check()?;
        Ok(self)
    }
}

/// Refuses a text that is too long or holds control characters other than line breaks.
fn check_text(problems: &mut Problems, field: &'static str, text: &str, most: usize) {
    if text.chars().count() > most || text.chars().any(|it| it.is_control() && it != '\n') {
        problems.add(field, format!("write at most {most} characters"));
    }
}

/// What the platform agreed with an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = BillingTerms)]
pub struct Terms {
    /// How long after its issue an invoice is due.
    pub payment_days: i32,
    /// Of what was used.
    pub discount_basis_points: i32,
    /// The least that is billed a month.
    #[serde(rename = "minimum_usd")]
    pub minimum: Cents,
    /// What the tax is called; empty where none is charged.
    pub tax_name: String,
    pub tax_basis_points: i32,
    /// Whether the customer owes the tax instead of us.
    pub reverse_charge: bool,
    /// Whether nothing is served that credits do not cover.
    pub prepaid: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            payment_days: 30,
            discount_basis_points: 0,
            minimum: Cents::ZERO,
            tax_name: String::new(),
            tax_basis_points: 0,
            reverse_charge: false,
            prepaid: false,
        }
    }
}

impl Terms {
    fn checked(self) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        if !(0..=365).contains(&self.payment_days) {
            problems.add("payment_days", "an invoice is due within 0 to 365 days");
        }
        for (field, points) in
            [("discount", self.discount_basis_points), ("tax", self.tax_basis_points)]
        {
            if !(0..=10_000).contains(&points) {
                problems.add(field, "write a percentage from 0 to 100");
            }
        }
        if !(0..=100_000_000_000).contains(&self.minimum.cents()) {
            problems.add("minimum", "a minimum is at most a billion dollars");
        }
        check_text(&mut problems, "tax_name", &self.tax_name, 40);
        if self.reverse_charge && self.tax_basis_points > 0 {
            problems.add("tax", "where the customer owes the tax, the invoice charges none");
        }
        if self.tax_basis_points > 0 && self.tax_name.trim().is_empty() {
            problems.add("tax_name", "say what the tax is called, like VAT");
        }
        problems.check()?;
        Ok(self)
    }
}

/// Whom invoices are from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Seller {
    pub name: String,
    pub address: String,
    pub tax_id: String,
    /// How the numbers of its invoices begin.
    pub series: String,
    /// Where to pay.
    pub remittance: String,
    pub contact: String,
}

impl Seller {
    fn checked(mut self) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        for (field, text, least, most) in [
            ("name", &mut self.name, 1, 200),
            ("address", &mut self.address, 1, 500),
            ("tax_id", &mut self.tax_id, 0, 50),
            ("remittance", &mut self.remittance, 0, 500),
            ("contact", &mut self.contact, 0, 200),
        ] {
            *text = text.replace("\r\n", "\n").trim().to_owned();
            check_text(&mut problems, field, text, most);
            if text.chars().count() < least {
                problems.add(field, "this stands on every invoice");
            }
        }
        let is_series = (1..=12).contains(&self.series.len())
            && self.series.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit());
        if !is_series {
            problems.add("series", "a series has 1 to 12 capital letters and digits, like TP");
        }
        problems.check()?;
        Ok(self)
    }
}

pub async fn settings(work: &mut Work) -> Result<Settings, BillingError> {
    let organization = work.organization;
    Ok(store::settings(work, organization).await?.unwrap_or_default())
}

pub async fn change_settings(work: &mut Work, settings: Settings) -> Result<(), BillingError> {
    let settings = settings.checked()?;
    let before = self::settings(work).await?;
    if before == settings {
        return Ok(());
    }
    let organization = work.organization;
    store::put_settings(work, organization, &settings).await?;
    let entry = Entry::new("billing.settings_changed", organization, &settings.legal_name);
    audit::record(work, entry.before(before).after(settings)).await?;
    Ok(())
}

pub async fn terms(work: &mut Work) -> Result<Terms, BillingError> {
    let organization = work.organization;
    Ok(store::terms(work, organization).await?.unwrap_or_default())
}

/// Whether nothing is served that credits do not cover.
pub async fn is_prepaid(work: &mut Work) -> Result<bool, sqlx::Error> {
    let organization = work.organization;
    Ok(store::terms(work, organization).await?.is_some_and(|it| it.prepaid))
}

pub async fn change_terms(work: &mut Work, terms: Terms) -> Result<(), BillingError> {
    let terms = terms.checked()?;
    let before = self::terms(work).await?;
    if before == terms {
        return Ok(());
    }
    let organization = work.organization;
    store::put_terms(work, organization, &terms).await?;
    let entry = Entry::new("billing.terms_changed", organization, "Billing terms");
    audit::record(work, entry.before(before).after(terms)).await?;
    Ok(())
}

/// Whom invoices are from at present.
pub async fn seller(conn: &mut PgConnection) -> Result<Option<Seller>, BillingError> {
    Ok(store::seller(conn).await?)
}

pub async fn change_seller(
    conn: &mut PgConnection,
    actor: &Actor,
    origin: Origin,
    seller: Seller,
) -> Result<(), BillingError> {
    let seller = seller.checked()?;
    let before = self::seller(conn).await?;
    if before.as_ref() == Some(&seller) {
        return Ok(());
    }
    store::add_seller(conn, &seller).await?;
    let entry = Entry::new("billing.seller_changed", &seller.series, &seller.name);
    audit::record_platform(conn, actor, origin, entry.before(before).after(&seller)).await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("there is no such organization")]
    NotFound,
    #[error("the store of billing settings failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for BillingError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::NotFound => Kind::NotFound,
            Self::Ledger(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::Ledger(error) => error.problems(),
            Self::NotFound | Self::Store(_) => Vec::new(),
        }
    }
}
