//! PostgreSQL is frozen, then killed with every process that it has.

use harness::{load::Load, processes::Installation};
use http::StatusCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_without_postgres() {
    let Some(mut turnpike) = Installation::start("postgres").await else { return };
    let load = Load::start(&turnpike).await;

    turnpike.postgres.freeze().await;
    turnpike.control_is(StatusCode::SERVICE_UNAVAILABLE).await;
    load.goes_on().await;
    turnpike.postgres.thaw().await;
    turnpike.takes_changes().await;
    turnpike.postgres.kill().await;
    turnpike.control_is(StatusCode::SERVICE_UNAVAILABLE).await;
    load.goes_on().await;
    turnpike.postgres.start().await;
    // The control plane was not started again: it finds its database by itself.
    turnpike.takes_changes().await;
    load.goes_on().await;

    load.finish().await.nobody_noticed("PostgreSQL is frozen, then killed");
    turnpike.finish().await;
}
