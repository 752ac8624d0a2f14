//! A Redis Cluster instead of one Redis: everything works, and goes on when a master is killed.

use harness::{
    load::Load,
    processes::{Extent, Installation},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_while_a_master_of_a_cluster_is_replaced() {
    let Some(mut turnpike) =
        Installation::with("cluster", Extent { on_cluster: true, ..Extent::USUAL }).await
    else {
        return;
    };
    let load = Load::start(&turnpike).await;
    load.goes_on().await;
    // Snapshots and what proxies report are on one master, the organization's limits on any.
    let shard = turnpike.shard_of_owner().await.to_string();
    for key in ["cfg:{main}:head", &shard] {
        let cluster = turnpike.cluster.as_ref().unwrap();
        let killed = cluster.kill_master_of(key);
        load.goes_on().await;
        cluster.is_whole_without(killed).await;
        cluster.start_again(killed);
        for at in 0..2 {
            turnpike.limits_are(at, "shared").await;
        }
        turnpike.takes_changes().await;
        load.goes_on().await;
    }
    load.finish().await.nobody_noticed("two masters of a Redis Cluster are killed");
    turnpike.finish().await;
}
