//! Usage for spreadsheets: by day, and by what it is grouped by.

use std::collections::HashMap;

use super::query::{DayRow, Group, Slice};
use crate::web::csv::row;

pub(super) fn write(group: Group, rows: &[DayRow], slices: &[Slice]) -> String {
    let titles: HashMap<_, _> =
        slices.iter().filter_map(|it| Some((&it.name, it.title.as_ref()?))).collect();
    let mut text = String::new();
    let header = ["day", group.name(), "name", "calls", "tokens_in", "cached_tokens"];
    let rest = ["tokens_out", "cost_usd", "cost_nano"];
    let [a, b, c, d, e, f] = header.map(str::to_owned);
    let [g, h, i] = rest.map(str::to_owned);
    row(&mut text, [a, b, c, d, e, f, g, h, i]);
    for DayRow { day, name, total } in rows {
        let name = name.clone().unwrap_or_default();
        let title = titles.get(&name).map_or_else(|| name.clone(), |it| (*it).clone());
        row(
            &mut text,
            [
                day.to_string(),
                name,
                title,
                total.calls.to_string(),
                total.tokens_in.to_string(),
                total.cached.to_string(),
                total.tokens_out.to_string(),
                total.cost.exact(),
                total.cost.nanos().to_string(),
            ],
        );
    }
    text
}
