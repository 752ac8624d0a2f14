//! Requests that are not served, and what their senders read.

use http::Request;
use shared::{
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    plane::{Answer, Plane, send},
    soon,
    upstream::{JSON, Step, Upstream, answer as scripted, staying},
};

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str, words: &str) {
    check_told(answer, status, code, words);
    let is_final = matches!(status, 400 | 401 | 403 | 404);
    assert_eq!(answer.headers.get("x-should-retry").is_some_and(|it| it == "false"), is_final);
}

#[track_caller]
fn check_told(answer: &Answer, status: u16, code: &str, words: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    let json = answer.json();
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    let docs = format!("http://127.0.0.1:7400/docs/errors/{code}");
    assert_eq!(json["error"]["docs_url"], docs);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-request-id"], answer.headers["request-id"]);
}

async fn plane() -> Plane {
    Plane::start(Upstream::start([]).await.address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_says_what_to_do() {
    let plane = plane().await;
    let url = |path: &str| format!("http://{}{path}", plane.address);
    let chat = || Request::post(url("/v1/chat/completions"));
    let body = r#"{"model":"auto"}"#;

    check(&send(chat(), body).await, 401, "missing_api_key", "You sent none.");
    let openai = chat().header("authorization", "Bearer sk-proj-1");
    check(&send(openai, body).await, 401, "invalid_api_key", "looks like an OpenAI key");
    let two = chat().header("authorization", plane.bearer()).header("x-api-key", "sk-1");
    check(&send(two, body).await, 400, "conflicting_api_keys", "different keys");
    let query = Request::post(url("/v1/chat/completions?key=tpk_live_x"));
    check(&send(query, body).await, 400, "api_key_in_url", "logs");

    check(&plane.chat("{}").await, 400, "invalid_request", "names no model");
    check(&plane.chat("hello").await, 400, "invalid_request", "not a JSON object");
    let unknown = plane.chat(r#"{"model":"aut"}"#).await;
    check(&unknown, 404, "model_not_found", "Did you mean \"auto\"?");
    assert_eq!(unknown.json()["error"]["param"], "model");
    let gzip = chat().header("authorization", plane.bearer()).header("content-encoding", "gzip");
    check(&send(gzip, body).await, 400, "invalid_request", "compressed");

    check(&plane.get("/v1").await, 404, "unknown_endpoint", "base URL");
    check(&plane.get("/v1/chat/completion").await, 404, "unknown_endpoint", "Did you mean");
    check(&plane.get("/v1/chat/completions").await, 405, "unknown_endpoint", "POST");
    check(&plane.get("/v1/files").await, 404, "unknown_endpoint", "/v1/models");
}

/// Without it they would have no limits.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_whose_record_cannot_be_read() {
    let plane = Plane::bare(|_| ()).await;
    plane.serve_text("127.0.0.1:1".parse().unwrap(), |image| {
        let organization = image["keys"][0]["organization"].clone();
        let bad = serde_json::json!({ "organization": organization, "limits": "none" });
        image["tenants"] = vec![bad].into();
    });
    for answer in [plane.chat(r#"{"model":"auto"}"#).await, plane.get("/v1/models").await] {
        check(&answer, 503, "unavailable", "");
        assert!(answer.headers.contains_key("retry-after"));
    }
}

/// Nothing that failed leaves its caller guessing whether it has to be paid for.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_says_whether_it_was_charged() {
    let refusal = r#"{"error":{"message":"no"}}"#;
    let upstream = Upstream::start([staying(scripted("500 Oops", JSON, refusal))]).await;
    let plane = Plane::start(upstream.address).await;
    let failed = plane.chat(r#"{"model":"auto"}"#).await;
    let asked = "Asked: scripted for \"auto\" (failed)";
    check_call(&failed, 502, "upstream_error", &[asked, "You were not charged."]);
    assert_eq!(failed.headers["x-turnpike-cost-usd"], "0.000000000");
    let details = &failed.json()["error"]["details"];
    assert_eq!(
        (&details["attempts"][0]["outcome"], &details["attempts"][0]["status"]),
        (&"server".into(), &500.into())
    );

    // What had begun well may have to be paid for.
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let upstream = Upstream::start([vec![Step::Send(cut.into())]]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(upstream.address, |image| {
        let dollar = UnitPrice::per_million("1").unwrap();
        let price = Price::flat(Rates::of_text(dollar, dollar)).unwrap();
        for model in &mut image.upstreams.first_mut().unwrap().models {
            model.price = Some(PinnedPrice { revision: 1, price: price.clone() });
        }
    });
    let failed = plane.chat(r#"{"model":"auto","max_tokens":100}"#).await;
    let charged = "since an answer had begun.";
    check_call(&failed, 502, "upstream_error", &["You were charged $0.", charged]);
    let cost = failed.headers["x-turnpike-cost-usd"].to_str().unwrap();
    assert_eq!(failed.json()["error"]["details"]["cost_usd"], cost);
    assert_ne!(cost, "0.000000000");
}

#[track_caller]
fn check_call(answer: &Answer, status: u16, code: &str, words: &[&str]) {
    words.iter().for_each(|it| check_told(answer, status, code, it));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_known_is_not_told_again() {
    let plane = plane().await;
    let first = plane.get("/v1/models").await;
    assert_eq!(first.headers["cache-control"], "private, no-cache");
    let etag = first.headers["etag"].to_str().unwrap();
    let asks = |known: &str| {
        let request = Request::get(format!("http://{}/v1/models", plane.address));
        request.header("authorization", plane.bearer()).header("if-none-match", known)
    };
    for known in [etag, &format!("\"x\", W/{etag}"), "*"] {
        let again = send(asks(known), "").await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
        assert_eq!(again.headers["etag"], first.headers["etag"]);
    }
    assert_eq!(send(asks("\"x\""), "").await.body, first.body);
    let bad = plane.get("/v1/models?sort=best").await;
    check(&bad, 400, "invalid_request", "context-high-to-low");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anthropic_client_reads_its_own_shape() {
    let answer = plane().await.get("/v1/messages").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["type"]), (404, &"error".into()));
    assert_eq!(answer.json()["error"]["type"], "not_found_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_snapshot_callers_are_asked_to_come_back() {
    let plane = Plane::bare(|_| ()).await;
    for answer in [plane.chat(r#"{"model":"auto"}"#).await, plane.get("/v1/models").await] {
        check(&answer, 503, "unavailable", "");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(plane.get("/healthz").await.status, 200);
    assert_eq!(plane.get("/readyz").await.status, 503);

    plane.serve("127.0.0.1:1".parse().unwrap());
    assert_eq!(plane.get("/readyz").await.status, 200);
    assert_eq!(plane.get("/v1/models").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_unread() {
    let plane = plane().await;
    let mut client = tokio::net::TcpStream::connect(plane.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         content-length: 100000000\r\n\r\n",
        plane.bearer()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

/// Sends pieces of a body until the connection closes, and returns what was answered.
async fn send_endlessly(plane: &Plane, key: &str) -> String {
    let (mut reader, mut writer) = plane.connect().await.into_split();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let sending = async move {
        writer.write_all(head.as_bytes()).await.unwrap();
        let piece = format!("400\r\n{}\r\n", "x".repeat(1_024));
        while writer.write_all(piece.as_bytes()).await.is_ok() {}
    };
    let reading = async move {
        let mut answer = Vec::new();
        while reader.read_buf(&mut answer).await.is_ok_and(|it| it > 0) {}
        String::from_utf8(answer).unwrap()
    };
    soon(async { tokio::join!(sending, reading).1 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_ends_with_the_refusal() {
    let upstream = Upstream::start([]).await;
    let plane = Plane::with(upstream.address, |it| it.body_limit_bytes = 10_000).await;
    let key = plane.bearer().replace("Bearer ", "");
    let answer = send_endlessly(&plane, &key).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = send_endlessly(&plane, "nonsense").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

fn posting(path: &str, key: &str, announced: usize, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n\
         content-length: {announced}\r\n\r\n{body}"
    )
}

/// The head of the next answer, the body of which is read too.
async fn answer(client: &mut TcpStream) -> String {
    let mut received = Vec::new();
    soon(async {
        loop {
            assert!(client.read_buf(&mut received).await.unwrap() > 0, "{received:?}");
            let text = std::str::from_utf8(&received).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return head.to_owned();
            }
        }
    })
    .await
}

async fn is_closed(client: &mut TcpStream) -> bool {
    soon(client.read(&mut [0])).await.is_ok_and(|it| it == 0)
}

const CHAT: &str = "/v1/chat/completions";

/// Whatever an answer is, and whoever gave it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_costs_nobody_their_connection() {
    let refusal = |status| staying(crate::upstream::answer(status, JSON, r#"{"error":{}}"#));
    let upstream = Upstream::start([refusal("402 Pay"), refusal("429 Slow")]).await;
    let plane = Plane::bare(|_| ()).await;
    let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
    plane.serve_limited(upstream.address, limits);
    let (mut client, bearer) = (plane.connect().await, plane.bearer());
    let body = r#"{"model":"auto"}"#;
    let large = "x".repeat(60_000);
    let mut expect = async |request: String, status: &str| {
        client.write_all(request.as_bytes()).await.unwrap();
        let head = answer(&mut client).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
    };
    for body in [body, "", &large] {
        expect(posting(CHAT, "Bearer sk-1", body.len(), body), "401").await;
        expect(posting("/v1/nowhere", &bearer, body.len(), body), "404").await;
        expect(posting("/v1/models", &bearer, body.len(), body), "405").await;
    }
    let chunked = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\n{{}}\r\n0\r\n\r\n"
    );
    expect(chunked, "401").await;
    // What the upstream answers is told as our trouble, then as it is; the last is our limit.
    for status in ["502", "429", "404", "429"] {
        let body = if status == "404" { r#"{"model":"unknown"}"# } else { body };
        expect(posting(CHAT, &bearer, body.len(), body), status).await;
    }
    expect(posting(CHAT, "", body.len(), body), "401").await;
}

/// Such a client is answered all the same, and keeps nobody waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_lies_about_its_length_ends_the_connection() {
    let plane = plane().await;
    for path in [CHAT, "/v1/nowhere"] {
        let mut shorter = plane.connect().await;
        shorter.write_all(posting(path, "", 100, "{}").as_bytes()).await.unwrap();
        assert!(answer(&mut shorter).await.starts_with("HTTP/1.1 40"));
        assert!(is_closed(&mut shorter).await);

        let mut longer = plane.connect().await;
        longer.write_all(posting(path, "", 2, "{}\u{0}more").as_bytes()).await.unwrap();
        let mut answers = String::new();
        soon(longer.read_to_string(&mut answers)).await.unwrap();
        let (_, rest) = answers.split_once("}}").unwrap();
        assert!(rest.starts_with("HTTP/1.1 400"), "what is too much is no request: {answers}");

        let mut large = plane.connect().await;
        large.write_all(posting(path, "", 65_537, "").as_bytes()).await.unwrap();
        assert!(answer(&mut large).await.starts_with("HTTP/1.1 40"), "nobody waits for it");
        assert!(is_closed(&mut large).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted() {
    let plane = plane().await;
    plane.chat("hello").await;
    let metrics = plane.get_privately("/metrics").await;
    let text = std::str::from_utf8(&metrics.body).unwrap();
    for line in [
        r#"turnpike_refusals_total{code="invalid_request"} 1"#,
        r#"turnpike_requests_total{endpoint="chat",outcome="4xx"} 1"#,
        "turnpike_snapshot_revision 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(plane.get("/metrics").await.status, 404, "metrics are not for the public");
}
