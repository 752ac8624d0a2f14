//! Who is signed in, where, and until when.
//!
//! A session is a random secret in a cookie and its hash in a row. The secret changes
//! whenever the session comes to mean more.

use actix_web::cookie::Cookie;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use shared::{
    ids::{PersonId, SessionId},
    keys::KeyHash,
    random,
};
use sqlx::{PgConnection, PgPool};

use crate::{
    access::Actor,
    web::{Cookies, Frame, FramePerson, Visit},
};

/// Somebody's session, as every request needs it.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub person: PersonId,
    pub email: String,
    pub is_verified: bool,
    pub time_zone: String,
    pub is_operator: bool,
    /// Whether a code was shown in this session.
    pub has_second_factor: bool,
    /// Whether a code must be shown before the session opens anything.
    pub awaits_code: bool,
}

impl Session {
    pub fn actor(&self) -> Actor {
        Actor::Person { id: self.person, email: self.email.clone() }
    }

    pub fn frame(&self, visit: &Visit) -> Frame {
        let person = FramePerson {
            email: self.email.clone(),
            is_operator: self.is_operator,
            time_zone: self.time_zone.clone(),
        };
        Frame::of_person(visit, person)
    }
}

/// The session behind a cookie, if it still stands. Notes that it was used, once a
/// minute at most.
pub async fn find(db: &PgPool, token: &SecretString) -> Result<Option<Session>, sqlx::Error> {
    let hash = KeyHash::of(token.expose_secret());
    let found = sqlx::query!(
        r#"
        SELECT s.id AS "id: SessionId", s.person_id AS "person: PersonId", p.email,
               p.email_verified_at IS NOT NULL AS "is_verified!", p.time_zone, p.is_operator,
               s.second_factor_at IS NOT NULL AS "has_second_factor!",
               f.confirmed_at IS NOT NULL AND s.second_factor_at IS NULL AS "awaits_code!",
               s.last_seen_at < now() - interval '1 minute' AS "is_stale!"
          FROM sessions s
          JOIN people p ON p.id = s.person_id
          LEFT JOIN second_factors f ON f.person_id = s.person_id
         WHERE s.token_hash = $1 AND s.expires_at > now()
           AND s.last_seen_at > now() - interval '1 hour' AND p.disabled_at IS NULL
        "#,
        &hash.0,
    )
    .fetch_optional(db)
    .await?;
    let Some(found) = found else { return Ok(None) };
    if found.is_stale {
        sqlx::query!(
            "UPDATE sessions SET last_seen_at = now() WHERE id = $1",
            found.id as SessionId
        )
        .execute(db)
        .await?;
    }
    Ok(Some(Session {
        id: found.id,
        person: found.person,
        email: found.email,
        is_verified: found.is_verified,
        time_zone: found.time_zone,
        is_operator: found.is_operator,
        has_second_factor: found.has_second_factor,
        awaits_code: found.awaits_code,
    }))
}

/// Signs `person` in, in the browser of `visit`, and returns the cookie that says so.
/// Whatever session the browser had before ends.
pub async fn start(
    conn: &mut PgConnection,
    visit: &Visit,
    person: PersonId,
    with_second_factor: bool,
) -> Result<Cookie<'static>, sqlx::Error> {
    if let Some(token) = &visit.session {
        end(conn, token).await?;
    }
    let token = random::base62(32);
    sqlx::query!(
        "INSERT INTO sessions
                (id, token_hash, person_id, second_factor_at, address, user_agent, expires_at)
         VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END, $5, $6, now() + interval '24 hours')",
        SessionId::generate() as SessionId,
        &KeyHash::of(&token).0,
        person as PersonId,
        with_second_factor,
        IpNet::from(visit.address),
        visit.user_agent,
    )
    .execute(conn)
    .await?;
    Ok(Cookies::make(Cookies::SESSION, token, None))
}

/// Ends the session behind a cookie.
pub async fn end(conn: &mut PgConnection, token: &SecretString) -> Result<(), sqlx::Error> {
    let hash = KeyHash::of(token.expose_secret());
    sqlx::query!("DELETE FROM sessions WHERE token_hash = $1", &hash.0).execute(conn).await?;
    Ok(())
}
