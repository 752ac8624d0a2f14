//! What befalls the stores and the control plane in a drill, once, while calls are made.

use std::{path::PathBuf, process::Command, time::Duration};

use clap::ValueEnum;
use harness::processes::Installation;
use shared::{counters::Shard, wire::Address};
use tokio::time::sleep;

use super::{sampling::connect, say};

/// What is done, as soon as so many calls were let through.
const STRIKES: u64 = 700;
/// Of a store that goes back, to when.
const BACK: u64 = 450;
/// For how long PostgreSQL stands still.
const FROZEN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drill {
    /// Redis is killed, and starts again with what it wrote.
    RedisKilled,
    /// Redis is killed, and starts with an older file.
    RedisRewound,
    /// All that is in Redis is gone.
    Flushed,
    /// Of a Redis Cluster the master that counts is killed, and a replica takes over.
    ClusterMasterKilled,
    /// The control plane is killed, and with it the ingester and the healer.
    ControlPlaneKilled,
    /// PostgreSQL stands still.
    PostgresFrozen,
}

impl Drill {
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedisKilled => "Redis killed",
            Self::RedisRewound => "Redis went back to an older file",
            Self::Flushed => "Redis emptied",
            Self::ClusterMasterKilled => "a master of a Redis Cluster killed",
            Self::ControlPlaneKilled => "control plane killed",
            Self::PostgresFrozen => "PostgreSQL frozen",
        }
    }
}

pub struct Disaster {
    drill: Drill,
    copy: Option<PathBuf>,
    is_over: bool,
}

impl Disaster {
    pub fn of(drill: Drill) -> Self {
        Self { drill, copy: None, is_over: false }
    }

    /// If it is time.
    pub async fn strikes(
        &mut self,
        on: &mut Installation,
        (redis, shard): (&Address, Shard),
        admitted: u64,
    ) {
        if self.drill == Drill::RedisRewound && self.copy.is_none() && admitted >= BACK {
            let (files, copy) = (on.redis_files(), on.redis_files().with_extension("old"));
            same_files(&files, &copy);
            self.copy = Some(copy);
        }
        if self.is_over || admitted < STRIKES {
            return;
        }
        self.is_over = true;
        match self.drill {
            Drill::RedisKilled => {
                on.redis.kill().await;
                on.redis.start().await;
            }
            Drill::RedisRewound => {
                on.redis.kill().await;
                let files = on.redis_files();
                tokio::fs::remove_dir_all(&files).await.unwrap();
                same_files(&self.copy.clone().unwrap(), &files);
                on.redis.start().await;
            }
            Drill::Flushed => {
                let mut redis = connect(redis).await.unwrap();
                let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
            }
            Drill::ClusterMasterKilled => {
                let cluster = on.cluster.as_ref().unwrap();
                let killed = cluster.kill_master_of(&shard.to_string());
                cluster.is_whole_without(killed).await;
            }
            Drill::ControlPlaneKilled => {
                on.control.kill().await;
                on.control.start().await;
            }
            Drill::PostgresFrozen => {
                on.postgres.freeze().await;
                sleep(FROZEN).await;
                on.postgres.thaw().await;
            }
        }
        say(&format!("  ({} after {admitted} calls)", self.drill.name()));
    }
}

/// With their owner.
fn same_files(from: &PathBuf, to: &PathBuf) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}
