//! Upstreams as proxies are given them.

use shared::{
    ids::{CredentialId, OrganizationId, UpstreamId},
    snapshot::{Assurances, Credential, Timeouts, Upstream},
};
use sqlx::PgConnection;
use tracing::error;

use super::{store, words};

/// Every upstream that can be called, or those of `only` that can. One that cannot be
/// read is left out, for it must not keep everybody's changes from being published.
pub async fn published(
    conn: &mut PgConnection,
    only: Option<&[UpstreamId]>,
) -> Result<Vec<Upstream>, sqlx::Error> {
    let rows = store::published(conn, only).await?;
    Ok(rows.into_iter().filter_map(upstream).collect())
}

/// An upstream as its row tells it.
pub(super) struct Row {
    pub id: UpstreamId,
    pub organization: Option<OrganizationId>,
    pub vendor: String,
    pub dialect: String,
    pub base_url: String,
    pub region: Option<String>,
    pub models: serde_json::Value,
    pub credentials: Vec<CredentialId>,
    pub weights: Vec<i16>,
    pub sealed_secrets: Vec<Vec<u8>>,
    pub first_byte_seconds: Option<i32>,
    pub idle_seconds: Option<i32>,
    pub total_seconds: Option<i32>,
    pub zero_retention: bool,
    pub no_training: bool,
}

/// Of columns that hold no negative ones.
pub(super) fn timeouts(first_byte: Option<i32>, idle: Option<i32>, total: Option<i32>) -> Timeouts {
    let seconds = |it: Option<i32>| it.and_then(|it| u32::try_from(it).ok());
    Timeouts {
        first_byte_seconds: seconds(first_byte),
        idle_seconds: seconds(idle),
        total_seconds: seconds(total),
    }
}

fn upstream(row: Row) -> Option<Upstream> {
    let models = serde_json::from_value(row.models);
    let models = models.inspect_err(|cause| {
        error!(upstream.id = %row.id, %cause, "left out {}", row.id);
    });
    let credentials = row.credentials.into_iter().zip(row.weights).zip(row.sealed_secrets);
    let credential = |((id, weight), sealed_secret): ((CredentialId, i16), Vec<u8>)| Credential {
        id,
        weight: u16::try_from(weight).unwrap_or(0),
        sealed_secret,
    };
    Some(Upstream {
        id: row.id,
        organization: row.organization,
        provider: row.vendor,
        dialect: words::of_name(&words::DIALECTS, &row.dialect)?,
        base_url: row.base_url,
        region: row.region,
        credentials: credentials.map(credential).collect(),
        models: models.ok()?,
        assurances: Assurances { zero_retention: row.zero_retention, no_training: row.no_training },
        timeouts: timeouts(row.first_byte_seconds, row.idle_seconds, row.total_seconds),
    })
}
