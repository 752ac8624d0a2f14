use std::time::Duration;

use serde_json::json;

use super::*;
use crate::simulator::recording::Ending;

fn chat(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Hello"}]})
}

#[tokio::test]
async fn a_call_is_recorded_as_it_came() {
    let simulator = simulator();
    seen(&simulator, CHAT, &chat("sim-fault-close")).await;
    let call = simulator.call_that(|it| it.outcome().is_some()).await;
    assert_eq!((call.method(), call.path()), ("POST", CHAT));
    let names: Vec<_> = call.headers().map(|it| it.0).collect();
    assert_eq!(names, ["host", "authorization", "content-length"]);
    assert_eq!(call.header("Authorization"), Some("Bearer secret"));
    assert_eq!(serde_json::from_slice::<Value>(call.body()).unwrap(), chat("sim-fault-close"));
    assert_eq!(call.outcome().unwrap().ending, Ending::Complete);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_wherever_it_does() {
    let simulator = simulator();
    for model in
        ["sim-fault-hang", "sim-fault-stall", "sim-wait-600000", "sim-tokens-9-every-600000"]
    {
        let connection = connect(&simulator, CHAT, &chat(model)).await;
        let is_it = |call: &Call| String::from_utf8_lossy(call.body()).contains(model);
        assert_eq!(simulator.call_that(is_it).await.outcome(), None);
        drop(connection);
        let call = simulator.call_that(|it| is_it(it) && it.outcome().is_some()).await;
        assert!(call.client_hung_up(), "{model}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_huge_answer_is_noticed() {
    let simulator = simulator();
    let mut connection = connect(&simulator, CHAT, &chat("sim-fault-huge-body-1000")).await;
    connection.read_exact(&mut [0; 1000]).await.unwrap();
    drop(connection);
    let call = simulator.call_that(|it| it.outcome().is_some()).await;
    assert!(call.client_hung_up() && call.outcome().unwrap().bytes_sent < 1000 << 20);
}

#[tokio::test]
async fn one_that_stays_and_one_that_was_cut_off_are_told_apart() {
    let simulator = simulator();
    seen(&simulator, CHAT, &chat("sim-fault-reset-event-2")).await;
    let call = simulator.call_that(|it| it.outcome().is_some()).await;
    assert_eq!(call.outcome().unwrap().ending, Ending::CutByFault);
}

#[tokio::test]
async fn calls_are_told_over_http_and_waited_for() {
    let simulator = simulator();
    let control = |query: &str| reqwest::get(format!("{}/__control/calls{query}", simulator.url()));
    let waiting = control("?finished=1&wait_ms=10000");
    let calling = async { connect(&simulator, CHAT, &chat("sim-fault-hang")).await };
    let (told, ()) = tokio::join!(waiting, async { drop(calling.await) });
    let told: Value = told.unwrap().json().await.unwrap();
    let call = &told["calls"][0];
    assert_eq!((call["path"].as_str(), call["client_hung_up"].as_bool()), (Some(CHAT), Some(true)));
    assert_eq!(call["headers"][1], json!(["authorization", "Bearer secret"]));
    assert_eq!(call["bytes_sent"], 0);

    let after = control(&format!("?after={}", told["last"])).await.unwrap();
    assert_eq!(after.json::<Value>().await.unwrap()["calls"], json!([]));
    let client = reqwest::Client::new();
    client.delete(format!("{}/__control/calls", simulator.url())).send().await.unwrap();
    assert!(simulator.calls().is_empty());
}

#[tokio::test]
async fn profiles_are_set_while_running() {
    let simulator = simulator();
    let set =
        json!({"model": "gpt-4o", "length": 7, "first_token_ms": 1, "tokens_per_second": 1000});
    answer(&simulator, "/__control/profiles", &set).await;
    let mut body = chat("gpt-4o");
    body["stream"] = false.into();
    let text = answer(&simulator, CHAT, &body).await;
    assert_eq!(text["usage"]["completion_tokens"], 7);
    let set = json!({"model": "gpt-4o", "length": 5, "every_ms": 1});
    answer(&simulator, "/__control/profiles", &set).await;
    let begun = std::time::Instant::now();
    let (events, done) = stream(&simulator, CHAT, &chat("gpt-4o")).await;
    assert!(done && events.len() >= 5 && begun.elapsed() >= Duration::from_millis(4));
    simulator.set_profile("gpt-4o", Profile { length: Some(3), ..Profile::default() });
    let text = answer(&simulator, CHAT, &body).await;
    assert_eq!(text["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn time_passes_before_and_between_tokens() {
    let simulator = simulator();
    let begun = std::time::Instant::now();
    stream(&simulator, CHAT, &chat("sim-tokens-5-every-20")).await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn requests_come_pipelined_chunked_and_from_old_clients() {
    let simulator = simulator();
    let mut stream = TcpStream::connect(simulator.address).await.unwrap();
    let get = "GET /__control/health HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunked = "POST /v1/moderations HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                   c\r\n{\"input\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n";
    let old = "GET /v1/models HTTP/1.0\r\n\r\n";
    stream.write_all([get, chunked, old].concat().as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert!(answers.contains("connection: close"));
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let simulator = simulator();
    let mut stream = connect(&simulator, CHAT, &chat("sim-fault-hang")).await;
    simulator.call_that(|_| true).await;
    let address = simulator.address;
    simulator.stop();
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused() {
    let simulator = simulator();
    let again = Simulator::start(Config { listen: simulator.address, ..Config::default() });
    assert_eq!(again.err().map(|it| it.kind()), Some(ErrorKind::AddrInUse));
}
