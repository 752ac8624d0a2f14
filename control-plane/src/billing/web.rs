//! Finance's page of billing settings and credits.

use actix_web::HttpResponse;
use askama::Template;
use serde::Deserialize;
use shared::money::Cents;
use time::OffsetDateTime;

use super::{Grouping, Seller, Settings, Terms, change_settings, seller, settings, terms};
use crate::{
    access::{Doors, Grant, may},
    ledger::{
        Account, balances,
        credits::{self, Credit},
    },
    payments::{self, CardPart},
    web::{self, Failure, Form, Frame, Page, Problems, Section, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/billing", show);
    doors.post("/orgs/{org}/billing", change);
}

#[derive(Template)]
#[template(path = "billing/show.html")]
struct BillingPage {
    frame: Frame,
    form: SettingsForm,
    problems: Problems,
    terms: Terms,
    seller: Option<Seller>,
    credits: Vec<CreditRow>,
    /// What credits are still worth, and what was used and not invoiced yet.
    worth: Cents,
    accrued: Cents,
    receivable: Cents,
    /// What invoices are paid with, where somebody collects them.
    card: Option<CardPart>,
}

impl BillingPage {
    /// Whom to ask, where they said so.
    fn contact(&self) -> String {
        let contact = self.seller.as_ref().map(|it| it.contact.as_str()).unwrap_or_default();
        if contact.is_empty() { String::new() } else { format!(": {contact}") }
    }

    fn percent(&self, basis_points: &i32) -> String {
        match *basis_points {
            0 => "None".to_owned(),
            it => format!("{}.{:02} %", it / 100, it % 100),
        }
    }

    fn groupings(&self) -> [(&'static str, &'static str); 3] {
        Grouping::ALL.map(|it| (it.name(), it.title()))
    }
}

/// A credit as it is shown.
pub struct CreditRow {
    pub credit: Credit,
    pub effective: String,
    pub expires: String,
    pub is_over: bool,
}

impl CreditRow {
    pub fn all(credits: Vec<Credit>) -> Vec<Self> {
        let today = OffsetDateTime::now_utc().date();
        let row = |credit: Credit| Self {
            effective: web::day(credit.effective_on),
            expires: credit.expires_on.map_or_else(|| "Never".to_owned(), web::day),
            is_over: credit.is_over(today),
            credit,
        };
        credits.into_iter().map(row).collect()
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsForm {
    legal_name: String,
    address: String,
    tax_id: String,
    purchase_order: String,
    /// Parted by commas or lines.
    emails: String,
    grouping: String,
}

impl SettingsForm {
    fn of(settings: Settings) -> Self {
        Self {
            legal_name: settings.legal_name,
            address: settings.address,
            tax_id: settings.tax_id,
            purchase_order: settings.purchase_order,
            emails: settings.emails.join("\n"),
            grouping: settings.grouping.name().to_owned(),
        }
    }

    fn parse(&self) -> Result<Settings, Problems> {
        let grouping = Grouping::ALL.into_iter().find(|it| it.name() == self.grouping);
        let emails = self.emails.split([',', '\n', ';', ' ']).map(str::trim);
        Ok(Settings {
            legal_name: self.legal_name.clone(),
            address: self.address.clone(),
            tax_id: self.tax_id.clone(),
            purchase_order: self.purchase_order.clone(),
            emails: emails.filter(|it| !it.is_empty()).map(str::to_owned).collect(),
            grouping: grouping
                .ok_or_else(|| Problems::one("grouping", "choose one of the three"))?,
        })
    }
}

async fn show(grant: Grant<may::ViewInvoices>) -> Result<Page<BillingPage>, Failure> {
    Ok(Page(page(&grant, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageBilling>,
    form: Form<SettingsForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async {
        change_settings(&mut work, form.parse()?).await?;
        Ok::<_, super::BillingError>(())
    };
    match or_problems(outcome.await)? {
        Ok(()) => {
            work.commit().await?;
            Ok(see_other_saying(&grant.path("/billing"), "Billing settings saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, Some(form.0), problems).await?).again())
        }
    }
}

async fn page<P>(
    grant: &Grant<P>,
    typed: Option<SettingsForm>,
    problems: Problems,
) -> Result<BillingPage, Failure> {
    let mut work = grant.begin().await?;
    let settings = settings(&mut work).await?;
    let terms = terms(&mut work).await?;
    let credits = credits::list(&mut work).await?;
    let balances = balances(&mut work).await?;
    let of = |account: Account| {
        let found = balances.iter().find(|it| it.0 == account);
        Cents::of_nanos(found.map_or(0, |it| it.1))
    };
    let card = match &grant.platform.payments {
        Some(_) => Some(CardPart::new(payments::customer(&mut work).await?.as_ref())),
        None => None,
    };
    Ok(BillingPage {
        card,
        frame: grant.frame(Section::Billing),
        form: typed.unwrap_or_else(|| SettingsForm::of(settings)),
        problems,
        terms,
        seller: seller(&mut work).await?,
        worth: -(of(Account::Wallet) + of(Account::Promotions)),
        accrued: of(Account::Accrued),
        receivable: of(Account::Receivable),
        credits: CreditRow::all(credits),
    })
}
