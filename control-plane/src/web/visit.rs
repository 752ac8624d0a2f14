//! One request, as far as it is known before anybody is asked who they are.

use std::{
    future::{Ready, ready},
    net::IpAddr,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
    dev::{Payload, ServiceRequest},
};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use shared::{ids::RequestId, random};

use crate::{access::Origin, platform::Platform};

/// The cookies we set. All are bound to this host, to TLS (or the local machine), and
/// out of reach of scripts.
pub struct Cookies;

impl Cookies {
    pub const SESSION: &str = "__Host-session";
    /// Ties a form to the browser that was shown it, before anybody is signed in.
    pub const VISIT: &str = "__Host-visit";
    pub const NOTICE: &str = "__Host-notice";
    pub const THEME: &str = "__Host-theme";
    /// Marks a browser in which somebody has signed in before.
    pub const DEVICE: &str = "__Host-device";

    pub fn make(name: &'static str, value: String, age: Option<Duration>) -> Cookie<'static> {
        let mut cookie = Cookie::new(name, value);
        cookie.set_path("/");
        cookie.set_secure(true);
        cookie.set_http_only(true);
        cookie.set_same_site(SameSite::Lax);
        cookie.set_max_age(age);
        cookie
    }

    pub fn gone(name: &'static str) -> Cookie<'static> {
        Self::make(name, String::new(), Some(Duration::ZERO))
    }
}

#[derive(Clone)]
pub struct Visit {
    pub request: RequestId,
    pub address: IpAddr,
    pub user_agent: String,
    pub session: Option<SecretString>,
    pub device: Option<String>,
    pub theme: Option<String>,
    pub notice: Option<String>,
    /// Path and query asked for, to come back to after signing in.
    pub path: String,
    pub is_api: bool,
    visitor: SecretString,
    /// Whether the visitor's mark was made for this visit and must be sent along.
    pub is_new: bool,
    forms: hmac::Key,
    public_url: String,
    pub data_url: String,
    pub is_dev: bool,
}

impl Visit {
    pub fn of(request: &ServiceRequest, platform: &Platform) -> Self {
        let cookie = |name: &str| request.cookie(name).map(|it| it.value().to_owned());
        let known = cookie(Cookies::VISIT).filter(|it| (16..=64).contains(&it.len()));
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |it| it.ip());
        let query = request.query_string();
        let path = request.path();
        Self {
            request: RequestId::generate(),
            address: real_address(peer, header("x-forwarded-for"), &platform.trusted_proxies),
            user_agent: header("user-agent").unwrap_or_default().chars().take(200).collect(),
            session: cookie(Cookies::SESSION).map(SecretString::from),
            device: cookie(Cookies::DEVICE),
            theme: cookie(Cookies::THEME),
            notice: cookie(Cookies::NOTICE).and_then(|it| {
                let bytes = BASE64.decode(it).ok()?;
                String::from_utf8(bytes).ok()
            }),
            path: if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") },
            is_api: path.starts_with("/api/"),
            is_new: known.is_none(),
            visitor: known.unwrap_or_else(|| random::base62(24)).into(),
            forms: platform.secrets.forms.clone(),
            public_url: platform.public_url.as_str().trim_end_matches('/').to_owned(),
            data_url: platform.data_url.as_str().trim_end_matches('/').to_owned(),
            is_dev: platform.is_dev,
        }
    }

    pub fn origin(&self) -> Origin {
        Origin { address: Some(self.address), request: self.request }
    }

    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    pub fn mark(&self) -> Cookie<'static> {
        Cookies::make(Cookies::VISIT, self.visitor.expose_secret().to_owned(), None)
    }

    /// Proves that a form was on a page shown to this browser. Salted, so that it is
    /// another text on each page and compression tells nothing of it.
    pub fn form_token(&self) -> String {
        let salt: [u8; 12] = random::bytes();
        let tag = hmac::sign(&self.forms, &self.token_input(&salt));
        BASE64.encode([salt.as_slice(), tag.as_ref()].concat())
    }

    pub fn is_form_token(&self, token: &str) -> bool {
        let Ok(bytes) = BASE64.decode(token) else { return false };
        let Some((salt, tag)) = bytes.split_at_checked(12) else { return false };
        hmac::verify(&self.forms, &self.token_input(salt), tag).is_ok()
    }

    fn token_input(&self, salt: &[u8]) -> Vec<u8> {
        let bearer = self.session.as_ref().unwrap_or(&self.visitor).expose_secret();
        [salt, b"|", bearer.as_bytes()].concat()
    }

    /// Whether a browser says that the request came from a page of ours. What is no
    /// browser says nothing, and has the form's token to show.
    pub fn is_same_origin(request: &HttpRequest) -> bool {
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        if let Some(site) = header("sec-fetch-site") {
            return site == "same-origin";
        }
        let Some(origin) = header("origin") else { return true };
        let host = request.connection_info().host().to_owned();
        origin.split_once("://").is_some_and(|(_, rest)| rest == host)
    }
}

/// The address that reached the outermost of our own proxies. What anybody wrote into
/// the header before that is not believed.
fn real_address(peer: IpAddr, forwarded: Option<&str>, trusted: &[IpNet]) -> IpAddr {
    let is_ours = |it: &IpAddr| trusted.iter().any(|net| net.contains(it));
    if !is_ours(&peer) {
        return peer;
    }
    let hops = forwarded.unwrap_or_default().split(',').rev();
    hops.map_while(|it| it.trim().parse().ok()).find(|it| !is_ours(it)).unwrap_or(peer)
}

impl FromRequest for Visit {
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visit = request.extensions().get::<Self>().cloned();
        ready(Ok(visit.expect("floor puts a visit into every request")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: Option<&str>, expected: &str) {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let seen = real_address(peer.parse().unwrap(), forwarded, &trusted);
        assert_eq!(seen.to_string(), expected);
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        check("203.0.113.9", Some("1.2.3.4"), "203.0.113.9");
        check("10.0.0.1", Some("1.2.3.4"), "1.2.3.4");
        check("10.0.0.1", Some("6.6.6.6, 1.2.3.4, 10.0.0.7"), "1.2.3.4");
        check("10.0.0.1", Some("nonsense"), "10.0.0.1");
        check("10.0.0.1", None, "10.0.0.1");
    }
}
