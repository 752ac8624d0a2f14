//! The page that shows a new secret, this once.

use askama::Template;
use secrecy::ExposeSecret;
use shared::{ids::ApiKeyId, snapshot::Scope};

use crate::{
    access::{Grant, Work},
    keys::{Issued, Terms},
    policies,
    snapshots::Told,
    web::{Failure, Frame, Section},
};

#[derive(Template)]
#[template(path = "keys/issued.html")]
pub(super) struct IssuedPage {
    frame: Frame,
    id: ApiKeyId,
    name: String,
    /// The only time that anybody sees it.
    secret: String,
    snippet: String,
    /// For how long the secrets before this one go on working, where there were any.
    overlap_hours: Option<i32>,
    /// What to know where proxies may let them in nevertheless.
    warning: Option<String>,
}

impl IssuedPage {
    pub(super) fn told(self, told: Told) -> Self {
        Self { warning: told.note(), ..self }
    }
}

pub(super) async fn page<P>(
    grant: &Grant<P>,
    work: &mut Work,
    issued: Issued,
    terms: &Terms,
    overlap_hours: Option<i32>,
) -> Result<IssuedPage, Failure> {
    let allowed = terms.allowed_models.as_ref().and_then(|it| it.first().cloned());
    let model = match allowed {
        Some(model) => model,
        None => policies::example(work).await?.unwrap_or_else(|| "auto".to_owned()),
    };
    let frame = grant.frame(Section::Keys);
    let secret = issued.secret.expose_secret().to_owned();
    Ok(IssuedPage {
        id: issued.key,
        name: terms.name.to_string(),
        snippet: snippet(frame.data_url(), &secret, terms, &model),
        frame,
        secret,
        overlap_hours,
        warning: None,
    })
}

/// A call that shows the new key at work.
fn snippet(data_url: &str, secret: &str, terms: &Terms, model: &str) -> String {
    let authorization = format!("-H \"Authorization: Bearer {secret}\"");
    if !terms.scopes.contains(&Scope::Chat) {
        return format!("curl {data_url}/v1/models \\\n  {authorization}");
    }
    // Inside of single quotes of a shell, whatever a model is called.
    let body = serde_json::json!({
        "model": model, "messages": [{ "role": "user", "content": "Hello" }],
    });
    let body = body.to_string().replace('\'', "'\\''");
    format!(
        "curl {data_url}/v1/chat/completions \\\n  {authorization} \\\n  \
         -H \"Content-Type: application/json\" \\\n  -d '{body}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_survives_the_shell() {
        let terms = Terms::named("ci".parse().unwrap());
        let text = snippet("http://gateway", "tpk_live_x", &terms, "it's");
        assert!(text.contains(r#""model":"it'\''s""#), "{text}");
        assert!(text.starts_with("curl http://gateway/v1/chat/completions \\\n  -H"), "{text}");
        let terms = Terms { scopes: vec![Scope::Models], ..terms };
        let text = snippet("http://gateway", "tpk_live_x", &terms, "small");
        assert_eq!(
            text,
            "curl http://gateway/v1/models \\\n  -H \"Authorization: Bearer tpk_live_x\""
        );
    }
}
