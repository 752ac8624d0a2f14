//! What is told: figures, how far they spread, and whether they are as good as they should be.

use std::time::Duration;

use serde::Serialize;

/// The median of several runs, between the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Nothing of nothing.
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut runs: Vec<f64> = runs.into_iter().collect();
        runs.sort_by(f64::total_cmp);
        let (least, most) = (*runs.first()?, *runs.last()?);
        let (low, high) = (runs[(runs.len() - 1) / 2], runs[runs.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }
}

/// The shortest of `delays` that `percent` of them do not exceed, in microseconds.
pub fn percentile(delays: &[Duration], percent: usize) -> Option<f64> {
    let mut sorted = delays.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|it| it.as_secs_f64() * 1e6)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Microseconds,
    Seconds,
    Megabytes,
    /// How much more it is than what it is compared with, or how much of that.
    Percent,
}

/// What a figure should be: this much is asked, and that much is the goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    #[serde(flatten)]
    pub measure: Measure,
    pub asked: f64,
    pub goal: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Measure {
    /// At most so many times nginx's.
    TimesNginxAtMost,
    /// At least so many times nginx's.
    TimesNginxAtLeast,
    /// At least so much.
    AtLeast,
    /// At most so much. `of_cpu` time depends on the machine's speed.
    AtMost { of_cpu: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    GoalMet,
    Met,
    /// Not here, but at the speed of the machine that the target was set on.
    MetAtReferenceSpeed,
    Missed,
    /// A proxy that makes calls much faster was measured on a machine too busy to tell.
    Unclear,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub unit: Unit,
    pub direct: Option<Spread>,
    pub nginx: Option<Spread>,
    pub ours: Spread,
    /// Ours divided by nginx's, each with the run beside it.
    pub times_nginx: Option<Spread>,
    pub target: Option<Target>,
}

impl Figure {
    /// `slowness` says how many times slower this machine is than the one targets were set on.
    pub fn verdict(&self, slowness: f64) -> Option<Verdict> {
        let Target { measure, asked, goal } = self.target?;
        let ours = self.ours.median;
        let is = |limit: f64| match measure {
            Measure::TimesNginxAtMost => self.times_nginx.is_some_and(|it| it.median <= limit),
            Measure::TimesNginxAtLeast => self.times_nginx.is_some_and(|it| it.median >= limit),
            Measure::AtLeast => ours >= limit,
            Measure::AtMost { .. } => ours <= limit,
        };
        let is_faster_than_none = self.direct.is_some_and(|it| ours < -0.1 * it.median);
        Some(if is_faster_than_none {
            Verdict::Unclear
        } else if is(goal) {
            Verdict::GoalMet
        } else if is(asked) {
            Verdict::Met
        } else if measure == (Measure::AtMost { of_cpu: true }) && ours <= asked * slowness {
            Verdict::MetAtReferenceSpeed
        } else {
            Verdict::Missed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let of = |runs: &[f64]| Spread::of(runs.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(of(&[4.0, 1.0]).map(|it| it.median), Some(2.5));
    }

    #[test]
    fn so_many_percent_do_not_exceed_a_percentile() {
        let delays: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&delays, 50), Some(100.0));
        assert_eq!(percentile(&delays, 99), Some(198.0));
        assert_eq!(percentile(&delays[..1], 99), Some(200.0));
        assert_eq!(percentile(&[], 50), None);
    }

    fn figure(ours: f64, times_nginx: f64, measure: Measure) -> Figure {
        let exactly = |value| Spread { median: value, least: value, most: value };
        Figure {
            name: "a figure".to_owned(),
            unit: Unit::Microseconds,
            direct: None,
            nginx: None,
            ours: exactly(ours),
            times_nginx: Some(exactly(times_nginx)),
            target: Some(Target { measure, asked: 4.0, goal: 2.0 }),
        }
    }

    #[test]
    fn a_verdict_is_about_what_the_target_is_about() {
        #[track_caller]
        fn check(ours: f64, times_nginx: f64, measure: Measure, verdict: Verdict) {
            assert_eq!(figure(ours, times_nginx, measure).verdict(2.0), Some(verdict));
        }
        check(9.0, 2.0, Measure::TimesNginxAtMost, Verdict::GoalMet);
        check(9.0, 4.0, Measure::TimesNginxAtMost, Verdict::Met);
        check(1.0, 4.1, Measure::TimesNginxAtMost, Verdict::Missed);
        check(9.0, 1.9, Measure::AtMost { of_cpu: false }, Verdict::Missed);
        check(8.0, 1.9, Measure::AtMost { of_cpu: false }, Verdict::Missed);
        check(8.0, 1.9, Measure::AtMost { of_cpu: true }, Verdict::MetAtReferenceSpeed);
        check(8.1, 1.9, Measure::AtMost { of_cpu: true }, Verdict::Missed);
        let direct = Spread::of([100.0]);
        let added =
            |ours| Figure { direct, ..figure(ours, 1.0, Measure::AtMost { of_cpu: false }) };
        assert_eq!(added(-9.0).verdict(2.0), Some(Verdict::GoalMet));
        assert_eq!(added(-11.0).verdict(2.0), Some(Verdict::Unclear));
        // Growth may well be none.
        let grown = figure(-11.0, 1.0, Measure::AtMost { of_cpu: false });
        assert_eq!(grown.verdict(2.0), Some(Verdict::GoalMet));
        let more = Target { measure: Measure::TimesNginxAtLeast, asked: 0.4, goal: 0.65 };
        let at = |times| Figure { target: Some(more), ..figure(1.0, times, more.measure) };
        assert_eq!(at(0.5).verdict(1.0), Some(Verdict::Met));
        assert_eq!(at(0.3).verdict(1.0), Some(Verdict::Missed));
        let kept = |ours| Figure {
            target: Some(Target { measure: Measure::AtLeast, asked: 90.0, goal: 97.0 }),
            ..figure(ours, 1.0, Measure::AtLeast)
        };
        assert_eq!(kept(97.0).verdict(1.0), Some(Verdict::GoalMet));
        assert_eq!(kept(90.0).verdict(1.0), Some(Verdict::Met));
        assert_eq!(kept(89.9).verdict(1.0), Some(Verdict::Missed));
        assert_eq!(Figure { target: None, ..at(1.0) }.verdict(1.0), None);
    }
}
