use actix_web::http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::{access::Role, testing::Fixture};

#[test]
fn terms_that_contradict_each_other_are_refused() {
    let vat = Terms { tax_name: "VAT".to_owned(), tax_basis_points: 1_900, ..Terms::default() };
    assert!(vat.clone().checked().is_ok());
    let both = Terms { reverse_charge: true, ..vat.clone() };
    assert!(both.checked().unwrap_err().of("tax").is_some());
    let unnamed = Terms { tax_name: String::new(), ..vat };
    assert!(unnamed.checked().unwrap_err().of("tax_name").is_some());
    let never = Terms { payment_days: 366, ..Terms::default() };
    assert!(never.checked().unwrap_err().of("payment_days").is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn settings_are_ones_own_and_are_the_same_in_page_and_api(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let billing = fixture.browser(Role::Billing).await;
    billing.get("/orgs/ours/billing").await.says(StatusCode::OK, "No credits");
    let form = [
        ("legal_name", "Ours Ltd"),
        ("address", "1 Road\r\nTown"),
        ("tax_id", "GB1"),
        ("purchase_order", "PO 7"),
        ("emails", "ap@ours.test, books@ours.test"),
        ("grouping", "project"),
    ];
    let saved = billing.post("/orgs/ours/billing", &form).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let token = fixture.token(Role::Billing, false).await;
    let told = fixture.api(Some(&token), Method::GET, "/orgs/ours/billing", None).await.json();
    let settings = json!({
        "legal_name": "Ours Ltd", "address": "1 Road\nTown", "tax_id": "GB1",
        "purchase_order": "PO 7", "emails": ["ap@ours.test", "books@ours.test"],
        "grouping": "project",
    });
    assert_eq!(told["settings"], settings);
    assert_eq!(told["terms"]["payment_days"], 30);
    let bad = [("emails", "nobody"), ("grouping", "moon")];
    billing.post("/orgs/ours/billing", &bad).await.says(StatusCode::UNPROCESSABLE_ENTITY, "choose");
    let bad = [("emails", "nobody"), ("grouping", "project")];
    let again = billing.post("/orgs/ours/billing", &bad).await;
    again.says(StatusCode::UNPROCESSABLE_ENTITY, "nobody");
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert_eq!(super::settings(&mut work).await.unwrap(), Settings::default());
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM billing_settings")
        .fetch_one(&mut *work)
        .await
        .unwrap();
    assert_eq!(seen, 0);
}
