//! The simulator as its clients see it: over real connections.

mod anthropic;
mod faults;
mod gemini;
mod openai;
mod recording;
mod same_again;

use std::io::ErrorKind;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

fn simulator() -> Simulator {
    Simulator::start(Config::default()).unwrap()
}

/// Posts `body` and returns the status and the JSON answered.
async fn post(simulator: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let url = [&simulator.url(), path].concat();
    let response = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn answer(simulator: &Simulator, path: &str, body: &Value) -> Value {
    let (status, answer) = post(simulator, path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The data of every event that is JSON, and whether `[DONE]` came last.
async fn stream(simulator: &Simulator, path: &str, body: &Value) -> (Vec<Value>, bool) {
    let url = [&simulator.url(), path].concat();
    let response = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = response.text().await.unwrap();
    let data: Vec<&str> = text.lines().filter_map(|it| it.strip_prefix("data: ")).collect();
    let events = data.iter().filter_map(|it| serde_json::from_str(it).ok()).collect();
    (events, data.last() == Some(&"[DONE]"))
}

/// The texts at `pointer` in `events`, joined.
fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|it| it.pointer(pointer)?.as_str()).collect()
}

/// All that comes back on a connection of its own, and how it ended.
struct Seen {
    bytes: Vec<u8>,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn body(&self) -> &[u8] {
        let head = self.bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        &self.bytes[head + 4..]
    }
}

async fn connect(simulator: &Simulator, path: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer secret\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(simulator.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads what an answer that closes its connection brings.
async fn seen(simulator: &Simulator, path: &str, body: &Value) -> Seen {
    let mut stream = connect(simulator, path, body).await;
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes).await {
        Ok(_) => End::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("{error}"),
    };
    Seen { bytes, end }
}
