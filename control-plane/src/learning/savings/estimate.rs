//! What calls that chance parted say of all of them: ratios of sums that are weighed by one over
//! how likely each call was to be there, and how sure that is.
//!
//! A call counts by its weight, what it came to, and how large it was, which was known before chance
//! decided. Of a group of calls the ratio of what they came to to how large they were is estimated
//! (Hájek's estimator, where all are as large), and its variance by the delta method, with residuals
//! made larger by how much a call draws the estimate to itself, as few calls need. What two groups
//! differ by is told with Student's distribution and Welch's degrees of freedom, of as many calls as
//! would tell as much if all weighed the same. No amount of money that is booked comes of it: these
//! are floats, for people to read.

use serde::Serialize;
use utoipa::ToSchema;

/// A call as it counts.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// One over how likely it was to be there.
    pub weight: f64,
    /// What it came to,
    pub value: f64,
    /// and how large it was.
    pub size: f64,
}

/// What a group of calls came to, by how large they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub ratio: f64,
    /// Of the estimate, and not of a call.
    variance: f64,
    /// As many calls of one weight would tell as much.
    calls: f64,
}

/// An estimate, and what it lies between in nineteen of twenty such.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Interval {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    /// Nothing of fewer than two calls, or of calls without a size.
    pub fn of(drawn: &[Drawn]) -> Option<Self> {
        let sum = |of: &dyn Fn(&Drawn) -> f64| drawn.iter().map(of).sum::<f64>();
        let size = sum(&|it| it.weight * it.size);
        if drawn.len() < 2 || size.is_nan() || size <= 0.0 {
            return None;
        }
        let ratio = sum(&|it| it.weight * it.value) / size;
        let share = |it: &Drawn| it.weight * it.size / size;
        let residual = |it: &Drawn| {
            it.weight * (it.value - ratio * it.size) / (1.0 - share(it)).max(0.5) / size
        };
        let variance = sum(&|it| residual(it).powi(2));
        let calls = 1.0 / sum(&|it| share(it).powi(2));
        Some(Self { ratio, variance, calls })
    }

    /// By how much of the `baseline` this is less: 0.4 of what costs 0.6 of it. Nothing where the
    /// baseline comes to nothing.
    pub fn saved(&self, baseline: &Self) -> Option<Interval> {
        if baseline.ratio <= 0.0 || self.ratio < 0.0 {
            return None;
        }
        if self.ratio == 0.0 {
            return Some(Interval { estimate: 1.0, low: 1.0, high: 1.0 });
        }
        // On the logarithm, where a quotient is a difference, and skew is least.
        let relative = |it: &Self| it.variance / (it.ratio * it.ratio);
        let (ours, theirs) = (relative(self), relative(baseline));
        let width = self.width(baseline, ours, theirs);
        let quotient = self.ratio / baseline.ratio;
        Some(Interval {
            estimate: 1.0 - quotient,
            low: 1.0 - quotient * width.exp(),
            high: 1.0 - quotient * (-width).exp(),
        })
    }

    /// How much more this is than the `baseline`.
    pub fn beyond(&self, baseline: &Self) -> Interval {
        let width = self.width(baseline, self.variance, baseline.variance);
        let estimate = self.ratio - baseline.ratio;
        Interval { estimate, low: estimate - width, high: estimate + width }
    }

    /// Half of an interval of two variances, which are of groups that have no call in common.
    fn width(&self, other: &Self, ours: f64, theirs: f64) -> f64 {
        let both = ours + theirs;
        if both <= 0.0 {
            return 0.0;
        }
        let of = |variance: f64, calls: f64| variance * variance / (calls - 1.0).max(1.0);
        let degrees = both * both / (of(ours, self.calls) + of(theirs, other.calls));
        student(degrees) * both.sqrt()
    }
}

/// What Student's distribution stays below in 39 of 40 cases: by Fisher's series, which is right to
/// a thousandth from ten degrees of freedom on.
fn student(degrees: f64) -> f64 {
    const NORMAL: f64 = 1.959_963_984_540_054;
    let n = degrees.max(2.0);
    let [z, z3, z5, z7] = [1, 3, 5, 7].map(|it| NORMAL.powi(it));
    z + (z3 + z) / (4.0 * n)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * n * n * n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that are the same in every run.
    struct Chance(u64);

    impl Chance {
        fn even(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut it = self.0;
            it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((it ^ (it >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn below(&mut self, bound: usize) -> usize {
            (self.even() * bound as f64) as usize
        }

        fn normal(&mut self) -> f64 {
            let (one, other) = (1.0 - self.even(), self.even());
            (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
        }
    }

    /// What a thousand tokens cost in and out, and how often answers are good, of models from dear to
    /// cheap.
    const MODELS: [(f64, f64, f64); 3] = [(2.5, 10.0, 0.9), (1.2, 10.0, 0.8), (0.15, 0.6, 0.6)];

    /// What came of a month, and what is true of such months.
    #[derive(Default)]
    struct Month {
        engine: [Vec<Drawn>; 2],
        baseline: [Vec<Drawn>; 2],
        /// What the engine's and the baseline's calls cost and how good they are.
        truth: [[f64; 2]; 2],
    }

    impl Month {
        /// The engine sends hard calls to the dear model and easy ones to the cheap. Hard calls are
        /// long and have fewer models to choose from, and in the second half of the month more is
        /// explored.
        fn of(seed: u64, calls: usize, share: f64) -> Self {
            let (mut month, mut chance) = (Self::default(), Chance(seed.wrapping_mul(0x1234_5677)));
            for at in 0..calls {
                let share = if at * 2 < calls { share } else { share * 2.0 };
                let is_hard = chance.even() < 0.3;
                let among = if is_hard { 2 } else { 3 };
                let choice = if is_hard { 1 } else { 2 };
                let long = if is_hard { 3.0 } else { 1.0 };
                let input = long * (0.9 * chance.normal()).exp();
                // Each model would write something else.
                let output = MODELS.map(|_| 0.3 * (0.5 * chance.normal()).exp());
                let luck = chance.even();
                let cost = |model: usize| MODELS[model].0 * input + MODELS[model].1 * output[model];
                let good = |model: usize| {
                    let likely = MODELS[model].2 - if is_hard { 0.2 } else { 0.0 };
                    if luck < likely { 1.0 } else { 0.0 }
                };
                for (at, model) in [choice, 0].into_iter().enumerate() {
                    month.truth[at][0] += cost(model);
                    month.truth[at][1] += good(model);
                }
                let size = MODELS[0].0 * input + MODELS[0].1 * 0.3;
                let is_explored = chance.even() < share;
                let drawn = chance.below(among);
                let both = |model: usize, weight: f64| {
                    [(cost(model), size), (good(model), 1.0)].map(|(value, size)| Drawn {
                        weight,
                        value,
                        size,
                    })
                };
                match (is_explored, drawn) {
                    (false, _) => {
                        let of = both(choice, 1.0 / (1.0 - share));
                        (0..2).for_each(|it| month.engine[it].push(of[it]));
                    }
                    (true, 0) => {
                        let of = both(0, among as f64 / share);
                        (0..2).for_each(|it| month.baseline[it].push(of[it]));
                    }
                    (true, _) => (),
                }
            }
            month
        }

        fn ratios(&self, of: usize) -> (Ratio, Ratio) {
            (Ratio::of(&self.engine[of]).unwrap(), Ratio::of(&self.baseline[of]).unwrap())
        }
    }

    /// What is true of all months, from one that is very long.
    fn truth() -> (f64, f64) {
        let [engine, baseline] = Month::of(77, 400_000, 0.05).truth;
        (1.0 - engine[0] / baseline[0], (engine[1] - baseline[1]) / 400_000.0)
    }

    /// How many of a hundred intervals hold what is true.
    #[track_caller]
    fn check(calls: usize, share: f64, seeds: u64, expected: std::ops::RangeInclusive<f64>) {
        let (saved, better) = truth();
        let (mut held, mut off) = ([0_u32; 2], [0.0; 2]);
        for seed in 0..seeds {
            let month = Month::of(seed, calls, share);
            let ((engine, baseline), of) = (month.ratios(0), month.ratios(1));
            let both = [engine.saved(&baseline).unwrap(), of.0.beyond(&of.1)];
            for (at, (it, truth)) in both.into_iter().zip([saved, better]).enumerate() {
                held[at] += u32::from((it.low..=it.high).contains(&truth));
                off[at] += (it.estimate - truth) / seeds as f64;
            }
        }
        println!("{calls} calls, {share} explored: {held:?} of {seeds} hold, {off:?} off");
        for (held, off) in held.into_iter().zip(off) {
            let share = f64::from(held) * 100.0 / seeds as f64;
            assert!(expected.contains(&share), "{share} %");
            assert!(off.abs() < 0.015, "{off}");
        }
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_what_is_true() {
        check(4_000, 0.08, 400, 92.5..=97.0);
    }

    /// As few calls as are enough.
    #[test]
    fn nearly_as_many_do_of_few_calls() {
        check(2_200, 0.04, 500, 91.0..=97.0);
    }

    #[test]
    fn what_chance_did_not_part_would_be_wrong() {
        let month = Month::of(5, 400_000, 0.05);
        let plain = |drawn: &[Drawn]| {
            let alike = |it: &Drawn| Drawn { weight: 1.0, size: 1.0, ..*it };
            Ratio::of(&drawn.iter().map(alike).collect::<Vec<_>>()).unwrap()
        };
        let (saved, _) = truth();
        let (engine, baseline) = month.ratios(0);
        let weighed = engine.saved(&baseline).unwrap().estimate;
        assert!((weighed - saved).abs() < 0.005, "{weighed} {saved}");
        // Hard calls have fewer to choose from, and so more of them come to the baseline.
        let naive = plain(&month.engine[0]).saved(&plain(&month.baseline[0])).unwrap().estimate;
        assert!((naive - saved).abs() > 0.015, "{naive} {saved}");
    }

    #[test]
    fn student_is_as_the_tables_have_it() {
        for (degrees, known) in [(10.0, 2.228), (29.0, 2.045), (60.0, 2.000), (1e9, 1.960)] {
            assert!((student(degrees) - known).abs() < 0.001, "{degrees}: {}", student(degrees));
        }
    }

    fn groups() -> impl Strategy<Value = Vec<Drawn>> {
        let each = (1.0..500.0_f64, 0.0..1e9_f64, 1.0..1e9_f64);
        let drawn = |(weight, value, size)| Drawn { weight, value, size };
        prop::collection::vec(each.prop_map(drawn), 2..60)
    }

    proptest! {
        #[test]
        fn an_estimate_lies_in_its_interval(ours in groups(), theirs in groups()) {
            let (ours, theirs) = (Ratio::of(&ours).unwrap(), Ratio::of(&theirs).unwrap());
            for it in ours.saved(&theirs).into_iter().chain([ours.beyond(&theirs)]) {
                prop_assert!(it.low <= it.estimate && it.estimate <= it.high, "{it:?}");
                prop_assert!(it.low.is_finite() && it.high.is_finite());
            }
            let same = ours.saved(&ours).map_or(0.0, |it| it.estimate);
            prop_assert!(same.abs() < 1e-9);
        }

        /// Neither the unit of weights nor the order of calls matters, and twice the cost is twice
        /// the ratio.
        #[test]
        fn only_proportions_count(calls in groups(), by in 0.1..10.0_f64) {
            let of = Ratio::of(&calls).unwrap();
            let is_near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(1e-12);
            let alike = |change: &dyn Fn(&Drawn) -> Drawn| {
                Ratio::of(&calls.iter().rev().map(change).collect::<Vec<_>>()).unwrap()
            };
            let weighed = alike(&|it| Drawn { weight: it.weight * by, ..*it });
            prop_assert!(is_near(of.ratio, weighed.ratio));
            prop_assert!(is_near(of.variance.sqrt(), weighed.variance.sqrt()));
            let dearer = alike(&|it| Drawn { value: it.value * by, ..*it });
            prop_assert!(is_near(of.ratio * by, dearer.ratio));
        }
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        let one = Drawn { weight: 1.0, value: 0.0, size: 1.0 };
        assert_eq!(Ratio::of(&[]), None);
        assert_eq!(Ratio::of(&[one]), None);
        assert_eq!(Ratio::of(&[Drawn { size: 0.0, ..one }; 9]), None);
        let (free, dear) = ([one; 9], [Drawn { value: 2.0, ..one }; 9]);
        let (free, dear) = (Ratio::of(&free).unwrap(), Ratio::of(&dear).unwrap());
        assert_eq!(free.saved(&dear), Some(Interval { estimate: 1.0, low: 1.0, high: 1.0 }));
        assert_eq!((dear.saved(&free), free.saved(&free)), (None, None));
    }
}
