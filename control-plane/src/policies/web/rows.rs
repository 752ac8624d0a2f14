//! A document as a form: of what is chosen where no rule decides, with a row for each target that
//! says a tier, a model, perhaps a provider, and a weight. Or as the text of all of it.

use serde::Deserialize;
use shared::{
    money::UnitPrice,
    snapshot::{Choice, Constraints, Document, Goal, Strategy, Target, Tier},
};

use super::{diff::written, sentences::dollars};
use crate::{
    policies::{Draft, Flaw, PolicyName, check::At},
    web::Problems,
};

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyForm {
    pub name: String,
    pub note: String,
    /// The version that was looked at; empty for a new policy.
    pub seen: String,
    /// `document` where its text is what was typed.
    pub view: String,
    /// All of it, as JSON; what the form does not show is kept from there.
    pub document: String,
    pub strategy: String,
    pub goal: String,
    pub goal_value: String,
    pub providers: String,
    pub regions: String,
    pub zero_retention: bool,
    pub no_training: bool,
    pub most_input_price: String,
    pub most_output_price: String,
    pub least_context: String,
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
            strategy: Strategy::Weighted.name().to_owned(),
            ..Self::default()
        }
    }

    /// `version` is the one that is in force.
    pub fn of(name: &str, document: &Document, version: i32) -> Self {
        let it = &document.otherwise;
        let limits = &it.constraints;
        let price = |it: Option<u64>| it.map(dollars).unwrap_or_default();
        let (goal, goal_value) = match it.goal {
            None => ("", String::new()),
            Some(Goal::QualityPercent(it)) => (QUALITY, it.to_string()),
            Some(Goal::CostPercent(it)) => (COST, it.to_string()),
            Some(Goal::MostMicroDollars(it)) => (DOLLARS, dollars(it)),
        };
        let mut form = Self {
            name: name.to_owned(),
            seen: version.to_string(),
            document: written(document),
            strategy: it.strategy.name().to_owned(),
            goal: goal.to_owned(),
            goal_value,
            providers: limits.providers.join(", "),
            regions: limits.regions.join(", "),
            zero_retention: limits.zero_retention,
            no_training: limits.no_training,
            most_input_price: price(limits.most_input_price),
            most_output_price: price(limits.most_output_price),
            least_context: limits.least_context.map(|it| it.to_string()).unwrap_or_default(),
            ..Self::default()
        };
        for (at, tier) in it.tiers.iter().enumerate() {
            for target in &tier.targets {
                form.tier.push((at + 1).to_string());
                form.model.push(target.model.clone());
                form.provider.push(target.provider.clone().unwrap_or_default());
                form.weight.push(target.weight.to_string());
            }
        }
        form
    }

    pub fn is_text(&self) -> bool {
        self.view == "document"
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
        for flaw in flaws.iter().filter(|it| it.at == At::Otherwise) {
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
        let document = match (self.is_text(), self.document.trim()) {
            (false, "") => Some(Document::default()),
            (_, text) => problems.take("document", read(text)),
        };
        let document = match document {
            Some(before) if !self.is_text() => {
                let otherwise = self.choice(before.otherwise, &mut problems);
                Some(Document { otherwise, ..before })
            }
            document => document,
        };
        problems.check()?;
        let note = self.note.trim().to_owned();
        match (name, document) {
            (Some(name), Some(document)) => Ok(Draft { name, document, note }),
            (_, _) => Err(problems),
        }
    }

    fn choice(&self, before: Choice, problems: &mut Problems) -> Choice {
        let named = |it: &(Strategy, &str)| it.1 == self.strategy;
        let strategy = Strategy::ALL.into_iter().find(named).map_or(before.strategy, |it| it.0);
        let goal = self.typed_goal();
        let goal = problems.take("goal_value", goal).flatten();
        let words = |text: &str| -> Vec<String> {
            text.split([',', '\n'])
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let mut price = |field, text: &str| match text.trim() {
            "" => None,
            text => problems.take(field, millionths(text)),
        };
        let most_input_price = price("most_input_price", &self.most_input_price);
        let most_output_price = price("most_output_price", &self.most_output_price);
        let least_context = match self.least_context.trim().replace([',', '_', ' '], "").as_str() {
            "" => None,
            text => problems
                .take("least_context", text.parse().map_err(|_| "enter a whole number of tokens")),
        };
        Choice {
            strategy,
            goal,
            tiers: self.tiers(problems),
            constraints: Constraints {
                providers: words(&self.providers),
                regions: words(&self.regions),
                zero_retention: self.zero_retention,
                no_training: self.no_training,
                most_input_price,
                most_output_price,
                least_context,
                ..before.constraints
            },
            ..before
        }
    }

    fn typed_goal(&self) -> Result<Option<Goal>, &'static str> {
        let typed = self.goal_value.trim();
        let percent = || typed.parse::<u8>().map_err(|_| "enter a whole number of percent");
        match self.goal.as_str() {
            QUALITY => Ok(Some(Goal::QualityPercent(percent()?))),
            COST => Ok(Some(Goal::CostPercent(percent()?))),
            DOLLARS => Ok(Some(Goal::MostMicroDollars(millionths(typed)?))),
            _ => Ok(None),
        }
    }

    fn tiers(&self, problems: &mut Problems) -> Vec<Tier> {
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
        tiers
    }
}

const QUALITY: &str = "quality_percent";
const COST: &str = "cost_percent";
const DOLLARS: &str = "most_micro_dollars";

/// With the words that the form has for them.
pub(super) const GOALS: [(&str, &str); 4] = [
    ("", "None"),
    (QUALITY, "At least this percent of the best one’s quality"),
    (COST, "At most this percent of what the dearest costs"),
    (DOLLARS, "At most so many dollars a call"),
];

pub(super) const STRATEGIES: [(&str, &str); 8] = [
    ("weighted", "Weighted: the targets of a tier share the calls by their weights"),
    ("priority", "Priority: one after the other"),
    ("pinned", "Pinned: one target and nothing else"),
    ("cheapest", "Cheapest"),
    ("fastest", "Fastest, as seen lately"),
    ("best", "Best, as expected for each prompt"),
    ("balanced", "Balanced: quality, cost and time together"),
    ("auto", "Auto: the cheapest that reaches the goal for each prompt"),
];

fn millionths(dollars: &str) -> Result<u64, &'static str> {
    let read = UnitPrice::per_million(dollars.trim().trim_start_matches('$'));
    let picos = read.map_err(|_| "enter dollars, like 0.25")?.picos();
    u64::try_from(picos).map_err(|_| "enter dollars, like 0.25")
}

/// A document of the text that somebody wrote, or where it is none.
fn read(text: &str) -> Result<Document, String> {
    let mut text = serde_json::Deserializer::from_str(text);
    let document = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner().to_string());
        if path == "." { why } else { format!("{path}: {why}") }
    })?;
    text.end().map_err(|error| error.to_string())?;
    Ok(document)
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
            .document
            .otherwise
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
        let flaw = Flaw { at: At::Otherwise, tier: Some(0), target: Some(1), why: why.clone() };
        let rows = form.rows_with(&[flaw]);
        let told: Vec<_> = rows.iter().map(|it| it.problem.clone()).collect();
        assert_eq!(told[..3], [None, None, Some(why.to_string())]);
    }

    #[test]
    fn a_form_of_a_document_says_what_the_document_says() {
        let text = r#"{
            "rules": [{"name": "Code", "when": "task == 'code'", "choose": {"strategy": "best"}}],
            "otherwise": {
                "strategy": "auto", "goal": {"most_micro_dollars": 2500},
                "retry": {"attempts": 2}, "stick": {"minutes": 5},
                "tiers": [{"targets": [{"model": "small", "provider": "acme", "weight": 3}]}],
                "constraints": {
                    "not_models": ["tiny"], "regions": ["eu", "ch"], "zero_retention": true,
                    "most_input_price": 250000, "least_context": 8000
                }
            }
        }"#;
        let document = read(text).unwrap();
        let form = PolicyForm::of("auto", &document, 3);
        assert_eq!((form.goal_value.as_str(), form.most_input_price.as_str()), ("0.0025", "0.25"));
        assert_eq!(form.draft().unwrap().document, document);
        assert_eq!(form.seen(), Some(3));
        let text = PolicyForm { view: "document".to_owned(), ..form };
        assert_eq!(text.draft().unwrap().document, document);
    }

    #[test]
    fn a_text_that_is_no_document_says_where() {
        let told = |text: &str| read(text).unwrap_err();
        let strange = told(r#"{"otherwise": {"constraints": {"region": "eu"}}}"#);
        assert!(strange.starts_with("otherwise.constraints.region: unknown field"), "{strange}");
        assert!(
            told(r#"{"otherwise": {"strategy": "dearest"}}"#).starts_with("otherwise.strategy")
        );
        assert!(!told("{").is_empty() && !told(r#"{"otherwise": {}} x"#).is_empty());
    }

    #[test]
    fn what_is_no_number_is_told() {
        let problems = form(&[("1", "small", "a lot")]).draft().unwrap_err();
        assert!(problems.of("tiers").is_some(), "{problems}");
    }
}
