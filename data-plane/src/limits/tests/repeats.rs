//! What is refused again without being asked for.

use proptest::prelude::*;

use super::{
    super::{
        decision::{self, decide},
        gcra::{MINUTE, Used},
        repeats::Repeats,
    },
    model::limits,
    *,
};

#[tokio::test]
async fn who_is_over_a_limit_on_requests_is_refused_again_without_a_question() {
    let fixture = Fixture::new().await;
    let proxy = fixture.repeating_proxy().await;
    let one = on_key(requests(1));
    let _first = fixture.admit(&proxy, one, 1).await.unwrap();
    let refused = fixture.admit(&proxy, one, 1).await.err().unwrap();
    assert_eq!(proxy.asked_and_repeated(), (2, 0));
    // However much it is.
    let again = fixture.admit(&proxy, one, 9_000).await.err().unwrap();
    assert_eq!(proxy.asked_and_repeated(), (2, 1));
    assert!(again.retry_after <= refused.retry_after);
    assert_eq!(again, LimitReached { retry_after: again.retry_after, ..refused });

    // Of another limit nothing is known, nor of another key.
    let _more = fixture.admit(&proxy, on_key(requests(2)), 1).await.unwrap();
    let other = Fixture { key: ApiKeyId::generate(), ..fixture.clone() };
    let _other = other.admit(&proxy, one, 1).await.unwrap();
    assert_eq!(proxy.asked_and_repeated(), (4, 1));
}

#[tokio::test]
async fn what_calls_under_way_may_give_back_is_always_asked_for() {
    let fixture = Fixture::new().await;
    let proxy = fixture.repeating_proxy().await;
    for limited in [tokens(10), concurrent(1)].map(on_key) {
        let fixture = Fixture { key: ApiKeyId::generate(), ..fixture.clone() };
        let first = fixture.admit(&proxy, limited, 10).await.unwrap();
        let _refused = fixture.admit(&proxy, limited, 10).await.err().unwrap();
        first.settle(0);
        let Ok(()) = proxy.clone().carry().await;
        let _second = fixture.admit(&proxy, limited, 10).await.unwrap();
    }
    assert_eq!(proxy.asked_and_repeated(), (6, 0));
}

#[tokio::test]
async fn a_refusal_is_repeated_no_longer_than_it_holds() {
    let fixture = Fixture::new().await;
    let proxy = fixture.repeating_proxy().await;
    // One of them comes back each millisecond.
    let limited = on_key(requests(60_000));
    let question = unbudgeted(fixture.organization, fixture.key);
    let charges = fixture.asked(&limited, 1).charges();
    let full = decision::Level { requests: Used(60_000 * MINUTE), ..Default::default() };
    let refused = decide(&charges, vec![full], 5);
    assert_eq!(refused.refusal().map(|it| it.wait), Some(1));
    proxy.repeats.note(&refused, &charges, &question);
    soon(async {
        while fixture.admit(&proxy, limited, 1).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

proptest! {
    /// Whatever was used, and whatever is asked then and later: who is refused without a question
    /// would have been refused by one.
    #[test]
    fn what_is_repeated_would_be_refused_anyhow(
        which in prop::collection::vec(0..6_usize, 1..4),
        used in prop::collection::vec((0..200_u64, 0..200_u64), 3),
        (first, second) in (0..1_500_u64, 0..1_500_u64),
        later in 0..70_000_u64,
    ) {
        let level = |(requests, tokens): &(u64, u64)| decision::Level {
            requests: Used(requests * MINUTE),
            tokens: Used(tokens * MINUTE),
            under_way: 0,
        };
        let organization = OrganizationId::generate();
        let all: Vec<_> = which.iter().map(|it| limits(*it)).chain([NONE; 2]).take(3).collect();
        let asked = |tokens| Asked {
            organization,
            project: ProjectId::generate(),
            key: ApiKeyId::generate(),
            key_limits: &all[0],
            project_limits: &all[1],
            organization_limits: &all[2],
            tokens,
        };
        let (charges, next) = (asked(first).charges(), asked(second).charges());
        let levels: Vec<_> = used.iter().map(level).take(charges.len()).collect();
        let question = unbudgeted(organization, ApiKeyId::generate());
        let repeats = Repeats::new(Duration::from_secs(3_600));
        let decided = decide(&charges, levels, 0);
        repeats.note(&decided, &charges, &question);
        if let Some(again) = repeats.of(&next, &question) {
            let wait = again.refusal().unwrap().wait;
            let passed = later.min(wait.saturating_sub(1));
            let drained = decided.levels.iter().zip(&next).map(|(it, charge)| decision::Level {
                requests: it.requests.drained(
                    charge.limits.requests_per_minute.unwrap_or(0).into(), passed),
                tokens: it.tokens.drained(charge.limits.tokens_per_minute.unwrap_or(0), passed),
                under_way: 0,
            });
            prop_assert!(decide(&next, drained.collect(), passed).refusal().is_some());
        }
    }
}
