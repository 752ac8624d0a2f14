//! What a process says to a store that lost something, and learns.

use super::*;

impl Fixture {
    /// As a store is that was lost and healed, and waits for a process.
    async fn learns_from(&mut self, proxy: &Arc<Meter>) {
        let (places, shard) = (self.places(), self.shard());
        let () = self.redis.del(places.holds(shard, proxy.epoch())).await.unwrap();
        for field in ["until".to_owned(), proxy.epoch().to_string()] {
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
