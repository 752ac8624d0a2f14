//! The places in a request where a key may be, each read in the same way.

use actix_web::http::header::HeaderMap;

/// Headers that hold a bare key, beside `Authorization: Bearer`.
const BARE: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Query parameters in which clients of some vendors send their key.
const IN_QUERY: [&str; 6] = ["key", "api_key", "api-key", "apikey", "access_token", "token"];

/// The keys a request carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    Nothing,
    /// One key, maybe in several headers.
    One(&'a str),
    /// Keys that differ, so that which one counts would depend on who reads them.
    Several,
}

/// An empty header is none: some clients blank one to make room for the other.
pub(super) fn find(headers: &HeaderMap) -> Carried<'_> {
    let bearers = headers.get_all("authorization").map(|it| bearer(text(it)));
    let bare = BARE.into_iter().flat_map(|name| headers.get_all(name)).map(text);
    let mut keys = bearers.chain(bare).filter(|it| !it.is_empty());
    match (keys.next(), keys.next()) {
        (None, _) => Carried::Nothing,
        (Some(key), None) => Carried::One(key),
        (Some(key), Some(other)) if other == key && keys.all(|it| it == key) => Carried::One(key),
        (Some(_), Some(_)) => Carried::Several,
    }
}

/// Looks at names, and at values that are our keys, but not at other values: theirs may
/// be anything.
pub(super) fn is_in_query(query: &str) -> bool {
    query.split('&').any(|it| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        let names_a_key = IN_QUERY.iter().any(|known| name.eq_ignore_ascii_case(known));
        value.starts_with("tpk_") || (names_a_key && !value.is_empty())
    })
}

/// Whose key it is, by how it begins.
pub(super) fn looks_like(text: &str) -> Option<&'static str> {
    const VENDORS: [(&str, &str); 8] = [
        ("sk-ant-", "an Anthropic"),
        ("sk-or-", "an OpenRouter"),
        ("sk-", "an OpenAI"),
        ("AIza", "a Google"),
        ("gsk_", "a Groq"),
        ("xai-", "an xAI"),
        ("hf_", "a Hugging Face"),
        ("pplx-", "a Perplexity"),
    ];
    VENDORS.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, whose)| *whose)
}

/// What is not text cannot be a key either, but it was sent: the parser refuses it.
fn text(value: &actix_web::http::header::HeaderValue) -> &str {
    value.to_str().map_or("\u{fffd}", str::trim)
}

/// Other schemes, such as Basic, carry no key.
fn bearer(text: &str) -> &str {
    const SCHEME: &str = "bearer ";
    match text.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim(),
        Some(_) | None => "",
    }
}
