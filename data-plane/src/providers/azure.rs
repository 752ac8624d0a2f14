//! Azure OpenAI: OpenAI's dialect with another header for the secret and, at addresses of
//! the older kind, the deployment's name and a version of the API in the path.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, header::InvalidHeaderValue, uri::InvalidUri,
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Addresses, CannotSay, NotAnAnswer, Provider, Reader, Refusal, Request, Whole,
    openai::{self, OpenAi},
    segment,
};
use crate::{
    ask::{Ask, Outline},
    catalog::Candidate,
};

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The last version that was made for the older addresses.
const API_VERSION: &str = "2024-10-21";

/// How an address of the newer kind ends, which needs neither deployment nor version.
const NEWER: &str = "/openai/v1";

#[derive(Debug)]
pub struct AzureOpenAi;

impl Provider for AzureOpenAi {
    fn addresses(&self, base: &str, model: &str) -> Result<Addresses, InvalidUri> {
        let addresses = if base.ends_with(NEWER) {
            openai::addresses(|path| format!("{base}{path}"))?
        } else {
            let resource = base.strip_suffix("/openai").unwrap_or(base);
            let deployment = segment(model);
            openai::addresses(|path| {
                format!(
                    "{resource}/openai/deployments/{deployment}{path}?api-version={API_VERSION}"
                )
            })?
        };
        Ok(Addresses { moderations: None, ..addresses })
    }

    fn authorization(
        &self,
        secret: &SecretString,
    ) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(secret.expose_secret())?;
        value.set_sensitive(true);
        Ok((API_KEY, value))
    }

    fn request(&self, ask: &Ask, to: &Candidate) -> Result<Request, CannotSay> {
        OpenAi.request(ask, to)
    }

    fn answer(&self, asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer> {
        OpenAi.answer(asked, body)
    }

    fn reader(&self, asked: &Outline) -> Box<dyn Reader> {
        OpenAi.reader(asked)
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Refusal, NotAnAnswer> {
        OpenAi.refusal(status, headers, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, expected: &str) {
        assert_eq!(AzureOpenAi.addresses(base, "my gpt").unwrap().chat, expected);
    }

    #[test]
    fn addresses_of_both_kinds() {
        const OLDER: &str = "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        check("https://r.openai.azure.com", OLDER);
        check("https://r.openai.azure.com/openai", OLDER);
        check(
            "https://r.openai.azure.com/openai/v1",
            "https://r.openai.azure.com/openai/v1/chat/completions",
        );
    }

    #[test]
    fn the_secret_has_its_own_header_and_does_not_print() {
        let (name, value) = AzureOpenAi.authorization(&"k-1".into()).unwrap();
        assert_eq!((name.as_str(), format!("{value:?}").as_str()), ("api-key", "Sensitive"));
    }
}
