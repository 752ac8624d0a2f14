//! Which of several places is the first to be asked, where they are compared, and in which order
//! the others follow.

use std::cmp::Ordering;

use routing_engine::{self as engine, Offer, Worth};
use shared::snapshot::{Goal, Strategy};

use crate::call::Pulse;

/// By what places are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Cheapest,
    /// The whole answer.
    Fastest,
    /// How fast it is written,
    Throughput,
    /// and how soon it begins.
    Latency,
    Best,
    Balanced(Option<Goal>),
    Auto(Option<Goal>),
}

/// What `auto` comes to where nobody said.
const USUAL: Goal = Goal::QualityPercent(95);
/// What a millisecond is worth to `balanced`: a second is two hundredths of an answer's quality.
const WORTH_OF_MS: f64 = 0.02 / 1_000.0;
/// What all that the dearest costs is worth there, where nobody said what to come to.
const WORTH_OF_DEAREST: f64 = 0.1;
/// How long an answer may take of whom nothing is known, and who has a call already: the first
/// call finds it out, and the others need not wait for it.
const UNKNOWN_MS: u32 = 60_000;

/// What is known of a place for a call. Costs are in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    pub quality: Option<f32>,
    /// What the user's last turn and its answer would cost, without what surrounds them: that is
    /// the same for easy and hard questions, and must not decide between models.
    pub turn_cost: Option<u64>,
    /// What the call is likely to cost.
    pub call_cost: Option<u64>,
    pub pulse: Pulse,
    pub expected_ms: Option<u32>,
}

impl Known {
    fn ms(&self, known: Option<u32>) -> u32 {
        let unknown = if self.pulse.in_flight == 0 { 0 } else { UNKNOWN_MS };
        // Who answers within a millisecond has been seen all the same.
        known.map_or(unknown, |it| it.max(1))
    }

    fn whole_ms(&self) -> u32 {
        self.ms(self.expected_ms)
    }

    fn quality(&self) -> f32 {
        self.quality.unwrap_or(0.0)
    }

    fn rest(&self) -> (u64, u32) {
        (self.call_cost.unwrap_or(u64::MAX), self.whole_ms())
    }
}

/// Places in their order, each by where it stood, and its score if there is one.
pub type Ordered = Vec<(usize, Option<f64>)>;

impl By {
    /// Nothing where a strategy goes by what its author wrote.
    pub fn of(strategy: Strategy, goal: Option<Goal>) -> Option<Self> {
        match strategy {
            Strategy::Pinned | Strategy::Weighted | Strategy::Priority => None,
            Strategy::Cheapest => Some(Self::Cheapest),
            Strategy::Fastest => Some(Self::Fastest),
            Strategy::Best => Some(Self::Best),
            Strategy::Balanced => Some(Self::Balanced(goal)),
            Strategy::Auto => Some(Self::Auto(goal)),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Best => "best",
            Self::Balanced(_) => "balanced",
            Self::Auto(_) => "auto",
        }
    }

    /// Why the first is the first, in words that follow its name.
    pub fn about(self) -> String {
        match self {
            Self::Cheapest => "expected to cost least".to_owned(),
            Self::Fastest => "expected to be done first".to_owned(),
            Self::Throughput => "which wrote fastest lately".to_owned(),
            Self::Latency => "which began soonest lately".to_owned(),
            Self::Best => "expected to answer best".to_owned(),
            Self::Balanced(_) => "the best for what it costs and how long it takes".to_owned(),
            Self::Auto(goal) => match goal.unwrap_or(USUAL) {
                Goal::QualityPercent(it) => {
                    format!("the cheapest that is expected to be {it} % as good as the best")
                }
                Goal::CostPercent(it) => {
                    format!("the best for at most {it} % of what the dearest costs")
                }
                Goal::MostMicroDollars(it) => {
                    let most = shared::money::Money::from_nanos(
                        i64::try_from(it.saturating_mul(1_000)).unwrap_or(i64::MAX),
                    );
                    format!("the best for at most {most}")
                }
            },
        }
    }

    pub fn order(self, known: &[Known]) -> Ordered {
        let sorted = |compare: &dyn Fn(&Known, &Known) -> Ordering| {
            let mut order: Vec<_> = known.iter().enumerate().collect();
            // Of equals the first stays the first.
            order.sort_by(|(_, one), (_, other)| compare(one, other));
            order
        };
        let unscored = |compare: &dyn Fn(&Known, &Known) -> Ordering| {
            sorted(compare).into_iter().map(|(at, _)| (at, None)).collect()
        };
        let by_quality = |one: &Known, other: &Known| {
            let better = other.quality().total_cmp(&one.quality());
            better.then_with(|| one.rest().cmp(&other.rest()))
        };
        match self {
            Self::Cheapest => unscored(&|one, other| one.rest().cmp(&other.rest())),
            Self::Fastest => unscored(&|one, other| {
                (one.whole_ms(), one.call_cost).cmp(&(other.whole_ms(), other.call_cost))
            }),
            Self::Latency => {
                let ms = |it: &Known| it.ms(it.pulse.first_ms.or(it.pulse.total_ms));
                unscored(&|one, other| ms(one).cmp(&ms(other)))
            }
            Self::Throughput => {
                let unknown = |it: &Known| if it.pulse.in_flight == 0 { u32::MAX } else { 0 };
                let pace = |it: &Known| it.pulse.tokens_per_second.unwrap_or_else(|| unknown(it));
                unscored(&|one, other| pace(other).cmp(&pace(one)))
            }
            Self::Best => {
                let scored = |(at, it): (usize, &Known)| (at, Some(it.quality().into()));
                sorted(&by_quality).into_iter().map(scored).collect()
            }
            Self::Auto(goal) => {
                let reaches = reaches(goal.unwrap_or(USUAL), known);
                let compare = |one: &Known, other: &Known| {
                    reaches(other).cmp(&reaches(one)).then_with(|| match (goal, reaches(one)) {
                        // Whoever reaches a floor is good enough, and the cheapest will do.
                        (Some(Goal::QualityPercent(_)) | None, true) => {
                            let costs = (one.cost_of_turn(), other.cost_of_turn());
                            costs.0.cmp(&costs.1).then_with(|| by_quality(one, other))
                        }
                        // Whoever is too dear had better be little too dear.
                        (Some(Goal::CostPercent(_) | Goal::MostMicroDollars(_)), false) => {
                            one.rest().cmp(&other.rest())
                        }
                        (Some(_) | None, _) => by_quality(one, other),
                    })
                };
                let scored = |(at, it): (usize, &Known)| (at, Some(it.quality().into()));
                sorted(&compare).into_iter().map(scored).collect()
            }
            Self::Balanced(goal) => balanced(goal, known),
        }
    }
}

impl Known {
    /// What has no price is dearer than what has one.
    fn cost_of_turn(&self) -> u64 {
        self.turn_cost.unwrap_or(u64::MAX)
    }
}

fn reaches(goal: Goal, known: &[Known]) -> impl Fn(&Known) -> bool {
    let best = known.iter().map(Known::quality).fold(0.0, f32::max);
    let dearest = known.iter().filter_map(|it| it.turn_cost).max().unwrap_or(0);
    move |it| match goal {
        Goal::QualityPercent(percent) => {
            f64::from(it.quality()) * 100.0 >= f64::from(percent) * f64::from(best) - 1e-6
        }
        Goal::CostPercent(percent) => it.turn_cost.is_some_and(|cost| {
            u128::from(cost) * 100 <= u128::from(percent) * u128::from(dearest)
        }),
        Goal::MostMicroDollars(most) => {
            it.call_cost.is_some_and(|cost| cost <= most.saturating_mul(1_000))
        }
    }
}

/// The most quality less what cost and time are worth.
fn balanced(goal: Option<Goal>, known: &[Known]) -> Ordered {
    let dearest = known.iter().filter_map(|it| it.turn_cost).max().unwrap_or(0);
    let offer = |it: &Known| Offer {
        quality: it.quality(),
        cost: it.turn_cost.unwrap_or(dearest),
        latency_ms: it.whole_ms(),
    };
    let offers: Vec<_> = known.iter().map(offer).collect();
    let goal = goal.map(|it| match it {
        Goal::QualityPercent(it) => engine::Goal::Quality(f32::from(it) / 100.0),
        Goal::CostPercent(it) => engine::Goal::CostShare(f32::from(it) / 100.0),
        Goal::MostMicroDollars(it) => engine::Goal::Ceiling(it.saturating_mul(1_000)),
    });
    let cost = match goal {
        Some(goal) => engine::solve(std::iter::once(&offers[..]), goal).cost,
        None if dearest == 0 => 0.0,
        None => WORTH_OF_DEAREST / dearest as f64,
    };
    let worth = Worth { cost, latency_ms: WORTH_OF_MS };
    let scores = worth.scores(&offers);
    worth.order(&offers).into_iter().map(|at| (at, scores.get(at).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(quality: f32, cost: u64, ms: u32) -> Known {
        let pulse = Pulse { first_ms: Some(ms), ..Pulse::default() };
        let (turn_cost, call_cost) = (Some(cost), Some(cost));
        Known { quality: Some(quality), turn_cost, call_cost, pulse, expected_ms: Some(ms) }
    }

    #[track_caller]
    fn check(by: By, expected: &[usize]) {
        let places = [
            known(0.9, 9_000, 900),
            known(0.88, 2_000, 800),
            known(0.6, 1_000, 100),
            Known { quality: Some(0.95), ..Known::default() },
        ];
        let order: Vec<_> = by.order(&places).into_iter().map(|(at, _)| at).collect();
        assert_eq!(order, expected, "{by:?}");
    }

    #[test]
    fn each_strategy_has_its_order() {
        check(By::Cheapest, &[2, 1, 0, 3]);
        // Whoever nothing is known of is tried first: else nothing ever would be.
        check(By::Fastest, &[3, 2, 1, 0]);
        check(By::Latency, &[3, 2, 1, 0]);
        check(By::Throughput, &[0, 1, 2, 3]);
        check(By::Best, &[3, 0, 1, 2]);
        check(By::Auto(None), &[3, 0, 1, 2]);
        check(By::Auto(Some(Goal::QualityPercent(90))), &[1, 0, 3, 2]);
        check(By::Auto(Some(Goal::QualityPercent(50))), &[2, 1, 0, 3]);
        check(By::Auto(Some(Goal::CostPercent(25))), &[1, 2, 0, 3]);
        check(By::Auto(Some(Goal::CostPercent(100))), &[0, 1, 2, 3]);
        check(By::Auto(Some(Goal::MostMicroDollars(1))), &[2, 1, 0, 3]);
        check(By::Auto(Some(Goal::MostMicroDollars(2))), &[1, 2, 0, 3]);
    }

    #[test]
    fn time_is_worth_something_where_things_are_balanced() {
        let fast = [known(0.9, 1_000, 9_000), known(0.88, 1_000, 200)];
        let by = By::Balanced(None);
        assert_eq!(by.order(&fast)[0].0, 1);
        let slow = [known(0.9, 1_000, 900), known(0.88, 1_000, 200)];
        assert_eq!(by.order(&slow)[0].0, 0);
        let dear = [known(0.9, 90_000, 200), known(0.88, 1_000, 200)];
        assert_eq!(by.order(&dear)[0].0, 1);
    }

    #[test]
    fn who_is_not_known_and_has_a_call_is_not_sent_another() {
        let pulse = Pulse { in_flight: 1, ..Pulse::default() };
        let places = [Known { pulse, ..Known::default() }, known(0.5, 1, 900)];
        for by in [By::Fastest, By::Latency, By::Throughput] {
            let first = by.order(&places)[0].0;
            // Nobody has seen the other one write, and it has no call.
            assert_eq!(first, 1, "{by:?}");
        }
    }

    #[test]
    fn who_is_not_known_comes_before_whoever_is_however_fast() {
        let fast = known(0.5, 1, 0);
        for by in [By::Fastest, By::Latency] {
            assert_eq!(by.order(&[fast, Known::default()])[0].0, 1, "{by:?}");
        }
    }

    #[test]
    fn nobody_is_nobody_in_every_order() {
        for by in [By::Cheapest, By::Best, By::Auto(None), By::Balanced(None)] {
            assert!(by.order(&[]).is_empty());
        }
    }
}
