//! All of it is killed, and only the proxies come back.

use harness::{load::Load, processes::Installation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_start_from_their_disks_when_all_else_is_dead() {
    let Some(mut turnpike) = Installation::start("everything").await else { return };
    Load::start(&turnpike).await.finish().await.nobody_noticed("before everything is killed");

    let [first, second] = &mut turnpike.proxies[..] else { panic!("there are two") };
    for process in [&mut turnpike.control, &mut turnpike.postgres, &mut turnpike.redis] {
        process.kill().await;
    }
    first.kill().await;
    second.kill().await;

    first.start().await;
    second.start().await;
    let load = Load::start(&turnpike).await;
    load.goes_on().await;
    load.finish().await.nobody_noticed("only the proxies are back");

    // And when the rest comes back, they follow it again.
    turnpike.postgres.start().await;
    turnpike.redis.start().await;
    turnpike.control.start().await;
    turnpike.takes_changes().await;
    turnpike.finish().await;
}
