//! Whether a document leads somewhere, and where it says what cannot be.

mod eligible;
mod flaw;
mod stranded;
#[cfg(test)]
mod tests;

use shared::{
    condition::Condition,
    snapshot::{
        After, Choice, Document, Fallback, Goal, Hedge, Retry, Rule, Stick, Strategy, Target, Tier,
        Timeouts, Usual,
    },
};

pub use self::{
    eligible::Known,
    flaw::{At, Flaw, Flaws, Why},
    stranded::{Led, Stranded, StrandedKey, stranded},
};

const MOST_RULES: usize = 20;
const MOST_TIERS: usize = 8;
const MOST_TARGETS: usize = 16;
const MOST_WEIGHT: u16 = 1000;
/// Of any list of a constraint.
const MOST_WORDS: usize = 100;

/// Everything that is wrong, in the order in which it stands there.
pub(super) fn flaws(document: &Document, known: &Known) -> Result<(), Flaws> {
    let mut checked = Checked { known, flaws: Vec::new() };
    if document.rules.len() > MOST_RULES {
        checked.add(At::Rules, Why::Rules);
    }
    checked.rules(&document.rules);
    checked.choice(At::Otherwise, &document.otherwise);
    let is_plain = *document == Document::of_tiers(document.otherwise.tiers.clone());
    Flaws::of(checked.flaws, is_plain)
}

struct Checked<'a> {
    known: &'a Known,
    flaws: Vec<Flaw>,
}

impl Checked<'_> {
    fn add(&mut self, at: At, why: Why) {
        self.flaws.push(Flaw { at, tier: None, target: None, why });
    }

    fn rules(&mut self, rules: &[Rule]) {
        let mut before: Vec<(&str, Condition)> = Vec::new();
        let mut all_taken: Option<String> = None;
        for (place, rule) in rules.iter().enumerate().take(MOST_RULES) {
            let at = At::Rule(place);
            let is_named = (1..=64).contains(&rule.name.chars().count())
                && !rule.name.chars().any(char::is_control);
            if !is_named {
                self.add(at, Why::RuleName);
            }
            if rules.iter().take(place).any(|it| it.name == rule.name) {
                self.add(at, Why::RuleTwice);
            }
            if let Some(name) = &all_taken {
                self.add(at, Why::Behind(shown(name)));
            }
            match Condition::parse(&rule.when) {
                Err(why) => self.add(at, Why::When(why)),
                Ok(condition) => {
                    match condition.constant() {
                        Some(false) => self.add(at, Why::Never),
                        Some(true) => all_taken = Some(rule.name.clone()),
                        None => (),
                    }
                    if let Some((name, _)) = before.iter().find(|it| it.1 == condition) {
                        self.add(at, Why::Same(shown(name)));
                    }
                    before.push((&rule.name, condition));
                }
            }
            self.choice(at, &rule.choose);
        }
    }

    fn choice(&mut self, at: At, choice: &Choice) {
        let before = self.flaws.len();
        self.strategy(at, choice);
        self.tiers(at, choice);
        self.constraints(at, choice);
        self.calling(at, choice);
        // What is wrong already would be said in two ways.
        if self.flaws.len() == before
            && let Some(why) = self.known.nobody_for(choice)
        {
            self.add(at, Why::Nobody(why));
        }
    }

    fn strategy(&mut self, at: At, choice: &Choice) {
        let has_goal = match choice.strategy {
            Strategy::Auto | Strategy::Balanced => true,
            Strategy::Pinned
            | Strategy::Weighted
            | Strategy::Priority
            | Strategy::Cheapest
            | Strategy::Fastest
            | Strategy::Best => false,
        };
        match choice.goal {
            Some(_) if !has_goal => self.add(at, Why::NoGoal(choice.strategy)),
            Some(Goal::QualityPercent(it) | Goal::CostPercent(it)) if !(1..=100).contains(&it) => {
                self.add(at, Why::Percent);
            }
            Some(Goal::MostMicroDollars(0)) => self.add(at, Why::Free),
            Some(_) | None => (),
        }
        let targets = || choice.tiers.iter().map(|it| it.targets.len());
        match choice.strategy {
            Strategy::Pinned if targets().sum::<usize>() != 1 => self.add(at, Why::Pinned),
            Strategy::Priority if targets().any(|it| it > 1) => self.add(at, Why::Priority),
            Strategy::Pinned
            | Strategy::Priority
            | Strategy::Weighted
            | Strategy::Cheapest
            | Strategy::Fastest
            | Strategy::Best
            | Strategy::Balanced
            | Strategy::Auto => (),
        }
    }

    fn tiers(&mut self, at: At, choice: &Choice) {
        let fewest = usize::from(!choice.strategy.compares());
        if !(fewest..=MOST_TIERS).contains(&choice.tiers.len()) {
            self.add(at, if fewest == 0 { Why::TooManyTiers } else { Why::Tiers });
            return;
        }
        for (place, tier) in choice.tiers.iter().enumerate() {
            self.tier((at, place), tier, choice.strategy);
        }
    }

    fn tier(&mut self, (at, tier): (At, usize), of: &Tier, strategy: Strategy) {
        let mut add = |target, why| self.flaws.push(Flaw { at, tier: Some(tier), target, why });
        if !(1..=MOST_TARGETS).contains(&of.targets.len()) {
            add(None, Why::Targets);
            return;
        }
        for (place, target) in of.targets.iter().enumerate() {
            let before = of.targets.iter().take(place);
            if let Some(why) = wrong_target(target, before, self.known) {
                add(Some(place), why);
            }
        }
        if strategy == Strategy::Weighted && of.targets.iter().all(|it| it.weight == 0) {
            add(None, Why::NoWeight);
        }
    }

    /// How its calls are tried.
    fn calling(&mut self, at: At, choice: &Choice) {
        if let Some(Fallback { on }) = &choice.fallback
            && on.iter().enumerate().any(|(place, it)| on.iter().take(place).any(|one| one == it))
        {
            self.add(at, Why::FailureTwice);
        }
        let retry = choice.retry.unwrap_or_default();
        let Retry { attempts, first_byte_seconds, total_seconds } = retry;
        if choice.retry == Some(Retry::default()) {
            self.add(at, Why::NoTerms);
        }
        if attempts.is_some_and(|it| !(1..=Retry::MOST_ATTEMPTS).contains(&it)) {
            self.add(at, Why::Attempts);
        }
        for (field, seconds) in [
            (".retry.first_byte_seconds", first_byte_seconds),
            (".retry.total_seconds", total_seconds),
        ] {
            if seconds.is_some_and(|it| !Timeouts::RANGE.contains(&it)) {
                self.add(at, Why::Seconds(field));
            }
        }
        if choice.stick.is_some_and(|it| !(1..=Stick::MOST_MINUTES).contains(&it.minutes)) {
            self.add(at, Why::Minutes);
        }
        let Some(hedge) = choice.hedge else { return };
        if !(1..=Hedge::MOST_PERCENT).contains(&hedge.most_percent) {
            self.add(at, Why::HedgePercent);
        }
        match hedge.after {
            After::Milliseconds(it) if !Hedge::MILLISECONDS.contains(&it) => {
                self.add(at, Why::HedgeAfter);
            }
            After::Milliseconds(_) | After::Usual(Usual::P95) => (),
        }
        if attempts == Some(1) {
            self.add(at, Why::HedgeAlone);
        }
    }

    fn constraints(&mut self, at: At, choice: &Choice) {
        let it = &choice.constraints;
        for (field, models) in [("models", &it.models), ("not_models", &it.not_models)] {
            if let Some(name) = models.iter().find(|name| !self.known.is_model(name)) {
                self.add(at, Why::NoSuchModel { field, name: shown(name) });
            }
        }
        for (field, names) in [("providers", &it.providers), ("not_providers", &it.not_providers)] {
            if let Some(name) = names.iter().find(|name| !self.known.is_provider(name)) {
                self.add(at, Why::NoSuchProvider { field, name: shown(name) });
            }
        }
        let lists = [
            ("models", it.models.len()),
            ("not_models", it.not_models.len()),
            ("providers", it.providers.len()),
            ("not_providers", it.not_providers.len()),
            ("regions", it.regions.len()),
            ("capabilities", it.capabilities.len()),
            ("quantizations", it.quantizations.len()),
        ];
        if let Some((field, _)) = lists.into_iter().find(|it| it.1 > MOST_WORDS) {
            self.add(at, Why::Words(field));
        }
        for (field, words) in [("regions", &it.regions), ("quantizations", &it.quantizations)] {
            let is_word = |it: &String| (1..=63).contains(&it.len()) && it.is_ascii();
            if !words.iter().all(is_word) {
                self.add(at, Why::Word(field));
            }
        }
    }
}

fn wrong_target<'a>(
    target: &Target,
    mut before: impl Iterator<Item = &'a Target>,
    known: &Known,
) -> Option<Why> {
    let model = &target.model;
    if !known.is_model(model) {
        let is_policy = known.policies.contains(model);
        let why = if is_policy { Why::IsPolicy } else { Why::UnknownModel };
        return Some(why(shown(model)));
    }
    if let Some(provider) = target.provider.as_ref().filter(|it| !known.serves(it, model)) {
        return Some(Why::NotThere { provider: shown(provider), model: model.clone() });
    }
    if target.weight > MOST_WEIGHT {
        return Some(Why::Weight);
    }
    let is_same = |it: &Target| it.model == *model && it.provider == target.provider;
    before.any(is_same).then_some(Why::Twice)
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
