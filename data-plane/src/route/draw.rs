//! Drawing: by weight, and which calls are explored.

use shared::snapshot::MOST_EXPLORED;

/// Where chance comes from: the machine's, or a test's.
pub trait Dice {
    /// A number below `bound`, each as likely as the others.
    fn below(&mut self, bound: u64) -> u64;

    /// Whether a call is one of so many in a thousand that are explored.
    fn explores(&mut self, per_mille: u16) -> bool {
        self.below(1_000) < per_mille.min(MOST_EXPLORED).into()
    }
}

/// Chance for a call that is not made, and that therefore teaches nothing: it is not explored.
pub struct Dry(pub fastrand::Rng);

impl Dice for Dry {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn explores(&mut self, _: u16) -> bool {
        false
    }
}

impl Dice for fastrand::Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.u64(..bound.max(1))
    }
}

/// All of `items` in an order drawn by weight: each is the first as often as its share of
/// the weights says, and so on among those that are left. What has no weight comes last,
/// as it stands.
pub fn order<'a, T>(items: &'a [T], weight: impl Fn(&T) -> u16, dice: &mut dyn Dice) -> Vec<&'a T> {
    drawn(items.iter().collect(), |it: &&T| weight(it), dice)
}

/// The same of what is given away.
pub fn drawn<T>(mut left: Vec<T>, weight: impl Fn(&T) -> u16, dice: &mut dyn Dice) -> Vec<T> {
    let mut order = Vec::with_capacity(left.len());
    while left.len() > 1 {
        let total: u64 = left.iter().map(|it| u64::from(weight(it))).sum();
        if total == 0 {
            break;
        }
        let mut drawn = dice.below(total);
        let at = left.iter().position(|it| match drawn.checked_sub(u64::from(weight(it))) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        });
        // `drawn` is below the sum of the weights, so somebody has it.
        order.push(left.remove(at.unwrap_or(0)));
    }
    order.extend(left);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everybody_is_drawn_once(weights in prop::collection::vec(any::<u16>(), 0..8), seed: u64) {
            let items: Vec<_> = weights.iter().copied().enumerate().collect();
            let drawn = order(&items, |it| it.1, &mut fastrand::Rng::with_seed(seed));
            let mut drawn: Vec<_> = drawn.into_iter().copied().collect();
            drawn.sort_unstable();
            prop_assert_eq!(drawn, items);
        }
    }

    #[test]
    fn the_first_is_drawn_by_its_share() {
        let (items, mut dice) =
            ([("a", 70_u16), ("b", 20), ("c", 10), ("never", 0)], fastrand::Rng::with_seed(7));
        let mut firsts = [0_u32; 4];
        for _ in 0..100_000 {
            let first = order(&items, |it| it.1, &mut dice)[0].0;
            firsts[items.iter().position(|it| it.0 == first).unwrap()] += 1;
        }
        for (count, share) in firsts.into_iter().zip([70_000_u32, 20_000, 10_000, 0]) {
            assert!(count.abs_diff(share) < 1_000, "{firsts:?}");
        }
    }
}
