//! The data plane in this process, between a client and an upstream that follows a
//! script. Most need no Redis: what is served is offered to the catalog directly.
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod breaking;
mod budgets;
mod costs;
mod counting;
mod crowding;
mod failing_over;
mod feed;
mod feedback;
mod forms;
mod generations;
mod hanging_up;
mod holding;
mod leaving;
mod passing;
mod plane;
mod quiet;
mod refusing;
mod routing;
mod trying;
mod upstream;
mod waiting;

/// Awaits what has to come about at once. Fails where it would hang.
async fn soon<F: Future>(what: F) -> F::Output {
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, what).await.expect("it has to come about soon")
}
