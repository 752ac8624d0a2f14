use proptest::prelude::*;
use shared::{
    ids::ApiKeyId,
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{Assurances, Model},
};

use super::*;
use crate::{keys::Restricted, upstreams::Served};

fn target(model: &str, provider: Option<&str>, weight: u16) -> Target {
    Target { model: model.to_owned(), provider: provider.map(str::to_owned), weight }
}

fn tier(targets: &[Target]) -> Tier {
    Tier { targets: targets.to_vec() }
}

fn served(name: &str, vendor: &str, region: Option<&str>) -> Served {
    let each = |text| UnitPrice::per_million(text).unwrap();
    let price = Price::flat(Rates::of_text(each("0.5"), each("2"))).unwrap();
    let price = Some(PinnedPrice { revision: 1, price });
    Served {
        model: Model { price, ..Model::of_text(name, name, 8_000, 1_000) },
        vendor: vendor.to_owned(),
        region: region.map(str::to_owned),
        assurances: Assurances { zero_retention: vendor == "acme", no_training: false },
    }
}

fn known() -> Known {
    Known {
        models: vec![
            served("small", "acme", Some("eu")),
            served("small", "other", None),
            served("large", "acme", Some("eu")),
        ],
        policies: vec!["auto".to_owned(), "small".to_owned()],
    }
}

fn told(document: &Document) -> Vec<String> {
    flaws(document, &known()).map_or_else(|it| it.told().collect(), |()| Vec::new())
}

#[track_caller]
fn check(tiers: &[Tier], expected: &[&str]) {
    assert_eq!(told(&Document::of_tiers(tiers.to_vec())), expected);
}

/// Of a document as people write it.
#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let document: Document = serde_json::from_str(text).unwrap();
    assert_eq!(told(&document), expected, "{text}");
}

#[test]
fn an_alias_a_split_and_fallbacks_are_all_fine() {
    check(&[tier(&[target("small", None, 1)])], &[]);
    check(&[tier(&[target("small", Some("acme"), 9), target("large", None, 1)])], &[]);
    check(&[tier(&[target("small", None, 1)]), tier(&[target("large", None, 1)])], &[]);
    check(&[tier(&[target("small", None, 0), target("large", None, 1)])], &[]);
}

#[test]
fn what_cannot_be_is_told_with_its_path() {
    check(&[], &["tiers: a policy has from 1 to 8 tiers"]);
    check(&[tier(&[])], &["tiers[0].targets: a tier has from 1 to 16 targets"]);
    check(
        &[tier(&[target("small", None, 1)]), tier(&[target("tiny", None, 1)])],
        &[r#"tiers[1].targets[0].model: there is no model "tiny""#],
    );
    check(
        &[tier(&[target("auto", None, 1)])],
        &[
            r#"tiers[0].targets[0].model: "auto" is a routing policy, and a policy leads to models only"#,
        ],
    );
    check(
        &[tier(&[target("large", Some("other"), 1)])],
        &[r#"tiers[0].targets[0].provider: no provider "other" serves "large""#],
    );
    check(
        &[tier(&[target("small", None, 0), target("small", None, 0)])],
        &[
            "tiers[0].targets[1]: the tier leads there already",
            "tiers[0].targets: the weights of a tier are not all 0",
        ],
    );
    check(
        &[tier(&[target("small", None, 1001)])],
        &["tiers[0].targets[0].weight: a weight is a whole number from 0 to 1000"],
    );
}

#[test]
fn a_strategy_goes_with_what_it_chooses_among() {
    let otherwise = |it: &str| format!(r#"{{"otherwise": {it}}}"#);
    let small = r#"{"targets": [{"model": "small"}]}"#;
    let both = r#"{"targets": [{"model": "small"}, {"model": "large"}]}"#;
    for fine in [
        r#"{"strategy": "cheapest"}"#.to_owned(),
        r#"{"strategy": "auto", "goal": {"quality_percent": 95}}"#.to_owned(),
        format!(r#"{{"strategy": "pinned", "tiers": [{small}]}}"#),
        format!(r#"{{"strategy": "best", "tiers": [{both}]}}"#),
        format!(r#"{{"strategy": "priority", "tiers": [{small}, {small}]}}"#),
    ] {
        says(&otherwise(&fine), &[]);
    }
    says(
        &otherwise(&format!(r#"{{"strategy": "pinned", "tiers": [{both}]}}"#)),
        &["otherwise.tiers: pinned leads to one target"],
    );
    says(
        &otherwise(&format!(r#"{{"strategy": "priority", "tiers": [{both}]}}"#)),
        &[
            "otherwise.tiers: priority goes by the order of tiers: put each target into a tier of its own",
        ],
    );
    says(
        &otherwise(r#"{"strategy": "fastest", "goal": {"cost_percent": 30}}"#),
        &["otherwise.goal: auto and balanced have a goal, and fastest has none"],
    );
    says(
        &otherwise(r#"{"strategy": "auto", "goal": {"cost_percent": 0}}"#),
        &["otherwise.goal: a share is from 1 to 100 percent"],
    );
    says(
        &otherwise(r#"{"strategy": "auto", "goal": {"most_micro_dollars": 0}}"#),
        &["otherwise.goal: a call costs something"],
    );
}

#[test]
fn a_rule_that_takes_no_call_is_told() {
    let rule = |name: &str, when: &str| {
        format!(r#"{{"name": "{name}", "when": "{when}", "choose": {{"strategy": "best"}}}}"#)
    };
    let with = |rules: &[String]| {
        format!(r#"{{"rules": [{}], "otherwise": {{"strategy": "best"}}}}"#, rules.join(","))
    };
    says(&with(&[rule("a", "task == 'code'"), rule("b", "task == 'qa'")]), &[]);
    says(&with(&[rule("a", "taks == 'code'")]), &[r#"rules[0].when: nothing is called "taks""#]);
    says(&with(&[rule("a", "1 > 2")]), &["rules[0].when: the condition is never true"]);
    says(
        &with(&[rule("a", "task == 'code'"), rule("b", "task=='code'")]),
        &[r#"rules[1].when: the rule "a" before it has the same condition, and takes its calls"#],
    );
    says(
        &with(&[rule("a", "true"), rule("a", "task == 'code'")]),
        &[
            "rules[1]: a rule before it has the same name",
            r#"rules[1]: the rule "a" before it is always true, and takes its calls"#,
        ],
    );
    says(
        &with(&[rule("", "true")]),
        &["rules[0].name: a rule's name has 1 to 64 printable characters"],
    );
    let many: Vec<_> =
        (0..21).map(|it| rule(&it.to_string(), &format!("task == '{it}'"))).collect();
    says(&with(&many), &["rules: a policy has at most 20 rules"]);
}

#[test]
fn constraints_name_what_there_is_and_leave_somebody() {
    let with = |it: &str| {
        format!(r#"{{"otherwise": {{"strategy": "cheapest", "constraints": {{{it}}}}}}}"#)
    };
    for fine in [
        r#""regions": ["eu"], "zero_retention": true"#,
        r#""providers": ["other"], "not_models": ["large"]"#,
        r#""most_input_price": 500000, "most_output_price": 2000000, "least_context": 8000"#,
    ] {
        says(&with(fine), &[]);
    }
    says(
        &with(r#""models": ["small", "tiny"]"#),
        &[r#"otherwise.constraints.models: there is no model "tiny""#],
    );
    says(
        &with(r#""not_providers": ["nobody"]"#),
        &[r#"otherwise.constraints.not_providers: there is no provider "nobody""#],
    );
    says(
        &with(r#""providers": ["other"], "zero_retention": true"#),
        &["otherwise.constraints: no model can take its calls: small at acme is not at one of \
             its providers, small at other is not known to keep nothing, large at acme is not at \
             one of its providers"],
    );
    for nobodys in [
        r#""no_training": true"#,
        r#""regions": ["us"]"#,
        r#""most_output_price": 1999999"#,
        r#""least_context": 8001"#,
        r#""capabilities": ["tools"]"#,
        r#""quantizations": ["fp8"]"#,
    ] {
        let document = serde_json::from_str(&with(nobodys)).unwrap();
        let told = told(&document);
        assert!(told[0].starts_with("otherwise.constraints: no model can take"), "{told:?}");
    }
}

#[test]
fn a_key_is_stranded_by_what_leads_it_nowhere_any_more() {
    let key = |name: &str, models: &[&str]| Restricted {
        id: ApiKeyId::generate(),
        name: name.to_owned(),
        project: "web".to_owned(),
        models: models.iter().map(|it| (*it).to_owned()).collect(),
    };
    let keys =
        [key("by-model", &["small"]), key("by-name", &["auto"]), key("elsewhere", &["tiny"])];
    let of = |model: &str| Document::of_tiers(vec![tier(&[target(model, None, 1)])]);
    let (small, large) = (of("small"), of("large"));
    let known = known();
    let names = |name: &str, after: &Document| {
        let before = Led { name: "auto", document: &small };
        let all = stranded(&keys, before, Led { name, document: after }, &known);
        all.0.iter().map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    assert!(names("auto", &small).is_empty());
    assert_eq!(names("auto", &large), ["by-model"]);
    assert_eq!(names("other", &small), ["by-name"]);
    let mut ruled = small.clone();
    let choose = large.otherwise.clone();
    ruled.rules.push(Rule { name: "Code".to_owned(), when: "task == 'code'".to_owned(), choose });
    assert_eq!(names("auto", &ruled), ["by-model"]);
    let before = Led { name: "auto", document: &small };
    let all = stranded(&keys, before, Led { name: "x", document: &large }, &known);
    assert_eq!(
        all.to_string(),
        r#"2 keys of the project "web" would have no model left: "by-model", "by-name""#
    );
}

proptest! {
    #[test]
    fn what_is_fine_leads_somewhere(
        models in proptest::collection::vec(
            proptest::collection::vec(("small|large|auto|none", 0u16..1100), 0..4), 0..10),
    ) {
        let targets = |it: &Vec<(String, u16)>| Tier {
            targets: it.iter().map(|(model, weight)| target(model, None, *weight)).collect(),
        };
        let tiers: Vec<_> = models.iter().map(targets).collect();
        if flaws(&Document::of_tiers(tiers.clone()), &known()).is_ok() {
            prop_assert!(!tiers.is_empty());
            for tier in &tiers {
                prop_assert!(tier.targets.iter().any(|it| it.weight > 0));
                prop_assert!(tier.targets.iter().all(|it| known().is_model(&it.model)));
            }
        }
    }
}

#[test]
fn how_calls_are_tried_has_its_bounds() {
    let otherwise = |it: &str| {
        format!(r#"{{"otherwise": {{"tiers": [{{"targets": [{{"model": "small"}}]}}], {it}}}}}"#)
    };
    for fine in [
        r#""fallback": {"on": []}"#,
        r#""fallback": {"on": ["rate_limited", "timed_out"]}, "retry": {"attempts": 16}"#,
        r#""retry": {"first_byte_seconds": 1, "total_seconds": 86400}"#,
        r#""stick": {}, "hedge": {"after": "p95", "most_percent": 20}"#,
        r#""hedge": {"after": 50}"#,
    ] {
        says(&otherwise(fine), &[]);
    }
    for (flawed, told) in [
        (r#""fallback": {"on": ["lost", "lost"]}"#, "fallback.on: a failure is named once"),
        (r#""retry": {}"#, "retry: say how often a call is tried, or for how long"),
        (r#""retry": {"attempts": 17}"#, "retry.attempts: a call is tried from 1 to 16 times"),
        (
            r#""retry": {"total_seconds": 0}"#,
            "retry.total_seconds: a call may take from 1 to 86400 seconds",
        ),
        (
            r#""stick": {"minutes": 1441}"#,
            "stick.minutes: a session keeps its model for 1 to 1440 minutes",
        ),
        (
            r#""hedge": {"after": 49}"#,
            r#"hedge.after: a second is asked after "p95", or after 50 to 60000 milliseconds"#,
        ),
        (
            r#""hedge": {"after": "p95", "most_percent": 21}"#,
            "hedge.most_percent: from 1 to 20 percent of the calls may be sent to a second",
        ),
        (
            r#""retry": {"attempts": 1}, "hedge": {"after": "p95"}"#,
            "hedge: a call that is tried once is never sent to a second",
        ),
    ] {
        says(&otherwise(flawed), &[&format!("otherwise.{told}")]);
    }
}
