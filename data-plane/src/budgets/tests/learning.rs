//! What a process says to a store that lost something, and learns.

use std::path::Path;

use shared::counters::Epoch;

use super::{
    ends::{Homes, left_behind},
    *,
};

impl Fixture {
    /// As a store is that was lost and healed, and waits for a process.
    async fn learns_from(&mut self, proxy: &Arc<Meter>) {
        self.learns_of(proxy.epoch()).await;
    }

    async fn learns_of(&mut self, epoch: Epoch) {
        let (places, shard) = (self.places(), self.shard());
        let () = self.redis.del(places.holds(shard, epoch)).await.unwrap();
        for field in ["until".to_owned(), epoch.to_string()] {
            let () = self.redis.hset(places.awaited(shard), field, 1).await.unwrap();
        }
        let far = START + DAY;
        let () = self.redis.set(places.incarnation(shard), format!("9 L {far}")).await.unwrap();
    }

    async fn is_awaited(&mut self) -> bool {
        let awaited = self.places().awaited(self.shard());
        self.redis.exists(awaited).await.unwrap()
    }

    async fn holds(&mut self, proxy: &Arc<Meter>) -> u64 {
        let holds = self.places().holds(self.shard(), proxy.epoch());
        self.redis.hlen(holds).await.unwrap()
    }
}

#[tokio::test]
async fn a_store_that_learns_hears_all_that_is_held_and_that_it_is_all() {
    let mut fixture = Fixture::new().await;
    fixture.budget(BudgetScope::Organization, Period::Day, 1_000_000_000);
    let proxy = fixture.proxy().await;
    let (one, _other) =
        (fixture.call(&proxy, BODY).await.unwrap(), fixture.call(&proxy, BODY).await.unwrap());
    fixture.learns_from(&proxy).await;
    proxy.look_now().await;
    assert_eq!((fixture.holds(&proxy).await, fixture.is_awaited().await), (2, false));

    // What it has settled is part of that.
    one.answered(10, 20);
    fixture.learns_from(&proxy).await;
    let () = fixture
        .redis
        .set(fixture.places().incarnation(fixture.shard()), format!("10 L {}", START + DAY))
        .await
        .unwrap();
    proxy.look_now().await;
    assert_eq!((fixture.holds(&proxy).await, fixture.is_awaited().await), (1, true));
    proxy.leave().await;
    proxy.look_now().await;
    assert!(!fixture.is_awaited().await);
}

#[tokio::test]
async fn who_departs_and_holds_nothing_is_waited_for_by_nobody() {
    let mut fixture = Fixture::new().await;
    fixture.budget(BudgetScope::Organization, Period::Day, 1_000_000_000);
    let proxy = fixture.proxy().await;
    let call = fixture.call(&proxy, BODY).await.unwrap();
    let living = fixture.places().living(fixture.shard());
    proxy.departs().await;
    let count: u64 = fixture.redis.zcard(&living).await.unwrap();
    assert_eq!(count, 1, "it holds something");
    call.answered(10, 20);
    proxy.departs().await;
    let count: u64 = fixture.redis.zcard(&living).await.unwrap();
    assert_eq!(count, 0);
}

/// A store that went back may wait for a process of which all was settled since.
#[tokio::test]
async fn whoever_took_over_speaks_for_whom_it_has_outlived() {
    let mut fixture = Fixture::new().await;
    fixture.budget(BudgetScope::Organization, Period::Day, 1_000_000_000);
    let homes = Homes::of(&fixture).await;
    let (there, here) = (homes.there(), homes.here());
    let begin = |at: &Path| homes.begin(at);
    let died = begin(&there);
    fixture.call(&died, BODY).await.unwrap().answered(10, 20);
    died.leave().await;
    let (epoch, copy) = (died.epoch(), left_behind(&died, &there, &here));
    let next = begin(&here);
    next.leave().await;
    let durable = fixture.places().durable(fixture.shard());
    let () = fixture.redis.clone().hset(durable, epoch.to_string(), 1).await.unwrap();
    next.look_now().await;
    assert!(!copy.exists());
    fixture.learns_of(epoch).await;
    // Each shard has its turn.
    for _ in 0..5 {
        next.look_now().await;
    }
    assert!(!fixture.is_awaited().await);
}
