//! Every statement on the ledger.

use shared::{
    ids::{ApiKeyId, CreditId, OrganizationId, PostingId, ProjectId, UpstreamId},
    money::{Cents, Class, Price},
};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{
    Account, Differing, LedgerError, Reason, Sums,
    charging::{Charges, Kind, Known, Sum},
    credits::{Credit, NewCredit},
};
use crate::{billing::Month, usage::Pinned};

/// More credits than anybody has.
const MOST: i64 = 1_000;

/// Writers of an organization's ledger queue here.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO ledger_heads (organization_id) VALUES ($1) ON CONFLICT DO NOTHING",
        organization as OrganizationId,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "SELECT organization_id FROM ledger_heads WHERE organization_id = $1 FOR UPDATE",
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Whether it is new.
pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: PostingId,
    reason: Reason,
    key: &str,
    about: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO ledger_postings (organization_id, id, kind, idempotency_key, about, posted_at)
         VALUES ($1, $2, $3, $4, $5, now()) ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        id as PostingId,
        reason.name(),
        key,
        about,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn insert_entries(
    conn: &mut PgConnection,
    organization: OrganizationId,
    posting: PostingId,
    entries: &[(Account, i64)],
) -> Result<(), sqlx::Error> {
    let accounts: Vec<_> = entries.iter().map(|it| it.0.name().to_owned()).collect();
    let amounts: Vec<_> = entries.iter().map(|it| it.1).collect();
    sqlx::query!(
        "INSERT INTO ledger_entries (organization_id, posting_id, place, account, amount)
         SELECT $1, $2, t.place, t.account, t.amount
           FROM unnest($3::text[], $4::bigint[]) WITH ORDINALITY AS t (account, amount, place)",
        organization as OrganizationId,
        posting as PostingId,
        &accounts,
        &amounts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn balances(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<(String, i128)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT account, sum(amount)::text AS "sum!" FROM ledger_entries
            WHERE organization_id = $1 GROUP BY 1"#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.account, it.sum.parse().unwrap_or_default())).collect())
}

pub(super) async fn entries(
    conn: &mut PgConnection,
    organization: OrganizationId,
    posting: PostingId,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT account, amount FROM ledger_entries
          WHERE organization_id = $1 AND posting_id = $2 ORDER BY place",
        organization as OrganizationId,
        posting as PostingId,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.account, it.amount)).collect())
}

/// A posting as the explorer shows it.
pub(super) struct Posted {
    pub id: PostingId,
    pub kind: String,
    pub about: String,
    pub posted_at: OffsetDateTime,
    /// `account amount`, in their order.
    pub accounts: Vec<String>,
    pub amounts: Vec<i64>,
}

/// The latest first, before one of them.
pub(super) async fn postings(
    conn: &mut PgConnection,
    organization: OrganizationId,
    before: Option<PostingId>,
    most: i64,
) -> Result<Vec<Posted>, sqlx::Error> {
    sqlx::query_as!(
        Posted,
        r#"
        SELECT p.id AS "id: PostingId", p.kind, p.about, p.posted_at,
               array(SELECT e.account FROM ledger_entries e
                      WHERE (e.organization_id, e.posting_id) = (p.organization_id, p.id)
                      ORDER BY e.place) AS "accounts!",
               array(SELECT e.amount FROM ledger_entries e
                      WHERE (e.organization_id, e.posting_id) = (p.organization_id, p.id)
                      ORDER BY e.place) AS "amounts!"
          FROM ledger_postings p
         WHERE p.organization_id = $1
           AND ($2::uuid IS NULL
                OR (p.posted_at, p.id) < (SELECT b.posted_at, b.id FROM ledger_postings b
                                           WHERE b.organization_id = $1 AND b.id = $2))
         ORDER BY p.posted_at DESC, p.id DESC
         LIMIT $3
        "#,
        organization as OrganizationId,
        before as Option<PostingId>,
        most,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn unsealed(
    conn: &mut PgConnection,
    today: Date,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: OrganizationId" FROM app.unsealed_ledgers($1) AS id"#,
        today
    )
    .fetch_all(conn)
    .await
}

/// Seals each day before today on which something was posted, in their order.
pub(super) async fn seal(
    conn: &mut PgConnection,
    organization: OrganizationId,
    today: Date,
) -> Result<(), sqlx::Error> {
    let days = sqlx::query!(
        r#"
        SELECT (p.posted_at AT TIME ZONE 'UTC')::date AS "day!", count(*) AS "postings!"
          FROM ledger_postings p JOIN ledger_heads h USING (organization_id)
         WHERE p.organization_id = $1 AND (p.posted_at AT TIME ZONE 'UTC')::date < $2
           AND (h.sealed_until IS NULL
                OR (p.posted_at AT TIME ZONE 'UTC')::date > h.sealed_until)
         GROUP BY 1 ORDER BY 1
        "#,
        organization as OrganizationId,
        today,
    )
    .fetch_all(&mut *conn)
    .await?;
    for it in days {
        sqlx::query!(
            r#"
            WITH sealed AS (
                INSERT INTO ledger_days (organization_id, day, postings, hash)
                SELECT $1, $2, $3, sha256(coalesce(h.hash, '\x') || convert_to(
                           app.ledger_text($1, $2), 'UTF8'))
                  FROM ledger_heads h WHERE h.organization_id = $1
                RETURNING hash
            )
            UPDATE ledger_heads SET sealed_until = $2, hash = (SELECT hash FROM sealed)
             WHERE organization_id = $1
            "#,
            organization as OrganizationId,
            it.day,
            it.postings,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub(super) async fn uncharged(
    conn: &mut PgConnection,
    until: OffsetDateTime,
    most: i32,
) -> Result<Vec<(OrganizationId, OffsetDateTime)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId", hour AS "hour!"
             FROM app.uncharged_hours($1, $2)"#,
        until,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.hour)).collect())
}

/// Whose provider it is, and the price that was in force.
pub(super) async fn known(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
    (upstream, model, revision): &Pinned,
) -> Result<Known, LedgerError> {
    let row = sqlx::query!(
        r#"
        SELECT EXISTS (SELECT FROM upstreams u
                        WHERE u.organization_id = $1 AND u.id = $2) AS "is_own!",
               (SELECT p.price::text FROM model_prices p
                 WHERE p.upstream_id = $2 AND p.model = $3 AND p.revision = $4) AS price,
               -- As the hour began: what moves within one is told from the next on.
               (SELECT o.price::text
                  FROM model_prices p
                  JOIN model_prices o ON (o.upstream_id, o.model) = (p.upstream_id, p.model)
                 WHERE p.upstream_id = $2 AND p.model = $3 AND p.revision = $4
                   AND p.book_id IS NOT NULL AND o.book_id IS NULL AND o.valid_from <= $5
                 ORDER BY o.valid_from DESC, o.revision DESC LIMIT 1) AS published
        "#,
        organization as OrganizationId,
        *upstream as Option<UpstreamId>,
        model.as_str(),
        *revision,
        hour,
    )
    .fetch_one(conn)
    .await?;
    // A price that cannot be read is one that is not known.
    let read = |it: Option<String>| it.and_then(|it| serde_json::from_str::<Price>(&it).ok());
    Ok(Known { price: read(row.price), published: read(row.published), is_own: row.is_own })
}

/// What was charged of an hour so far.
pub(super) async fn charged(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
) -> Result<Vec<(Kind, Sum)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT project_id AS "project: ProjectId", key_id AS "key: ApiKeyId", provider, model,
               usage_source, is_own, class, unit_price, published_price,
               sum(quantity)::bigint AS "quantity!", sum(cost_nano)::bigint AS "nanos!"
          FROM charges
         WHERE organization_id = $1 AND hour = $2
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
        "#,
        organization as OrganizationId,
        hour,
    )
    .fetch_all(conn)
    .await?;
    let named = |name: &str| Class::ALL.into_iter().find(|it| it.name() == name);
    let charged = rows.into_iter().map(|row| {
        let kind = Kind {
            project: row.project,
            key: row.key,
            provider: row.provider,
            model: row.model,
            source: match row.usage_source.as_str() {
                "upstream" => "upstream",
                "estimated" => "estimated",
                "interrupted" => "interrupted",
                _ => "none",
            },
            is_own: row.is_own,
            class: named(&row.class).unwrap_or(Class::Request).name(),
            unit_price: row.unit_price,
            published_price: row.published_price,
        };
        (kind, Sum { quantity: row.quantity, nanos: row.nanos })
    });
    Ok(charged.collect())
}

/// The month itself, or the first after it that was not closed.
pub(super) async fn open_month(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<Month, sqlx::Error> {
    let closed = sqlx::query_scalar!(
        r#"SELECT month AS "month: Month" FROM closed_months
            WHERE organization_id = $1 AND month >= $2 ORDER BY month"#,
        organization as OrganizationId,
        month as Month,
    )
    .fetch_all(conn)
    .await?;
    Ok(closed.into_iter().fold(month, |open, it| if it == open { open.next() } else { open }))
}

pub(super) async fn insert_charges(
    conn: &mut PgConnection,
    organization: OrganizationId,
    posting: PostingId,
    hour: OffsetDateTime,
    month: Month,
    charges: &Charges,
) -> Result<(), sqlx::Error> {
    fn each<T>(charges: &Charges, of: impl Fn(&Kind, &Sum) -> T) -> Vec<T> {
        charges.iter().map(|(kind, sum)| of(kind, sum)).collect()
    }
    sqlx::query!(
        "INSERT INTO charges (organization_id, posting_id, place, hour, billing_month, project_id,
                              key_id, provider, model, usage_source, is_own, class, unit_price,
                              published_price, quantity, cost_nano)
         SELECT $1, $2, t.place, $3, $4, t.project_id, t.key_id, t.provider, t.model,
                t.usage_source, t.is_own, t.class, t.unit_price, t.published_price, t.quantity,
                t.cost_nano
           FROM unnest($5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::boolean[],
                       $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[])
                WITH ORDINALITY AS t (project_id, key_id, provider, model, usage_source, is_own,
                                      class, unit_price, published_price, quantity, cost_nano,
                                      place)",
        organization as OrganizationId,
        posting as PostingId,
        hour,
        month as Month,
        &each(charges, |it, _| it.project.uuid()),
        &each(charges, |it, _| it.key.uuid()),
        &each(charges, |it, _| it.provider.clone()),
        &each(charges, |it, _| it.model.clone()),
        &each(charges, |it, _| it.source.to_owned()),
        &each(charges, |it, _| it.is_own),
        &each(charges, |it, _| it.class.to_owned()),
        &each(charges, |it, _| it.unit_price.clone()),
        &each(charges, |it, _| it.published_price.clone()),
        &each(charges, |_, it| it.quantity),
        &each(charges, |_, it| it.nanos),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_charged(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
    calls: i64,
    nanos: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO charged_hours VALUES ($1, $2, $3, $4)
             ON CONFLICT (organization_id, hour) DO UPDATE SET calls = $3, cost_nano = $4",
        organization as OrganizationId,
        hour,
        calls,
        nanos,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_credit(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: CreditId,
    new: &NewCredit,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO credit_grants (organization_id, id, kind, name, priority, cents, effective_on,
                                    expires_on, reference)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        organization as OrganizationId,
        id as CreditId,
        new.kind.name(),
        new.name,
        new.priority,
        new.amount as Cents,
        new.effective_on,
        new.expires_on,
        new.reference,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// In the order in which they are used.
pub(super) async fn credits(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Credit>, sqlx::Error> {
    sqlx::query_as!(
        Credit,
        r#"
        SELECT g.id AS "id: CreditId", g.kind AS "kind: super::credits::CreditKind", g.name,
               g.priority, g.cents AS "amount: Cents",
               (g.cents - coalesce(sum(u.cents), 0))::bigint AS "left!: Cents",
               g.effective_on, g.expires_on, g.reference, g.created_at
          FROM credit_grants g
          LEFT JOIN credit_uses u ON (u.organization_id, u.grant_id) = (g.organization_id, g.id)
         WHERE g.organization_id = $1
         GROUP BY g.organization_id, g.id
         ORDER BY g.priority, g.expires_on NULLS LAST, g.created_at, g.id
         LIMIT $2
        "#,
        organization as OrganizationId,
        MOST,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn use_credit(
    conn: &mut PgConnection,
    organization: OrganizationId,
    credit: CreditId,
    posting: PostingId,
    amount: Cents,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO credit_uses (organization_id, grant_id, posting_id, cents)
         VALUES ($1, $2, $3, $4)",
        organization as OrganizationId,
        credit as CreditId,
        posting as PostingId,
        amount as Cents,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a posting used of credits.
pub(super) async fn uses(
    conn: &mut PgConnection,
    organization: OrganizationId,
    posting: PostingId,
) -> Result<Vec<(CreditId, Cents)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT grant_id AS "credit: CreditId", cents AS "amount: Cents" FROM credit_uses
            WHERE organization_id = $1 AND posting_id = $2"#,
        organization as OrganizationId,
        posting as PostingId,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.credit, it.amount)).collect())
}

pub(super) async fn with_expired_credits(
    conn: &mut PgConnection,
    today: Date,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: OrganizationId" FROM app.expired_credits($1) AS id"#,
        today
    )
    .fetch_all(conn)
    .await
}

/// Whether the last month in which it was worth something was invoiced.
pub(super) async fn is_closed(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM closed_months
                           WHERE organization_id = $1 AND month >= $2) AS "is_closed!""#,
        organization as OrganizationId,
        month as Month,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn prepaid(conn: &mut PgConnection) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: OrganizationId" FROM app.prepaid_organizations() AS id"#
    )
    .fetch_all(conn)
    .await
}

/// All that was ever charged, whoever owes it to whom, in nano-dollars.
pub(super) async fn charged_ever(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(cost_nano), 0)::bigint AS "sum!" FROM charges
            WHERE organization_id = $1"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn sums(conn: &mut PgConnection, day: Date) -> Result<Sums, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT charged_usage::text AS "used!", charges::text AS "charged!",
                  owed::text AS "owed!", accrued::text AS "accrued!", behind AS "behind!" FROM app.ledger_sums($1)"#,
        day,
    )
    .fetch_one(conn)
    .await?;
    let number = |text: String| text.parse().unwrap_or_default();
    Ok(Sums {
        used: number(row.used),
        charged: number(row.charged),
        owed: number(row.owed),
        accrued: number(row.accrued),
        behind: row.behind,
    })
}

pub(super) async fn differing_charges(
    conn: &mut PgConnection,
    day: Date,
) -> Result<Vec<Differing>, sqlx::Error> {
    sqlx::query_as!(
        Differing,
        r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                  theirs::bigint AS "theirs!" FROM app.differing_charges($1)"#,
        day
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn differing_accruals(
    conn: &mut PgConnection,
    day: Date,
) -> Result<Vec<Differing>, sqlx::Error> {
    sqlx::query_as!(
        Differing,
        r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                  theirs::bigint AS "theirs!" FROM app.differing_accruals($1)"#,
        day
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn broken(
    conn: &mut PgConnection,
    since: Date,
) -> Result<Vec<Differing>, sqlx::Error> {
    sqlx::query_as!(
        Differing,
        r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                  theirs::bigint AS "theirs!" FROM app.broken_ledgers($1)"#,
        since
    )
    .fetch_all(conn)
    .await
}

/// Whether there is an organization of that id, and what it is called.
pub(super) async fn organization_name(
    conn: &mut PgConnection,
    organization: Uuid,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT name FROM organizations WHERE id = $1", organization)
        .fetch_optional(conn)
        .await
}
