//! What becomes of what a call holds, however it goes.

use std::path::{Path, PathBuf};

use shared::{
    counters::{Sweeping, Swept},
    event::UsageSource,
    tasks::Supervisor,
};

use super::*;
use crate::limits::{Question, Wanted};

/// One budget on everything with room for so many calls.
pub(super) async fn with_room_for(calls: i64) -> (Fixture, BudgetId) {
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
    // The cap is sent all the same.
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(call.candidates[0].most_output, Some(300));
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
    tab.sends(&candidate).unwrap();
    tab.hears(Heard::Nothing);
    tab.cover(&candidate).await.unwrap();
    assert_eq!(fixture.taken(id).await.1, worst(&fixture, BODY));
    // Sent, and nothing heard: it is not known to be free.
    tab.sends(&candidate).unwrap();
    tab.hears(Heard::Lost);
    let first = tab.cost().nanos();
    assert_eq!(first, worst(&fixture, BODY));
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
    call.tab().sends(&candidate).unwrap();
    call.tab().hears(Heard::Lost);
    assert_eq!(call.tab().cover(&candidate).await, Err(NotCovered));
}

#[tokio::test]
async fn whoever_hangs_up_pays_for_what_was_sent_and_for_nothing_else() {
    let (fixture, id) = with_room_for(3).await;
    let proxy = fixture.proxy().await;
    drop(fixture.call(&proxy, BODY).await.unwrap());
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (0, 0));
    // Nobody hears what its provider is going to bill: that is as much as it may be.
    let mut sent = fixture.call(&proxy, BODY).await.unwrap();
    let candidate = sent.candidates[0].clone();
    sent.tab().sends(&candidate).unwrap();
    drop(sent);
    proxy.leave().await;
    let most = worst(&fixture, BODY);
    assert_eq!(fixture.taken(id).await, (most, 0));
    let event = proxy.told().pop().unwrap();
    assert_eq!((event.usage.output, event.usage_source), (300, UsageSource::Estimated));
    assert_eq!(event.counted[0].amounts.requests, 1);
    // What its provider broke off is paid as far as it came, at the most that may be.
    let mut begun = fixture.call(&proxy, BODY).await.unwrap();
    begun.tab().sends(&candidate).unwrap();
    begun.story.delivers(&Delivered { tokens: 50, ..Delivered::default() });
    drop(begun);
    proxy.leave().await;
    let event = proxy.told().pop().unwrap();
    assert_eq!((event.usage.output, event.usage_source), (50, UsageSource::Interrupted));
    assert!(event.usage.input > 0);
    assert_eq!(fixture.taken(id).await, (most + event.cost.nanos(), 0));
}

/// A call that was sent, of whose answer the test says what is still to come.
async fn left(fixture: &Fixture, proxy: &Arc<Meter>) -> tokio::sync::oneshot::Sender<Heard> {
    let (sender, rest) = tokio::sync::oneshot::channel();
    let mut call = fixture.call(proxy, BODY).await.unwrap();
    let candidate = call.candidates[0].clone();
    call.tab().sends(&candidate).unwrap();
    call.story.leaves(Rest::of(async { rest.await.expect("the test says what comes") }));
    sender
}

#[tokio::test]
async fn what_a_caller_does_not_wait_for_is_heard_out_and_held_until_then() {
    let (fixture, id) = with_room_for(4).await;
    let (proxy, supervisor) = (fixture.proxy().await, Supervisor::default());
    proxy.begins_hearing(&supervisor);
    let calls = [left(&fixture, &proxy).await, left(&fixture, &proxy).await];
    let [answered, refused] = calls;
    let broken = left(&fixture, &proxy).await;
    proxy.leave().await;
    let most = worst(&fixture, BODY);
    assert_eq!(fixture.taken(id).await, (0, 3 * most));
    let used = shared::usage::Usage { input: 10, output: 20, ..Default::default() };
    let whole = Delivered { usage: Some(used), is_complete: true, ..Delivered::default() };
    answered.send(Heard::Answer(whole)).unwrap();
    refused.send(Heard::Nothing).unwrap();
    // A fault of ours costs nobody else anything, and is not free either.
    drop(broken);
    proxy.has_heard_all().await;
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (90 + most, 0));
    let events = proxy.told();
    let exact = events.iter().find(|it| it.cost.nanos() == 90).unwrap();
    assert_eq!((exact.usage, exact.usage_source), (used, UsageSource::Upstream));
    assert_eq!((proxy.metrics.heard_out.get(), proxy.metrics.not_heard.get()), (2, 1));
    // Who leaves hears no more.
    let _late = left(&fixture, &proxy).await;
    proxy.ends_hearing();
    supervisor.shut_down().await;
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (90 + 2 * most, 0));
}

#[tokio::test]
async fn what_nobody_counted_is_paid_as_the_most_that_it_may_be() {
    let (mut fixture, _) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    let told = async |fixture: &Fixture, delivered: Delivered| {
        let mut call = fixture.call(&proxy, BODY).await.unwrap();
        let candidate = call.candidates[0].clone();
        call.tab().sends(&candidate).unwrap();
        call.story.delivers(&delivered);
        drop(call);
        let event = proxy.told().pop().unwrap();
        proxy.leave().await;
        (event.usage.input, event.usage.output)
    };
    let ask = Ask::parse(Form::Chat, BODY.into()).unwrap();
    let input = Weight::of(&ask, &ask.marks(), &fixture.candidates()[0]).bound.input_tokens;
    let of = Delivered::default();
    let seen = Delivered { tokens: 40, ..of.clone() };
    let said = Some(shared::usage::Usage { input: 7, output: 1, ..Default::default() });
    // An answer that is there whole without a word of what it used.
    let whole = Delivered { is_complete: true, ..of.clone() };
    assert_eq!(told(&fixture, whole).await, (input, 300));
    assert_eq!(told(&fixture, seen.clone()).await, (input, 40));
    assert_eq!(told(&fixture, Delivered { goes_on: true, ..seen.clone() }).await, (input, 300));
    assert_eq!(told(&fixture, Delivered { usage: said, ..seen.clone() }).await, (7, 40));
    let goes_on = Delivered { usage: said, goes_on: true, ..seen.clone() };
    assert_eq!(told(&fixture, goes_on).await, (7, 300));
    // More than was thought possible came for certain.
    let more = Delivered { tokens: 9_000, at_least: 400, ..of };
    assert_eq!(told(&fixture, more).await, (input, 400));
    // What it thinks nobody sees.
    fixture.model.capabilities.push(shared::snapshot::Capability::Reasoning);
    assert_eq!(told(&fixture, seen).await, (input, 300));
}

#[tokio::test]
async fn a_tier_of_service_without_a_price_is_not_sent_where_a_budget_has_to_hold() {
    let (mut fixture, id) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    let at = |tier: &str| {
        BODY.replace("\"messages\"", &format!("\"service_tier\":\"{tier}\",\"messages\""))
    };
    assert!(matches!(fixture.call(&proxy, &at("priority")).await, Err(NotAdmitted::NotPriced(_))));
    assert!(fixture.call(&proxy, &at("auto")).await.is_ok());
    // With a price it is what is held, and what is paid where the answer tells no tier.
    let twice = shared::money::Terms::MultiplierBp(20_000);
    let tier = shared::money::ServiceTier { name: "priority".into(), terms: twice };
    let rates = price().price.standard().rates;
    let priced = Price::checked(rates, Vec::new(), vec![tier]).unwrap();
    fixture.model.price = Some(PinnedPrice { revision: 8, price: priced });
    fixture.call(&proxy, &at("priority")).await.unwrap().answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (180, 0));
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

/// Two thousand texts are more than a context, and no lie.
#[tokio::test]
async fn what_many_texts_used_is_believed_and_paid() {
    let (fixture, id) = with_room_for(500).await;
    let proxy = fixture.proxy().await;
    let texts = vec!["a text of some words"; 2_000];
    let body = serde_json::json!({ "model": "gpt-5", "input": texts }).to_string();
    let ask = Ask::parse(Form::Embeddings, body.into()).unwrap();
    let mut call = Call::begin(&fixture, &proxy, &ask, fixture.candidates());
    call.admit(&fixture, &proxy, &ask).await.unwrap();
    call.answered(12_000, 0);
    proxy.leave().await;
    let event = proxy.told().pop().unwrap();
    assert_eq!((event.usage.input, event.overrun), (12_000, Money::ZERO));
    assert_eq!(proxy.metrics.usage_clamped.get(), 0);
    assert_eq!(fixture.taken(id).await, (12_000, 0));
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

/// A cluster is asked again when a connection breaks, and a day may end in between.
#[tokio::test]
async fn who_is_asked_twice_says_in_which_window_the_call_is_held() {
    let (mut fixture, id) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    proxy.leave().await;
    let budget = fixture.budgets[0].clone();
    let wanted = shared::counters::Amounts { money: 70, requests: 1, tokens: 7 };
    let budgets = [Wanted { budget: &budget, wanted, edges: proxy.edges(&budget) }];
    let question = Question {
        shard: fixture.shard(),
        epoch: proxy.epoch(),
        call: RequestId::generate(),
        key: fixture.key().id,
        budgets: &budgets,
    };
    let scripts = fixture.scripts();
    scripts.enter(&fixture.redis.history().await.unwrap());
    let mut asked = Vec::new();
    for now in [START, START + DAY] {
        fixture.set_clock(now).await;
        let admit = asked_of_budgets(&scripts, &[question]);
        let [decision] = &answered(&mut fixture.redis, &admit).await[..] else { panic!() };
        assert!(decision.is_passed(), "{decision:?}");
        asked.push(decision.standings[0].from_ms);
    }
    assert_eq!(asked, [START - START % DAY; 2]);
    let counter = fixture.counter(id).await;
    let (window, before) = (counter.window.unwrap(), counter.before.unwrap());
    assert_eq!((before.from_ms, before.held.money), (START - START % DAY, 70));
    assert_eq!((window.from_ms, window.held.money), (START - START % DAY + DAY, 0));
}

/// Its settlement may be heard before its question: where that had to be put again, or on another
/// connection.
#[tokio::test]
async fn who_leaves_before_they_are_answered_holds_nothing_whatever_is_heard_first() {
    let (fixture, id) = with_room_for(9).await;
    let proxy = fixture.proxy().await;
    let ask = Ask::parse(Form::Chat, bytes::Bytes::from_static(BODY.as_bytes())).unwrap();
    let mut call = Call::begin(&fixture, &proxy, &ask, fixture.candidates());
    {
        let mut asking = std::pin::pin!(call.admit(&fixture, &proxy, &ask));
        assert!(futures::poll!(&mut asking).is_pending());
        tokio::task::yield_now().await;
    }
    let is_let_go = async {
        // Redis has heard of it once its window has begun.
        while fixture.counter(id).await.window.is_none() || fixture.taken(id).await != (0, 0) {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), is_let_go).await.unwrap();
    drop(call);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (0, 0));
    assert!(proxy.told().iter().all(|it| it.cost == Money::ZERO));
}

/// As many as there may be: which the call held is in its settlement.
#[tokio::test]
async fn a_call_lets_go_of_all_its_budgets_however_many_these_are() {
    let mut fixture = Fixture::new().await;
    let room = worst(&fixture, BODY) * 9;
    let all: Vec<_> =
        (0..300).map(|_| fixture.budget(BudgetScope::Organization, Period::Day, room).id).collect();
    let proxy = fixture.proxy().await;
    // Never sent, so that nothing else says which budgets it held something of.
    drop(fixture.call(&proxy, BODY).await.unwrap());
    proxy.leave().await;
    for id in [all[0], all[254], all[255], all[299]] {
        assert_eq!(fixture.taken(id).await, (0, 0));
    }
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    proxy.leave().await;
    assert_eq!(fixture.taken(all[299]).await, (90, 0));
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

    // With an allowance for two calls, of which this proxy, one of two, has one. It is taken
    // once, though Redis has said that it does not count.
    proxy.limiter.set_proxies(2);
    let allowance = Money::from_nanos(worst(&fixture, BODY) * 2);
    fixture.budgets[0].on_redis_loss = OnRedisLoss::Bounded { allowance };
    let call = fixture.call(&proxy, BODY).await.unwrap();
    assert_eq!(call.candidates[0].most_output, Some(300));
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
    let homes = Homes::of(&fixture).await;
    let (there, here) = (homes.there(), homes.here());
    let begin = |at: &Path| homes.begin(at);
    let died = begin(&there);
    let mut call = fixture.call(&died, BODY).await.unwrap();
    let candidate = call.candidates[0].clone();
    call.story.intends(Some(&candidate)).unwrap();
    call.tab().sends(&candidate).unwrap();
    fixture.call(&died, BODY).await.unwrap().answered(10, 20);
    // Let through, and not sent: nothing is written down of it.
    std::mem::forget(fixture.call(&died, BODY).await.unwrap());
    let copy = left_behind(&died, &there, &here);
    std::mem::forget(call);
    what_may_have_been_written(&here);

    let next = begin(&here);
    next.leave().await;
    // Nobody heard what its answer came to, and its provider goes on writing.
    assert_eq!(fixture.taken(id).await, (90 + worst(&fixture, BODY), 0));
    // The database has both: the journal is not needed any more.
    let durable = fixture.places().durable(fixture.shard());
    let () = fixture.redis.clone().hset(durable, died.epoch().to_string(), 2).await.unwrap();
    next.look_now().await;
    assert!(!copy.exists());
}

/// By what is in the journal, and what was delivered when that was last written down.
fn what_may_have_been_written(here: &Path) {
    let journal = crate::journal::Journal::left_behind(here, 256 << 20).unwrap().remove(0);
    let (_, left) = journal.unsettled().remove(0);
    let written: serde_json::Value = serde_json::from_slice(&left.intent).unwrap();
    let check = |change: &dyn Fn(&mut serde_json::Value), output: u64| {
        let mut written = written.clone();
        change(&mut written);
        let intent: super::super::tab::Intent = serde_json::from_value(written).unwrap();
        let (event, held) = intent.settled(256);
        assert_eq!((event.usage.output, event.lines.len(), held.len()), (output, 1, 1));
    };
    check(&|_| (), 300);
    // Of a vendor that stops when we are gone.
    let stops = |it: &mut serde_json::Value, most: u64| {
        it["stops_when_cut"] = true.into();
        it["line"]["usage"]["output"] = most.into();
    };
    check(&|it| stops(it, 5_000), 256 + 1_024);
    check(&|it| stops(it, 300), 300);
    // By a release that knew no more than what had been delivered.
    let old = |it: &mut serde_json::Value| {
        it.as_object_mut().unwrap().remove("stops_when_cut");
        it["line"]["usage"]["output"] = 0.into();
    };
    check(&old, 256);
}

/// Where a process keeps its journal that dies, and where the next one does.
pub(super) struct Homes {
    root: Root,
    proxy: Arc<Meter>,
}

impl Homes {
    pub async fn of(fixture: &Fixture) -> Self {
        let root = std::env::temp_dir().join(format!("turnpike-{}", RequestId::generate()));
        Self { root: Root(root), proxy: fixture.proxy().await }
    }

    pub fn there(&self) -> PathBuf {
        self.root.0.join("there")
    }

    pub fn here(&self) -> PathBuf {
        self.root.0.join("here")
    }

    pub fn begin(&self, at: &Path) -> Arc<Meter> {
        let Meter { limiter, metrics, .. } = &*self.proxy;
        Meter::begin(Some(at), 256 << 20, limiter.clone(), metrics.clone()).unwrap()
    }
}

/// What is on its disk, where nobody has it any more.
pub(super) fn left_behind(died: &Meter, there: &Path, here: &Path) -> PathBuf {
    let epoch = died.epoch().to_string();
    let (left, copy) = (there.join(&epoch), here.join(&epoch));
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(left).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_process_that_dies_owes_for_each_attempt_where_it_was_made() {
    let (mut fixture, _) = with_room_for(1).await;
    let cheap = fixture.candidates().remove(0);
    let each = |picos| UnitPrice::try_from(picos).unwrap();
    let dearer = Price::flat(Rates::of_text(each(10 * IN), each(10 * OUT))).unwrap();
    fixture.model.price = Some(PinnedPrice { revision: 8, price: dearer });
    let (dear, most) = (fixture.candidates().remove(0), worst(&fixture, BODY));
    let id = fixture.budget(BudgetScope::Organization, Period::Day, 9 * most).id;
    fixture.budgets.remove(0);
    let homes = Homes::of(&fixture).await;
    let (there, here) = (homes.there(), homes.here());
    let begin = |at: &Path| homes.begin(at);
    let died = begin(&there);
    let candidates = vec![cheap.clone(), dear.clone()];
    let mut call = fixture.call_to(&died, BODY, candidates).await.unwrap();
    call.story.intends(Some(&cheap)).unwrap();
    call.tab().sends(&cheap).unwrap();
    call.tab().hears(Heard::Lost);
    call.tab().cover(&dear).await.unwrap();
    call.tab().sends(&dear).unwrap();
    left_behind(&died, &there, &here);
    std::mem::forget(call);

    let next = begin(&here);
    next.leave().await;
    assert_eq!(fixture.taken(id).await, (most / 10 + most, 0));
}

/// Spoils the last record of a journal: cuts the file within it, or alters a byte of it.
fn spoil(journal: &Path, is_cut: bool) {
    let path = journal.join("00000001.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|it| *it != 0).unwrap();
    bytes[last] ^= 1;
    if is_cut {
        bytes.truncate(last);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The last record is a settlement that was counted. Whoever is settled next must not get its
/// number, which would be taken for counted already, nor must its call be settled again.
#[tokio::test]
async fn a_settlement_that_was_counted_and_lost_is_nobody_elses() {
    for is_cut in [true, false] {
        let (fixture, id) = with_room_for(9).await;
        let homes = Homes::of(&fixture).await;
        let (there, here) = (homes.there(), homes.here());
        let begin = |at: &Path| homes.begin(at);
        let died = begin(&there);
        let mut under_way = fixture.call(&died, BODY).await.unwrap();
        let candidate = under_way.candidates[0].clone();
        under_way.story.intends(Some(&candidate)).unwrap();
        let mut settled = fixture.call(&died, BODY).await.unwrap();
        settled.story.intends(Some(&candidate)).unwrap();
        settled.answered(10, 20);
        died.leave().await;
        assert_eq!(fixture.taken(id).await, (90, worst(&fixture, BODY)));
        let (epoch, copy) = (died.epoch().to_string(), left_behind(&died, &there, &here));
        spoil(&copy, is_cut);
        std::mem::forget(under_way);

        let next = begin(&here);
        next.leave().await;
        // Nobody knows what the one that was under way came to: it costs what was held, once.
        let (spent, held) = fixture.taken(id).await;
        assert_eq!(spent, 90 + worst(&fixture, BODY));
        assert_eq!((held, fixture.counter(id).await.window.unwrap().spent.requests), (0, 2));
        next.leave().await;
        assert_eq!(fixture.taken(id).await, (spent, 0));
        let durable = fixture.places().durable(fixture.shard());
        let () = fixture.redis.clone().hset(durable, epoch, 2).await.unwrap();
        next.look_now().await;
        assert!(!copy.exists());
    }
}

/// The last record is the intent of a call that may have been sent: nobody knows what it came
/// to, and nobody lets go of what it holds.
#[tokio::test]
async fn a_call_of_which_the_record_is_lost_stays_held() {
    for is_cut in [true, false] {
        let (fixture, id) = with_room_for(9).await;
        let homes = Homes::of(&fixture).await;
        let (there, here) = (homes.there(), homes.here());
        let begin = |at: &Path| homes.begin(at);
        let died = begin(&there);
        fixture.call(&died, BODY).await.unwrap().answered(10, 20);
        let mut sent = fixture.call(&died, BODY).await.unwrap();
        let candidate = sent.candidates[0].clone();
        sent.story.intends(Some(&candidate)).unwrap();
        let copy = left_behind(&died, &there, &here);
        spoil(&copy, is_cut);
        std::mem::forget(sent);

        let next = begin(&here);
        next.leave().await;
        next.leave().await;
        assert_eq!(fixture.taken(id).await, (90, worst(&fixture, BODY)));
    }
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
