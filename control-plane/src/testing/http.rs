//! Pages and the API, as browsers and programs reach them.

use std::future::poll_fn;

use actix_web::{
    App, Error,
    body::{MessageBody, to_bytes},
    cookie::Cookie,
    dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, header::HeaderMap},
    middleware::from_fn,
    test::{TestRequest, init_service},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use shared::{
    ids::{ApiTokenId, SessionId},
    keys::{Brand, KeyHash, NewKey},
    random,
};

use super::Fixture;
use crate::{
    access::Role,
    app,
    web::{self, Visit},
};

pub struct Answer {
    pub status: StatusCode,
    pub location: Option<String>,
    pub headers: HeaderMap,
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    async fn with(mut self, body: impl MessageBody) -> Self {
        self.bytes = to_bytes(body).await.ok().unwrap_or_default().to_vec();
        self.body = String::from_utf8_lossy(&self.bytes).into_owned();
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    #[track_caller]
    pub fn says(&self, status: StatusCode, words: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.contains(words), "{words} is not in {}", self.body);
    }
}

/// A browser in which one of our members is signed in, or nobody.
pub struct Browser<'a> {
    fixture: &'a Fixture,
    session: Option<String>,
}

impl Fixture {
    pub fn visitor(&self) -> Browser<'_> {
        Browser { fixture: self, session: None }
    }

    pub async fn browser(&self, role: Role) -> Browser<'_> {
        let session = random::base62(32);
        sqlx::query(
            "INSERT INTO sessions (id, token_hash, person_id, address, user_agent, expires_at)
             VALUES ($1, $2, $3, '127.0.0.1', 'test', now() + interval '1 day')",
        )
        .bind(SessionId::generate())
        .bind(KeyHash::of(&session).0.as_slice())
        .bind(self.ours.person(role))
        .execute(&self.root)
        .await
        .unwrap();
        Browser { fixture: self, session: Some(session) }
    }

    /// Somebody's token for the management API.
    pub async fn token(&self, role: Role, is_service: bool) -> SecretString {
        let secret = NewKey::generate(Brand::Management);
        sqlx::query(
            "INSERT INTO api_tokens
                    (organization_id, id, name, person_id, role, hash, hint, created_by, expires_at)
             VALUES ($1, $2, 'test', $3, $4, $5, '', $6, now() + interval '1 day')",
        )
        .bind(self.ours.id)
        .bind(ApiTokenId::generate())
        .bind((!is_service).then(|| self.ours.person(role)))
        .bind(role.name())
        .bind(secret.hash.0.as_slice())
        .bind(self.ours.person(role))
        .execute(&self.root)
        .await
        .unwrap();
        secret.secret
    }

    /// Calls the management API, with a token where there is one.
    pub async fn api(
        &self,
        token: Option<&SecretString>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = TestRequest::with_uri(&format!("/api/v1{path}")).method(method);
        if let Some(token) = token {
            let bearer = format!("Bearer {}", token.expose_secret());
            request = request.insert_header(("authorization", bearer));
        }
        if let Some(body) = body {
            request = request.set_json(body);
        }
        self.send(request).await
    }

    /// The application, as the world reaches it.
    pub fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        App::new()
            .app_data(self.platform.clone())
            .wrap(from_fn(web::around))
            .configure(|it| app::doors().open(it))
    }

    async fn send(&self, request: TestRequest) -> Answer {
        let response = init_service(self.app()).await.call(request.to_request()).await.unwrap();
        let location = response.headers().get("location");
        Answer {
            status: response.status(),
            location: location.map(|it| it.to_str().unwrap().to_owned()),
            headers: response.headers().clone(),
            body: String::new(),
            bytes: Vec::new(),
        }
        .with(response.into_body())
        .await
    }
}

impl Browser<'_> {
    pub async fn get(&self, path: &str) -> Answer {
        self.fixture.send(self.with_cookies(TestRequest::get().uri(path))).await
    }

    /// The first pieces of an answer that goes on for long.
    pub async fn begin(&self, path: &str, pieces: usize) -> Vec<String> {
        let request = self.with_cookies(TestRequest::get().uri(path)).to_request();
        let response = init_service(self.fixture.app()).await.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = Box::pin(response.into_body());
        let mut read = Vec::new();
        while read.len() < pieces {
            let piece = poll_fn(|cx| body.as_mut().poll_next(cx)).await.expect("it goes on");
            read.push(String::from_utf8(piece.ok().unwrap().to_vec()).unwrap());
        }
        read
    }

    /// Sends a form as the page at `path` would have held it.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.with_cookies(TestRequest::get()).to_srv_request();
        let csrf = Visit::of(&page, &self.fixture.platform).form_token();
        let mut form = vec![("csrf", csrf.as_str())];
        form.extend(fields);
        let request = TestRequest::post().uri(path).set_form(form);
        self.fixture.send(self.with_cookies(request)).await
    }

    fn with_cookies(&self, request: TestRequest) -> TestRequest {
        let request = request.cookie(Cookie::new("__Host-visit", "0123456789abcdef"));
        match &self.session {
            Some(session) => request.cookie(Cookie::new("__Host-session", session.clone())),
            None => request,
        }
    }
}
