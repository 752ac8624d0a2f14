//! Every statement on the chain of revisions, on what it amounts to, and on what is not
//! in it yet.

use shared::snapshot::{Digest, Entity, Record, RecordId, SetSum, Signed};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

/// The newest revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub revision: i64,
    pub digest: Digest,
    pub sum: SetSum,
    pub published_at: OffsetDateTime,
}

/// Why a revision was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody changed something.
    Changes,
    /// Everything was compared, and was not what we had published.
    Comparison,
    /// An operator asked for it.
    Republished,
}

impl Cause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Comparison => "comparison",
            Self::Republished => "republished",
        }
    }
}

/// A revision as the list of them shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub revision: i64,
    pub cause: String,
    pub records: i32,
    pub bytes: i32,
    pub published_at: OffsetDateTime,
}

/// A transaction that nobody else publishes beside, and that sees everything as it is
/// now; `None` while somebody else publishes. The lock comes before the first look, so
/// that what the one before us did is seen.
pub(super) async fn lock(
    db: &PgPool,
) -> Result<Option<Transaction<'static, Postgres>>, sqlx::Error> {
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *tx).await?;
    let locked = sqlx::query("LOCK TABLE config_records IN SHARE ROW EXCLUSIVE MODE NOWAIT")
        .execute(&mut *tx)
        .await;
    match locked {
        Ok(_) => Ok(Some(tx)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCKED) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `lock_not_available`.
const LOCKED: &str = "55P03";

/// A transaction that only looks, at one instant.
pub(super) async fn look(db: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *tx).await?;
    Ok(tx)
}

pub(super) async fn end(conn: &mut PgConnection) -> Result<Option<End>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT revision, digest, sum, published_at FROM config_revisions
          ORDER BY revision DESC LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(End {
            revision: row.revision,
            digest: digest(row.digest)?,
            sum: sum(row.sum)?,
            published_at: row.published_at,
        })
    })
    .transpose()
}

pub(super) async fn digest_at(
    conn: &mut PgConnection,
    revision: i64,
) -> Result<Option<Digest>, sqlx::Error> {
    let found =
        sqlx::query_scalar!("SELECT digest FROM config_revisions WHERE revision = $1", revision)
            .fetch_optional(conn)
            .await?;
    found.map(digest).transpose()
}

/// A revision as it was signed.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub revision: i64,
    pub digest: Digest,
    pub signed: Signed,
}

/// The revisions after one of them, in order.
pub(super) async fn after(
    conn: &mut PgConnection,
    revision: i64,
    most: i64,
) -> Result<Vec<Sealed>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT revision, digest, head, signature, body FROM config_revisions
          WHERE revision > $1 ORDER BY revision LIMIT $2",
        revision,
        most,
    )
    .fetch_all(conn)
    .await?;
    let sealed = rows.into_iter().map(|row| {
        let signed = Signed { head: row.head, signature: row.signature, body: row.body };
        Ok(Sealed { revision: row.revision, digest: digest(row.digest)?, signed })
    });
    sealed.collect()
}

pub(super) async fn list(conn: &mut PgConnection, most: i64) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        r#"SELECT revision, cause, records, length(body) AS "bytes!", published_at
             FROM config_revisions ORDER BY revision DESC LIMIT $1"#,
        most,
    )
    .fetch_all(conn)
    .await
}

/// How much may have changed, up to `most`.
pub(super) async fn noted(conn: &mut PgConnection, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "noted!" FROM (SELECT FROM config_outbox LIMIT $1) AS seen"#,
        most,
    )
    .fetch_one(conn)
    .await
}

/// Forgets what this transaction saw in the outbox, and nothing that came later.
pub(super) async fn clear_noted(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM config_outbox").execute(conn).await?;
    Ok(())
}

pub(super) async fn touched(conn: &mut PgConnection) -> Result<Vec<RecordId>, sqlx::Error> {
    let rows =
        sqlx::query!(r#"SELECT entity AS "entity!", id AS "id!" FROM app.snapshot_touched()"#)
            .fetch_all(conn)
            .await?;
    let mut touched: Vec<_> = rows
        .into_iter()
        .map(|row| RecordId { entity: Entity::named(&row.entity), id: row.id })
        .collect();
    // A key that is gone may have been revoked.
    let keys = touched.iter().filter(|it| it.entity == Entity::Key);
    let revoked: Vec<_> = keys.map(|it| RecordId { entity: Entity::Revoked, id: it.id }).collect();
    touched.extend(revoked);
    Ok(touched)
}

/// What was published of these records; of all where none are named.
pub(super) async fn records(
    conn: &mut PgConnection,
    of: Option<&[RecordId]>,
) -> Result<Vec<Record>, sqlx::Error> {
    match of {
        Some(of) => records_of(conn, of).await,
        None => all_records(conn).await,
    }
}

async fn records_of(conn: &mut PgConnection, of: &[RecordId]) -> Result<Vec<Record>, sqlx::Error> {
    let (entities, ids): (Vec<_>, Vec<_>) =
        of.iter().map(|it| (it.entity.name().to_owned(), it.id)).unzip();
    let rows = sqlx::query!(
        "SELECT entity, id, content
           FROM config_records JOIN unnest($1::text[], $2::uuid[]) AS wanted (entity, id)
          USING (entity, id)",
        &entities,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| record(&row.entity, row.id, row.content)).collect())
}

async fn all_records(conn: &mut PgConnection) -> Result<Vec<Record>, sqlx::Error> {
    let rows = sqlx::query!("SELECT entity, id, content FROM config_records ORDER BY entity, id")
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| record(&row.entity, row.id, row.content)).collect())
}

fn record(entity: &str, id: Uuid, content: String) -> Record {
    Record { id: RecordId { entity: Entity::named(entity), id }, content }
}

/// So many at once that a statement stays small.
const BATCH: usize = 5_000;

pub(super) async fn put_records(
    conn: &mut PgConnection,
    records: &[&Record],
) -> Result<(), sqlx::Error> {
    for batch in records.chunks(BATCH) {
        let entities: Vec<_> = batch.iter().map(|it| it.id.entity.name().to_owned()).collect();
        let ids: Vec<_> = batch.iter().map(|it| it.id.id).collect();
        let contents: Vec<_> = batch.iter().map(|it| it.content.clone()).collect();
        sqlx::query!(
            "INSERT INTO config_records (entity, id, content)
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[])
             ON CONFLICT (entity, id) DO UPDATE SET content = excluded.content",
            &entities,
            &ids,
            &contents,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub(super) async fn drop_records(
    conn: &mut PgConnection,
    gone: &[RecordId],
) -> Result<(), sqlx::Error> {
    let (entities, ids): (Vec<_>, Vec<_>) =
        gone.iter().map(|it| (it.entity.name().to_owned(), it.id)).unzip();
    sqlx::query!(
        "DELETE FROM config_records AS there
          USING unnest($1::text[], $2::uuid[]) AS gone (entity, id)
          WHERE (there.entity, there.id) = (gone.entity, gone.id)",
        &entities,
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A revision to be kept.
pub(super) struct NewRevision<'a> {
    pub end: End,
    pub signed: &'a Signed,
    pub records: usize,
    pub cause: Cause,
}

pub(super) async fn add(conn: &mut PgConnection, new: NewRevision<'_>) -> Result<(), sqlx::Error> {
    let NewRevision { end, signed, records, cause } = new;
    let sum = end.sum.0.to_be_bytes();
    sqlx::query!(
        "INSERT INTO config_revisions
                (revision, head, digest, signature, body, sum, records, cause, published_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        end.revision,
        signed.head,
        end.digest.0.as_slice(),
        signed.signature,
        signed.body,
        sum.as_slice(),
        i32::try_from(records).unwrap_or(i32::MAX),
        cause.name(),
        end.published_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets revisions that nobody can be so far behind of.
pub(super) async fn forget_before(
    conn: &mut PgConnection,
    revision: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM config_revisions WHERE revision < $1", revision)
        .execute(conn)
        .await?;
    Ok(())
}

fn digest(bytes: Vec<u8>) -> Result<Digest, sqlx::Error> {
    bytes.try_into().map(Digest).map_err(|_| sqlx::Error::Decode("a digest has 32 bytes".into()))
}

fn sum(bytes: Vec<u8>) -> Result<SetSum, sqlx::Error> {
    let bytes: Result<[u8; 16], _> = bytes.try_into();
    bytes
        .map(|it| SetSum(u128::from_be_bytes(it)))
        .map_err(|_| sqlx::Error::Decode("a sum has 16 bytes".into()))
}
