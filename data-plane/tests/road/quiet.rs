//! What never reaches a log, at any level: secrets, prompts, replies.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::Request;
use secrecy::ExposeSecret;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    plane::{Plane, send},
    upstream::{EVENTS, JSON, Step, Upstream, answer, chunk},
};

/// Everything logged in this process, by whichever test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_prompts_and_replies() {
    let log = Log::default();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    tracing::subscriber::set_global_default(lines.with_writer(log.clone()).finish()).unwrap();

    let begun = [EVENTS.as_bytes(), &chunk("data: the-reply\n\n")].concat();
    let upstream = Upstream::start([
        answer("200 OK", JSON, r#"{"choices":[{"text":"the-reply"}]}"#),
        answer("401 No", JSON, r#"{"error":"the-reply"}"#),
        answer("500 No", "", "the-reply"),
        vec![Step::Send(begun)],
    ])
    .await;
    let plane = Plane::start(upstream.address).await;
    let key = plane.key.secret.expose_secret();
    for _ in 0..4 {
        plane.chat(r#"{"model":"auto","messages":"the-prompt"}"#).await;
    }
    for body in [r#"{"model":"the-prompt"}"#, r#""the-prompt""#, "the-prompt"] {
        plane.chat(body).await;
    }
    plane.get(&format!("/v1/models?key={key}")).await;
    plane.get(&format!("/v1/models/{key}")).await;
    plane.get(&format!("/{key}")).await;
    let chat = || Request::post(format!("http://{}/v1/chat/completions", plane.address));
    send(chat().header("authorization", format!("Basic {key}")), "{}").await;
    send(chat().header("x-api-key", format!("{key}x")), "{}").await;
    send(chat().header("x-api-key", key).header("user-agent", key), "{}").await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let log: Vec<_> = log.lines().collect();
    assert!(log.iter().any(|it| it.contains("refused chat: invalid_request")), "{log:#?}");
    assert!(log.iter().any(|it| it.contains("failed chat: scripted did not serve")), "{log:#?}");
    for secret in [key, "sk-upstream", "the-prompt", "the-reply"] {
        let leaks: Vec<_> = log.iter().filter(|it| it.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret} in {leaks:#?}");
    }
}
