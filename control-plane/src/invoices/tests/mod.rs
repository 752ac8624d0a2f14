mod arithmetic;
mod downloads;
mod lifecycle;
mod printing;
mod whole_month;

use std::collections::BTreeMap;

use shared::ids::OrganizationId;
use sqlx::PgPool;

use super::*;
use crate::{
    billing::{Settings, Terms},
    testing::books::seller,
};

/// A basis without any usage.
pub(super) fn basis(organization: OrganizationId, month: Month) -> Basis {
    Basis {
        organization,
        organization_name: "Ours".to_owned(),
        month,
        issued_on: month.end(),
        seller: Some(seller()),
        settings: Settings::default(),
        terms: Terms::default(),
        names: BTreeMap::new(),
        charged: Vec::new(),
        splits: BTreeMap::new(),
        credits: Vec::new(),
        calls: 0,
    }
}

/// An invoice of an organization, for tests that need one there.
pub(crate) async fn plant(root: &PgPool, organization: OrganizationId) -> InvoiceId {
    plant_of(root, organization, "2026-01".parse().unwrap(), Cents::from_cents(500)).await
}

/// One of a month that comes to so much, and was due long ago.
pub(crate) async fn plant_of(
    root: &PgPool,
    organization: OrganizationId,
    month: Month,
    total: Cents,
) -> InvoiceId {
    let (id, posting) = (InvoiceId::generate(), PostingId::generate());
    let mut document = draw::empty(&basis(organization, month)).document;
    document.number = Some(id.to_string());
    document.usage = total;
    document.net = total;
    document.total = total;
    document.due = total;
    sqlx::query(
        "INSERT INTO ledger_postings
         VALUES ($1, $2, 'invoice', $3, 'planted', now())",
    )
    .bind(organization)
    .bind(posting)
    .bind(id.to_string())
    .execute(root)
    .await
    .unwrap();
    sqlx::query(
        r"INSERT INTO invoices (organization_id, id, number, kind, month, scope, title, total_cents,
                                due_cents, posting_id, due_on, document, details, hash)
          VALUES ($1, $2, $3, 'invoice', $4, 'organization', 'All projects', $7, $7, $5,
                  '2026-03-01', $6, '[]', sha256(convert_to($6 || E'\n[]', 'UTF8')))",
    )
    .bind(organization)
    .bind(id)
    .bind(id.to_string())
    .bind(month)
    .bind(posting)
    .bind(serde_json::to_string(&document).unwrap())
    .bind(total)
    .execute(root)
    .await
    .unwrap();
    id
}
