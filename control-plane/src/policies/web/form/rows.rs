//! The targets of a choice, a row for each: a tier, a model, perhaps a provider, and a weight.

use shared::snapshot::{Choice, Target, Tier};

use super::{Marks, PolicyForm};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policies::web) struct Row {
    pub tier: String,
    pub model: String,
    pub provider: String,
    pub weight: String,
}

/// Rows to fill in beside those that are there.
const SPARE: usize = 2;
const MOST_ROWS: usize = 130;

impl PolicyForm {
    pub(super) fn show_rows(&mut self, it: &Choice) {
        for list in [&mut self.tier, &mut self.model, &mut self.provider, &mut self.weight] {
            list.clear();
        }
        for (at, tier) in it.tiers.iter().enumerate() {
            for target in &tier.targets {
                self.tier.push((at + 1).to_string());
                self.model.push(target.model.clone());
                self.provider.push(target.provider.clone().unwrap_or_default());
                self.weight.push(target.weight.to_string());
            }
        }
    }

    /// The rows that say something, as they were typed.
    pub(super) fn typed_rows(&self) -> impl Iterator<Item = Row> {
        let at = |list: &[String], row: usize| {
            list.get(row).map(|it| it.trim().to_owned()).unwrap_or_default()
        };
        let row = move |row| Row {
            tier: at(&self.tier, row),
            model: at(&self.model, row),
            provider: at(&self.provider, row),
            weight: at(&self.weight, row),
        };
        (0..self.model.len().min(MOST_ROWS)).map(row).filter(|it| !it.model.is_empty())
    }

    pub(super) fn filled(&self) -> usize {
        self.typed_rows().count()
    }

    /// Those that say something, and a few to fill in.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.typed_rows().collect();
        for _ in 0..SPARE {
            let tier = rows.last().map_or_else(|| "1".to_owned(), |it| it.tier.clone());
            rows.push(Row { tier, weight: "1".to_owned(), ..Row::default() });
        }
        rows
    }

    /// The rows that say something, by tier: for each its place in [`Self::rows`].
    fn by_tier(&self) -> Vec<Vec<(usize, Row)>> {
        let mut tiers: Vec<(u32, Vec<_>)> = Vec::new();
        for (place, row) in self.typed_rows().enumerate() {
            let number = row.tier.parse().unwrap_or(1);
            match tiers.iter_mut().find(|it| it.0 == number) {
                Some((_, rows)) => rows.push((place, row)),
                None => tiers.push((number, vec![(place, row)])),
            }
        }
        tiers.sort_by_key(|it| it.0);
        tiers.into_iter().map(|it| it.1).collect()
    }

    /// The row of a target.
    pub(super) fn place_of(&self, tier: usize, target: usize) -> Option<usize> {
        self.by_tier().get(tier)?.get(target).map(|it| it.0)
    }

    pub(super) fn tiers(&self, marks: &mut Marks) -> Vec<Tier> {
        let mut tiers = Vec::new();
        for rows in self.by_tier() {
            let mut targets = Vec::new();
            for (place, row) in rows {
                match row.weight.parse() {
                    Ok(weight) => targets.push(Target {
                        provider: Some(row.provider).filter(|it| !it.is_empty()),
                        model: row.model,
                        weight,
                    }),
                    Err(_) => {
                        let why = format!("the weight of {} is a whole number", row.model);
                        marks.add(format!("model-{}", place + 1), why);
                    }
                }
            }
            tiers.push(Tier { targets });
        }
        tiers
    }
}
