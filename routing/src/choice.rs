//! Which of several models: the one with the most quality less what its cost and its slowness
//! are worth. What they are worth follows from what is asked for.

use std::cmp::Ordering;

/// One model, for one prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// From 0 to 1: how likely its answer is good.
    pub quality: f32,
    /// In any unit that all offers share. Nothing is ever computed of it that is an amount.
    pub cost: u64,
    pub latency_ms: u32,
}

/// What a tenant asks of its choices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    Best,
    /// As cheap as it gets with this share of the quality that the best choices have.
    Quality(f32),
    /// The best for at most this share of what the dearest choices cost.
    CostShare(f32),
    /// The best for at most so much a call on average.
    Ceiling(u64),
    Cheapest,
}

/// What a unit of cost and a millisecond are worth, in quality.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worth {
    pub cost: f64,
    pub latency_ms: f64,
}

impl Worth {
    fn score(self, offer: &Offer) -> f64 {
        let quality = if offer.quality.is_finite() { offer.quality } else { 0.0 };
        f64::from(quality)
            - self.cost * approximately(offer.cost)
            - self.latency_ms * f64::from(offer.latency_ms)
    }

    /// The better first; of equals the cheaper, then the faster.
    fn compare(self, one: &Offer, other: &Offer) -> Ordering {
        let scores = self.score(other).total_cmp(&self.score(one));
        let rest = (one.cost, one.latency_ms).cmp(&(other.cost, other.latency_ms));
        scores.then(rest)
    }

    /// The places of `offers`, the best first.
    pub fn order(self, offers: &[Offer]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..offers.len()).collect();
        order.sort_by(|one, other| match (offers.get(*one), offers.get(*other)) {
            (Some(one), Some(other)) => self.compare(one, other),
            _ => Ordering::Equal,
        });
        order
    }

    pub fn choose(self, offers: &[Offer]) -> Option<&Offer> {
        offers.iter().min_by(|one, other| self.compare(one, other))
    }

    pub fn scores(self, offers: &[Offer]) -> Vec<f64> {
        offers.iter().map(|it| self.score(it)).collect()
    }
}

/// What cost has to be worth so that choices among each of `prompts`' offers come to `goal`. One
/// prompt is enough; more let a call that is worth it cost more, and another less.
pub fn solve<'a>(prompts: impl Iterator<Item = &'a [Offer]> + Clone, goal: Goal) -> Worth {
    let at = |worth: f64| total(prompts.clone(), Worth { cost: worth, latency_ms: 0.0 });
    let best = at(0.0);
    let holds = |it: &Total| match goal {
        Goal::Best => false,
        Goal::Cheapest => true,
        Goal::Quality(share) => it.quality >= f64::from(share) * best.quality - 1e-9,
        Goal::CostShare(share) => it.cost > f64::from(share) * best.dearest + 1e-9,
        Goal::Ceiling(most) => it.cost > approximately(most) * best.prompts + 1e-9,
    };
    if !holds(&best) || matches!(goal, Goal::Best) {
        return Worth::default();
    }
    if best.dearest <= 0.0 {
        return Worth::default();
    }
    // In units in which all cost of the dearest is worth 2^-20 to 2^30 of quality.
    let unit = best.prompts / best.dearest;
    let (mut low, mut high) = (-20.0_f64, 30.0_f64);
    if matches!(goal, Goal::Cheapest) {
        low = high;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if holds(&at(middle.exp2() * unit)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    // A floor is met at the lower end, and what may be spent is kept to at the upper.
    let end = match goal {
        Goal::Quality(_) | Goal::Best => low,
        Goal::CostShare(_) | Goal::Ceiling(_) | Goal::Cheapest => high,
    };
    Worth { cost: end.exp2() * unit, latency_ms: 0.0 }
}

struct Total {
    prompts: f64,
    quality: f64,
    cost: f64,
    dearest: f64,
}

fn total<'a>(prompts: impl Iterator<Item = &'a [Offer]>, worth: Worth) -> Total {
    let mut total = Total { prompts: 0.0, quality: 0.0, cost: 0.0, dearest: 0.0 };
    for offers in prompts {
        let Some(chosen) = worth.choose(offers) else { continue };
        let dearest = offers.iter().map(|it| it.cost).max().unwrap_or(0);
        total.prompts += 1.0;
        total.quality += f64::from(chosen.quality);
        total.cost += approximately(chosen.cost);
        total.dearest += approximately(dearest);
    }
    total
}

/// For comparing only.
/// No amount comes of it.
const fn approximately(it: u64) -> f64 {
    it as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn offer(quality: f32, cost: u64) -> Offer {
        Offer { quality, cost, latency_ms: 0 }
    }

    fn chosen(offers: &[Offer], goal: Goal) -> u64 {
        solve([offers].into_iter(), goal).choose(offers).unwrap().cost
    }

    #[test]
    fn each_goal_has_its_choice() {
        let offers = [offer(0.9, 1_000), offer(0.86, 100), offer(0.5, 1)];
        assert_eq!(chosen(&offers, Goal::Best), 1_000);
        assert_eq!(chosen(&offers, Goal::Cheapest), 1);
        assert_eq!(chosen(&offers, Goal::Quality(0.95)), 100);
        assert_eq!(chosen(&offers, Goal::Quality(0.99)), 1_000);
        assert_eq!(chosen(&offers, Goal::Quality(0.1)), 1);
        assert_eq!(chosen(&offers, Goal::CostShare(0.2)), 100);
        assert_eq!(chosen(&offers, Goal::CostShare(1.0)), 1_000);
        assert_eq!(chosen(&offers, Goal::Ceiling(99)), 1);
    }

    #[test]
    fn what_is_asked_of_many_is_spent_where_it_helps() {
        let (easy, hard) = ([offer(0.9, 100), offer(0.9, 1)], [offer(0.9, 100), offer(0.1, 1)]);
        let worth = solve([&easy[..], &hard[..]].into_iter(), Goal::CostShare(0.6));
        assert_eq!(worth.choose(&easy).unwrap().cost, 1);
        assert_eq!(worth.choose(&hard).unwrap().cost, 100);
    }

    #[test]
    fn of_equals_the_cheaper_is_first() {
        let offers = [offer(0.5, 9), offer(0.5, 3), offer(f32::NAN, 1)];
        assert_eq!(Worth::default().order(&offers), [1, 0, 2]);
    }

    #[test]
    fn nothing_to_choose_from_is_nothing_chosen() {
        for goal in [Goal::Best, Goal::Cheapest, Goal::Quality(0.9), Goal::Ceiling(0)] {
            assert_eq!(solve(std::iter::empty(), goal), Worth::default());
        }
        assert!(Worth::default().choose(&[]).is_none());
    }

    prop_compose! {
        fn any_offer()(quality in prop_oneof![9 => 0.0_f32..1.0, 1 => any::<f32>()],
                       cost: u64, latency_ms: u32) -> Offer {
            Offer { quality, cost, latency_ms }
        }
    }

    proptest! {
        #[test]
        fn an_order_names_everybody_once(
            offers in prop::collection::vec(any_offer(), 0..20), share: f32, most: u64
        ) {
            let goals = [Goal::Best, Goal::Cheapest, Goal::Quality(share),
                         Goal::CostShare(share), Goal::Ceiling(most)];
            for goal in goals {
                let worth = solve([&offers[..]].into_iter(), goal);
                let mut order = worth.order(&offers);
                prop_assert_eq!(order.first().and_then(|it| offers.get(*it)).map(|it| it.cost),
                                worth.choose(&offers).map(|it| it.cost));
                order.sort_unstable();
                prop_assert_eq!(order, (0..offers.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_floor_is_kept(offers in prop::collection::vec((0.01_f32..1.0, 0..1_000_000_u64), 1..20),
                           share in 0.0_f32..1.0) {
            let offers: Vec<_> = offers.into_iter().map(|(it, cost)| offer(it, cost)).collect();
            let best = offers.iter().map(|it| it.quality).fold(0.0, f32::max);
            let worth = solve([&offers[..]].into_iter(), Goal::Quality(share));
            prop_assert!(worth.choose(&offers).unwrap().quality >= share * best - 1e-6);
        }
    }
}
