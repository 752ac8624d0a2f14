//! A policy as a form of rows: each says a tier, a model, perhaps a provider, and a weight.

use serde::Deserialize;
use shared::snapshot::{Target, Tier};

use crate::{
    policies::{Draft, Flaw, Policy, PolicyName},
    web::Problems,
};

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyForm {
    pub name: String,
    pub note: String,
    /// The version that was looked at; empty for a new policy.
    pub seen: String,
    tier: Vec<String>,
    model: Vec<String>,
    provider: Vec<String>,
    weight: Vec<String>,
}

/// One row, with what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub tier: String,
    pub model: String,
    pub provider: String,
    pub weight: String,
    pub problem: Option<String>,
}

/// Rows to fill in beside those that are there.
const SPARE: usize = 3;
const MOST_ROWS: usize = 130;

impl PolicyForm {
    pub fn leading_to(model: &str) -> Self {
        Self {
            tier: vec!["1".to_owned()],
            model: vec![model.to_owned()],
            provider: vec![String::new()],
            weight: vec!["1".to_owned()],
            ..Self::default()
        }
    }

    pub fn of(policy: &Policy) -> Self {
        let mut form =
            Self { name: policy.name.clone(), seen: policy.version.to_string(), ..Self::default() };
        for (at, tier) in policy.tiers.iter().enumerate() {
            for target in &tier.targets {
                form.tier.push((at + 1).to_string());
                form.model.push(target.model.clone());
                form.provider.push(target.provider.clone().unwrap_or_default());
                form.weight.push(target.weight.to_string());
            }
        }
        form
    }

    pub fn seen(&self) -> Option<i32> {
        self.seen.parse().ok()
    }

    /// The rows as they were typed.
    fn typed(&self) -> impl Iterator<Item = Row> {
        let at = |list: &[String], row: usize| {
            list.get(row).map(|it| it.trim().to_owned()).unwrap_or_default()
        };
        (0..self.model.len().min(MOST_ROWS)).map(move |row| Row {
            tier: at(&self.tier, row),
            model: at(&self.model, row),
            provider: at(&self.provider, row),
            weight: at(&self.weight, row),
            problem: None,
        })
    }

    /// Those that say something, and a few to fill in.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.typed().filter(|it| !it.model.is_empty()).collect();
        for _ in 0..SPARE {
            let tier = rows.last().map_or_else(|| "1".to_owned(), |it| it.tier.clone());
            rows.push(Row { tier, weight: "1".to_owned(), ..Row::default() });
        }
        rows
    }

    /// The rows that say something, by tier: for each its place in [`Self::rows`].
    fn by_tier(&self) -> Vec<Vec<usize>> {
        let mut tiers: Vec<(u32, Vec<usize>)> = Vec::new();
        for (place, row) in self.typed().filter(|it| !it.model.is_empty()).enumerate() {
            let number = row.tier.parse().unwrap_or(1);
            match tiers.iter_mut().find(|it| it.0 == number) {
                Some((_, places)) => places.push(place),
                None => tiers.push((number, vec![place])),
            }
        }
        tiers.sort_by_key(|it| it.0);
        tiers.into_iter().map(|it| it.1).collect()
    }

    /// The rows, with each flaw in the row that has it.
    pub fn rows_with(&self, flaws: &[Flaw]) -> Vec<Row> {
        let (mut rows, tiers) = (self.rows(), self.by_tier());
        for flaw in flaws {
            let places = flaw.tier.and_then(|tier| tiers.get(tier));
            let place = places.and_then(|it| it.get(flaw.target.unwrap_or(0)));
            if let Some(row) = place.and_then(|place| rows.get_mut(*place)) {
                row.problem = Some(flaw.why.to_string());
            }
        }
        rows
    }

    /// What was typed, as far as it can be read. Where it leads is checked later.
    pub fn draft(&self) -> Result<Draft, Problems> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse::<PolicyName>());
        if self.note.chars().count() > 200 || self.note.chars().any(char::is_control) {
            problems.add("note", "a note has at most 200 printable characters");
        }
        let rows = self.rows();
        let mut tiers = Vec::new();
        for places in self.by_tier() {
            let mut targets = Vec::new();
            for row in places.into_iter().filter_map(|place| rows.get(place)) {
                match row.weight.parse() {
                    Ok(weight) => targets.push(Target {
                        model: row.model.clone(),
                        provider: Some(row.provider.clone()).filter(|it| !it.is_empty()),
                        weight,
                    }),
                    Err(_) => {
                        let model = &row.model;
                        problems.add("tiers", format!("the weight of {model} is a whole number"));
                    }
                }
            }
            tiers.push(Tier { targets });
        }
        problems.check()?;
        let note = self.note.trim().to_owned();
        name.map(|name| Draft { name, tiers, note }).ok_or(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::check::Why;

    fn form(rows: &[(&str, &str, &str)]) -> PolicyForm {
        let mut form = PolicyForm { name: "auto".to_owned(), ..PolicyForm::default() };
        for (tier, model, weight) in rows {
            form.tier.push((*tier).to_owned());
            form.model.push((*model).to_owned());
            form.provider.push(String::new());
            form.weight.push((*weight).to_owned());
        }
        form
    }

    #[test]
    fn rows_become_tiers_in_the_order_of_their_numbers() {
        let form =
            form(&[("2", "slow", "1"), ("", "", ""), ("1", "small", "3"), ("1", "large", "1")]);
        let draft = form.draft().unwrap();
        let tiers: Vec<Vec<_>> = draft
            .tiers
            .iter()
            .map(|it| it.targets.iter().map(|it| (it.model.as_str(), it.weight)).collect())
            .collect();
        assert_eq!(tiers, [vec![("small", 3), ("large", 1)], vec![("slow", 1)]]);
    }

    #[test]
    fn a_flaw_stands_in_the_row_that_has_it() {
        let form = form(&[("3", "slow", "1"), ("1", "small", "3"), ("1", "tiny", "1")]);
        let why = Why::UnknownModel("tiny".to_owned());
        let flaw = Flaw { tier: Some(0), target: Some(1), why: why.clone() };
        let rows = form.rows_with(&[flaw]);
        let told: Vec<_> = rows.iter().map(|it| it.problem.clone()).collect();
        assert_eq!(told[..3], [None, None, Some(why.to_string())]);
    }

    #[test]
    fn a_form_of_a_policy_says_what_the_policy_says() {
        let tiers = form(&[("1", "small", "3"), ("1", "large", "1"), ("2", "slow", "1")]);
        let tiers = tiers.draft().unwrap().tiers;
        let policy = Policy {
            id: shared::ids::PolicyId::generate(),
            is_platforms: false,
            name: "auto".to_owned(),
            version: 3,
            tiers: tiers.clone(),
            changed_at: time::OffsetDateTime::UNIX_EPOCH,
            archived_at: None,
        };
        let form = PolicyForm::of(&policy);
        assert_eq!(form.draft().unwrap().tiers, tiers);
        assert_eq!(form.seen(), Some(3));
    }

    #[test]
    fn what_is_no_number_is_told() {
        let problems = form(&[("1", "small", "a lot")]).draft().unwrap_err();
        assert!(problems.of("tiers").is_some(), "{problems}");
    }
}
