//! What is refused again without being asked for.

use std::time::Duration;

use super::*;

const SHORT: &str = r#"{"model":"gpt-5","max_tokens":10,"messages":[]}"#;
const LONG: &str = r#"{"model":"gpt-5","max_tokens":1000,"messages":[]}"#;

async fn repeating(fixture: &Fixture) -> Arc<Meter> {
    fixture.proxy_with(Place { repeat: Duration::from_secs(3_600), ..fixture.place() }).await
}

fn is_exceeded(outcome: &Result<Call, NotAdmitted>) -> bool {
    matches!(outcome, Err(NotAdmitted::Exceeded(_)))
}

#[tokio::test]
async fn who_asks_for_more_than_is_not_spent_is_refused_again_without_a_question() {
    let mut fixture = Fixture::new().await;
    let most = worst(&fixture, LONG);
    fixture.budget(BudgetScope::Organization, Period::Month, most - 1);
    let proxy = repeating(&fixture).await;
    let refused = fixture.call(&proxy, LONG).await;
    assert!(is_exceeded(&refused));
    assert_eq!(proxy.limiter.asked_and_repeated(), (1, 0));
    let again = fixture.call(&proxy, LONG).await;
    assert_eq!(proxy.limiter.asked_and_repeated(), (1, 1));
    let told = |it: Result<Call, NotAdmitted>| it.err().map(|it| (it.to_string(), it.headers()));
    assert_eq!(told(again), told(refused));

    // Less may fit, and does.
    let _short = fixture.call(&proxy, SHORT).await.unwrap();
    assert_eq!(proxy.limiter.asked_and_repeated(), (2, 1));
    // So may what it was under another cap.
    assert!(is_exceeded(&fixture.call(&proxy, LONG).await));
    fixture.budgets[0].caps.money = Some(Money::from_nanos(2 * most));
    fixture.budgets[0].version = 2;
    fixture.open().await;
    let _long = fixture.call(&proxy, LONG).await.unwrap();
    assert_eq!(proxy.limiter.asked_and_repeated().1, 2);
}

#[tokio::test]
async fn what_calls_under_way_hold_is_always_asked_for() {
    let mut fixture = Fixture::new().await;
    let most = worst(&fixture, LONG);
    fixture.budget(BudgetScope::Organization, Period::Month, 2 * most - 1);
    let proxy = repeating(&fixture).await;
    let first = fixture.call(&proxy, LONG).await.unwrap();
    assert!(is_exceeded(&fixture.call(&proxy, LONG).await));
    assert!(is_exceeded(&fixture.call(&proxy, LONG).await));
    assert_eq!(proxy.limiter.asked_and_repeated(), (3, 0));
    drop(first);
    proxy.leave().await;
    let _second = fixture.call(&proxy, LONG).await.unwrap();
}
