//! Leaving without cutting anyone short.

use std::sync::Arc;

use tokio::{io::AsyncReadExt, sync::Notify};

use crate::{
    plane::{Plane, send},
    soon,
    upstream::{EVENTS, LAST_CHUNK, Step, Upstream, chunk},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_finishes_while_we_are_not_ready() {
    let signal = Arc::new(Notify::new());
    let begun = [EVENTS.as_bytes(), &chunk("data: {}\n\n")].concat();
    let ended = [&chunk("data: [DONE]\n\n")[..], LAST_CHUNK].concat();
    let script = vec![Step::Send(begun), Step::Await(signal.clone()), Step::Send(ended)];
    let upstream = Upstream::start([script]).await;
    let plane = Plane::start(upstream.address).await;
    let mut client = plane.open(r#"{"model":"auto","stream":true}"#).await;
    let mut begun = vec![0; 20];
    soon(client.read_exact(&mut begun)).await.unwrap();

    let private = plane.private;
    let readyz = || http::Request::get(format!("http://{private}/readyz"));
    assert_eq!(send(readyz(), "").await.status, 200);
    let drained = plane.running.drain();
    let rest = async {
        while send(readyz(), "").await.status != 503 {}
        signal.notify_one();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let ((), rest) = soon(async { tokio::join!(drained, rest) }).await;
    assert!(rest.contains("data: [DONE]"), "{rest}");
}
