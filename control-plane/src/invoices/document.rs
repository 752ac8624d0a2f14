//! An invoice as it is shown: what pages, files and programs are all told by, and what is hashed.

use serde::{Deserialize, Serialize};
use shared::{
    ids::{ApiKeyId, CostCenterId, CreditId, ProjectId},
    money::{Cents, Money},
};
use utoipa::ToSchema;

use crate::{
    billing::{Month, Seller},
    cost_centers::Day,
    ledger::credits::CreditKind,
};

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = InvoiceKind)]
pub enum Kind {
    Invoice,
    CreditNote,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit_note",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Invoice => "Invoice",
            Self::CreditNote => "Credit note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Invoice)]
pub struct Document {
    /// Null of a draft, which has none yet.
    pub number: Option<String>,
    pub kind: Kind,
    pub month: Month,
    /// The first day that it is for, of UTC, and the last.
    pub first_day: Day,
    pub last_day: Day,
    /// Of a draft: today.
    pub issued_on: Day,
    pub due_on: Day,
    pub payment_days: i32,
    pub currency: String,
    /// Null of a draft where the platform has not said yet who bills.
    pub seller: Option<Seller>,
    pub buyer: Buyer,
    pub scope: Scope,
    /// What was used, project by project.
    pub sections: Vec<Section>,
    /// The same by cost center; what nobody receives is unallocated.
    pub cost_centers: Vec<CenterPart>,
    /// What was used with the organization's own credentials. It is no part of what is billed.
    pub own: Vec<OwnUsage>,
    /// What was used, in nano-dollars,
    #[schema(value_type = i64)]
    pub usage_nano: Money,
    /// and to the cent.
    pub usage: Cents,
    pub discount: Option<Adjustment>,
    pub minimum: Option<Adjustment>,
    /// What tax is charged on.
    pub net: Cents,
    pub tax: Tax,
    pub total: Cents,
    pub credits: Vec<CreditUse>,
    /// What credits leave to be paid.
    pub due: Cents,
    /// Of what was used, what nobody but us counted, in nano-dollars.
    #[schema(value_type = i64)]
    pub estimated_nano: Money,
    pub calls_charged: i64,
    /// Of a credit note: the number of its invoice, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refers_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Of a credit note: what goes back to the card that paid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub returned: Option<Cents>,
}

impl Document {
    /// How much of what is billed nobody but us counted, as a percentage.
    pub fn estimated(&self) -> Option<String> {
        if self.estimated_nano.nanos() == 0 {
            return None;
        }
        let whole = i128::from(self.usage_nano.nanos().max(1));
        let points = i128::from(self.estimated_nano.nanos()) * 10_000 / whole;
        Some(format!("{}.{:02} %", points / 100, points % 100))
    }

    /// What rounding to the cent added to what was used.
    pub fn rounding(&self) -> String {
        let apart = self.usage.nanos() - i128::from(self.usage_nano.nanos());
        let nanos = i64::try_from(apart).unwrap_or_default();
        Money::from_nanos(nanos).to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Buyer {
    /// The organization's id.
    pub account: String,
    /// What it is called here.
    pub organization: String,
    pub legal_name: String,
    pub address: String,
    pub tax_id: String,
    pub purchase_order: String,
}

/// All of the organization, or which project or cost center an invoice is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = InvoiceScope)]
pub enum Scope {
    Organization,
    Project {
        id: ProjectId,
        name: String,
    },
    /// Null where nobody receives it.
    CostCenter {
        id: Option<CostCenterId>,
        code: String,
    },
}

impl Scope {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Project { .. } => "project",
            Self::CostCenter { .. } => "cost_center",
        }
    }

    /// The nil id for what nobody receives, so that there is one of it a month as well.
    pub fn id(&self) -> Option<uuid::Uuid> {
        match self {
            Self::Organization => None,
            Self::Project { id, .. } => Some(id.uuid()),
            Self::CostCenter { id, .. } => Some(id.map_or(uuid::Uuid::nil(), |it| it.uuid())),
        }
    }

    pub fn title(&self) -> String {
        match self {
            Self::Organization => "All projects".to_owned(),
            Self::Project { name, .. } => name.clone(),
            Self::CostCenter { code, .. } => code.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceSection)]
pub struct Section {
    pub project: ProjectId,
    pub name: String,
    #[schema(value_type = i64)]
    pub cost_nano: Money,
    pub amount: Cents,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceLine)]
pub struct Line {
    pub provider: String,
    pub model: String,
    /// What was counted: `input`, `cached_input`, `output`, and so on.
    pub class: String,
    pub unit: String,
    /// The month that it was used in, where it came too late for that month's invoice.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub late_of: Option<Month>,
    pub quantity: i64,
    /// US dollars for one, exactly; empty where the price is not known any more.
    pub unit_price: String,
    #[schema(value_type = i64)]
    pub cost_nano: Money,
    pub amount: Cents,
}

impl Line {
    /// `Cached input tokens`
    pub fn title(&self) -> &'static str {
        title(&self.class)
    }

    /// Dollars for a million tokens, or for one piece, as price lists have them.
    pub fn price(&self) -> String {
        price(&self.unit_price, self.unit == "tokens")
    }
}

pub fn title(class: &str) -> &'static str {
    match class {
        "input" => "Input tokens",
        "cached_input" => "Cached input tokens",
        "cache_write" => "Cache writes, tokens",
        "cache_write_1h" => "Cache writes for an hour, tokens",
        "output" => "Output tokens",
        "reasoning" => "Reasoning tokens",
        "audio_input" => "Audio input tokens",
        "cached_audio_input" => "Cached audio input tokens",
        "audio_output" => "Audio output tokens",
        "image_output_tokens" => "Image output tokens",
        "image_output" => "Images",
        "search" => "Web searches",
        _ => "Requests",
    }
}

/// What a class is counted in.
pub fn unit(class: &str) -> &'static str {
    match class {
        "image_output" => "images",
        "search" => "searches",
        "request" => "requests",
        _ => "tokens",
    }
}

/// A price of one token moved to that of a million, digit by digit.
fn price(each: &str, is_tokens: bool) -> String {
    let Some((whole, fraction)) = each.split_once('.') else {
        return "see files".to_owned();
    };
    if !is_tokens {
        return format!("${each}");
    }
    let fraction = format!("{fraction:0<6}");
    let (million, rest) = fraction.split_at(6);
    let whole = format!("{whole}{million}");
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    format!("${whole}.{:0<2} / M", rest.trim_end_matches('0'))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CenterPart {
    /// Null of what nobody receives.
    pub cost_center: Option<CostCenterId>,
    pub code: String,
    pub name: String,
    #[schema(value_type = i64)]
    pub cost_nano: Money,
    pub amount: Cents,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnUsage {
    pub project: ProjectId,
    pub name: String,
    pub provider: String,
    pub model: String,
    /// What the provider's price says it cost, in nano-dollars.
    #[schema(value_type = i64)]
    pub cost_nano: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceAdjustment)]
pub struct Adjustment {
    pub label: String,
    /// Below zero where it takes something off.
    pub amount: Cents,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceTax)]
pub struct Tax {
    pub name: String,
    pub basis_points: i32,
    pub reverse_charge: bool,
    pub amount: Cents,
}

impl Tax {
    /// `VAT, 19.00 %`
    pub fn label(&self) -> String {
        if self.reverse_charge {
            return "Tax: reverse charge".to_owned();
        }
        if self.basis_points == 0 {
            return "Tax".to_owned();
        }
        format!("{}, {}.{:02} %", self.name, self.basis_points / 100, self.basis_points % 100)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceCredit)]
pub struct CreditUse {
    pub credit: CreditId,
    pub kind: CreditKind,
    pub name: String,
    pub amount: Cents,
}

/// What lines are made of: a day's usage of one class, with one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(as = InvoiceDetail)]
pub struct Detail {
    pub project: ProjectId,
    pub day: Day,
    pub key: ApiKeyId,
    /// The cost center's code; empty of what nobody receives.
    pub center: String,
    pub provider: String,
    pub model: String,
    pub class: String,
    pub unit_price: String,
    /// What everybody else pays for one, where a contract, a plan or a price book of the
    /// organization's makes that another price; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub published_price: String,
    /// Who counted it: `upstream`, or `estimated` and `interrupted` where we did.
    pub source: String,
    /// Whether the organization's own credential opened the provider.
    pub own: bool,
    pub quantity: i64,
    #[schema(value_type = i64)]
    pub cost_nano: Money,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_read_as_price_lists_have_them() {
        for (each, shown) in [
            ("0.00000125", "$1.25 / M"),
            ("0.000000125", "$0.125 / M"),
            ("0.0000100", "$10.00 / M"),
            ("0.00", "$0.00 / M"),
            ("0.0020", "$2000.00 / M"),
            ("", "see files"),
        ] {
            assert_eq!(price(each, true), shown, "{each}");
        }
        assert_eq!(price("0.035", false), "$0.035");
    }
}
