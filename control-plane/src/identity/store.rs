//! Every statement on people, their links, factors and attempts. Sessions have their own.

use shared::ids::{PersonId, SessionId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{EmailAddress, links::Purpose};

/// Somebody who may be who signs in.
pub(super) struct Candidate {
    pub id: PersonId,
    pub password_hash: String,
    pub has_factor: bool,
}

/// The person who has the address, and the latest who claims it: never more than two,
/// so that an attempt always costs the same.
pub(super) async fn candidates(
    conn: &mut PgConnection,
    email: &EmailAddress,
) -> Result<Vec<Candidate>, sqlx::Error> {
    sqlx::query_as!(
        Candidate,
        r#"
        SELECT p.id AS "id: PersonId", p.password_hash,
               f.confirmed_at IS NOT NULL AS "has_factor!"
          FROM people p LEFT JOIN second_factors f ON f.person_id = p.id
         WHERE p.email = $1 AND p.disabled_at IS NULL
         ORDER BY p.email_verified_at IS NULL, p.created_at DESC
         LIMIT 2
        "#,
        email.as_str(),
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn password_hash(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT password_hash FROM people WHERE id = $1 AND disabled_at IS NULL",
        person as PersonId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn set_password(
    conn: &mut PgConnection,
    person: PersonId,
    hash: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE people SET password_hash = $2 WHERE id = $1", person as PersonId, hash)
        .execute(conn)
        .await?;
    Ok(())
}

/// Says whether the address is now theirs: not when somebody else has it already. Links
/// to others who claimed it die.
pub(super) async fn verify_email(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<bool, sqlx::Error> {
    let verified = sqlx::query!(
        "UPDATE people SET email_verified_at = coalesce(email_verified_at, now())
          WHERE id = $1
            AND NOT EXISTS (SELECT FROM people o
                             WHERE o.email = people.email AND o.id <> people.id
                               AND o.email_verified_at IS NOT NULL)",
        person as PersonId,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM email_links l USING people p, people me
          WHERE l.person_id = p.id AND me.id = $1 AND p.email = me.email AND p.id <> me.id
            AND p.email_verified_at IS NULL",
        person as PersonId,
    )
    .execute(conn)
    .await?;
    Ok(verified.rows_affected() > 0)
}

pub(super) async fn email_of(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!("SELECT email FROM people WHERE id = $1", person as PersonId)
        .fetch_one(conn)
        .await
}

/// How a person likes to see things.
pub(super) struct Preferences {
    pub email: String,
    pub is_verified: bool,
    pub time_zone: String,
    pub theme: String,
}

pub(super) async fn preferences(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<Preferences, sqlx::Error> {
    sqlx::query_as!(
        Preferences,
        r#"SELECT email, email_verified_at IS NOT NULL AS "is_verified!", time_zone, theme
             FROM people WHERE id = $1"#,
        person as PersonId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn set_preferences(
    conn: &mut PgConnection,
    person: PersonId,
    time_zone: &str,
    theme: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE people SET time_zone = $2, theme = $3 WHERE id = $1",
        person as PersonId,
        time_zone,
        theme,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_link(
    conn: &mut PgConnection,
    hash: &[u8],
    person: PersonId,
    purpose: Purpose,
    hours: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO email_links (token_hash, person_id, purpose, expires_at)
         VALUES ($1, $2, $3, now() + make_interval(hours => $4))",
        hash,
        person as PersonId,
        purpose.name(),
        hours,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn find_link(
    conn: &mut PgConnection,
    hash: &[u8],
    purpose: Purpose,
) -> Result<Option<PersonId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT person_id AS "id: PersonId" FROM email_links
            WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()"#,
        hash,
        purpose.name(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn use_link(
    conn: &mut PgConnection,
    hash: &[u8],
    purpose: Purpose,
) -> Result<Option<PersonId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"UPDATE email_links SET used_at = now()
            WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()
        RETURNING person_id AS "id: PersonId""#,
        hash,
        purpose.name(),
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn forget_links(
    conn: &mut PgConnection,
    person: PersonId,
    purpose: Purpose,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM email_links WHERE person_id = $1 AND purpose = $2",
        person as PersonId,
        purpose.name(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn blocked_until(
    conn: &mut PgConnection,
    buckets: &[Vec<u8>],
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!("SELECT max(blocked_until) FROM attempts WHERE bucket = ANY($1)", buckets,)
        .fetch_one(conn)
        .await
}

/// Counts one more, and says how many there were. A day of peace forgets the rest.
pub(super) async fn count_failure(
    conn: &mut PgConnection,
    bucket: &[u8],
    now: OffsetDateTime,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO attempts (bucket, failures, blocked_until, updated_at)
         VALUES ($1, 1, $2, $2)
         ON CONFLICT (bucket) DO UPDATE
            SET failures = CASE WHEN attempts.updated_at < $2 - interval '1 day' THEN 1
                                ELSE least(attempts.failures, 1000000) + 1 END,
                updated_at = $2
         RETURNING failures",
        bucket,
        now,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn block(
    conn: &mut PgConnection,
    bucket: &[u8],
    until: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE attempts SET blocked_until = $2 WHERE bucket = $1", bucket, until)
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn forget_failures(
    conn: &mut PgConnection,
    bucket: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM attempts WHERE bucket = $1", bucket).execute(conn).await?;
    Ok(())
}

pub(super) struct Factor {
    pub sealed_seed: Vec<u8>,
    pub is_confirmed: bool,
    pub last_counter: i64,
}

pub(super) async fn factor(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<Option<Factor>, sqlx::Error> {
    sqlx::query_as!(
        Factor,
        r#"SELECT sealed_seed, confirmed_at IS NOT NULL AS "is_confirmed!", last_counter
             FROM second_factors WHERE person_id = $1 FOR UPDATE"#,
        person as PersonId,
    )
    .fetch_optional(conn)
    .await
}

/// Puts a seed that is not confirmed yet in the place of another such.
pub(super) async fn propose_factor(
    conn: &mut PgConnection,
    person: PersonId,
    sealed_seed: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO second_factors (person_id, sealed_seed) VALUES ($1, $2)
         ON CONFLICT (person_id) DO UPDATE SET sealed_seed = $2, last_counter = 0
          WHERE second_factors.confirmed_at IS NULL",
        person as PersonId,
        sealed_seed,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn note_counter(
    conn: &mut PgConnection,
    person: PersonId,
    counter: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE second_factors
            SET last_counter = $2, confirmed_at = coalesce(confirmed_at, now())
          WHERE person_id = $1",
        person as PersonId,
        counter,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn remove_factor(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM second_factors WHERE person_id = $1", person as PersonId)
        .execute(&mut *conn)
        .await?;
    replace_recovery_codes(conn, person, &[]).await
}

pub(super) async fn replace_recovery_codes(
    conn: &mut PgConnection,
    person: PersonId,
    hashes: &[Vec<u8>],
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM recovery_codes WHERE person_id = $1", person as PersonId)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "INSERT INTO recovery_codes (person_id, code_hash) SELECT $1, unnest($2::bytea[])",
        person as PersonId,
        hashes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it was one of theirs and unused.
pub(super) async fn use_recovery_code(
    conn: &mut PgConnection,
    person: PersonId,
    hash: &[u8],
) -> Result<bool, sqlx::Error> {
    let used = sqlx::query!(
        "UPDATE recovery_codes SET used_at = now()
          WHERE person_id = $1 AND code_hash = $2 AND used_at IS NULL",
        person as PersonId,
        hash,
    )
    .execute(conn)
    .await?;
    Ok(used.rows_affected() > 0)
}

pub(super) async fn recovery_codes_left(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "left!" FROM recovery_codes
            WHERE person_id = $1 AND used_at IS NULL"#,
        person as PersonId,
    )
    .fetch_one(conn)
    .await
}

/// A session as its owner sees it.
pub(super) struct SessionRow {
    pub id: SessionId,
    pub address: String,
    pub user_agent: String,
    pub created_at: OffsetDateTime,
    pub last_seen_at: OffsetDateTime,
}

pub(super) async fn sessions(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<Vec<SessionRow>, sqlx::Error> {
    sqlx::query_as!(
        SessionRow,
        r#"
        SELECT id AS "id: SessionId", host(address) AS "address!", user_agent, created_at,
               last_seen_at
          FROM sessions
         WHERE person_id = $1 AND expires_at > now()
           AND last_seen_at > now() - interval '1 hour'
         ORDER BY last_seen_at DESC
         LIMIT 50
        "#,
        person as PersonId,
    )
    .fetch_all(conn)
    .await
}

/// Says whether there was such a session of theirs.
pub(super) async fn end_session(
    conn: &mut PgConnection,
    person: PersonId,
    session: SessionId,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "DELETE FROM sessions WHERE person_id = $1 AND id = $2",
        person as PersonId,
        session as SessionId,
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected() > 0)
}

/// Ends all of somebody's sessions but one.
pub(super) async fn end_sessions(
    conn: &mut PgConnection,
    person: PersonId,
    but: Option<SessionId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM sessions WHERE person_id = $1 AND id IS DISTINCT FROM $2",
        person as PersonId,
        but as Option<SessionId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes what has ended: sessions, links, and attempts long past.
pub(super) async fn clear_away(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM sessions WHERE expires_at < now() OR last_seen_at < now() - interval '1 hour'"
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("DELETE FROM email_links WHERE expires_at < now() - interval '1 day'")
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM attempts WHERE updated_at < now() - interval '2 days'")
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn is_operator(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<bool, sqlx::Error> {
    let is_operator = sqlx::query_scalar!(
        "SELECT is_operator FROM people WHERE id = $1 AND disabled_at IS NULL",
        person as PersonId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(is_operator.unwrap_or(false))
}

pub(super) async fn make_operator(
    conn: &mut PgConnection,
    person: PersonId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE people SET is_operator = true WHERE id = $1", person as PersonId)
        .execute(conn)
        .await?;
    Ok(())
}
