//! Parting an amount without losing any of it.

/// Parts `total` by `weights`. The parts add up to it to the last unit, and each is less
/// than one unit off its exact share: all are cut, and what is left goes one unit each to
/// those that lost most, of equals to the first. A negative total is parted as its opposite
/// is. Weights that are all zero count as equal ones; without any weight there is no part,
/// and the total stays with the caller.
pub fn largest_remainder(total: i128, weights: &[u64]) -> Vec<i128> {
    let sum: u128 = weights.iter().copied().map(u128::from).sum();
    if weights.iter().all(|it| *it == 0) && !weights.is_empty() {
        return largest_remainder(total, &vec![1; weights.len()]);
    }
    let amount = total.unsigned_abs();
    let mut shares: Vec<_> = weights.iter().map(|it| share(amount, *it, sum)).collect();
    let mut left = amount - shares.iter().map(|it| it.whole).sum::<u128>();
    let mut order: Vec<_> = (0..shares.len()).collect();
    // A stable sort: of equals the first comes first.
    order.sort_by_key(|it| std::cmp::Reverse(shares[*it].remainder));
    for index in order {
        shares[index].whole += left.min(1);
        left = left.saturating_sub(1);
    }
    let signed = |it: Share| match total.is_negative() {
        true => 0_i128.saturating_sub_unsigned(it.whole),
        false => 0_i128.saturating_add_unsigned(it.whole),
    };
    shares.into_iter().map(signed).collect()
}

/// A part, cut, and how much of `sum` was cut off.
#[derive(Clone, Copy)]
struct Share {
    whole: u128,
    remainder: u128,
}

/// `amount * weight / sum`, with the remainder. The product may be wider than 128 bits, so
/// it is built up bit by bit; `sum` is that of fewer than 2^60 weights, so that three times
/// as much fits.
fn share(amount: u128, weight: u64, sum: u128) -> Share {
    let (times, rest) = (amount / sum, amount % sum);
    let mut share = Share { whole: 0, remainder: 0 };
    for bit in (0..u64::BITS).rev() {
        let added = if weight >> bit & 1 == 1 { rest } else { 0 };
        let doubled = share.remainder * 2 + added;
        share = Share { whole: share.whole * 2 + doubled / sum, remainder: doubled % sum };
    }
    Share { whole: share.whole + times * u128::from(weight), ..share }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[track_caller]
    fn check(total: i128, weights: &[u64], expected: &[i128]) {
        assert_eq!(largest_remainder(total, weights), expected);
    }

    #[test]
    fn what_is_left_goes_to_those_that_lost_most() {
        check(100, &[1, 1, 1], &[34, 33, 33]);
        check(10, &[6, 3, 1], &[6, 3, 1]);
        check(7, &[6_000, 4_000], &[4, 3]);
        check(1, &[1, 3, 2], &[0, 1, 0]);
        check(2, &[1, 3, 2], &[0, 1, 1]);
        check(-100, &[1, 1, 1], &[-34, -33, -33]);
        check(5, &[0, 1, 0], &[0, 5, 0]);
    }

    #[test]
    fn weights_that_say_nothing_are_equal() {
        check(5, &[0, 0], &[3, 2]);
        check(5, &[], &[]);
        check(0, &[0], &[0]);
    }

    #[test]
    fn the_largest_amounts_fit() {
        let half = i128::MAX / 2;
        check(i128::MAX, &[u64::MAX, u64::MAX], &[half + 1, half]);
        check(i128::MIN, &[u64::MAX], &[i128::MIN]);
        check(i128::MAX, &[0, 9], &[0, i128::MAX]);
    }

    /// With products that fit, so that the exact share can be said.
    fn cases() -> impl Strategy<Value = (i128, Vec<u64>)> {
        let weight = prop_oneof![0..4_u64, 0..=1_u64 << 50];
        (-(1_i128 << 70)..1_i128 << 70, vec(weight, 1..12))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn nothing_is_lost_and_nobody_is_a_unit_off((total, weights) in cases()) {
            let parts = largest_remainder(total, &weights);
            prop_assert_eq!(parts.iter().sum::<i128>(), total);
            let all_zero = weights.iter().all(|it| *it == 0);
            let weights: Vec<_> =
                weights.iter().map(|it| if all_zero { 1 } else { i128::from(*it) }).collect();
            let sum: i128 = weights.iter().sum();
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!((part * sum - total * weight).abs() < sum);
            }
        }

        #[test]
        fn who_is_named_first_does_not_matter_but_among_equals(
            (total, weights) in cases(),
            by in any::<prop::sample::Index>(),
        ) {
            let mut turned = weights.clone();
            turned.rotate_left(by.index(weights.len()));
            let sorted = |weights: &[u64]| {
                let parts = largest_remainder(total, weights);
                let mut pairs: Vec<_> = weights.iter().copied().zip(parts).collect();
                pairs.sort_unstable();
                pairs
            };
            let (one, other) = (sorted(&weights), sorted(&turned));
            // Equal remainders of unequal weights may change places: by one unit at most.
            for (one, other) in one.iter().zip(&other) {
                prop_assert_eq!(one.0, other.0);
                prop_assert!((one.1 - other.1).abs() <= 1);
            }
            prop_assert_eq!(largest_remainder(total, &weights), largest_remainder(total, &weights));
        }

        #[test]
        fn a_debt_is_parted_as_what_is_owed((total, weights) in cases()) {
            let parts = largest_remainder(total, &weights);
            let opposite = largest_remainder(-total, &weights);
            prop_assert_eq!(parts, opposite.into_iter().map(|it| -it).collect::<Vec<_>>());
        }

        #[test]
        fn any_amount_is_parted(total: i128, weights in vec(any::<u64>(), 1..9)) {
            let parts = largest_remainder(total, &weights);
            prop_assert_eq!(parts.iter().sum::<i128>(), total);
        }
    }
}
