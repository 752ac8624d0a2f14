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
    Auto(Toward),
}

/// What choices are to come to, and what a dollar is spent for so that all of an organization's
/// calls do together, in millionths of quality. Where that is not known, each does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toward {
    pub goal: Option<Goal>,
    pub of_a_dollar: Option<u64>,
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
    /// What it offers for a call, where it has a price.
    pub(super) fn priced(&self) -> Option<Offer> {
        self.turn_cost.map(|cost| self.offer(cost))
    }

    fn offer(&self, cost: u64) -> Offer {
        Offer { quality: self.quality(), cost, latency_ms: self.whole_ms() }
    }

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
    pub fn of(strategy: Strategy, toward: Toward) -> Option<Self> {
        match strategy {
            Strategy::Pinned | Strategy::Weighted | Strategy::Priority => None,
            Strategy::Cheapest => Some(Self::Cheapest),
            Strategy::Fastest => Some(Self::Fastest),
            Strategy::Best => Some(Self::Best),
            Strategy::Balanced => Some(Self::Balanced(toward.goal)),
            Strategy::Auto => Some(Self::Auto(toward)),
        }
    }

    /// What all calls that are decided so may come to together, where there is such a goal. What
    /// one call may cost is each call's own, and what time is worth has no part in it.
    pub fn together(strategy: Strategy, goal: Option<Goal>) -> Option<Goal> {
        let goal = goal.unwrap_or(USUAL);
        let is_of_all = match goal {
            Goal::QualityPercent(_) | Goal::CostPercent(_) => true,
            Goal::MostMicroDollars(_) => false,
        };
        (strategy == Strategy::Auto && is_of_all).then_some(goal)
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
            Self::Auto(Toward { goal, of_a_dollar: Some(_) }) => {
                let calls = match goal.unwrap_or(USUAL) {
                    Goal::QualityPercent(it) => format!("are {it} % as good as with the best"),
                    Goal::CostPercent(it) => format!("cost {it} % of what the dearest would"),
                    Goal::MostMicroDollars(_) => "come to what they may".to_owned(),
                };
                format!("the best for what it costs, so that all calls together {calls}")
            }
            Self::Auto(Toward { goal, of_a_dollar: None }) => match goal.unwrap_or(USUAL) {
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
            Self::Auto(Toward { of_a_dollar: Some(it), .. }) => {
                let worth = Worth { cost: of_a_nano(it), latency_ms: 0.0 };
                let mut ordered = weighed(worth, &offers(known));
                // What has no price is dearer than what has one.
                ordered.sort_by_key(|it| known.get(it.0).is_none_or(|it| it.turn_cost.is_none()));
                ordered
            }
            Self::Auto(Toward { goal, of_a_dollar: None }) => {
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
    let offers = offers(known);
    let dearest = offers.iter().map(|it| it.cost).max().unwrap_or(0);
    let cost = match goal {
        Some(goal) => engine::solve(std::iter::once(&offers[..]), engines(goal)).cost,
        None if dearest == 0 => 0.0,
        None => WORTH_OF_DEAREST / dearest as f64,
    };
    weighed(Worth { cost, latency_ms: WORTH_OF_MS }, &offers)
}

fn weighed(worth: Worth, offers: &[Offer]) -> Ordered {
    let scores = worth.scores(offers);
    worth.order(offers).into_iter().map(|at| (at, scores.get(at).copied())).collect()
}

/// What has no price costs what the dearest does.
fn offers(known: &[Known]) -> Vec<Offer> {
    let dearest = known.iter().filter_map(|it| it.turn_cost).max().unwrap_or(0);
    known.iter().map(|it| it.offer(it.turn_cost.unwrap_or(dearest))).collect()
}

fn engines(goal: Goal) -> engine::Goal {
    match goal {
        Goal::QualityPercent(it) => engine::Goal::Quality(f32::from(it) / 100.0),
        Goal::CostPercent(it) => engine::Goal::CostShare(f32::from(it) / 100.0),
        Goal::MostMicroDollars(it) => engine::Goal::Ceiling(it.saturating_mul(1_000)),
    }
}

/// In millionths of quality for a dollar there are so many of quality for a nano-dollar.
const PARTS: f64 = 1e6 * 1e9;
/// Nothing is worth more: the cheapest is then the first in any case. Every program can count so far.
const MOST_WORTH: f64 = 9e15;

fn of_a_nano(of_a_dollar: u64) -> f64 {
    of_a_dollar as f64 / PARTS
}

/// What a dollar has to be spent for so that choices among the offers of each of `calls`, which
/// cost nano-dollars, come to `goal` together.
pub fn worth_of_a_dollar(calls: &[Vec<Offer>], goal: Goal) -> u64 {
    let solved = engine::solve(calls.iter().map(Vec::as_slice), engines(goal));
    let worth = (solved.cost * PARTS).min(MOST_WORTH);
    // To the side on which the goal is kept.
    match goal {
        Goal::QualityPercent(_) => worth.floor() as u64,
        Goal::CostPercent(_) | Goal::MostMicroDollars(_) => worth.ceil() as u64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, proptest};

    use super::*;

    fn known(quality: f32, cost: u64, ms: u32) -> Known {
        let pulse = Pulse { first_ms: Some(ms), ..Pulse::default() };
        let (turn_cost, call_cost) = (Some(cost), Some(cost));
        Known { quality: Some(quality), turn_cost, call_cost, pulse, expected_ms: Some(ms) }
    }

    fn auto(goal: Goal) -> By {
        By::Auto(Toward { goal: Some(goal), of_a_dollar: None })
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
        check(By::Auto(Toward::default()), &[3, 0, 1, 2]);
        check(auto(Goal::QualityPercent(90)), &[1, 0, 3, 2]);
        check(auto(Goal::QualityPercent(50)), &[2, 1, 0, 3]);
        check(auto(Goal::CostPercent(25)), &[1, 2, 0, 3]);
        check(auto(Goal::CostPercent(100)), &[0, 1, 2, 3]);
        check(auto(Goal::MostMicroDollars(1)), &[2, 1, 0, 3]);
        check(auto(Goal::MostMicroDollars(2)), &[1, 2, 0, 3]);
    }

    /// Nobody else's answer is good to a hard one, and everybody's to an easy one.
    #[test]
    fn together_calls_spend_where_it_helps() {
        let easy = [known(0.9, 9_000, 1), known(0.88, 1_000, 1)];
        let hard = [known(0.9, 9_000, 1), known(0.3, 1_000, 1)];
        let calls = [offers(&easy), offers(&hard), offers(&easy)];
        let firsts = |goal: Goal| {
            let of_a_dollar = Some(worth_of_a_dollar(&calls, goal));
            let by = By::Auto(Toward { goal: Some(goal), of_a_dollar });
            [&easy, &hard].map(|it| by.order(it)[0].0)
        };
        assert_eq!(firsts(Goal::QualityPercent(95)), [1, 0]);
        assert_eq!(firsts(Goal::QualityPercent(100)), [0, 0]);
        assert_eq!(firsts(Goal::QualityPercent(50)), [1, 1]);
        assert_eq!(firsts(Goal::CostPercent(50)), [1, 0]);
        assert_eq!(firsts(Goal::CostPercent(10)), [1, 1]);
        assert_eq!(firsts(Goal::CostPercent(100)), [0, 0]);
        // By itself an easy one is worth no more than a hard one.
        assert_eq!(auto(Goal::CostPercent(50)).order(&hard)[0].0, 1);
    }

    #[test]
    fn what_one_call_may_cost_is_its_own_matter() {
        let most = Goal::MostMicroDollars(9);
        assert_eq!(By::together(Strategy::Auto, Some(most)), None);
        assert_eq!(By::together(Strategy::Auto, None), Some(USUAL));
        assert_eq!(By::together(Strategy::Balanced, Some(USUAL)), None);
        assert_eq!(By::together(Strategy::Best, Some(USUAL)), None);
    }

    #[test]
    fn what_has_no_price_comes_after_what_has_one() {
        let places = [Known { quality: Some(0.9), ..Known::default() }, known(0.2, 9, 1)];
        for of_a_dollar in [0, 1_000, u64::MAX] {
            let by = By::Auto(Toward { goal: None, of_a_dollar: Some(of_a_dollar) });
            assert_eq!(by.order(&places)[0].0, 1);
        }
    }

    #[test]
    fn nothing_to_learn_from_is_spent_for_nothing() {
        assert_eq!(worth_of_a_dollar(&[], USUAL), 0);
        let free = vec![offers(&[known(0.5, 0, 1), known(0.2, 0, 1)])];
        assert_eq!(worth_of_a_dollar(&free, Goal::CostPercent(1)), 0);
        let cheap = vec![offers(&[known(0.5, 3, 1), known(0.5, 1, 1)])];
        assert!(worth_of_a_dollar(&cheap, Goal::QualityPercent(1)) <= 9_000_000_000_000_000);
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
        for by in [By::Cheapest, By::Best, By::Auto(Toward::default()), By::Balanced(None)] {
            assert!(by.order(&[]).is_empty());
        }
    }

    proptest! {
        /// What a dollar is spent for is an integer, and still keeps the goal.
        #[test]
        fn goals_are_kept_together(
            calls in prop::collection::vec(
                prop::collection::vec((0.01..1.0_f32, 0..1_000_000_000_u64), 1..6), 1..40),
            percent in 1..=100_u8, is_share: bool,
        ) {
            let known = |(quality, cost): &(f32, u64)| known(*quality, *cost, 1);
            let calls: Vec<Vec<_>> =
                calls.iter().map(|it| it.iter().map(known).collect()).collect();
            let goal =
                if is_share { Goal::CostPercent(percent) } else { Goal::QualityPercent(percent) };
            let all: Vec<_> = calls.iter().map(|it| offers(it)).collect();
            let of_a_dollar = Some(worth_of_a_dollar(&all, goal));
            let by = By::Auto(Toward { goal: Some(goal), of_a_dollar });
            let firsts = calls.iter().map(|it| &it[by.order(it)[0].0]);
            let sum = |of: &dyn Fn(&[Known]) -> f64| calls.iter().map(|it| of(it)).sum::<f64>();
            match goal {
                Goal::QualityPercent(it) => {
                    let quality: f64 = firsts.map(|it| f64::from(it.quality())).sum();
                    let best = sum(&|it| it.iter().map(|it| f64::from(it.quality())).fold(0.0, f64::max));
                    prop_assert!(quality >= f64::from(it) / 100.0 * best - 1e-5, "{quality} of {best}");
                }
                Goal::CostPercent(it) => {
                    let cost: f64 = firsts.map(|it| it.cost_of_turn() as f64).sum();
                    let most = |of: &dyn Fn(&[Known]) -> Option<u64>| sum(&|it| of(it).unwrap_or(0) as f64);
                    let dearest = most(&|it| it.iter().map(Known::cost_of_turn).max());
                    let least = most(&|it| it.iter().map(Known::cost_of_turn).min());
                    let may = (f64::from(it) / 100.0 * dearest).max(least);
                    prop_assert!(cost <= may * (1.0 + 1e-6) + 1.0, "{cost} of {may}");
                }
                Goal::MostMicroDollars(_) => (),
            }
        }
    }
}
