//! Candidates that fail: as long as the client has been given nothing, another is asked,
//! and nobody notices; but not more often than does good.

use std::time::Duration;

use data_plane::config::Config;
use shared::{ids::UpstreamId, snapshot::Model};

use crate::{
    plane::{Answer, Plane, anothers},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk, staying},
};

const CALL: &str = r#"{"model":"auto"}"#;
const REPLY: &str = r#"{"id":"1","choices":[]}"#;
const REFUSAL: &str = r#"{"error":{"message":"no"}}"#;

fn good() -> Vec<Step> {
    answer("200 OK", JSON, REPLY)
}

fn refusal(status: &str) -> Vec<Step> {
    answer(status, JSON, REFUSAL)
}

/// What a place says that is down, on a connection that stays: on one that ends, a request might
/// not be read, and who counts them finds one less.
fn down() -> Vec<Step> {
    staying(refusal("500 Oops"))
}

fn short_first_byte(config: &mut Config) {
    config.timeouts.first_byte = Duration::from_millis(100);
}

#[track_caller]
fn check(answer: &Answer, status: u16, provider: &str, attempts: usize) {
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let told = (answer.status.as_u16(), header("x-turnpike-provider"));
    assert_eq!(told, (status, provider.to_owned()), "{answer:?}");
    assert_eq!(header("x-turnpike-attempts"), attempts.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_first_byte_is_not_noticed() {
    let html = "content-type: text/html\r\n";
    let wait = format!("{JSON}retry-after: 1\r\n");
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    for script in [
        vec![],
        refusal("500 Oops"),
        refusal("529 Overloaded"),
        answer("503 Busy", html, "<html>"),
        answer("429 Too Many", &wait, REFUSAL),
        refusal("401 No"),
        refusal("404 No Model"),
        answer("200 OK", html, "<html>"),
        answer("302 Found", "location: http://169.254.169.254/\r\n", ""),
        answer("200 OK", &format!("{JSON}content-encoding: gzip\r\n"), REPLY),
        vec![Step::Send(cut.into())],
        vec![Step::Send(EVENTS.into())],
        vec![Step::Send([EVENTS.as_bytes(), LAST_CHUNK].concat())],
        vec![
            Step::Send([EVENTS.as_bytes(), &chunk(": PROCESSING\n\n")].concat()),
            Step::Send(chunk(": PROCESSING\n\n")),
            Step::Hang,
        ],
        vec![Step::Hang],
        vec![Step::Send(EVENTS.into()), Step::Hang],
    ] {
        let (mut first, mut second) =
            (Upstream::start([script]).await, Upstream::start([good()]).await);
        let upstreams = [first.address, second.address];
        let plane = Plane::between(&upstreams, short_first_byte).await;
        let answer = plane.chat(CALL).await;
        check(&answer, 200, "other", 2);
        assert_eq!(&answer.body[..], REPLY.as_bytes());
        assert_eq!((first.requests(), second.requests()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_is_not_noticed() {
    let (gone, second) = (Upstream::start([]).await, Upstream::start([good()]).await);
    let plane = Plane::between(&[gone.address, second.address], |_| ()).await;
    drop(gone);
    check(&plane.chat(CALL).await, 200, "other", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_byte_nobody_else_is_asked() {
    let begun = [EVENTS.as_bytes(), &chunk("data: {}\n\n")].concat();
    let first = Upstream::start([vec![Step::Send(begun)]]).await;
    let mut second = Upstream::start([good()]).await;
    let plane = Plane::between(&[first.address, second.address], |_| ()).await;
    let answer = plane.chat(CALL).await;
    check(&answer, 200, "scripted", 1);
    let body = std::str::from_utf8(&answer.body).unwrap();
    assert!(body.contains("upstream_error") && !body.contains("[DONE]"), "{body}");
    assert_eq!(second.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_at_fault_is_so_anywhere() {
    for status in ["400 Bad", "422 Unprocessable"] {
        let first = Upstream::start([refusal(status)]).await;
        let mut second = Upstream::start([good()]).await;
        let plane = Plane::between(&[first.address, second.address], |_| ()).await;
        let status = status[..3].parse().unwrap();
        check(&plane.chat(CALL).await, status, "scripted", 1);
        assert_eq!(second.requests(), 0);
    }
}

async fn check_again(first: Vec<Step>, expected: u16, attempts: usize) {
    let mut upstream = Upstream::start([first, good()]).await;
    let plane = Plane::start(upstream.address).await;
    check(&plane.chat(CALL).await, expected, "scripted", attempts);
    assert_eq!(upstream.requests(), attempts);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_place_is_asked_once_more_where_that_is_safe() {
    check_again(vec![], 200, 2).await;
    check_again(refusal("500 Oops"), 200, 2).await;
    check_again(refusal("408 Slow"), 200, 2).await;
    check_again(refusal("429 Too Many"), 200, 2).await;
    let soon = format!("{JSON}retry-after: 0\r\n");
    check_again(answer("429 Too Many", &soon, REFUSAL), 200, 2).await;
    check_again(refusal("400 Bad"), 400, 1).await;
    check_again(refusal("404 No Model"), 404, 1).await;
    check_again(refusal("401 No"), 502, 1).await;
    check_again(answer("200 OK", JSON, "{"), 502, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_day() {
    for (told, passed) in [("86400", "3600"), ("3", "3")] {
        let headers = format!("{JSON}retry-after: {told}\r\n");
        let mut upstream =
            Upstream::start([answer("429 Too Many", &headers, REFUSAL), good()]).await;
        let plane = Plane::start(upstream.address).await;
        let answer = plane.chat(CALL).await;
        check(&answer, 429, "scripted", 1);
        assert_eq!(answer.headers["retry-after"], passed);
        assert_eq!(upstream.requests(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_made_much_worse() {
    let mut upstream = Upstream::start([down()]).await;
    let plane = Plane::with(upstream.address, |it| it.breaker_calls = u32::MAX).await;
    for _ in 0..40 {
        assert_eq!(plane.chat(CALL).await.status, 502);
    }
    let requests = upstream.requests();
    assert!((41..=48).contains(&requests), "{requests} for 40 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_fails_is_left_alone_until_it_is_well() {
    let mut upstream = Upstream::start([down()]).await;
    let plane = Plane::with(upstream.address, |it| it.breaker_calls = 4).await;
    let refused = loop {
        let answer = plane.chat(CALL).await;
        if answer.status != 502 {
            break answer;
        }
    };
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "upstream_overloaded"));
    assert!(!refused.headers.contains_key("x-should-retry"));
    // As long as it is left alone at first, or what is left of that.
    assert_eq!(refused.headers["retry-after"], "1");
    let milliseconds: u64 = refused.headers["retry-after-ms"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_000).contains(&milliseconds), "{milliseconds}");
    assert_eq!(upstream.requests(), 4);
    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    for line in [
        "turnpike_breakers_open 1",
        "turnpike_breaker_openings_total 1",
        r#"turnpike_attempts_total{outcome="server"} 4"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    upstream.then(staying(good()));
    let probed = async { while plane.chat(CALL).await.status != 200 {} };
    soon(probed).await;
    assert_eq!(upstream.requests(), 1);
    assert_eq!(plane.chat(CALL).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_left_alone_is_passed_over() {
    let mut first = Upstream::start([down()]).await;
    let mut second = Upstream::start([staying(good())]).await;
    let upstreams = [first.address, second.address];
    let plane = Plane::between(&upstreams, |it| it.breaker_calls = 4).await;
    for attempts in [2, 2, 2, 2, 1, 1, 1, 1] {
        check(&plane.chat(CALL).await, 200, "other", attempts);
    }
    assert_eq!((first.requests(), second.requests()), (4, 8));
}

/// What one caller's requests can bring about closes no place to others.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_places_fault_leaves_it_open() {
    let later = format!("{JSON}retry-after: 60\r\n");
    let long = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let html = "content-type: text/html\r\n";
    for (script, status) in [
        (answer("429 Too Many", &later, REFUSAL), 429),
        (refusal("403 Flagged"), 502),
        (refusal("402 Pay"), 502),
        (answer("400 Bad", html, "<html>"), 502),
        (vec![Step::Send(format!("{long}content-length: 99999999\r\n\r\n{{").into())], 502),
    ] {
        let upstream = Upstream::start([staying(script)]).await;
        let plane = Plane::with(upstream.address, |it| it.breaker_calls = 4).await;
        for _ in 0..10 {
            assert_eq!(plane.chat(CALL).await.status, status);
        }
        upstream.then(staying(good()));
        check(&plane.chat(CALL).await, 200, "scripted", 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_secret_of_ones_own_opens_nobody_elses_breaker() {
    let mut upstream = Upstream::start([staying(refusal("401 No"))]).await;
    let plane = Plane::bare(|it| it.breaker_calls = 4).await;
    let mut other = None;
    plane.serve_changed(upstream.address, |image| {
        let key = image.keys.first().unwrap();
        let mut own = image.upstreams.first().unwrap().clone();
        (own.id, own.organization) = (UpstreamId::generate(), Some(key.organization));
        own.provider = "own".into();
        own.models.truncate(1);
        own.models.iter_mut().for_each(|it| it.name = "own".into());
        own.credentials = vec![plane.credential(&own)];
        let (new, anothers) = anothers(key);
        other = Some(new);
        image.keys.push(anothers);
        image.upstreams.push(own);
    });
    for _ in 0..4 {
        check(&plane.chat(r#"{"model":"own"}"#).await, 502, "own", 1);
    }
    assert_eq!(plane.chat(r#"{"model":"own"}"#).await.status, 503);
    assert_eq!(upstream.requests(), 4);
    upstream.then(staying(good()));
    check(&plane.chat_with(&other.unwrap(), CALL).await, 200, "scripted", 1);
    check(&plane.chat(CALL).await, 200, "scripted", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_asked_once_more_however_many_secrets_open_it() {
    let mut first = Upstream::start([down()]).await;
    let second = Upstream::start([staying(good())]).await;
    let plane = Plane::bare(|it| it.breaker_calls = u32::MAX).await;
    plane.serve_with_secrets(&[first.address], 12);
    let failed = plane.chat(CALL).await;
    check(&failed, 502, "scripted", 2);
    assert_eq!(failed.headers["x-should-retry"], "false");
    assert_eq!(first.requests(), 2);
    for _ in 1..40 {
        assert_eq!(plane.chat(CALL).await.status, 502);
    }
    let requests = first.requests();
    assert!((39..=46).contains(&requests), "{requests} for 39 calls");
    // Another upstream is asked nevertheless, however many secrets come before its own.
    let plane = Plane::bare(|it| it.breaker_calls = u32::MAX).await;
    plane.serve_with_secrets(&[first.address, second.address], 40);
    for _ in 0..10 {
        let answer = plane.chat(CALL).await;
        assert_eq!(
            (answer.status, &answer.headers["x-turnpike-provider"]),
            (200.try_into().unwrap(), &"other".try_into().unwrap())
        );
    }
}

/// An outage costs few more calls, whatever somebody put on a list to fall back to.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_asked_once_more_however_many_models_may_answer() {
    let mut upstream = Upstream::start([down()]).await;
    let plane = Plane::bare(|it| it.breaker_calls = u32::MAX).await;
    plane.serve_changed(upstream.address, |image| {
        let models = &mut image.upstreams.first_mut().unwrap().models;
        let another = |at| Model { name: format!("m{at}"), ..models[0].clone() };
        let others: Vec<_> = (0..6).map(another).collect();
        models.extend(others);
    });
    let call = r#"{"model":"auto","models":["same","m0","m1","m2","m3","m4","m5"]}"#;
    check(&plane.chat(call).await, 502, "scripted", 2);
    for _ in 1..40 {
        assert_eq!(plane.chat(call).await.status, 502);
    }
    let requests = upstream.requests();
    assert!((41..=48).contains(&requests), "{requests} for 40 calls");
    // What is one model's trouble goes to the next one, at no cost to others.
    upstream.then(staying(refusal("404 No Model")));
    check(&plane.chat(call).await, 404, "scripted", 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_secrets_trouble_goes_to_the_next_one() {
    for status in ["429 Too Many", "401 No", "403 Flagged"] {
        let [first, second] = [refusal(status), refusal(status)].map(staying);
        let mut upstream = Upstream::start([first, second, staying(good())]).await;
        let plane = Plane::bare(|_| ()).await;
        plane.serve_with_secrets(&[upstream.address], 3);
        check(&plane.chat(CALL).await, 200, "scripted", 3);
        assert_eq!(upstream.requests(), 3);
    }
}

/// Clients that hang up say nothing of the place.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_open_no_breaker() {
    let mut upstream = Upstream::start([vec![Step::Hang]]).await;
    let plane = Plane::with(upstream.address, |it| it.breaker_calls = 2).await;
    for _ in 0..5 {
        let client = plane.open(CALL).await;
        assert!(matches!(upstream.event().await, Event::Request { .. }));
        drop(client);
        soon(plane.is_idle()).await;
    }
    upstream.then(good());
    check(&plane.chat(CALL).await, 200, "scripted", 1);
}
