//! A browser without a window: keeps cookies, reads forms as they stand in pages, and
//! sends them as browsers do.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Client, redirect::Policy};
use serde_json::Value;

use crate::{
    html::{Document, Form},
    wait::soon,
};

/// Cookies are kept by hand: ours are for TLS only, which no other client would send
/// to this machine's plain ports.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    base: String,
    cookies: BTreeMap<String, String>,
    always: Vec<(String, String)>,
    may_fail: bool,
}

/// A request to be sent, with whatever a test adds to it.
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    /// What was asked for.
    pub path: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Browser {
    pub fn new(base: String) -> Self {
        // A connection that is kept may be closed by the server just as we use it again.
        let client = Client::builder().no_proxy().redirect(Policy::none());
        let client = client.pool_max_idle_per_host(0).build();
        let client = client.expect("a client needs nothing from this machine");
        Self {
            client,
            base,
            cookies: BTreeMap::new(),
            always: vec![("user-agent".to_owned(), "Harness/1.0".to_owned())],
            may_fail: false,
        }
    }

    /// Sends that header with every request.
    #[must_use]
    pub fn always(mut self, name: &str, value: &str) -> Self {
        self.always.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes answers that say the fault is ours, which otherwise end the test.
    #[must_use]
    pub fn that_expects_failures(mut self) -> Self {
        self.may_fail = true;
        self
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    pub fn forget_cookie(&mut self, name: &str) {
        self.cookies.remove(name);
    }

    pub async fn send(&mut self, request: Request) -> Answer {
        let Request { method, path, headers, body } = request;
        let mut sent = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in self.always.iter().chain(&headers) {
            sent = sent.header(name, value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            sent = sent.header("cookie", cookies.join("; "));
        }
        let answer = soon(sent.send()).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = soon(answer.bytes()).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        self.keep_cookies(&headers);
        let answer = Answer { path, status, headers, body };
        let is_ours = status == StatusCode::INTERNAL_SERVER_ERROR;
        assert!(self.may_fail || !is_ours, "the fault is ours: {answer:?}");
        answer
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().expect("a cookie is ASCII");
            let mut parts = line.split("; ");
            let pair = parts.next().and_then(|it| it.split_once('='));
            let (name, value) = pair.expect("a cookie has a name and a value");
            let attributes: Vec<_> = parts.collect();
            for promised in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
                assert!(attributes.contains(&promised), "{line} lacks {promised}");
            }
            assert!(name.starts_with("__Host-"), "{line} is not bound to its host");
            assert!(!attributes.iter().any(|it| it.starts_with("Domain")), "{line}");
            if value.is_empty() || attributes.contains(&"Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    /// Gets a page and goes where it sends us, within our own site.
    pub async fn go(&mut self, path: &str) -> Answer {
        let mut answer = self.get(path).await;
        for _ in 0..5 {
            let Some(next) = answer.location() else { return answer };
            answer = self.get(&next).await;
        }
        panic!("{path} leads nowhere, last to {}", answer.path);
    }

    /// The page at `path`, which must be there.
    pub async fn page(&mut self, path: &str) -> Document {
        let answer = self.go(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.page()
    }

    /// Opens the page at `path`, fills in the form that posts to `action`, and sends it
    /// with everything else that the form holds.
    pub async fn fill(&mut self, path: &str, action: &str, typed: &[(&str, &str)]) -> Answer {
        let page = self.page(path).await;
        self.submit(page.form(action), typed).await
    }

    /// Sends a form of a page with `typed` in place of what its fields hold. A field
    /// that the form does not have cannot be typed into.
    pub async fn submit(&mut self, form: Form, typed: &[(&str, &str)]) -> Answer {
        self.send(self.request_of(form, typed)).await
    }

    /// The request that [`Self::submit`] sends.
    pub fn request_of(&self, form: Form, typed: &[(&str, &str)]) -> Request {
        let mut fields = form.fields;
        for (name, _) in typed {
            assert!(
                form.names.iter().any(|it| it == name),
                "the form for {} has no field {name}, only {:?}",
                form.action,
                form.names
            );
            fields.retain(|(field, _)| field != name);
        }
        fields.extend(typed.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        assert_eq!(form.method, "post", "{} is not posted", form.action);
        Request::form(&form.action, &fields).header("origin", &self.base)
    }

    /// Follows [`Self::submit`] to the page that it leads to.
    pub async fn follow(&mut self, answer: &Answer) -> Answer {
        let next = answer.location().unwrap_or_else(|| panic!("{answer:?} leads nowhere"));
        self.go(&next).await
    }

    pub async fn call(&mut self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(Request::json(method, path, body)).await
    }
}

impl Request {
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// As a link that is followed.
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path).header("sec-fetch-site", "same-origin")
    }

    /// A form of ours, sent from a page of ours.
    pub fn form<N: AsRef<str>, V: AsRef<str>>(path: &str, fields: &[(N, V)]) -> Self {
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self::new(Method::POST, path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    pub fn json(method: Method, path: &str, body: &Value) -> Self {
        let request = Self::new(method, path);
        if body.is_null() {
            return request;
        }
        request.header("content-type", "application/json").body(body.to_string())
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Replaces the header of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|it| it.0 != name);
        self
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }

    pub fn page(&self) -> Document {
        assert!(self.is_html(), "{self:?} is no page");
        Document::parse(&self.text()).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    pub fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|it| it.starts_with("text/html"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// Where a redirect leads, which must be within our own site.
    pub fn location(&self) -> Option<String> {
        if !self.status.is_redirection() {
            return None;
        }
        let next = self.header("location").expect("a redirect says where to");
        let is_inside = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
        assert!(is_inside, "{} leads out of our site: {next}", self.path);
        Some(next.to_owned())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let body = if self.is_html() {
            Document::parse(&text).map(|it| it.words()).unwrap_or(text)
        } else {
            text
        };
        write!(f, "{} answered {} {:?}: {body}", self.path, self.status, self.header("location"))
    }
}
