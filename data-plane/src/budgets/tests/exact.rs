//! No budget is overspent, however many ask at once and wherever.

use tokio::task::JoinSet;

use super::*;

const PROXIES: usize = 2;
const WORKERS: usize = 64;
const ATTEMPTS: usize = 20_000;

/// Three levels in three windows each, of which the tightest has room for some 1,000 calls.
fn three_by_three(fixture: &mut Fixture) {
    let scopes = [
        BudgetScope::Organization,
        BudgetScope::Project(fixture.key().project),
        BudgetScope::Key(fixture.key().id),
    ];
    let each = worst(fixture, BODY);
    for (level, scope) in scopes.into_iter().enumerate() {
        for (window, period) in [Period::Day, Period::Week, Period::Total].into_iter().enumerate() {
            let more = i64::try_from(level * 3 + window).unwrap();
            fixture.budget(scope, period, each * 500 + more);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_overspends_by_a_nano_dollar_at_any_moment() {
    let mut fixture = Fixture::new().await;
    three_by_three(&mut fixture);
    let fixture = Arc::new(fixture);
    let mut proxies = Vec::new();
    for _ in 0..PROXIES {
        proxies.push(fixture.proxy().await);
    }
    let (done, is_done) = tokio::sync::watch::channel(false);
    let (candidates, mut tasks) = (fixture.candidates(), JoinSet::new());
    for worker in 0..PROXIES * WORKERS {
        let (fixture, proxy) = (fixture.clone(), proxies[worker % PROXIES].clone());
        let candidates = candidates.clone();
        tasks.spawn(async move {
            let mut dice = fastrand::Rng::with_seed(worker as u64);
            let mut forgotten = 0;
            for _ in 0..ATTEMPTS / (PROXIES * WORKERS) {
                let call = fixture.call_to(&proxy, BODY, candidates.clone()).await;
                let Ok(call) = call else { continue };
                match dice.u8(..100) {
                    // Its process died.
                    0..2 => {
                        std::mem::forget(call);
                        forgotten += 1;
                    }
                    // Its client hung up, and nothing had been sent.
                    2..12 => drop(call),
                    _ => call.answered(dice.u64(..90), dice.u64(..=300)),
                }
                if dice.u8(..4) == 0 {
                    proxy.leave().await;
                }
            }
            forgotten
        });
    }
    let mut sampler = JoinSet::new();
    {
        let fixture = fixture.clone();
        sampler.spawn(async move {
            let mut samples = 0;
            while !*is_done.borrow() {
                for budget in &fixture.budgets {
                    let (spent, held) = fixture.taken(budget.id).await;
                    let cap = budget.caps.money.unwrap().nanos();
                    assert!(spent + held <= cap, "{spent} + {held} of {cap}");
                    samples += 1;
                }
                tokio::task::yield_now().await;
            }
            samples
        });
    }
    let forgotten: i64 = tasks.join_all().await.into_iter().sum();
    done.send_replace(true);
    let samples: u64 = sampler.join_all().await.into_iter().sum();
    for proxy in &proxies {
        proxy.leave().await;
    }
    // The last of those who were refused may have been so for what was held just then, by calls
    // that came to less. Nobody holds anything any more but those who are forgotten.
    while let Ok(call) = fixture.call_to(&proxies[0], BODY, candidates.clone()).await {
        call.answered(30, 100);
        proxies[0].leave().await;
    }
    let events: Vec<_> = proxies.iter().flat_map(|it| it.told()).collect();
    let cost: i64 = events.iter().map(|it| it.cost.nanos()).sum();
    let overrun = events.iter().filter(|it| it.overrun != Money::ZERO).count();
    let each = worst(&fixture, BODY);
    for budget in &fixture.budgets {
        assert_eq!(fixture.taken(budget.id).await, (cost, forgotten * each));
    }
    println!(
        "{ATTEMPTS} attempts, {} settled, {forgotten} held, {samples} samples: {cost} spent of {}",
        events.len(),
        each * 500
    );
    assert_eq!(overrun, 0);
    // What is left is less than a call may come to.
    assert!(cost + (forgotten + 1) * each > each * 500);
}
