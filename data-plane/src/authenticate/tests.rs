use actix_web::http::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use shared::{
    keys::NewKey,
    snapshot::{Revoked, SecretHash},
};
use time::Duration;

use super::*;
use crate::catalog::tests::{Fixture, key, snapshot};

/// A request, and a snapshot with one key in it.
struct Case {
    key: NewKey,
    record: Key,
    headers: HeaderMap,
    query: String,
    peer: IpAddr,
    scope: Scope,
}

fn now() -> OffsetDateTime {
    time::macros::datetime!(2026-11-20 12:00 UTC)
}

impl Case {
    fn new() -> Self {
        let new = NewKey::generate(Brand::Live);
        Self {
            record: key(&new),
            key: new,
            headers: HeaderMap::new(),
            query: String::new(),
            peer: "192.0.2.1".parse().unwrap(),
            scope: Scope::Chat,
        }
    }

    fn carried() -> Self {
        let case = Self::new();
        let bearer = format!("Bearer {}", case.key.secret.expose_secret());
        case.header("authorization", &bearer)
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn with_key(self, name: &'static str) -> Self {
        let secret = self.key.secret.expose_secret().to_owned();
        self.header(name, &secret)
    }

    fn run(&self) -> Result<Caller, NotLetIn> {
        let fixture = Fixture { keys: vec![self.record.clone()], ..Fixture::default() };
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let knock = Knock { headers: &self.headers, query: &self.query, peer: Some(self.peer) };
        authenticate(Some(&snapshot(&fixture)), &proxies, knock, self.scope, now())
    }
}

#[track_caller]
fn check(case: Case, expected: Result<(), Code>) {
    let outcome = case.run();
    let told = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert_eq!(outcome.map(drop).map_err(|it| it.code()), expected, "{told}");
    assert!(!told.contains(case.key.secret.expose_secret()), "the secret is told");
}

#[track_caller]
fn refused(case: Case, code: Code, kind: Kind, words: &str) {
    let refused = case.run().unwrap_err();
    assert_eq!((refused.code(), refused.kind()), (code, kind));
    assert!(refused.to_string().contains(words), "{refused}");
}

#[test]
fn a_good_key_opens_in_every_header() {
    check(Case::carried(), Ok(()));
    for name in carriers_without_scheme() {
        check(Case::new().with_key(name), Ok(()));
    }
    let case = Case::new();
    let lower = format!("bearer  {}", case.key.secret.expose_secret());
    check(case.header("authorization", &lower), Ok(()));
}

fn carriers_without_scheme() -> [&'static str; 3] {
    ["x-api-key", "api-key", "x-goog-api-key"]
}

#[test]
fn no_key_is_missing() {
    let missing = Err(code::MISSING_API_KEY);
    check(Case::new(), missing);
    check(Case::new().header("authorization", "Bearer "), missing);
    check(Case::new().header("authorization", "Basic dXNlcjpwYXNz"), missing);
    check(Case::new().header("x-api-key", ""), missing);
    refused(Case::new(), code::MISSING_API_KEY, Kind::Unauthenticated, "You sent none.");
}

#[test]
fn the_same_key_twice_is_one() {
    check(Case::carried().with_key("x-api-key").with_key("api-key"), Ok(()));
    check(Case::carried().header("x-api-key", ""), Ok(()));
}

#[test]
fn different_keys_are_refused_wherever_they_are() {
    let conflicting = Err(code::CONFLICTING_API_KEYS);
    for name in carriers_without_scheme() {
        check(Case::carried().header(name, "sk-another"), conflicting);
        check(Case::new().with_key(name).header(name, "sk-another"), conflicting);
    }
    check(Case::carried().header("authorization", "Bearer sk-another"), conflicting);
    check(Case::carried().with_key("api-key").header("x-api-key", "x"), conflicting);
}

#[test]
fn what_is_not_our_key_is_told_apart() {
    let case = |text: &str| Case::new().header("x-api-key", text);
    let check = |text, words| {
        refused(case(text), code::INVALID_API_KEY, Kind::Unauthenticated, words);
    };
    check("sk-proj-abcdefgh", "it looks like an OpenAI key");
    check("sk-ant-api03-abcdefgh", "it looks like an Anthropic key");
    check("AIzaSyabcdefgh", "it looks like a Google key");
    check("hello", "not a key of ours");
    check("tpk_live_abcdefgh_0123456789", "checksum");
}

#[test]
fn a_wrong_checksum_is_refused_before_any_lookup() {
    let case = Case::new();
    let mut text = case.key.secret.expose_secret().to_owned();
    let last = if text.ends_with('a') { "b" } else { "a" };
    text.replace_range(text.len() - 1.., last);
    let headers = case.header("x-api-key", &text).headers;
    let knock = Knock { headers: &headers, query: "", peer: None };
    let outcome = authenticate(None, &TrustedProxies::default(), knock, Scope::Chat, now());
    assert_eq!(outcome.unwrap_err().code(), code::INVALID_API_KEY);
}

#[test]
fn without_a_snapshot_a_key_is_not_called_wrong() {
    let case = Case::carried();
    let knock = Knock { headers: &case.headers, query: "", peer: None };
    let outcome = authenticate(None, &TrustedProxies::default(), knock, Scope::Chat, now());
    assert_eq!(outcome.unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_key_of_nobody_is_unknown() {
    let other = NewKey::generate(Brand::Live);
    let case = Case::new().header("x-api-key", other.secret.expose_secret());
    refused(case, code::INVALID_API_KEY, Kind::Unauthenticated, &other.hint);
}

/// Whoever has all of its secret, and nobody else.
#[test]
fn a_revoked_key_says_when_and_by_whom() {
    let (case, id) = (Case::carried(), ApiKeyId::generate());
    for (by, words) in [
        (RevokedBy::Owner, "was revoked on 20 Nov 2026 11:00 UTC by its owner"),
        (RevokedBy::Member, "by another member of your organization"),
        (RevokedBy::Program, "by a program"),
    ] {
        let at = (now() - Duration::HOUR).unix_timestamp();
        let hashes = vec![SecretHash(case.key.hash.0.to_vec())];
        let revoked = vec![Revoked { id, hashes, at, by }];
        let snapshot = snapshot(&Fixture { revoked, ..Fixture::default() });
        let refused = |headers| {
            let knock = Knock { headers, query: "", peer: None };
            let proxies = TrustedProxies::default();
            authenticate(Some(&snapshot), &proxies, knock, Scope::Chat, now()).unwrap_err()
        };
        let told = refused(&case.headers);
        assert_eq!((told.code(), told.key()), (code::INVALID_API_KEY, Some(id)));
        assert!(told.to_string().contains(words), "{told}");
        let another = Case::carried().headers;
        assert_eq!(refused(&another).key(), None);
    }
}

#[test]
fn a_key_that_was_just_stopped_is_told_so() {
    let case = Case::carried();
    let fixture = Fixture { keys: vec![case.record.clone()], ..Fixture::default() };
    let stopped = snapshot(&fixture).stopping(&[(case.key.hash, 9)]);
    let knock = Knock { headers: &case.headers, query: "", peer: None };
    let proxies = TrustedProxies::default();
    let told = authenticate(Some(&stopped), &proxies, knock, Scope::Chat, now()).unwrap_err();
    assert_eq!((told.kind(), told.key()), (Kind::Unauthenticated, Some(case.record.id)));
    assert!(told.to_string().contains("stopped a moment ago"), "{told}");
}

#[test]
fn a_management_token_is_told_its_place() {
    let token = NewKey::generate(Brand::Management);
    let case = Case::new().header("x-api-key", token.secret.expose_secret());
    refused(case, code::INVALID_API_KEY, Kind::Unauthenticated, "management API");
}

#[test]
fn a_key_ends_when_it_expires() {
    let case = |expires_at| {
        let mut case = Case::carried();
        case.record.expires_at = Some(expires_at);
        case
    };
    check(case(now() + Duration::SECOND), Ok(()));
    check(case(now()), Err(code::INVALID_API_KEY));
    refused(
        case(now() - Duration::HOUR),
        code::INVALID_API_KEY,
        Kind::Unauthenticated,
        "expired on 20 Nov 2026 11:00 UTC",
    );
}

#[test]
fn a_rotated_secret_ends_with_its_overlap() {
    let case = |until| {
        let mut case = Case::carried();
        case.record.secrets[0].valid_until = Some(until);
        case
    };
    check(case(now() + Duration::SECOND), Ok(()));
    check(case(now()), Err(code::INVALID_API_KEY));
}

#[test]
fn a_key_is_used_from_its_addresses() {
    let case = |peer: &str| {
        let mut case = Case::carried();
        case.record.allowed_addresses = vec!["192.0.2.0/24".parse().unwrap()];
        case.peer = peer.parse().unwrap();
        case
    };
    check(case("192.0.2.77"), Ok(()));
    check(case("::ffff:192.0.2.77"), Ok(()));
    check(case("10.0.0.1").header("x-forwarded-for", "192.0.2.77"), Ok(()));
    check(case("203.0.113.5"), Err(code::ADDRESS_NOT_ALLOWED));
    let spoofed = case("203.0.113.5").header("x-forwarded-for", "192.0.2.77");
    refused(spoofed, code::ADDRESS_NOT_ALLOWED, Kind::Forbidden, "203.0.113.5");
}

#[test]
fn a_key_opens_the_endpoints_of_its_scopes() {
    let mut case = Case::carried();
    case.record.scopes = vec![Scope::Models];
    refused(case, code::KEY_SCOPE, Kind::Forbidden, "\"chat\"");
}

#[test]
fn a_key_in_the_address_is_refused_even_with_a_good_one() {
    for query in ["key=x", "a=b&API_KEY=x", "x=tpk_live_abc", "access_token=x"] {
        let mut case = Case::carried();
        case.query = query.to_owned();
        refused(case, code::API_KEY_IN_URL, Kind::Invalid, "address");
    }
    for query in ["", "client_version=1.2", "key=", "limit=10&after=x"] {
        let mut case = Case::carried();
        case.query = query.to_owned();
        check(case, Ok(()));
    }
}
