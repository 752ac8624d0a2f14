//! Days as bars, each stacked of what is dearest.

use std::collections::HashMap;

use shared::money::Money;
use time::Date;

use super::query::{DayRow, UsageQuery};
use crate::web;

/// How many of what usage is grouped by have a colour of their own.
pub(super) const COLOURS: usize = 4;
/// The height of the drawing, and the width of a day.
const HEIGHT: i64 = 1_000;
const WIDTH: i64 = 10;

pub(super) struct Chart {
    pub width: i64,
    pub bars: Vec<Bar>,
    /// What stands at the axis, from the top.
    pub marks: Vec<String>,
    pub first: String,
    pub middle: String,
    pub last: String,
}

/// A day.
pub(super) struct Bar {
    pub day: String,
    pub cost: Money,
    pub calls: i64,
    pub parts: Vec<Piece>,
}

/// One colour of a bar.
pub(super) struct Piece {
    pub class: &'static str,
    pub x: i64,
    pub y: i64,
    pub height: i64,
}

impl Chart {
    /// `named` are those that have a colour, in the order of their colours.
    pub fn of(query: &UsageQuery, rows: &[DayRow], named: &[String]) -> Self {
        let mut days: HashMap<Date, Vec<&DayRow>> = HashMap::new();
        rows.iter().for_each(|row| days.entry(row.day).or_default().push(row));
        let sum = |rows: &[&DayRow]| rows.iter().map(|it| it.total.cost.nanos()).sum::<i64>();
        let top = ceiling(days.values().map(|it| sum(it)).max().unwrap_or_default());
        let all: Vec<_> = query.days().collect();
        let bars = all.iter().zip(0_i64..).map(|(day, at)| {
            let rows = days.remove(day).unwrap_or_default();
            let mut below = 0;
            let mut parts = Vec::new();
            for colour in 0..=named.len() {
                let name = named.get(colour);
                let rows = rows.iter().filter(|it| it.name.as_ref() == name);
                let height = scaled(rows.map(|it| it.total.cost.nanos()).sum(), top);
                if height > 0 {
                    let y = HEIGHT - below - height;
                    let class = if name.is_some() { class(colour) } else { class(COLOURS) };
                    parts.push(Piece { class, x: at * WIDTH + 1, y, height });
                    below += height;
                }
            }
            let calls = rows.iter().map(|it| it.total.calls).sum();
            Bar { day: web::day(*day), cost: Money::from_nanos(sum(&rows)), calls, parts }
        });
        let bars: Vec<_> = bars.collect();
        let day = |at: usize| bars.get(at).map(|it| it.day.clone()).unwrap_or_default();
        Self {
            width: WIDTH * i64::try_from(bars.len()).unwrap_or(1),
            marks: vec![Money::from_nanos(top), Money::from_nanos(top / 2), Money::ZERO]
                .into_iter()
                .map(|it| it.to_string())
                .collect(),
            first: day(0),
            middle: day(bars.len() / 2),
            last: day(bars.len().saturating_sub(1)),
            bars,
        }
    }
}

/// What a colour is called in the style sheet.
pub(super) const fn class(colour: usize) -> &'static str {
    match colour {
        0 => "k1",
        1 => "k2",
        2 => "k3",
        3 => "k4",
        _ => "k5",
    }
}

/// The next of 1, 2, 2.5 and 5 with noughts behind it, so that the axis has round figures.
fn ceiling(most: i64) -> i64 {
    let mut step = 10_i64;
    loop {
        for times in [10, 20, 25, 50] {
            match step.checked_mul(times) {
                Some(it) if it >= most => return it,
                Some(_) => {}
                None => return most,
            }
        }
        match step.checked_mul(10) {
            Some(it) => step = it,
            None => return most,
        }
    }
}

fn scaled(cost: i64, top: i64) -> i64 {
    let height = i128::from(cost) * i128::from(HEIGHT) / i128::from(top.max(1));
    i64::try_from(height).unwrap_or(HEIGHT).clamp(0, HEIGHT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_axis_ends_in_a_round_figure() {
        for (most, top) in [(0, 100), (101, 200), (1_000, 1_000), (2_300_000, 2_500_000)] {
            assert_eq!(ceiling(most), top);
        }
        assert_eq!(ceiling(i64::MAX), i64::MAX);
    }

    proptest! {
        #[test]
        fn a_bar_stays_within_the_drawing(cost in 0..=i64::MAX, more in 0..=i64::MAX) {
            let top = ceiling(cost.max(more));
            prop_assert!(top >= cost);
            prop_assert!((0..=HEIGHT).contains(&scaled(cost, top)));
        }
    }
}
