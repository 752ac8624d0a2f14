//! Parting an amount without losing any of it.

/// Parts `total` by `weights`. The parts add up to it to the last unit, and each is less
/// than one unit off its exact share: all are cut, and what is left goes one unit each to
/// those that lost most, of equals to the first. A negative total is parted as its opposite
/// is. Weights that are all zero count as equal ones; without any weight there is no part,
/// and the total stays with the caller.
pub fn largest_remainder(total: i128, weights: &[u64]) -> Vec<i128> {
    let sum: u128 = weights.iter().copied().map(u128::from).sum();
    if sum == 0 && !weights.is_empty() {
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
    let signed = |it: Share| match total < 0 {
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
