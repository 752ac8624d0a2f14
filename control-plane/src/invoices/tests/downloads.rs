//! Files, and pages: all of one document.

use std::collections::HashSet;

use actix_web::http::{Method, StatusCode};
use serde_json::Value;
use shared::money::Item;

use super::*;
use crate::{
    access::Role,
    testing::books::{Books, last_month},
};

/// A table as spreadsheets read it.
pub(super) fn table(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for line in text.split_terminator("\r\n") {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => cell.push(letters.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        rows.push(cells);
    }
    rows
}

/// A decimal in nano-dollars.
fn nanos(text: &str) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<9}");
    sign * digits.parse::<i128>().unwrap()
}

pub(super) fn column(text: &str, name: &str) -> i128 {
    let rows = table(text);
    let at = rows[0].iter().position(|it| it == name).unwrap();
    rows[1..].iter().map(|it| nanos(&it[at])).sum()
}

/// What is not billed of a file of lines.
pub(super) fn own(text: &str) -> i128 {
    let rows = table(text);
    let at = |name: &str| rows[0].iter().position(|it| it == name).unwrap();
    let (cost, billed) = (at("cost_usd"), at("billed"));
    rows[1..].iter().filter(|it| it[billed] == "no").map(|it| nanos(&it[cost])).sum()
}

/// Types, nulls, allowed values and sums: what the specification asks of a file.
pub(super) fn conforms(text: &str, due: Cents) {
    let rows = table(text);
    let header = &rows[0];
    assert_eq!(header.iter().collect::<HashSet<_>>().len(), header.len());
    let at =
        |name: &str| header.iter().position(|it| it == name).unwrap_or_else(|| panic!("{name}"));
    let mandatory = [
        "BilledCost",
        "BillingAccountId",
        "BillingAccountName",
        "BillingCurrency",
        "BillingPeriodStart",
        "BillingPeriodEnd",
        "ChargeCategory",
        "ChargePeriodStart",
        "ChargePeriodEnd",
        "ContractedCost",
        "EffectiveCost",
        "ListCost",
        "ProviderName",
        "PublisherName",
        "InvoiceIssuerName",
        "ServiceCategory",
        "ServiceName",
        "InvoiceId",
    ];
    for row in &rows[1..] {
        assert_eq!(row.len(), header.len());
        for name in mandatory {
            assert!(!row[at(name)].is_empty(), "{name} is null in {row:?}");
        }
        for cost in ["BilledCost", "ContractedCost", "EffectiveCost", "ListCost"] {
            nanos(&row[at(cost)]);
        }
        for instant in
            ["BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"]
        {
            assert!(row[at(instant)].ends_with("T00:00:00Z"), "{row:?}");
        }
        assert!(row[at("ChargePeriodStart")] < row[at("ChargePeriodEnd")]);
        assert_eq!(row[at("BillingCurrency")], "USD");
        let category = row[at("ChargeCategory")].as_str();
        assert!(["Usage", "Purchase", "Tax", "Credit", "Adjustment"].contains(&category));
        assert!(["", "Correction"].contains(&row[at("ChargeClass")].as_str()));
        let frequency = row[at("ChargeFrequency")].as_str();
        assert!(["One-Time", "Recurring", "Usage-Based"].contains(&frequency));
        let is_usage = category == "Usage";
        for name in ["ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "SkuId", "SubAccountId"]
        {
            assert_eq!(!row[at(name)].is_empty(), is_usage, "{name} of {row:?}");
        }
        if is_usage {
            assert_eq!(frequency, "Usage-Based");
            row[at("ConsumedQuantity")].parse::<i64>().unwrap();
            serde_json::from_str::<Value>(&row[at("Tags")]).unwrap();
            let (list, contracted) = (&row[at("ListUnitPrice")], &row[at("ContractedUnitPrice")]);
            assert!(!list.is_empty() && !contracted.is_empty(), "{row:?}");
            if list == contracted {
                assert_eq!(row[at("ListCost")], row[at("ContractedCost")]);
            } else {
                let quantity = row[at("PricingQuantity")].parse().unwrap();
                let cost = Item::cost_at(list, quantity).unwrap();
                assert_eq!(nanos(&row[at("ListCost")]), cost.nanos().into(), "{row:?}");
            }
        }
    }
    assert_eq!(column(text, "BilledCost"), due.nanos(), "what is billed is what is to be paid");
}

#[sqlx::test(migrations = "../migrations")]
async fn page_files_and_api_tell_the_same_to_the_last_digit(root: PgPool) {
    let mut books = Books::new(root).await;
    let month = last_month();
    let events = books.used(month, 90).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let terms = Terms {
        discount_basis_points: 500,
        tax_name: "VAT".to_owned(),
        tax_basis_points: 1_900,
        ..Terms::default()
    };
    billing::change_terms(&mut work, terms).await.unwrap();
    let invoice = close(&mut work, month, "it is a test", "us").await.unwrap()[0];
    work.commit().await.unwrap();
    let fixture = &books.fixture;
    let billing = fixture.browser(Role::Billing).await;
    // From signing in to a project's document: the list, the invoice, the document.
    let list = billing.get("/orgs/ours/invoices").await;
    let path = format!("/orgs/ours/invoices/{invoice}");
    list.says(StatusCode::OK, &path);
    let page = billing.get(&path).await;
    let document = format!("{path}/document?project={}", books.projects[0]);
    page.says(StatusCode::OK, &document);
    let token = fixture.token(Role::Billing, false).await;
    let asked = format!("/orgs/ours/invoices/{invoice}");
    let api = fixture.api(Some(&token), Method::GET, &asked, None).await.json();
    let due: Cents =
        api["document"]["due"].as_str().unwrap().trim_start_matches('-').parse().unwrap();
    assert_eq!(api["document"]["usage_nano"], books.owed(&events));
    page.says(StatusCode::OK, &due.to_string());
    for section in api["document"]["sections"].as_array().unwrap() {
        let project = section["project"].as_str().unwrap();
        let amount: Cents = section["amount"].as_str().unwrap().parse().unwrap();
        let part = billing.get(&format!("{path}/document?project={project}")).await;
        part.says(StatusCode::OK, &amount.to_string());
        let file = billing.get(&format!("{path}/download?format=csv&project={project}")).await;
        assert_eq!(column(&file.body, "amount_usd"), amount.nanos());
        let file = billing.get(&format!("{path}/download?format=focus&project={project}")).await;
        assert_eq!(column(&file.body, "BilledCost"), amount.nanos());
    }
    let simple = billing.get(&format!("{path}/download?format=csv")).await;
    assert_eq!(simple.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(column(&simple.body, "amount_usd"), due.nanos());
    assert!(simple.body.contains("\"'=bot\""), "no name is a formula: {}", simple.body);
    let lines = billing.get(&format!("{path}/download?format=lines")).await;
    assert_eq!(column(&lines.body, "cost_usd") - own(&lines.body), books.owed(&events).into());
    conforms(&billing.get(&format!("{path}/download?format=focus")).await.body, due);
    let json = billing.get(&format!("{path}/download?format=json")).await;
    assert_eq!(json.json(), api["document"]);
    let details = format!("/orgs/ours/invoices/{invoice}/details");
    let details = fixture.api(Some(&token), Method::GET, &details, None).await.json();
    assert_eq!(details["data"].as_array().unwrap().len(), table(&lines.body).len() - 1);
    let bad = billing.get(&format!("{path}/download?format=doc")).await;
    bad.says(StatusCode::UNPROCESSABLE_ENTITY, "choose pdf");
    let none = format!("{path}/document?project={}", shared::ids::ProjectId::generate());
    assert_eq!(billing.get(&none).await.status, StatusCode::NOT_FOUND);
    assert_eq!(billing.get(&format!("{path}/document")).await.status, StatusCode::OK);
    let seen = fixture.browser(Role::Developer).await.get(&path).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_draft_is_there_at_any_time_and_empty_months_say_so(root: PgPool) {
    let mut books = Books::new(root).await;
    let billing = books.fixture.browser(Role::Billing).await;
    billing.get("/orgs/ours/invoices").await.says(StatusCode::OK, "No invoices yet");
    billing.get("/orgs/ours/invoices/draft").await.says(StatusCode::OK, "Nothing was used yet");
    let empty = billing.get("/orgs/ours/invoices/draft/download?format=focus").await;
    assert_eq!(table(&empty.body).len(), 1);
    drop(billing);
    let month = last_month();
    books.used(month, 12).await;
    let billing = books.fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/invoices/draft?month={month}");
    billing.get("/orgs/ours/invoices").await.says(StatusCode::OK, &path);
    billing.get(&path).await.says(StatusCode::OK, "review");
    let drafts = format!("/orgs/ours/invoices/drafts?month={month}");
    let token = books.fixture.token(Role::Admin, false).await;
    let told = books.fixture.api(Some(&token), Method::GET, &drafts, None).await.json();
    assert_eq!(told["data"][0]["number"], Value::Null);
    assert_eq!(
        billing.get("/orgs/ours/invoices/draft?month=moon").await.status,
        StatusCode::NOT_FOUND
    );
}

#[test]
fn a_zip_is_one() {
    let files = [("a.csv".to_owned(), b"1,2\r\n".to_vec()), ("b.json".to_owned(), b"{}".to_vec())];
    let bytes = files::zip(&files);
    let count = |mark: &[u8]| bytes.windows(4).filter(|it| *it == mark).count();
    assert_eq!((count(b"PK\x03\x04"), count(b"PK\x01\x02"), count(b"PK\x05\x06")), (2, 2, 1));
    // Where the directory says it is, it is.
    let end = bytes.len() - 22;
    let at = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap());
    assert_eq!(&bytes[at as usize..at as usize + 4], b"PK\x01\x02");
}
