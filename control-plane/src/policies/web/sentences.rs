//! What a document says, in words.

use shared::{
    money::UnitPrice,
    snapshot::{
        After, Choice, Constraints, Document, Failed, Goal, Hedge, Retry, Stick, Strategy, Target,
        Tier, Usual,
    },
};

/// `When task is code: the cheapest of a, b; otherwise: small 80 %, large 20 %; then slow`
pub fn sentence(document: &Document) -> String {
    let otherwise = choice(&document.otherwise);
    if document.rules.is_empty() {
        return otherwise;
    }
    let rules = document.rules.iter().map(|it| rule(&it.when, &it.choose));
    let rules: Vec<_> = rules.collect();
    format!("{}. Otherwise: {otherwise}", rules.join(". "))
}

pub fn rule(when: &str, choose: &Choice) -> String {
    format!("When {}: {}", condition(when), choice(choose))
}

/// `task == 'code' && request.tools` as `task is code and request.tools`, where no text in it has
/// signs of its own; the document has it as it was written.
pub fn condition(when: &str) -> String {
    let is_simple = when.split(['\'', '"']).skip(1).step_by(2).all(|text| {
        text.chars().all(|it| it.is_alphanumeric() || it == '_' || it == '-' || it == '.')
    });
    if !is_simple {
        return when.to_owned();
    }
    let words = [(" == ", " is "), (" != ", " is not "), (" && ", " and "), (" || ", " or ")];
    let worded = words.iter().fold(when.to_owned(), |text, (sign, word)| text.replace(sign, word));
    worded.replace(['\'', '"'], "")
}

pub fn choice(it: &Choice) -> String {
    let among = tiers(&it.tiers, it.strategy);
    let mut said = match it.strategy {
        Strategy::Pinned => format!("{among} and nothing else"),
        Strategy::Weighted | Strategy::Priority => among,
        Strategy::Cheapest => format!("the cheapest of {among}"),
        Strategy::Fastest => format!("the fastest of {among}"),
        Strategy::Best => format!("the best of {among}"),
        Strategy::Balanced => format!("the best balance of quality, cost and time among {among}"),
        Strategy::Auto => format!("the right one for each prompt among {among}"),
    };
    if let Some(goal) = it.goal {
        said.push_str(", ");
        said.push_str(&goal_said(goal));
    }
    let bounds = constraints(&it.constraints);
    if !bounds.is_empty() {
        said.push_str(", only ");
        said.push_str(&bounds.join(" and "));
    }
    for how in calling(it) {
        said.push_str("; ");
        said.push_str(&how);
    }
    said
}

/// How its calls are tried.
pub fn calling(it: &Choice) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(fallback) = &it.fallback {
        let named: Vec<_> = fallback.on.iter().map(|it| failed(*it)).collect();
        said.push(match named.as_slice() {
            [] => "nobody else is asked when one fails".to_owned(),
            _ => format!("another is asked only when one {}", either(&named)),
        });
    }
    if let Some(Retry { attempts, first_byte_seconds, total_seconds }) = it.retry {
        said.extend(attempts.map(|it| match it {
            1 => "tried once".to_owned(),
            it => format!("tried {it} times at most"),
        }));
        let within = |it| if it == 1 { "a second".to_owned() } else { format!("{it} seconds") };
        said.extend(first_byte_seconds.map(|it| format!("an answer begins within {}", within(it))));
        said.extend(total_seconds.map(|it| format!("all is over within {}", within(it))));
    }
    if let Some(Stick { minutes }) = it.stick {
        let minutes =
            if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") };
        said.push(format!("a session keeps its model until it was quiet for {minutes}"));
    }
    if let Some(Hedge { after, most_percent }) = it.hedge {
        let after = match after {
            After::Usual(Usual::P95) => "for longer than 95 % of its answers".to_owned(),
            After::Milliseconds(it) => format!("for {it} ms"),
        };
        said.push(format!(
            "the next is asked as well where one is silent {after}, on {most_percent} % of the \
             calls at most"
        ));
    }
    said
}

pub const fn failed(it: Failed) -> &'static str {
    match it {
        Failed::TooLong => "finds the call too long",
        Failed::Model => "has no such model",
        Failed::Credential => "refuses our credential",
        Failed::Refused => "refuses the call",
        Failed::RateLimited => "has reached a limit",
        Failed::Server => "says that it failed",
        Failed::Unreachable => "cannot be reached",
        Failed::Lost => "breaks off",
        Failed::TimedOut => "takes too long",
        Failed::NotAnAnswer => "sends no answer",
        Failed::TooMuch => "sends too much",
        Failed::Unsaid => "cannot be asked so",
        Failed::LeftAlone => "is left alone",
    }
}

fn either(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn goal_said(goal: Goal) -> String {
    match goal {
        Goal::QualityPercent(it) => format!("with {it} % of the best one’s quality"),
        Goal::CostPercent(it) => format!("for at most {it} % of what the dearest costs"),
        Goal::MostMicroDollars(it) => format!("for at most ${} a call", dollars(it)),
    }
}

/// Millionths of a dollar as dollars.
pub fn dollars(millionths: u64) -> String {
    let unit = i64::try_from(millionths).ok().and_then(|it| UnitPrice::try_from(it).ok());
    unit.map_or_else(|| format!("{millionths} millionths of a dollar"), |it| it.to_string())
}

/// Where tiers lead: `sim-small 80 %, sim-large 20 %; then sim-slow`.
fn tiers(tiers: &[Tier], strategy: Strategy) -> String {
    if tiers.is_empty() {
        return "all models that the caller may use".to_owned();
    }
    let tier = |tier: &Tier| {
        let targets: Vec<_> = match tier.targets.as_slice() {
            [only] => vec![only.model.clone()],
            several if strategy == Strategy::Weighted => several
                .iter()
                .map(|it| format!("{} {} %", it.model, share(it.weight, several)))
                .collect(),
            several => several.iter().map(|it| it.model.clone()).collect(),
        };
        targets.join(", ")
    };
    tiers.iter().map(tier).collect::<Vec<_>>().join("; then ")
}

pub fn share(weight: u16, targets: &[Target]) -> u32 {
    let total: u32 = targets.iter().map(|it| u32::from(it.weight)).sum();
    // To the nearest whole percent.
    (u32::from(weight) * 200 + total).checked_div(total * 2).unwrap_or(0)
}

/// Each after "only".
pub fn constraints(it: &Constraints) -> Vec<String> {
    let mut said = Vec::new();
    for (words, list) in [
        ("these models", &it.models),
        ("other models than", &it.not_models),
        ("at", &it.providers),
        ("not at", &it.not_providers),
        ("in", &it.regions),
        ("quantized to", &it.quantizations),
    ] {
        if !list.is_empty() {
            said.push(format!("{words} {}", list.join(", ")));
        }
    }
    if it.zero_retention {
        said.push("where nothing is kept".to_owned());
    }
    if it.no_training {
        said.push("where nothing is learned from calls".to_owned());
    }
    for (what, price) in [("read", it.most_input_price), ("write", it.most_output_price)] {
        if let Some(most) = price {
            said.push(format!("those that {what} a million tokens for ${} at most", dollars(most)));
        }
    }
    if let Some(least) = it.least_context {
        said.push(format!("with a context of {least} tokens at least"));
    }
    if !it.capabilities.is_empty() {
        let title =
            |it| crate::upstreams::words::title_of(&crate::upstreams::words::CAPABILITIES, it);
        let titles: Vec<_> = it.capabilities.iter().map(title).collect();
        said.push(format!("those that can: {}", titles.join(", ")));
    }
    said
}

#[cfg(test)]
mod tests {
    use shared::snapshot::Rule;

    use super::*;

    fn target(model: &str, weight: u16) -> Target {
        Target { model: model.to_owned(), provider: None, weight }
    }

    #[test]
    fn a_policy_is_told_in_a_sentence() {
        let tier = |targets: Vec<Target>| Tier { targets };
        let told = |tiers: Vec<Tier>| sentence(&Document::of_tiers(tiers));
        assert_eq!(told(vec![tier(vec![target("small", 7)])]), "small");
        let split = tier(vec![target("small", 2), target("large", 1)]);
        assert_eq!(
            told(vec![split.clone(), tier(vec![target("slow", 1)])]),
            "small 67 %, large 33 %; then slow"
        );
        assert_eq!(share(0, &[target("small", 0)]), 0);
        let mut document = Document::of_tiers(vec![tier(vec![target("slow", 1)])]);
        let mut choose =
            Choice { strategy: Strategy::Cheapest, tiers: vec![split], ..Choice::default() };
        choose.constraints.zero_retention = true;
        choose.constraints.most_output_price = Some(2_500_000);
        let when = "task == 'code' && request.tools".to_owned();
        document.rules.push(Rule { name: "Code".to_owned(), when, choose });
        assert_eq!(
            sentence(&document),
            "When task is code and request.tools: the cheapest of small, large, only where nothing \
             is kept and those that write a million tokens for $2.50 at most. Otherwise: slow"
        );
        assert_eq!(condition("tags.a == 'x == y'"), "tags.a == 'x == y'");
    }

    #[test]
    fn how_calls_are_tried_is_told_behind_where_they_go() {
        let told = |text: &str| choice(&serde_json::from_str(text).unwrap());
        let small = r#""tiers": [{"targets": [{"model": "small"}]}]"#;
        let text = format!(
            r#"{{{small}, "fallback": {{"on": ["rate_limited", "server", "lost"]}},
                "retry": {{"attempts": 3, "first_byte_seconds": 1, "total_seconds": 60}},
                "stick": {{}}, "hedge": {{"after": "p95"}}}}"#
        );
        assert_eq!(
            told(&text),
            "small; another is asked only when one has reached a limit, says that it failed or \
             breaks off; tried 3 times at most; an answer begins within a second; all is over \
             within 60 seconds; a session keeps its model until it was quiet for 30 minutes; the \
             next is asked as well where one is silent for longer than 95 % of its answers, on \
             5 % of the calls at most"
        );
        let text = format!(
            r#"{{{small}, "fallback": {{"on": []}}, "retry": {{"attempts": 1}},
                "stick": {{"minutes": 1}}, "hedge": {{"after": 800, "most_percent": 1}}}}"#
        );
        assert_eq!(
            told(&text),
            "small; nobody else is asked when one fails; tried once; a session keeps its model \
             until it was quiet for a minute; the next is asked as well where one is silent for \
             800 ms, on 1 % of the calls at most"
        );
    }
}
