//! The control plane is frozen, then killed.

use harness::{load::Load, processes::Installation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_without_the_control_plane() {
    let Some(mut turnpike) = Installation::start("control-plane").await else { return };
    let load = Load::start(&turnpike).await;

    turnpike.control.freeze().await;
    load.goes_on().await;
    turnpike.control.thaw().await;
    turnpike.takes_changes().await;
    turnpike.control.kill().await;
    load.goes_on().await;
    turnpike.control.start().await;
    turnpike.takes_changes().await;
    load.goes_on().await;

    load.finish().await.nobody_noticed("the control plane is frozen, then killed");
    turnpike.finish().await;
}
