//! Trying whether an upstream answers, and takes its key.
//!
//! Whoever tries learns one of three things, in no less than a while, and not often: an
//! answer in more detail would tell what is behind an address.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use shared::{
    ids::{CredentialId, UpstreamId},
    snapshot::Dialect,
};
use time::OffsetDateTime;
use url::Url;

use super::{UpstreamError, credentials, find_to_change, store};
use crate::{
    access::Grant,
    audit::{self, Entry},
    egress::Egress,
};

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Connection {
    Ok,
    KeyRefused,
    Unreachable,
}

impl Connection {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ok => "Works",
            Self::KeyRefused => "Key refused",
            Self::Unreachable => "Unreachable",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::Ok => "The provider answered, and took the key",
            Self::KeyRefused => "The provider answered, and refused the key",
            Self::Unreachable => "The provider did not answer as one does at that address",
        }
    }

    const fn of(status: StatusCode, dialect: Dialect) -> Self {
        match (status.as_u16(), dialect) {
            // Whoever is told to slow down was recognized.
            (200..=299 | 429, _) => Self::Ok,
            (401 | 403, _) | (400, Dialect::Gemini) => Self::KeyRefused,
            _ => Self::Unreachable,
        }
    }
}

/// Each try takes this long at least, however soon its end is known.
const AT_LEAST: Duration = Duration::from_millis(700);
/// How many tries an organization has a minute.
pub(super) const A_MINUTE: i32 = 10;

/// Tries the connection with one credential, and notes how it went.
pub async fn test<P>(
    grant: &Grant<P>,
    upstream: UpstreamId,
    credential: CredentialId,
) -> Result<Connection, UpstreamError> {
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let place = find_to_change(&mut work, upstream).await?;
    let sealed = store::secret(&mut work, organization, upstream, credential).await?;
    let sealed = sealed.ok_or(UpstreamError::NoCredential)?;
    if store::count_trial(&mut work, organization, OffsetDateTime::now_utc()).await? > A_MINUTE {
        return Err(UpstreamError::TooManyTrials);
    }
    let purpose = credentials::purpose(&work, credential, &place.base_url);
    let secret = grant.platform.secrets.credentials.open_text(&sealed, &purpose)?;
    work.commit().await?;

    let egress = grant.platform.egress.clone();
    let asked = ask(&egress, place.dialect, &place.base_url, &secret);
    let (seen, ()) = tokio::join!(asked, tokio::time::sleep(AT_LEAST));

    let mut work = grant.begin().await?;
    store::note_result(&mut work, organization, credential, seen).await?;
    let entry = Entry::new("provider.tested", upstream, place.name);
    audit::record(&mut work, entry.after(json!({ "credential": credential, "result": seen })))
        .await?;
    work.commit().await?;
    Ok(seen)
}

/// Asks for the list of models: the one call that costs nothing anywhere.
async fn ask(egress: &Egress, dialect: Dialect, base: &str, secret: &SecretString) -> Connection {
    let asked = async {
        let headers = headers(dialect, secret)?;
        let status = egress.get(&address(base)?, headers).await.ok()?;
        Some(Connection::of(status, dialect))
    };
    asked.await.unwrap_or(Connection::Unreachable)
}

fn address(base: &str) -> Option<Url> {
    format!("{base}/models").parse().ok()
}

fn headers(dialect: Dialect, secret: &SecretString) -> Option<HeaderMap> {
    let secret = secret.expose_secret();
    let (name, value) = match dialect {
        Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {secret}")),
        Dialect::AzureOpenAi => (HeaderName::from_static("api-key"), secret.to_owned()),
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), secret.to_owned()),
        Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), secret.to_owned()),
    };
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::from_iter([(name, value)]);
    if dialect == Dialect::Anthropic {
        let version = HeaderName::from_static("anthropic-version");
        headers.insert(version, HeaderValue::from_static("2023-06-01"));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, dialect: Dialect, expected: Connection) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(Connection::of(status, dialect), expected, "{status}");
    }

    #[test]
    fn an_answer_tells_one_of_three_things() {
        for status in [200, 204, 429] {
            check(status, Dialect::OpenAi, Connection::Ok);
        }
        for status in [401, 403] {
            check(status, Dialect::Anthropic, Connection::KeyRefused);
        }
        for status in [302, 307, 400, 404, 500, 503] {
            check(status, Dialect::OpenAi, Connection::Unreachable);
        }
        check(400, Dialect::Gemini, Connection::KeyRefused);
    }

    #[test]
    fn the_key_goes_where_the_dialect_wants_it() {
        let secret: SecretString = "sk-1".to_owned().into();
        for (dialect, header, value) in [
            (Dialect::OpenAi, "authorization", "Bearer sk-1"),
            (Dialect::AzureOpenAi, "api-key", "sk-1"),
            (Dialect::Anthropic, "x-api-key", "sk-1"),
            (Dialect::Gemini, "x-goog-api-key", "sk-1"),
        ] {
            let headers = headers(dialect, &secret).unwrap();
            assert_eq!(headers[header], value);
            assert!(headers[header].is_sensitive());
        }
    }
}
