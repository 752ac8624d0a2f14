//! Every statement on organizations and their members' places.

use shared::ids::{OrganizationId, PersonId};
use sqlx::PgConnection;

use super::Membership;
use crate::access::Role;

pub(super) async fn membership(
    conn: &mut PgConnection,
    slug: &str,
    person: PersonId,
) -> Result<Option<Membership>, sqlx::Error> {
    sqlx::query_as!(
        Membership,
        r#"
        SELECT o.id AS "organization: OrganizationId", o.slug, o.name, o.time_zone,
               m.role AS "role: Role", o.archived_at IS NOT NULL AS "is_archived!",
               o.requires_second_factor
          FROM organizations o
          JOIN memberships m ON m.organization_id = o.id
         WHERE o.slug = $1 AND m.person_id = $2
        "#,
        slug,
        person as PersonId,
    )
    .fetch_optional(conn)
    .await
}
