//! The same totals on any number of proxies.

use tokio::task::JoinSet;

use super::*;

/// 4 proxies with a connection each, and 8 tasks, that ask without end until refused.
/// Answers how many were let through.
async fn hammer(fixture: &Fixture, limits: Three, tokens: u64) -> Vec<Permit> {
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let proxy = fixture.proxy().await;
        for _ in 0..2 {
            let (proxy, organization) = (proxy.clone(), fixture.organization);
            let (project, key) = (fixture.project, fixture.key);
            tasks.spawn(async move {
                let (key_limits, project_limits) = (&limits.key, &limits.project);
                let organization_limits = &limits.organization;
                let asked = Asked {
                    organization,
                    project,
                    key,
                    key_limits,
                    project_limits,
                    organization_limits,
                    tokens,
                };
                let mut permits = vec![];
                while let Ok(permit) = through(&proxy, asked).await {
                    permits.push(permit);
                }
                assert_eq!(proxy.state(), State::Shared);
                assert_eq!(proxy.metrics.redis_failures.get(), 0);
                permits
            });
        }
    }
    soon(tasks.join_all()).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_admitted_exactly_to_the_limit() {
    let fixture = Fixture::new().await;
    assert_eq!(hammer(&fixture, on_key(requests(1_000)), 1).await.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_admitted_exactly_to_the_limit() {
    let fixture = Fixture::new().await;
    assert_eq!(hammer(&fixture, on_key(tokens(100_000)), 130).await.len(), 100_000 / 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_are_admitted_exactly_to_the_limit() {
    let fixture = Fixture::new().await;
    assert_eq!(hammer(&fixture, on_key(concurrent(500)), 1).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_levels_are_charged_or_none() {
    let fixture = Fixture::new().await;
    let limits =
        Three { key: requests(900), project: tokens(300 * 70), organization: concurrent(500) };
    let permits = hammer(&fixture, limits, 70).await;
    assert_eq!(permits.len(), 300);

    // The project refused many that the key and the organization would have let through.
    let proxy = fixture.proxy().await;
    let charges = fixture.asked(&limits, 70).charges();
    let decision = decided(&proxy, fixture.organization, &charges, None).await.unwrap();
    assert_eq!(decision.refusal().unwrap().index, 1);
    let [key, project, organization] = decision.levels[..] else { panic!("{decision:?}") };
    assert_eq!(key.requests.0, 300 * gcra::MINUTE);
    assert_eq!(project.tokens.0, 300 * 70 * gcra::MINUTE);
    assert_eq!(organization.under_way, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drains_comes_back_evenly() {
    let mut fixture = Fixture::new().await;
    let limits = on_key(requests(60));
    assert_eq!(hammer(&fixture, limits, 1).await.len(), 60);
    fixture.pass(999).await;
    assert_eq!(hammer(&fixture, limits, 1).await.len(), 0);
    fixture.pass(1).await;
    assert_eq!(hammer(&fixture, limits, 1).await.len(), 1);
    fixture.pass(30_000).await;
    assert_eq!(hammer(&fixture, limits, 1).await.len(), 30);
}

/// On the clock of Redis, in which something comes back while we hammer.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_clock_gives_no_more_than_comes_back() {
    let fixture = Fixture::new().await;
    let proxies = [fixture.real_proxy().await, fixture.real_proxy().await];
    let limit = 6_000;
    let limits = on_key(requests(limit));
    let charges = fixture.asked(&limits, 1).charges();
    let (mut admitted, mut times) = (0u64, vec![]);
    for _ in 0..4_000 {
        let [one, other] = &proxies;
        let both = futures::join!(
            decided(one, fixture.organization, &charges, None),
            decided(other, fixture.organization, &charges, None),
        );
        for decision in <[_; 2]>::from(both).map(Option::unwrap) {
            admitted += u64::from(decision.is_passed());
            times.push(decision.now);
        }
    }
    let passed = times.iter().max().unwrap() - times.iter().min().unwrap();
    let worth = u64::from(limit) * (gcra::MINUTE + passed);
    assert!(admitted * gcra::MINUTE <= worth, "{admitted} in {passed} ms");
    assert!(admitted >= u64::from(limit), "{admitted} in {passed} ms");
}

#[tokio::test]
async fn a_call_larger_than_the_limit_takes_a_whole_minute() {
    let mut fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(tokens(600)));
    let permit = fixture.admit(&proxy, limits, 10_000).await.unwrap();
    let reached = fixture.admit(&proxy, limits, 1).await.err().unwrap();
    assert_eq!((reached.which, reached.what, reached.limit), (Level::Key, What::Tokens, 600));
    assert_eq!(reached.retry_after, Duration::from_millis(100));
    permit.settle(150);
    proxy.leave().await;
    assert_eq!(fixture.used(&proxy, limits.key).await, (0, 150));
    fixture.pass(1).await;
    let reached = fixture.admit(&proxy, limits, 10_000).await.err().unwrap();
    assert_eq!(reached.retry_after, Duration::from_millis(15_000 - 1));
}

#[tokio::test]
async fn the_answer_says_how_one_stands() {
    let fixture = Fixture::new().await;
    let proxy = fixture.proxy().await;
    let wide = Limits { requests_per_minute: Some(100), tokens_per_minute: Some(6_000), ..NONE };
    let limits = Three { key: wide, project: requests(10), organization: NONE };
    let permit = fixture.admit(&proxy, limits, 1_000).await.unwrap();
    let headers: Vec<_> =
        permit.headers().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(
        headers,
        [
            "x-ratelimit-limit-requests: 10",
            "x-ratelimit-remaining-requests: 9",
            "x-ratelimit-reset-requests: 6s",
            "x-ratelimit-limit-tokens: 6000",
            "x-ratelimit-remaining-tokens: 5000",
            "x-ratelimit-reset-tokens: 10s",
        ]
    );
}

#[tokio::test]
async fn nothing_is_kept_for_ever() {
    let mut fixture = Fixture::new().await;
    let proxy = fixture.real_proxy().await;
    let each =
        Limits { requests_per_minute: Some(6), tokens_per_minute: Some(600), concurrent: Some(10) };
    let limits = Three { key: each, project: each, organization: each };
    let permit = fixture.admit(&proxy, limits, 300).await.unwrap();
    let kept = fixture.kept().await;
    assert_eq!(kept.len(), 6, "{kept:?}");
    for name in &kept {
        let life: i64 = fixture.redis.pttl(name).await.unwrap();
        assert!((1..=30_000).contains(&life), "{name} lives {life} ms");
    }
    let fleet: i64 = fixture.redis.pttl(format!("{}:fleet", fixture.name)).await.unwrap();
    assert!(fleet > 0);
    drop(permit);
    proxy.leave().await;
    assert!(fixture.kept().await.iter().all(|it| !it.ends_with(":calls")));
}
