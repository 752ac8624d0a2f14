//! An invoice as files: for spreadsheets, line by line, and in FOCUS. All tell the same document.

use std::collections::BTreeMap;

use shared::{
    ids::ProjectId,
    money::{Cents, Item, Money},
};

use super::{
    InvoiceError,
    document::{Detail, Document, Kind, Section, title, unit},
};
use crate::web::csv::{Cell, typed_row};

/// A document with what its lines are made of, all of it or what is one project's.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub document: Document,
    pub details: Vec<Detail>,
    pub only: Option<ProjectId>,
}

impl Told {
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.document.sections.iter().filter(|it| self.only.is_none_or(|only| it.project == only))
    }

    fn details(&self) -> impl Iterator<Item = &Detail> {
        self.details.iter().filter(|it| self.only.is_none_or(|only| it.project == only))
    }

    /// One project's part of it, where one is asked for.
    pub fn only(self, project: Option<ProjectId>) -> Result<Self, InvoiceError> {
        let has = |it: ProjectId| self.document.sections.iter().any(|of| of.project == it);
        match project {
            Some(project) if !has(project) => Err(InvoiceError::NotFound),
            only => Ok(Self { only, ..self }),
        }
    }

    /// The project, of a part of an invoice.
    pub fn part(&self) -> Option<&Section> {
        self.only.and_then(|_| self.sections().next())
    }

    pub fn part_total(&self) -> Cents {
        self.sections().map(|it| it.amount).sum()
    }

    /// What it is for: all of it, or the project.
    pub fn scope(&self) -> String {
        self.part().map_or_else(|| self.document.scope.title(), |it| it.name.clone())
    }

    /// `Invoice TP-2026-000042`
    pub fn title(&self) -> String {
        let document = &self.document;
        match &document.number {
            Some(number) => format!("{} {number}", document.kind.title()),
            None => format!("Draft of {}", document.month.title()),
        }
    }

    /// What the file is called, without what it ends with. It holds nothing that anybody typed.
    pub fn file_name(&self) -> String {
        let document = &self.document;
        let named = document.number.clone();
        let name = named.unwrap_or_else(|| format!("draft-{}", document.month));
        match self.only {
            Some(project) => format!("{name}-{project}"),
            None => name,
        }
    }

    fn number(&self) -> String {
        self.document.number.clone().unwrap_or_else(|| "draft".to_owned())
    }

    /// What stands below the sections: of the whole invoice, not of one project.
    fn others(&self) -> Vec<Other> {
        let Document { discount, minimum, tax, credits, .. } = &self.document;
        if self.only.is_some() {
            return Vec::new();
        }
        let adjusted = [("discount", discount), ("minimum", minimum)];
        let adjusted = adjusted.into_iter().filter_map(|(kind, it)| {
            let it = it.as_ref()?;
            Some(Other { kind, label: it.label.clone(), amount: it.amount })
        });
        let taxed = Other { kind: "tax", label: tax.label(), amount: tax.amount };
        let used = credits.iter().map(|it| Other {
            kind: "credit",
            label: it.name.clone(),
            amount: -it.amount,
        });
        let all = adjusted.chain((tax.amount != Cents::ZERO).then_some(taxed)).chain(used);
        let mut all: Vec<_> = all.collect();
        if self.document.kind == Kind::CreditNote {
            let label = self.document.reason.clone().unwrap_or_default();
            let amount = -self.document.net;
            all = vec![Other { kind: "credit_note", label, amount }];
            if tax.amount != Cents::ZERO {
                all.push(Other { kind: "tax", label: tax.label(), amount: -tax.amount });
            }
        }
        all
    }
}

struct Other {
    kind: &'static str,
    label: String,
    amount: Cents,
}

fn number(of: impl ToString) -> Cell {
    Cell::Number(of.to_string())
}

fn header(text: &mut String, names: &[&str]) {
    let cells: Vec<_> = names.iter().map(|it| Cell::from(*it)).collect();
    typed_row(text, &cells);
}

const SIMPLE: [&str; 14] = [
    "invoice",
    "month",
    "kind",
    "project",
    "project_name",
    "provider",
    "model",
    "description",
    "used_in",
    "quantity",
    "unit",
    "unit_price_usd",
    "cost_usd",
    "amount_usd",
];

/// A row for each line, and for each amount below them: together what is to be paid.
pub(super) fn simple(told: &Told) -> String {
    let mut text = String::new();
    header(&mut text, &SIMPLE);
    let (invoice, month) = (told.number(), told.document.month.to_string());
    for section in told.sections() {
        for line in &section.lines {
            let used_in = line.late_of.map_or_else(|| month.clone(), |it| it.to_string());
            let row = [
                invoice.clone().into(),
                month.clone().into(),
                "usage".into(),
                section.project.to_string().into(),
                section.name.clone().into(),
                line.provider.clone().into(),
                line.model.clone().into(),
                line.title().into(),
                used_in.into(),
                number(line.quantity),
                line.unit.clone().into(),
                priced(&line.unit_price),
                number(line.cost_nano.exact()),
                number(line.amount.exact()),
            ];
            typed_row(&mut text, &row);
        }
    }
    for it in told.others() {
        let mut row = vec![Cell::Nothing; SIMPLE.len()];
        row[0] = invoice.clone().into();
        row[1] = month.clone().into();
        row[2] = it.kind.into();
        row[7] = it.label.into();
        row[13] = number(it.amount.exact());
        typed_row(&mut text, &row);
    }
    text
}

fn priced(unit_price: &str) -> Cell {
    if unit_price.is_empty() { Cell::Nothing } else { number(unit_price) }
}

const LINES: [&str; 16] = [
    "invoice",
    "day",
    "project",
    "project_name",
    "key",
    "cost_center",
    "provider",
    "model",
    "class",
    "quantity",
    "unit",
    "unit_price_usd",
    "cost_usd",
    "cost_nano",
    "counted_by",
    "billed",
];

/// A row for each day, key, cost center and class: exact, before anything was rounded.
pub(super) fn lines(told: &Told) -> String {
    let mut text = String::new();
    header(&mut text, &LINES);
    let (names, invoice) = (names(&told.document), told.number());
    for it in told.details() {
        let row = [
            invoice.clone().into(),
            it.day.to_string().into(),
            it.project.to_string().into(),
            names.get(&it.project).copied().unwrap_or_default().into(),
            it.key.to_string().into(),
            it.center.clone().into(),
            it.provider.clone().into(),
            it.model.clone().into(),
            it.class.clone().into(),
            number(it.quantity),
            unit(&it.class).into(),
            priced(&it.unit_price),
            number(it.cost_nano.exact()),
            number(it.cost_nano.nanos()),
            it.source.clone().into(),
            if it.own { "no" } else { "yes" }.into(),
        ];
        typed_row(&mut text, &row);
    }
    text
}

fn names(document: &Document) -> BTreeMap<ProjectId, &str> {
    let billed = document.sections.iter().map(|it| (it.project, it.name.as_str()));
    let own = document.own.iter().map(|it| (it.project, it.name.as_str()));
    billed.chain(own).collect()
}

/// The columns of FOCUS 1.2 that we have something to say of, and ours, which begin with `x_`.
pub(super) const FOCUS: [&str; 50] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "HostProviderName",
    "ServiceProviderName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "x_CostCenter",
    "x_CredentialId",
    "x_UsageSource",
    "x_CostNano",
];

/// One row of it, by the names of its columns.
struct Row(Vec<Cell>);

impl Row {
    fn new(told: &Told) -> Self {
        let document = &told.document;
        let month = document.month;
        let seller = document.seller.as_ref().map(|it| it.name.as_str()).unwrap_or_default();
        Self(vec![Cell::Nothing; FOCUS.len()])
            .set("BillingAccountId", document.buyer.account.as_str())
            .set("BillingAccountName", document.buyer.organization.as_str())
            .set("BillingAccountType", "Organization")
            .set("BillingCurrency", document.currency.as_str())
            .set("BillingPeriodStart", instant(&month.first().to_string()))
            .set("BillingPeriodEnd", instant(&month.end().to_string()))
            .set("ChargePeriodStart", instant(&month.first().to_string()))
            .set("ChargePeriodEnd", instant(&month.end().to_string()))
            .set("InvoiceId", document.number.clone().unwrap_or_default())
            .set("InvoiceIssuerName", seller)
            .set("ProviderName", seller)
            .set("PublisherName", seller)
            .set("ServiceProviderName", seller)
            .set("PricingCurrency", "USD")
            .set("ServiceCategory", "AI and Machine Learning")
            .set("ServiceSubcategory", "Generative AI")
            .set("ServiceName", "LLM gateway")
    }

    fn set(mut self, column: &str, value: impl Into<Cell>) -> Self {
        let at = FOCUS.iter().position(|it| *it == column);
        debug_assert!(at.is_some(), "{column} is no column");
        if let Some(cell) = at.and_then(|it| self.0.get_mut(it)) {
            *cell = value.into();
        }
        self
    }

    fn costs(self, amount: &str) -> Self {
        ["BilledCost", "EffectiveCost", "ContractedCost", "ListCost"]
            .into_iter()
            .fold(self, |row, it| row.set(it, Cell::Number(amount.to_owned())))
    }
}

fn instant(day: &str) -> String {
    format!("{day}T00:00:00Z")
}

/// Usage by the day, exactly, and a row for each other amount. Their billed costs add up to what
/// is to be paid: what rounding adds or takes off is a row too.
pub(super) fn focus(told: &Told) -> String {
    let mut text = String::new();
    header(&mut text, &FOCUS);
    let names = names(&told.document);
    let mut exact = 0_i128;
    for it in told.details().filter(|it| !it.own) {
        exact += i128::from(it.cost_nano.nanos());
        typed_row(&mut text, &usage(told, it, &names).0);
    }
    let billed: Cents = told.sections().map(|it| it.amount).sum();
    let rounding = billed.nanos() - exact;
    if rounding != 0 {
        let row = adjustment(told, "Adjustment", "Rounding to the cent")
            .costs(&Money::from_nanos(i64::try_from(rounding).unwrap_or_default()).exact());
        typed_row(&mut text, &row.0);
    }
    for it in told.others() {
        let category = match it.kind {
            "tax" => "Tax",
            "credit" | "credit_note" => "Credit",
            "minimum" => "Purchase",
            _ => "Adjustment",
        };
        let mut row = adjustment(told, category, &it.label).costs(&it.amount.exact());
        if told.document.kind == Kind::CreditNote {
            row = row.set("ChargeClass", "Correction");
        }
        typed_row(&mut text, &row.0);
    }
    text
}

fn adjustment(told: &Told, category: &str, label: &str) -> Row {
    let frequency = if category == "Purchase" { "Recurring" } else { "One-Time" };
    Row::new(told)
        .set("ChargeCategory", category)
        .set("ChargeDescription", label)
        .set("ChargeFrequency", frequency)
}

fn usage(told: &Told, it: &Detail, names: &BTreeMap<ProjectId, &str>) -> Row {
    let quantity = number(it.quantity);
    let title = title(&it.class);
    let unit = match unit(&it.class) {
        "images" => "Images",
        "searches" => "Searches",
        "requests" => "Requests",
        _ => "Tokens",
    };
    let tags = serde_json::json!({ "cost_center": it.center });
    let row = Row::new(told)
        .costs(&it.cost_nano.exact())
        .set("ChargeCategory", "Usage")
        .set("ChargeDescription", format!("{} of {}", title, it.model))
        .set("ChargeFrequency", "Usage-Based")
        .set("ChargePeriodStart", instant(&it.day.to_string()))
        .set("ChargePeriodEnd", instant(&it.day.next().to_string()))
        .set("ConsumedQuantity", quantity.clone())
        .set("ConsumedUnit", unit)
        .set("PricingQuantity", quantity)
        .set("PricingUnit", unit)
        .set("PricingCategory", "Standard")
        .set("HostProviderName", it.provider.as_str())
        .set("ResourceId", it.key.to_string())
        .set("ResourceType", "API Key")
        .set("ServiceName", it.model.as_str())
        .set("SkuId", format!("{}:{}:{}", it.provider, it.model, it.class))
        .set("SkuMeter", title)
        .set("SkuPriceId", format!("{}:{}:{}:{}", it.provider, it.model, it.class, it.unit_price))
        .set("SubAccountId", it.project.to_string())
        .set("SubAccountName", names.get(&it.project).copied().unwrap_or_default())
        .set("SubAccountType", "Project")
        .set("Tags", tags.to_string())
        .set("x_CostCenter", it.center.as_str())
        .set("x_CredentialId", it.key.to_string())
        .set("x_UsageSource", it.source.as_str())
        .set("x_CostNano", number(it.cost_nano.nanos()));
    if it.unit_price.is_empty() {
        return row;
    }
    let row = row.set("ContractedUnitPrice", number(&it.unit_price));
    let quantity = u64::try_from(it.quantity).unwrap_or_default();
    match Item::cost_at(&it.published_price, quantity) {
        Some(cost) => row
            .set("ListUnitPrice", number(&it.published_price))
            .set("ListCost", number(cost.exact())),
        None => row.set("ListUnitPrice", number(&it.unit_price)),
    }
}

/// Files in one, as they are: they are texts that whoever takes them packs on the way.
pub(super) fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let offset = narrow(out.len());
        let mut head = Vec::new();
        // Version 2.0, names in UTF-8, stored, midnight of 1 January 1980.
        for half in [20_u16, 0x0800, 0, 0, 0x0021] {
            head.extend(half.to_le_bytes());
        }
        head.extend(crc32(bytes).to_le_bytes());
        head.extend(narrow(bytes.len()).to_le_bytes());
        head.extend(narrow(bytes.len()).to_le_bytes());
        head.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        head.extend(0_u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        out.extend(name.as_bytes());
        out.extend(bytes);
        directory.extend(b"PK\x01\x02");
        directory.extend(20_u16.to_le_bytes());
        directory.extend(&head);
        // No comment, first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(files.len()).unwrap_or(u16::MAX);
    let at = narrow(out.len());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(narrow(directory.len()).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend(0_u16.to_le_bytes());
    out
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_one_that_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
