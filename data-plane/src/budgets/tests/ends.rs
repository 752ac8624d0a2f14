//! What becomes of what a call holds, however it goes.

use std::path::{Path, PathBuf};

use http::StatusCode;
use shared::{
    counters::{Sweeping, Swept},
    event::UsageSource,
};

use super::*;

/// One budget on everything with room for so many calls.
async fn with_room_for(calls: i64) -> (Fixture, BudgetId) {
    let mut fixture = Fixture::new().await;
    let room = worst(&fixture, BODY) * calls;
    let id = fixture.budget(BudgetScope::Organization, Period::Day, room).id;
    (fixture, id)
}

#[tokio::test]
async fn what_is_held_is_the_worst_case_and_what_is_counted_what_it_came_to() {
    let (fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(fixture.taken(id).await, (0, worst(&fixture, BODY)));
    // The cap on output is what the call may cost, and goes to the provider.
    assert_eq!(call.candidates[0].most_output, Some(300));
    call.answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (10 + 80, 0));
    let events = proxy.told();
    assert_eq!((events[0].cost.nanos(), events[0].counted[0].amounts.tokens), (90, 30));
    assert_eq!(events[0].billed_at_ms, START);
    assert_eq!(events[0].lines[0].price, Some(7));
}

#[tokio::test]
async fn a_refused_call_holds_nothing_and_says_all_one_needs_to_know() {
    let (fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let _first = fixture.call(&proxy, BODY).await.unwrap();
    let refused = fixture.call(&proxy, BODY).await.err().unwrap();
    assert_eq!(fixture.taken(id).await, (0, worst(&fixture, BODY)));
    let refused = crate::refused::Refused::from(refused);
    assert_eq!(refused.status().as_u16(), 402);
    let pages = crate::refused::Pages::of(&"https://dashboard".parse().unwrap());
    let told = crate::refused::Dialect::Anthropic.error(&refused, RequestId::generate(), &pages);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    for part in ["daily budget \"Search\" of this organization", "spent", "held", "19 Mar 2025"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.ends_with("Ask an owner or admin to raise it."), "{message}");
    assert_eq!(told["error"]["details"]["held"], worst(&fixture, BODY));
    let headers: HashMap<_, _> = refused.headers().into_iter().collect();
    assert_eq!(headers["x-turnpike-budget-remaining"], "0.000000000");
    assert_eq!(headers["x-turnpike-budget-reset"], "2025-03-19T00:00:00Z");
    // It is told of, and costs nothing.
    proxy.leave().await;
    let events = proxy.told();
    assert!(events.len() == 1 && events[0].counted.is_empty() && events[0].cost == Money::ZERO);
}

#[tokio::test]
async fn a_tight_budget_that_wants_that_makes_answers_shorter() {
    let (mut fixture, id) = with_room_for(1).await;
    fixture.budgets[0].on_tight = OnTight::Clamp;
    let body = BODY.replace("300", "1000");
    let proxy = fixture.proxy().await;
    let call = fixture.call(&proxy, &body).await.unwrap();
    assert!(call.candidates[0].is_clamped);
    // The body is a byte longer, which is a token of input less than a token of output.
    assert_eq!(call.candidates[0].most_output, Some(299));
    let (_, held) = fixture.taken(id).await;
    assert!(held <= worst(&fixture, BODY), "{held}");
    // What is left is not enough for an answer of any use.
    assert!(matches!(fixture.call(&proxy, &body).await, Err(NotAdmitted::Exceeded(_))));
}

#[tokio::test]
async fn what_nobody_can_price_is_not_sent_where_a_budget_has_to_hold() {
    let (mut fixture, _) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let searching = BODY.replace("\"messages\"", "\"web_search_options\":{},\"messages\"");
    assert!(matches!(fixture.call(&proxy, &searching).await, Err(NotAdmitted::NotPriced(_))));
    fixture.model.price = None;
    let refused = fixture.call(&proxy, BODY).await.err().unwrap();
    let refused = crate::refused::Refused::from(refused);
    assert_eq!((refused.status().as_u16(), refused.code().name), (400, "model_not_priced"));
    fixture.budgets[0].is_hard = false;
    fixture.budgets[0].version = 2;
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(call.candidates[0].most_output, None);
    // Free is a price.
    let free = Price::flat(Rates::default()).unwrap();
    fixture.model.price = Some(PinnedPrice { revision: 8, price: free });
    fixture.budgets[0].is_hard = true;
    fixture.budgets[0].version = 3;
    assert!(fixture.call(&proxy, BODY).await.is_ok());
}

#[tokio::test]
async fn an_attempt_that_may_bill_is_paid_for_beside_the_next() {
    let (fixture, id) = with_room_for(2).await;
    let proxy = fixture.proxy().await;
    let mut call = fixture.call(&proxy, BODY).await.unwrap();
    let candidate = call.candidates[0].clone();
    let tab = call.tab();
    // Refused: nothing to pay.
    *tab.sends(&candidate) = Some(StatusCode::TOO_MANY_REQUESTS);
    tab.fails();
    tab.cover(&candidate).await.unwrap();
    assert_eq!(fixture.taken(id).await.1, worst(&fixture, BODY));
    // Begun well, and broken.
    *tab.sends(&candidate) = Some(StatusCode::OK);
    tab.fails();
    let first = tab.cost().nanos();
    assert!(first > 0);
    tab.cover(&candidate).await.unwrap();
    assert_eq!(fixture.taken(id).await.1, worst(&fixture, BODY) + first);
    call.answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (first + 90, 0));
    let events = proxy.told();
    assert_eq!(events[0].lines.len(), 2);
    assert_eq!(events[0].lines[0].source, UsageSource::Estimated);
}

#[tokio::test]
async fn no_attempt_follows_that_cannot_be_paid_for() {
    let (fixture, _) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let mut call = fixture.call(&proxy, BODY).await.unwrap();
    let candidate = call.candidates[0].clone();
    *call.tab().sends(&candidate) = Some(StatusCode::OK);
    call.tab().fails();
    assert_eq!(call.tab().cover(&candidate).await, Err(NotCovered));
}

#[tokio::test]
async fn whoever_hangs_up_pays_for_what_was_begun_and_for_nothing_else() {
    let (fixture, id) = with_room_for(3).await;
    let proxy = fixture.proxy().await;
    drop(fixture.call(&proxy, BODY).await.unwrap());
    let mut sent = fixture.call(&proxy, BODY).await.unwrap();
    let candidate = sent.candidates[0].clone();
    sent.tab().sends(&candidate);
    drop(sent);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (0, 0));
    let mut begun = fixture.call(&proxy, BODY).await.unwrap();
    *begun.tab().sends(&candidate) = Some(StatusCode::OK);
    begun.story.delivers(&Delivered { tokens: 50, ..Delivered::default() });
    drop(begun);
    proxy.leave().await;
    let event = proxy.told().pop().unwrap();
    assert_eq!((event.usage.output, event.usage_source), (50, UsageSource::Interrupted));
    assert!(event.usage.input > 0);
    assert_eq!(fixture.taken(id).await, (event.cost.nanos(), 0));
}

#[tokio::test]
async fn a_lie_about_usage_is_cut_to_what_is_possible() {
    let (fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    fixture.call(&proxy, BODY).await.unwrap().answered(u64::MAX, 20);
    proxy.leave().await;
    let event = proxy.told().pop().unwrap();
    assert_eq!(event.usage.input, 9_000);
    assert_eq!(proxy.metrics.usage_clamped.get(), 1);
    // It is counted all the same, and said to be more than was held.
    assert_eq!(event.overrun.nanos(), event.cost.nanos() - worst(&fixture, BODY));
    assert_eq!(fixture.taken(id).await, (event.cost.nanos(), 0));
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_redis_answers_holds_nothing() {
    let (fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let ask = Ask::parse(Form::Chat, BODY.into()).unwrap();
    // The terms are known already, so that one question lets it through.
    drop(fixture.call(&proxy, BODY).await.unwrap());
    proxy.leave().await;
    let mut call = Call::begin(&fixture, &proxy, &ask, fixture.candidates());
    {
        let mut asking = Box::pin(call.admit(&fixture, &proxy, &ask));
        assert!(futures::poll!(&mut asking).is_pending());
        while fixture.taken(id).await.1 == 0 {}
    }
    drop(call);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (0, 0));
}

#[tokio::test]
async fn caps_are_those_that_redis_knows_last() {
    let (mut fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let _one = fixture.call(&proxy, BODY).await.unwrap();
    assert!(fixture.call(&proxy, BODY).await.is_err());
    // Raised in the store: before any snapshot says so.
    let mut raised = fixture.budgets[0].clone();
    raised.caps.money = Some(Money::from_nanos(worst(&fixture, BODY) * 2));
    raised.version = 2;
    let terms = shared::counters::Terms { budget: &raised, opening: None };
    let ask = proxy.limiter.counters().set_terms(fixture.shard(), terms);
    assert_eq!(proxy.limiter.ask::<i64>(&ask).await, Some(1));
    let _two = fixture.call(&proxy, BODY).await.unwrap();
    assert!(fixture.call(&proxy, BODY).await.is_err());
    // Raised in the snapshot: before anybody told the store.
    fixture.budgets[0].caps.money = Some(Money::from_nanos(worst(&fixture, BODY) * 3));
    fixture.budgets[0].version = 3;
    let _three = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(fixture.counter(id).await.version, 3);
}

#[tokio::test]
async fn a_window_is_the_one_that_redis_says_it_is() {
    let (mut fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert!(fixture.call(&proxy, BODY).await.is_err());
    // Three days later, of which this proxy has not heard.
    fixture.set_clock(START + 3 * DAY).await;
    let _next = fixture.call(&proxy, BODY).await.unwrap();
    let counter = fixture.counter(id).await;
    assert_eq!(counter.window.unwrap().from_ms, START - START % DAY + 3 * DAY);
    // What began in a window counts in that one.
    call.answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.counter(id).await.before.unwrap().spent.money, 90);
}

#[tokio::test]
async fn shares_of_cost_centers_are_held_and_counted_rounded_up() {
    let (fixture, _) = with_room_for(9).await;
    let bearing = |share| Bearing { share, ..fixture.bearings().remove(0) };
    let whole = shared::counters::Amounts { money: 1_001, requests: 1, tokens: 10 };
    let part = bearing(3_333).amounts_of(whole);
    assert_eq!((part.money, part.requests, part.tokens), (334, 1, 4));
    assert_eq!(bearing(3_333).whole_within(333), 999);
}

#[tokio::test]
async fn while_nobody_counts_hard_budgets_refuse_and_soft_ones_do_not() {
    let (mut fixture, id) = with_room_for(5).await;
    let proxy = fixture.proxy().await;
    fixture.set_state(Incarnation(2), 'C').await;
    let refused = fixture.call(&proxy, BODY).await.err().unwrap();
    let refused = crate::refused::Refused::from(refused);
    assert_eq!(
        (refused.status().as_u16(), refused.code().name),
        (503, "budget_backend_unavailable")
    );

    // With an allowance for two calls, of which this proxy, one of two, has one.
    let allowance = Money::from_nanos(worst(&fixture, BODY) * 2);
    fixture.budgets[0].on_redis_loss = OnRedisLoss::Bounded { allowance };
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(call.candidates[0].most_output, Some(300));
    proxy.limiter.set_proxies(2);
    assert!(matches!(fixture.call(&proxy, BODY).await, Err(NotAdmitted::NotCounted(_))));
    call.answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (0, 0));

    // When somebody counts again, it is counted.
    fixture.set_state(Incarnation(3), 'W').await;
    proxy.leave().await;
    fixture.call(&proxy, BODY).await.unwrap().answered(0, 0);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (90, 0));
    fixture.budgets[0].is_hard = false;
    fixture.set_state(Incarnation(4), 'C').await;
    assert!(fixture.call(&proxy, BODY).await.is_ok());
}

#[tokio::test]
async fn without_redis_a_hard_budget_refuses_at_once() {
    let (mut fixture, _) = with_room_for(5).await;
    let metrics = Metrics::new().unwrap();
    let nowhere = Place::standard("redis://127.0.0.1:1".into(), 1);
    let proxy = fixture.meter(Limiter::new(nowhere, metrics.limits.clone()).unwrap(), &metrics);
    let began = std::time::Instant::now();
    for _ in 0..100 {
        assert!(matches!(fixture.call(&proxy, BODY).await, Err(NotAdmitted::NotCounted(_))));
    }
    println!("100 refusals without Redis took {:?}", began.elapsed());
    fixture.budgets[0].is_hard = false;
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    let event = proxy.told().pop().unwrap();
    assert_eq!(event.counted[0].amounts.money, 90);
}

#[tokio::test]
async fn what_a_store_that_went_back_has_forgotten_is_said_again() {
    let (mut fixture, id) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    for _ in 0..3 {
        fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
        proxy.leave().await;
    }
    let _open = fixture.call(&proxy, BODY).await.unwrap();
    let before = fixture.taken(id).await;
    assert_eq!(before, (270, worst(&fixture, BODY)));
    // Another store, which knows the first settlement only and no hold.
    let places = fixture.places();
    let budget = places.budget(fixture.shard(), id);
    let amounts = shared::counters::packed([90, 1, 30, 0, 0, 0]);
    let at = isize::try_from(Counter::AMOUNTS_AT).unwrap();
    let () = fixture.redis.setrange(&budget, at, amounts).await.unwrap();
    let () = fixture.redis.del(places.holds(fixture.shard(), proxy.epoch())).await.unwrap();
    let settled = places.settled(fixture.shard());
    let () = fixture.redis.hset(settled, proxy.epoch().to_string(), 1).await.unwrap();
    fixture.set_state(Incarnation(9), 'W').await;
    proxy.look_now().await;
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, before);
    // And once more makes no difference.
    proxy.look_now().await;
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, before);
}

#[tokio::test]
async fn what_the_database_has_is_forgotten() {
    let (mut fixture, _) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    proxy.leave().await;
    let durable = fixture.places().durable(fixture.shard());
    let () = fixture.redis.hset(durable, proxy.epoch().to_string(), 1).await.unwrap();
    proxy.look_now().await;
    assert!(proxy.told().is_empty());
    // Numbers go on.
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    assert_eq!(proxy.told()[0].settlement.unwrap().number, 2);
}

#[tokio::test]
async fn a_process_that_died_is_settled_by_the_next_one() {
    let (fixture, id) = with_room_for(9).await;
    let root = Root(std::env::temp_dir().join(format!("turnpike-{}", RequestId::generate())));
    let (there, here) = (root.0.join("there"), root.0.join("here"));
    let proxy = fixture.proxy().await;
    let begin = |at: &Path| {
        Meter::begin(Some(at), 256 << 20, proxy.limiter.clone(), proxy.metrics.clone()).unwrap()
    };
    let died = begin(&there);
    let mut call = fixture.call(&died, BODY).await.unwrap();
    let candidate = call.candidates[0].clone();
    call.story.intends(Some(&candidate)).unwrap();
    call.tab().progresses(256);
    fixture.call(&died, BODY).await.unwrap().answered(10, 20);
    // Let through, and not sent: nothing is written down of it.
    std::mem::forget(fixture.call(&died, BODY).await.unwrap());
    // What it leaves behind is what is on its disk, where nobody has it any more.
    let epoch = died.epoch().to_string();
    let (left, copy) = (there.join(&epoch), here.join(&epoch));
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(left).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    std::mem::forget(call);

    let next = begin(&here);
    next.leave().await;
    let (spent, held) = fixture.taken(id).await;
    // One token of input at least, and what had been delivered.
    assert!(spent > 90 + 256 * 4, "{spent}");
    assert_eq!(held, 0);
    // The database has both: the journal is not needed any more.
    let durable = fixture.places().durable(fixture.shard());
    let () = fixture.redis.clone().hset(durable, epoch, 2).await.unwrap();
    next.look_now().await;
    assert!(!copy.exists());
}

#[tokio::test]
async fn a_process_that_dies_at_once_is_found_by_what_it_holds() {
    let (mut fixture, id) = with_room_for(3).await;
    let proxy = fixture.proxy().await;
    // It never comes to say that it lives.
    std::mem::forget(fixture.call(&proxy, BODY).await.unwrap());
    let (places, shard) = (fixture.places(), fixture.shard());
    let silent: Vec<String> =
        fixture.redis.zrangebyscore(places.living(shard), "-inf", START).await.unwrap();
    assert_eq!(silent, [proxy.epoch().to_string()]);
    let holds: Vec<(String, Vec<u8>)> =
        fixture.redis.hgetall(places.holds(shard, proxy.epoch())).await.unwrap();
    for (call, written) in &holds {
        let why = Swept::Dead { silent_since_ms: START };
        let sweeping = Sweeping { epoch: proxy.epoch(), call, written, why };
        let sweep = proxy.limiter.counters().sweep(shard, sweeping);
        assert_eq!(proxy.limiter.ask::<i64>(&sweep).await, Some(1));
    }
    let window = fixture.counter(id).await.window.unwrap();
    assert_eq!(
        (window.held.money, window.held_by_the_dead),
        (worst(&fixture, BODY), window.held.money)
    );
}

/// A directory that is gone with the test.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_key_that_stopped_opens_nothing_from_the_next_call_on() {
    let (fixture, _) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    assert!(fixture.call(&proxy, BODY).await.is_ok());
    let stop = proxy.limiter.counters().stop_key(fixture.shard(), fixture.key().id, START);
    assert_eq!(proxy.limiter.ask::<i64>(&stop).await, Some(1));
    assert!(matches!(fixture.call(&proxy, BODY).await, Err(NotAdmitted::Stopped)));
}
