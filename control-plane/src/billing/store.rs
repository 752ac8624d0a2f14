//! Every statement on settings, terms and sellers.

use shared::{ids::OrganizationId, money::Cents};
use sqlx::PgConnection;

use super::{Grouping, Seller, Settings, Terms};

pub(super) async fn settings(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<Settings>, sqlx::Error> {
    sqlx::query_as!(
        Settings,
        r#"SELECT legal_name, address, tax_id, purchase_order, emails,
                  grouping AS "grouping: Grouping"
             FROM billing_settings WHERE organization_id = $1"#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn put_settings(
    conn: &mut PgConnection,
    organization: OrganizationId,
    settings: &Settings,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO billing_settings (organization_id, legal_name, address, tax_id,
                                       purchase_order, emails, grouping)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (organization_id) DO UPDATE SET
             legal_name = $2, address = $3, tax_id = $4, purchase_order = $5, emails = $6,
             grouping = $7",
        organization as OrganizationId,
        settings.legal_name,
        settings.address,
        settings.tax_id,
        settings.purchase_order,
        &settings.emails,
        settings.grouping.name(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn terms(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<Terms>, sqlx::Error> {
    sqlx::query_as!(
        Terms,
        r#"SELECT payment_days, discount_basis_points, minimum_cents AS "minimum: Cents",
                  tax_name, tax_basis_points, reverse_charge, prepaid
             FROM billing_terms WHERE organization_id = $1"#,
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn put_terms(
    conn: &mut PgConnection,
    organization: OrganizationId,
    terms: &Terms,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO billing_terms (organization_id, payment_days, discount_basis_points,
                                    minimum_cents, tax_name, tax_basis_points, reverse_charge,
                                    prepaid)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (organization_id) DO UPDATE SET
             payment_days = $2, discount_basis_points = $3, minimum_cents = $4, tax_name = $5,
             tax_basis_points = $6, reverse_charge = $7, prepaid = $8",
        organization as OrganizationId,
        terms.payment_days,
        terms.discount_basis_points,
        terms.minimum as Cents,
        terms.tax_name,
        terms.tax_basis_points,
        terms.reverse_charge,
        terms.prepaid,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn seller(conn: &mut PgConnection) -> Result<Option<Seller>, sqlx::Error> {
    sqlx::query_as!(
        Seller,
        "SELECT name, address, tax_id, series, remittance, contact
           FROM sellers ORDER BY id DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn add_seller(
    conn: &mut PgConnection,
    seller: &Seller,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO sellers (name, address, tax_id, series, remittance, contact)
         VALUES ($1, $2, $3, $4, $5, $6)",
        seller.name,
        seller.address,
        seller.tax_id,
        seller.series,
        seller.remittance,
        seller.contact,
    )
    .execute(conn)
    .await?;
    Ok(())
}
