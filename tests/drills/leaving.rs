//! Proxies are asked to leave, one after the other, as in every deployment.

use harness::{
    eventually,
    load::{Load, OpenStream},
    processes::Installation,
};
use http::StatusCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_costs_no_call_and_no_stream() {
    let Some(mut turnpike) = Installation::start("leaving").await else { return };
    let load = Load::start(&turnpike).await;

    for at in 0..2 {
        let stream = OpenStream::begin(&turnpike, at, 400, 5).await;
        // So that nothing under way can end before we have looked.
        turnpike.simulator.freeze().await;
        turnpike.proxies[at].terminate();
        eventually("readiness to be off", || async {
            let answer = turnpike.readiness(&turnpike.proxies[at]).await;
            answer.is_none_or(|it| it.0 == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
        assert!(turnpike.proxies[at].is_alive(), "it left before its streams had ended");
        turnpike.simulator.thaw().await;
        assert!(stream.rest().await.is_some(), "a stream under way was cut");
        let ended = turnpike.proxies[at].ended().await;
        assert!(ended.success(), "it ended with {ended}");
        load.goes_on().await;
        turnpike.proxies[at].start().await;
        load.goes_on().await;
    }

    let tally = load.finish().await;
    tally.none_failed("both proxies leave and come back, one after the other");
    assert!(tally.lost.is_empty(), "{:?}", tally.lost);
    turnpike.finish().await;
}
