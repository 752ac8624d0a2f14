//! Two attempts under way at once: both are held before they are sent, and both paid for.

use shared::{event::UsageSource, tasks::Supervisor, usage::Usage};

use super::{
    ends::{Homes, left_behind, with_room_for},
    *,
};

/// Two that serve the same.
fn both(fixture: &Fixture) -> [Candidate; 2] {
    [0, 1].map(|_| fixture.candidates().remove(0))
}

fn whole(input: u64, output: u64) -> Delivered {
    let usage = Some(Usage { input, output, ..Usage::default() });
    Delivered { usage, is_complete: true, ..Delivered::default() }
}

/// A call of which both are under way.
async fn under_way(fixture: &Fixture, proxy: &Arc<Meter>) -> (Call, [Candidate; 2]) {
    let all = both(fixture);
    let mut call = fixture.call_to(proxy, BODY, all.to_vec()).await.unwrap();
    let [first, second] = [call.candidates[0].clone(), call.candidates[1].clone()];
    call.story.intends(Some(&first)).unwrap();
    call.tab().sends(&first).unwrap();
    call.tab().cover_beside(&second).await.unwrap();
    call.tab().sends_beside(&second).unwrap();
    (call, [first, second])
}

#[tokio::test]
async fn both_are_held_and_each_costs_what_it_comes_to() {
    let (fixture, id) = with_room_for(2).await;
    let proxy = fixture.proxy().await;
    let (mut call, [first, second]) = under_way(&fixture, &proxy).await;
    assert_eq!(fixture.taken(id).await, (0, 2 * worst(&fixture, BODY)));
    // The second is faster, and the first is heard to its end before the call is over.
    call.tab().swaps();
    call.tab().has_one();
    call.tab().hears_beside(Heard::Answer(whole(10, 5)));
    call.story.delivers(&whole(10, 20));
    drop(call);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (30 + 90, 0));
    let event = proxy.told().remove(0);
    let lines: Vec<_> = event.lines.iter().map(|it| (it.upstream, it.usage.output)).collect();
    assert_eq!(lines, [(first.model.upstream.id, 5), (second.model.upstream.id, 20)]);
    assert_eq!((event.overrun, event.usage.output), (Money::ZERO, 20));
}

#[tokio::test]
async fn who_is_hung_up_on_costs_what_it_may_have_read() {
    let (fixture, id) = with_room_for(2).await;
    let proxy = fixture.proxy().await;
    let (mut call, _) = under_way(&fixture, &proxy).await;
    call.tab().hears_beside(Heard::Answer(Delivered::default()));
    call.story.delivers(&whole(10, 20));
    drop(call);
    proxy.leave().await;
    let event = proxy.told().remove(0);
    let [slower, faster] = &event.lines[..] else { panic!("{event:?}") };
    assert_eq!((slower.source, slower.usage.output), (UsageSource::Interrupted, 0));
    let read = i64::try_from(slower.usage.input).unwrap();
    assert!(read >= i64::try_from(BODY.len()).unwrap());
    assert_eq!(faster.source, UsageSource::Upstream);
    assert_eq!(fixture.taken(id).await, (read + 90, 0));
}

/// Its caller has left, and so has nobody who hears it out.
#[tokio::test]
async fn of_whom_nothing_is_heard_any_more_costs_the_most() {
    let (fixture, id) = with_room_for(2).await;
    let proxy = fixture.proxy().await;
    let most = worst(&fixture, BODY);
    let (mut call, _) = under_way(&fixture, &proxy).await;
    call.tab().leaves_beside(Rest::of(std::future::pending()));
    call.story.delivers(&whole(10, 20));
    drop(call);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (most + 90, 0));
}

#[tokio::test]
async fn who_is_slower_is_heard_out_while_the_other_answers_and_after() {
    let (fixture, id) = with_room_for(2).await;
    let proxy = fixture.proxy().await;
    let supervisor = Supervisor::default();
    proxy.begins_hearing(&supervisor);
    let (said, says) = tokio::sync::oneshot::channel();
    let (mut call, _) = under_way(&fixture, &proxy).await;
    call.tab().leaves_beside(Rest::of(async {
        let () = says.await.unwrap();
        Heard::Answer(whole(10, 5))
    }));
    call.story.delivers(&whole(10, 20));
    drop(call);
    proxy.leave().await;
    // All is held until it is known.
    assert_eq!(fixture.taken(id).await, (0, 2 * worst(&fixture, BODY)));
    said.send(()).unwrap();
    proxy.has_heard_all().await;
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (30 + 90, 0));
    let event = proxy.told().remove(0);
    assert_eq!((event.lines.len(), event.lines[1].usage.output), (2, 20));
}

#[tokio::test]
async fn what_no_budget_covers_is_not_sent_beside() {
    let (fixture, id) = with_room_for(1).await;
    let proxy = fixture.proxy().await;
    let all = both(&fixture);
    let mut call = fixture.call_to(&proxy, BODY, all.to_vec()).await.unwrap();
    let [first, second] = [call.candidates[0].clone(), call.candidates[1].clone()];
    call.tab().sends(&first).unwrap();
    assert_eq!(call.tab().cover_beside(&second).await, Err(NotCovered));
    assert_eq!(fixture.taken(id).await, (0, worst(&fixture, BODY)));
    call.story.delivers(&whole(10, 20));
    drop(call);
    proxy.leave().await;
    assert_eq!(fixture.taken(id).await, (90, 0));
}

#[tokio::test]
async fn who_dies_while_two_are_under_way_owes_for_both() {
    let most_twice = |fixture: &Fixture| 2 * worst(fixture, BODY);
    for is_one_cut in [false, true] {
        let (fixture, id) = with_room_for(2).await;
        let homes = Homes::of(&fixture).await;
        let (there, here) = (homes.there(), homes.here());
        let died = homes.begin(&there);
        let (mut call, _) = under_way(&fixture, &died).await;
        let mut owed = most_twice(&fixture);
        if is_one_cut {
            // The second was faster, and the first came to what it may have read.
            call.tab().swaps();
            call.tab().hears_beside(Heard::Answer(Delivered::default()));
            call.tab().has_one();
            owed -= 300 * OUT / 1_000;
        }
        left_behind(&died, &there, &here);
        std::mem::forget(call);
        let next = homes.begin(&here);
        next.leave().await;
        assert_eq!(fixture.taken(id).await, (owed, 0));
    }
}
