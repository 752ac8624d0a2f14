//! Each endpoint goes to its counterpart at the upstream, and asks for its own scope.

use http::{Request, StatusCode};
use shared::snapshot::Scope;

use crate::{
    plane::{Answer, Plane, send},
    upstream::{Event, JSON, Upstream, answer},
};

const FORMS: [(&str, &str); 4] = [
    ("chat", "/v1/chat/completions"),
    ("completions", "/v1/completions"),
    ("embeddings", "/v1/embeddings"),
    ("moderations", "/v1/moderations"),
];

/// An answer of every form at once.
const ANSWER: &str = r#"{"choices":[],"data":[],"results":[]}"#;

async fn post(plane: &Plane, path: &str) -> Answer {
    let request = Request::post(format!("http://{}{path}", plane.address))
        .header("authorization", plane.bearer());
    send(request, r#"{"model":"auto","input":"x"}"#).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_has_its_own_address() {
    let mut upstream = Upstream::start([answer("200 OK", JSON, ANSWER)]).await;
    let plane = Plane::start(upstream.address).await;
    for (_, path) in FORMS {
        assert_eq!(post(&plane, path).await.status, StatusCode::OK, "{path}");
        let Event::Request { head, .. } = upstream.event().await else { panic!("no request") };
        assert!(head.starts_with(&format!("post {path} ")), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_it_is_for() {
    let upstream = Upstream::start([answer("200 OK", JSON, ANSWER)]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_scopes(upstream.address, &[Scope::Embeddings]);
    for (scope, path) in FORMS {
        let expected = if scope == "embeddings" { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(post(&plane, path).await.status, expected, "{path}");
    }
}

/// A name that nobody serves is told in a header all the same, where the caller has named
/// another model too.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_fit_into_a_header_is_no_failure() {
    let body = r#"{"id":"1","object":"chat.completion","choices":[]}"#;
    let upstream = Upstream::start([answer("200 OK", JSON, body)]).await;
    let plane = Plane::start(upstream.address).await;
    for asked in ["モデル", r"a\nb", r"\u0007"] {
        let answer = plane.chat(&format!(r#"{{"model":"{asked}","models":["same"]}}"#)).await;
        assert_eq!(answer.status, StatusCode::OK, "{asked}: {answer:?}");
        assert_eq!(answer.headers["x-turnpike-model"], "same");
    }
}
