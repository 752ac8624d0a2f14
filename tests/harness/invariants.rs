//! What holds whatever was done.

use sqlx::PgPool;

/// What is wrong, one line each.
pub async fn broken(db: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let mut broken = Vec::new();
    for (about, finding) in RULES {
        let found: Vec<String> = sqlx::query_scalar(*finding).fetch_all(db).await?;
        broken.extend(found.into_iter().map(|it| format!("{about}: {it}")));
    }
    Ok(broken)
}

/// Each names a rule and finds what breaks it.
const RULES: &[(&str, &str)] = &[
    (
        "an audit entry does not follow from the one before it",
        r"SELECT format('%s #%s', organization_id, seq)
            FROM (SELECT *, lag(hash, 1, '\x'::bytea) OVER chain AS previous,
                         lag(seq, 1, 0::bigint) OVER chain AS before
                    FROM audit_entries
                  WINDOW chain AS (PARTITION BY organization_id ORDER BY seq)) entries
           WHERE seq <> before + 1
              OR hash <> app.audit_hash(previous, organization_id, seq, at, body)",
    ),
    (
        "an audit chain does not end where its head says",
        "SELECT h.organization_id::text FROM audit_heads h
          WHERE h.hash IS DISTINCT FROM
                (SELECT e.hash FROM audit_entries e
                  WHERE e.organization_id = h.organization_id ORDER BY seq DESC LIMIT 1)",
    ),
    (
        "an organization that somebody founded has no owner",
        "SELECT o.slug FROM organizations o
          WHERE NOT EXISTS (SELECT FROM memberships m
                             WHERE m.organization_id = o.id AND m.role = 'owner')",
    ),
    (
        "a key opens something and belongs to nobody who is a member",
        "SELECT k.id::text FROM api_keys k
          WHERE k.revoked_at IS NULL AND k.owner_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM memberships m
                             WHERE (m.organization_id, m.person_id) = (k.organization_id, k.owner_id))",
    ),
    (
        "two people have shown that one address is theirs",
        "SELECT email FROM people WHERE email_verified_at IS NOT NULL
          GROUP BY email HAVING count(*) > 1",
    ),
    (
        "a letter was tried and failed",
        "SELECT subject FROM mail_outbox WHERE attempts > 0 AND sent_at IS NULL",
    ),
    (
        "a password is kept other than hashed",
        "SELECT email FROM people WHERE password_hash NOT LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'",
    ),
];
