//! Comparisons of two models, and of several with prices.

use super::count;

/// A prompt, as two models answered it, and by how much the strong one was expected to be better.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub strong: f64,
    pub weak: f64,
    pub gain: f64,
    /// Breaks ties without favour.
    pub tie: u64,
}

fn by_gain(pairs: &[Pair]) -> Vec<Pair> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|one, other| other.gain.total_cmp(&one.gain).then(one.tie.cmp(&other.tie)));
    sorted
}

/// **APGR**, the average performance gap recovered: prompts go to the strong model in the order of
/// the gain that is expected of it; at each share of strong calls the gap recovered is (quality −
/// the weak model's) ÷ (the strong model's − the weak model's), and this is its mean over all
/// shares from none to all, by trapezoids. Chance reaches 0.5.
pub fn apgr(pairs: &[Pair]) -> f64 {
    let gap: f64 = pairs.iter().map(|it| it.strong - it.weak).sum();
    if pairs.is_empty() || gap.abs() < 1e-9 {
        return 0.5;
    }
    let (mut gained, mut area) = (0.0, 0.0);
    for it in by_gain(pairs) {
        let before = gained;
        gained += it.strong - it.weak;
        area += f64::midpoint(before, gained);
    }
    area / gap / count(pairs.len())
}

/// The least share of strong calls with which quality is 95 % of the strong model's.
pub fn strong_calls(pairs: &[Pair]) -> f64 {
    let strong: f64 = pairs.iter().map(|it| it.strong).sum();
    let mut quality: f64 = pairs.iter().map(|it| it.weak).sum();
    for (at, it) in by_gain(pairs).iter().enumerate() {
        if quality >= 0.95 * strong {
            return count(at) / count(pairs.len());
        }
        quality += it.strong - it.weak;
    }
    1.0
}

/// What chance needs for that.
pub fn strong_calls_by_chance(pairs: &[Pair]) -> f64 {
    let strong: f64 = pairs.iter().map(|it| it.strong).sum();
    let weak: f64 = pairs.iter().map(|it| it.weak).sum();
    ((0.95 * strong - weak) / (strong - weak)).clamp(0.0, 1.0)
}

/// A prompt, as several models answered it: what was expected, what came, what it cost.
#[derive(Clone, Debug)]
pub struct Many {
    pub expected: Vec<f64>,
    pub right: Vec<f64>,
    pub cost: Vec<f64>,
}

/// **Cost at 95 % of the best quality**: with what cost is worth as low as it may be for quality
/// to be 95 % of the best single model's, the sum of what the choices cost, as a share of what
/// that model alone costs.
pub fn cost_at_95(prompts: &[Many]) -> f64 {
    let Some(models) = prompts.first().map(|it| it.right.len()) else { return f64::NAN };
    let sum = |of: fn(&Many) -> &Vec<f64>, at: usize| -> f64 {
        prompts.iter().map(|it| of(it)[at]).sum()
    };
    let rights: Vec<f64> = (0..models).map(|at| sum(|it| &it.right, at)).collect();
    let best =
        (0..models).max_by(|one, other| rights[*one].total_cmp(&rights[*other])).unwrap_or(0);
    let (needed, whole) = (0.95 * rights[best], sum(|it| &it.cost, best));
    let at = |worth: f64| {
        let (mut right, mut cost) = (0.0, 0.0);
        for it in prompts {
            let score = |at: &usize| it.expected[*at] - worth * it.cost[*at];
            let chosen = (0..models).max_by(|one, other| score(one).total_cmp(&score(other)));
            let chosen = chosen.unwrap_or(0);
            right += it.right[chosen];
            cost += it.cost[chosen];
        }
        (right, cost)
    };
    let unit = count(prompts.len()) / whole;
    let steps = (0..200_u32).map(|it| (f64::from(it) / 10.0 - 12.0).exp2() * unit);
    let enough = steps.map(at).filter(|it| it.0 >= needed).map(|it| it.1);
    enough.fold(whole, f64::min) / whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(strong: f64, weak: f64, gain: f64) -> Pair {
        Pair { strong, weak, gain, tie: 0 }
    }

    #[test]
    fn who_knows_recovers_more_than_chance_and_who_errs_less() {
        let knows =
            [pair(1.0, 0.0, 0.9), pair(1.0, 1.0, 0.1), pair(1.0, 1.0, 0.1), pair(1.0, 1.0, 0.0)];
        assert!((apgr(&knows) - 0.875).abs() < 1e-9);
        let errs = knows.map(|it| Pair { gain: -it.gain, ..it });
        assert!((apgr(&errs) - 0.125).abs() < 1e-9);
        assert!((strong_calls(&knows) - 0.25).abs() < 1e-9);
        assert!((strong_calls_by_chance(&knows) - 0.8).abs() < 1e-9);
    }

    #[test]
    fn the_cheap_model_takes_what_it_can() {
        let many = |right: [f64; 2]| Many {
            expected: right.to_vec(),
            right: right.to_vec(),
            cost: vec![10.0, 1.0],
        };
        let prompts = [many([1.0, 1.0]), many([1.0, 0.0])];
        assert!((cost_at_95(&prompts) - 11.0 / 20.0).abs() < 1e-9);
    }
}
