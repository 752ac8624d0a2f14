//! What a refusal costs, and beside it what any answer does. Prints it: `cargo nextest run -p data-plane --run-ignored only cost`.

use std::{fs, io};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{plane::Plane, upstream::Upstream};

const ROUNDS: u64 = 5_000;

/// The processor time of the threads that accept and serve, in nanoseconds.
fn spent() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|it| it.unwrap().path());
    let serving = tasks.filter(|it| {
        fs::read_to_string(it.join("comm")).is_ok_and(|name| name.starts_with("actix"))
    });
    let of = |it: std::path::PathBuf| -> u64 {
        let said = fs::read_to_string(it.join("schedstat")).unwrap();
        said.split(' ').next().unwrap().parse().unwrap()
    };
    serving.map(of).sum()
}

/// Whether the connection stays open after the answer to `request`.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> bool {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    loop {
        stream.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            return !head.contains("connection: close");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn cost_of_a_refusal() {
    let lines = tracing_subscriber::fmt().json().with_writer(io::sink);
    tracing::subscriber::set_global_default(lines.finish()).unwrap();
    let plane = Plane::start(Upstream::start([]).await.address).await;
    let body = format!(r#"{{"model":"auto","messages":"{}"}}"#, "x".repeat(500));
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer tpk_live_x\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    cost(&plane, "a refusal", request.as_bytes()).await;
    cost(&plane, "a word of health", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
}

async fn cost(plane: &Plane, of: &str, request: &[u8]) {
    let (mut stream, mut opened) = (plane.connect().await, 1);
    let before = spent();
    for _ in 0..ROUNDS {
        if !ask(&mut stream, request).await {
            (stream, opened) = (plane.connect().await, opened + 1);
        }
    }
    let each = (spent() - before) / ROUNDS;
    eprintln!("{of}: {each} ns each of {ROUNDS}, over {opened} connections");
}
