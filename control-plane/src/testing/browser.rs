//! A browser without a screen: pages and forms as somebody sees and sends them.

use actix_web::{
    App,
    cookie::Cookie,
    http::{StatusCode, header::HeaderMap},
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
};
use shared::{ids::SessionId, keys::KeyHash};

use super::{Fixture, Tenant};
use crate::{
    access::Role,
    app,
    web::{self, Visit},
};

const VISIT: &str = "0123456789abcdef";

pub struct Browser<'a> {
    fixture: &'a Fixture,
    session: Option<String>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub fn shows(&self, text: &str) {
        assert!(self.body.contains(text), "no {text:?} in {} {}", self.status, self.body);
    }
}

impl<'a> Browser<'a> {
    /// Nobody's yet.
    pub fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, session: None }
    }

    /// Somebody's of the tenant who is signed in.
    pub async fn signed_in(fixture: &'a Fixture, tenant: &Tenant, role: Role) -> Self {
        let session = format!("session-of-{}-{role}", tenant.slug);
        sqlx::query(
            "INSERT INTO sessions (id, token_hash, person_id, address, user_agent, expires_at)
             VALUES ($1, $2, $3, '127.0.0.1', 'test', now() + interval '1 day')",
        )
        .bind(SessionId::generate())
        .bind(KeyHash::of(&session).0.as_slice())
        .bind(tenant.person(role))
        .execute(&fixture.root)
        .await
        .unwrap();
        Self { fixture, session: Some(session) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.with_cookies(TestRequest::get().uri(path))).await
    }

    /// Sends a form that was on a page shown to this browser.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.with_cookies(TestRequest::get()).to_srv_request();
        let token = Visit::of(&page, &self.fixture.platform).form_token();
        let mut form: Vec<_> = fields.to_vec();
        form.push(("csrf", &token));
        self.send(self.with_cookies(TestRequest::post().uri(path)).set_form(form)).await
    }

    fn with_cookies(&self, request: TestRequest) -> TestRequest {
        let request = request.cookie(Cookie::new("__Host-visit", VISIT));
        match &self.session {
            Some(session) => request.cookie(Cookie::new("__Host-session", session.clone())),
            None => request,
        }
    }

    async fn send(&self, request: TestRequest) -> Answer {
        let app = init_service(
            App::new()
                .app_data(self.fixture.platform.clone())
                .wrap(from_fn(web::around))
                .configure(|it| app::doors().open(it)),
        )
        .await;
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
        Answer { status, headers, body }
    }
}
