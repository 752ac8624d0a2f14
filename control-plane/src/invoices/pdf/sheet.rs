//! A document as it is printed: texts, and where they stand. The printer knows no more than this, so
//! what a PDF says is decided here, by the same words and digits as everywhere else.

use serde::Serialize;
use shared::money::Cents;

use crate::{
    invoices::{
        document::{Document, Kind, Line, Section},
        files::Told,
    },
    requests::grouped,
};

/// What is kept of an issued document beside what it says.
#[derive(Clone, Debug)]
pub struct Seal {
    pub id: String,
    pub hash: String,
}

#[derive(Serialize)]
pub struct Sheet {
    /// The same for the same document, and no other's.
    ident: String,
    title: String,
    about: String,
    kind: String,
    number: String,
    draft: bool,
    /// Year, month, day: the PDF's own.
    date: (i32, u8, u8),
    seller: Party,
    buyer: Party,
    facts: Vec<Pair>,
    amount: Amount,
    summary_title: String,
    summary_head: String,
    summary: Vec<Pair>,
    totals: Vec<Total>,
    notes: Vec<String>,
    payment: Words,
    sections: Vec<Lines>,
    tables: Vec<Table>,
    proof: Proof,
    footer: String,
}

#[derive(Default, Serialize)]
struct Party {
    heading: String,
    name: String,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Pair {
    label: String,
    value: String,
}

fn pair(label: impl Into<String>, value: impl ToString) -> Pair {
    Pair { label: label.into(), value: value.to_string() }
}

#[derive(Serialize)]
struct Amount {
    label: String,
    value: String,
    note: String,
}

#[derive(Serialize)]
struct Total {
    label: String,
    value: String,
    weight: Weight,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Weight {
    Plain,
    Sum,
    Due,
}

fn total(label: impl Into<String>, value: Cents, weight: Weight) -> Total {
    Total { label: label.into(), value: value.to_string(), weight }
}

#[derive(Default, Serialize)]
struct Words {
    title: String,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Lines {
    title: String,
    head: [&'static str; 5],
    lines: Vec<Row>,
    total: Pair,
}

#[derive(Serialize)]
struct Row {
    model: String,
    provider: String,
    what: String,
    note: String,
    quantity: String,
    price: String,
    amount: String,
}

#[derive(Serialize)]
struct Table {
    title: String,
    note: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    total: Pair,
}

#[derive(Default, Serialize)]
struct Proof {
    title: String,
    text: String,
    facts: Vec<Pair>,
}

impl Sheet {
    /// A draft has no seal.
    pub(in crate::invoices) fn of(told: &Told, seal: Option<&Seal>) -> Self {
        let (document, title) = (&told.document, told.title());
        Self {
            ident: ident(told, seal),
            about: about(told),
            kind: document.kind.title().to_owned(),
            number: match &document.number {
                Some(number) => number.clone(),
                None => format!("Draft of {}", document.month.title()),
            },
            draft: document.number.is_none(),
            date: date(document),
            seller: seller(document),
            buyer: buyer(document),
            facts: facts(told),
            amount: amount(told),
            summary_title: "By project".to_owned(),
            summary_head: format!("Amount, {}", document.currency),
            summary: told.sections().map(|it| pair(&it.name, it.amount)).collect(),
            totals: totals(told),
            notes: notes(told),
            payment: payment(told),
            sections: told.sections().map(lines).collect(),
            tables: tables(told),
            proof: proof(told, seal),
            footer: footer(document, &title),
            title,
        }
    }
}

fn ident(told: &Told, seal: Option<&Seal>) -> String {
    let account = &told.document.buyer.account;
    let hash = seal.map_or("draft", |it| it.hash.as_str());
    format!("{account} {} {hash}", told.file_name())
}

fn about(told: &Told) -> String {
    let Document { month, buyer, .. } = &told.document;
    match told.part() {
        Some(section) => format!("What was used for {} in {}", section.name, month.title()),
        None => format!("{} of {}", month.title(), buyer.legal_name),
    }
}

fn date(document: &Document) -> (i32, u8, u8) {
    let day = document.issued_on.date();
    (day.year(), day.month().into(), day.day())
}

/// Lines as they were typed, without those that say nothing.
fn typed(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|it| it.trim_end().to_owned()).filter(|it| !it.is_empty())
}

/// `Tax id DE123`, where there is one.
fn named(name: &str, value: &str) -> Option<String> {
    (!value.is_empty()).then(|| format!("{name} {value}"))
}

fn seller(document: &Document) -> Party {
    let Some(seller) = &document.seller else {
        return Party { name: "The seller is not said yet".to_owned(), ..Party::default() };
    };
    let contact = (!seller.contact.is_empty()).then(|| seller.contact.clone());
    let lines = typed(&seller.address).chain(named("Tax id", &seller.tax_id)).chain(contact);
    Party { heading: "From".to_owned(), name: seller.name.clone(), lines: lines.collect() }
}

fn buyer(document: &Document) -> Party {
    let buyer = &document.buyer;
    let lines = typed(&buyer.address).chain(named("Tax id", &buyer.tax_id));
    Party {
        heading: "Billed to".to_owned(),
        name: buyer.legal_name.clone(),
        lines: lines.collect(),
    }
}

fn facts(told: &Told) -> Vec<Pair> {
    let document = &told.document;
    let (is_issued, is_note) = (document.number.is_some(), document.kind == Kind::CreditNote);
    let mut facts = vec![
        pair("Number", document.number.as_deref().unwrap_or("given when it is issued")),
        pair("Issued", if is_issued { document.issued_on.text() } else { "not yet".to_owned() }),
    ];
    if let Some(number) = &document.refers_to {
        facts.push(pair("Of invoice", number));
    }
    if !is_note {
        let days = document.payment_days;
        facts.push(match is_issued {
            true => pair("Due", document.due_on.text()),
            false => pair("Due", format!("{days} days after it is issued")),
        });
        facts.push(pair("Terms", format!("net, {days} days")));
    }
    let (first, last) = (document.first_day.text(), document.last_day.text());
    facts.push(pair("Used", format!("{first} to {last}, UTC")));
    facts.push(pair("For", told.scope()));
    let buyer = &document.buyer;
    if !buyer.purchase_order.is_empty() {
        facts.push(pair("Purchase order", &buyer.purchase_order));
    }
    if buyer.organization != buyer.legal_name {
        facts.push(pair("Organization", &buyer.organization));
    }
    facts.push(pair("Account", &buyer.account));
    facts
}

fn amount(told: &Told) -> Amount {
    let document = &told.document;
    let of = match &document.number {
        Some(number) => format!("invoice {number}"),
        None => "a draft".to_owned(),
    };
    if told.only.is_some() {
        let note =
            format!("Part of {of}, before what is said of all of it: discounts, tax, credits.");
        return Amount { label: "Used".to_owned(), value: told.part_total().to_string(), note };
    }
    if document.kind == Kind::CreditNote {
        let value = document.total.to_string();
        return Amount { label: "Credited".to_owned(), value, note: credited(document) };
    }
    let note = match (document.due, &document.number) {
        (Cents::ZERO, _) => "Nothing is left to be paid.".to_owned(),
        (_, Some(_)) => format!("To be paid until {}", document.due_on.text()),
        (_, None) => "What it would come to if it were issued now".to_owned(),
    };
    Amount { label: "Amount due".to_owned(), value: document.due.to_string(), note }
}

/// What becomes of what a credit note takes back.
fn credited(document: &Document) -> String {
    let of = document.refers_to.as_deref().unwrap_or_default();
    let returned = document.returned.unwrap_or(Cents::ZERO);
    let parts = [
        (document.due, format!("taken off what is to be paid of {of}")),
        (returned, format!("given back to the card that paid {of}")),
        (document.total - document.due - returned, "kept as a credit".to_owned()),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|it| it.0 > Cents::ZERO).collect();
    match parts.as_slice() {
        [(_, all)] => format!("All of it is {all}."),
        some => {
            let some: Vec<_> =
                some.iter().map(|(part, what)| format!("{part} is {what}")).collect();
            format!("{}.", some.join(", "))
        }
    }
}

fn totals(told: &Told) -> Vec<Total> {
    let document = &told.document;
    if told.only.is_some() {
        return vec![total("Used", told.part_total(), Weight::Due)];
    }
    let mut totals = Vec::new();
    if document.kind == Kind::CreditNote {
        let reason = document.reason.as_deref().unwrap_or_default();
        totals.push(total(format!("Taken back: {reason}"), document.net, Weight::Plain));
    } else {
        totals.push(total("Used", document.usage, Weight::Sum));
        for it in document.discount.iter().chain(&document.minimum) {
            totals.push(total(&it.label, it.amount, Weight::Plain));
        }
        totals.push(total("Net", document.net, Weight::Sum));
    }
    totals.push(total(document.tax.label(), document.tax.amount, Weight::Plain));
    let currency = &document.currency;
    if document.kind == Kind::CreditNote {
        totals.push(total(format!("Credited, {currency}"), document.total, Weight::Due));
        if let Some(returned) = document.returned {
            totals.push(total("Of it, given back to the card", returned, Weight::Plain));
        }
        return totals;
    }
    totals.push(total(format!("Total, {currency}"), document.total, Weight::Sum));
    for it in &document.credits {
        totals.push(total(format!("Credit: {}", it.name), -it.amount, Weight::Plain));
    }
    totals.push(total(format!("Amount due, {currency}"), document.due, Weight::Due));
    totals
}

fn notes(told: &Told) -> Vec<String> {
    let reverse = "Reverse charge: the customer owes the tax.";
    let is_said = told.document.tax.reverse_charge && told.only.is_none();
    is_said.then(|| reverse.to_owned()).into_iter().collect()
}

fn payment(told: &Told) -> Words {
    let Document { seller, kind, number, due, .. } = &told.document;
    let is_asked = *kind == Kind::Invoice && told.only.is_none() && *due > Cents::ZERO;
    let Some(seller) = seller.as_ref().filter(|it| is_asked && !it.remittance.is_empty()) else {
        return Words::default();
    };
    let reference = number.as_ref().map(|it| format!("Reference {it}"));
    Words {
        title: "How to pay".to_owned(),
        lines: typed(&seller.remittance).chain(reference).collect(),
    }
}

const HEAD: [&str; 5] = ["Model", "What was used", "Quantity", "Unit price", "Amount"];

fn lines(section: &Section) -> Lines {
    Lines {
        title: section.name.clone(),
        head: HEAD,
        lines: section.lines.iter().map(row).collect(),
        total: pair(format!("{}, together", section.name), section.amount),
    }
}

fn row(line: &Line) -> Row {
    let note = line.late_of.map(|it| format!("of {}, told late", it.title()));
    Row {
        model: line.model.clone(),
        provider: line.provider.clone(),
        what: line.title().to_owned(),
        note: note.unwrap_or_default(),
        quantity: grouped(line.quantity.unsigned_abs()),
        price: line.price(),
        amount: line.amount.to_string(),
    }
}

fn tables(told: &Told) -> Vec<Table> {
    let document = &told.document;
    let mut tables = Vec::new();
    if told.only.is_some() {
        return tables;
    }
    if !document.cost_centers.is_empty() {
        let centers = document.cost_centers.iter();
        tables.push(Table {
            title: "By cost center".to_owned(),
            note: String::new(),
            head: vec!["Cost center", "Name", "Amount"],
            rows: centers
                .map(|it| vec![it.code.clone(), it.name.clone(), it.amount.to_string()])
                .collect(),
            total: pair("Used", document.usage),
        });
    }
    if !document.own.is_empty() {
        let own = document.own.iter().map(|it| {
            let model = format!("{}, {}", it.model, it.provider);
            vec![it.name.clone(), model, it.cost_nano.to_string()]
        });
        tables.push(Table {
            title: "With your own credentials".to_owned(),
            note: "Not billed: you owe it to the provider.".to_owned(),
            head: vec!["Project", "Model", "By its price"],
            rows: own.collect(),
            total: pair("", ""),
        });
    }
    tables
}

fn proof(told: &Told, seal: Option<&Seal>) -> Proof {
    let document = &told.document;
    let mut said = Vec::new();
    if document.kind == Kind::Invoice && told.only.is_none() {
        said.push(format!(
            "{} calls were made in the month. What is billed here came to ${}: what the calls were \
             settled at, what stands in the ledger, and what the rows of each file add up to.",
            grouped(document.calls_charged.unsigned_abs()),
            document.usage_nano.exact(),
        ));
        if document.number.is_some() {
            said.push("The month was closed after these were found equal.".to_owned());
        }
    }
    if document.kind == Kind::Invoice {
        said.push(format!(
            "Amounts are exact until all that was used is rounded to the cent, once: by {}. Each \
             line is the cent above or below what it is exactly, which the files have.",
            document.rounding(),
        ));
        if let Some(percent) = document.estimated() {
            said.push(format!(
                "{percent} of it was counted by us, where the provider did not say."
            ));
        }
    }
    if document.kind == Kind::CreditNote {
        said.push("Posted to the ledger under its number. Its invoice is as it was.".to_owned());
    }
    let facts =
        seal.map(|it| vec![pair("SHA-256 of what was written", &it.hash), pair("Id", &it.id)]);
    Proof {
        title: "How this reconciles".to_owned(),
        text: said.join(" "),
        facts: facts.unwrap_or_default(),
    }
}

fn footer(document: &Document, title: &str) -> String {
    match &document.seller {
        Some(seller) => format!("{} · {title}", seller.name),
        None => title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::OrganizationId;

    use super::*;
    use crate::invoices::{draw, tests::basis};

    #[test]
    fn a_credit_note_says_what_becomes_of_it() {
        let month = "2026-01".parse().unwrap();
        let document = draw::empty(&basis(OrganizationId::generate(), month)).document;
        for (due, returned, said) in [
            (0, 0, "All of it is kept as a credit."),
            (1_000, 0, "All of it is taken off what is to be paid of TP-1."),
            (0, 1_000, "All of it is given back to the card that paid TP-1."),
            (
                300,
                200,
                "$3.00 is taken off what is to be paid of TP-1, $2.00 is given back to the card that \
                 paid TP-1, $5.00 is kept as a credit.",
            ),
        ] {
            let note = Document {
                refers_to: Some("TP-1".to_owned()),
                total: Cents::from_cents(1_000),
                due: Cents::from_cents(due),
                returned: Some(Cents::from_cents(returned)),
                ..document.clone()
            };
            assert_eq!(credited(&note), said);
        }
    }
}
