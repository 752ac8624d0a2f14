use std::collections::BTreeMap;

use proptest::prelude::*;
use time::{OffsetDateTime, macros::datetime};

use super::*;
use crate::ids::{ApiKeyId, OrganizationId, ProjectId};

struct Call {
    model: String,
    tags: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    tokens: u64,
    used: u64,
    task: String,
    key: ApiKeyId,
    now: OffsetDateTime,
}

impl Facts for Call {
    fn model(&self) -> &str {
        &self.model
    }
    fn endpoint(&self) -> &str {
        "chat"
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn has_tools(&self) -> bool {
        false
    }
    fn has_images(&self) -> bool {
        false
    }
    fn input_tokens(&self) -> u64 {
        self.tokens
    }
    fn max_output_tokens(&self) -> u64 {
        256
    }
    fn key(&self) -> ApiKeyId {
        self.key
    }
    fn project(&self) -> ProjectId {
        ProjectId::from_uuid(self.key.uuid())
    }
    fn organization(&self) -> OrganizationId {
        OrganizationId::from_uuid(self.key.uuid())
    }
    fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }
    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
    fn user(&self) -> &str {
        "ada"
    }
    fn task(&self) -> &str {
        &self.task
    }
    fn language(&self) -> &str {
        "de"
    }
    fn complexity(&self) -> f64 {
        0.75
    }
    fn budget_used_percent(&self) -> u64 {
        self.used
    }
    fn now(&self) -> OffsetDateTime {
        self.now
    }
}

fn call() -> Call {
    let words = |all: &[(&str, &str)]| {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Call {
        model: "auto".to_owned(),
        tags: words(&[("team", "search"), ("cost-center", "7")]),
        metadata: words(&[("department", "legal")]),
        tokens: 1200,
        used: 91,
        task: "code".to_owned(),
        key: ApiKeyId::from_uuid(uuid::Uuid::from_u128(7)),
        // A Sunday, and still Saturday in UTC.
        now: datetime!(2026-11-29 01:30 +02:00),
    }
}

#[track_caller]
fn check(text: &str, expected: bool) {
    let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(condition.holds(&call()), Ok(expected), "{text}");
}

#[track_caller]
fn refuse(text: &str, expected: BadCondition) {
    assert_eq!(Condition::parse(text).unwrap_err(), expected, "{text}");
}

#[test]
fn whatever_is_known_of_a_call_can_be_asked() {
    for held in [
        "task == 'code'",
        "task in ['code', 'math_reasoning'] && request.input_tokens > 1000",
        "request.model == \"auto\" && request.endpoint == 'chat'",
        "request.stream && !request.tools && !request.images",
        "request.max_output_tokens == 256",
        "key.id == 'key_00000000000000000000000000000007'",
        "project.id.startsWith('prj_') && organization.id.startsWith('org_')",
        "tags.team == 'search'",
        "tags['cost-center'] == '7'",
        "'team' in tags && has(tags.team) && !has(tags.nothing)",
        "size(tags) == 2",
        "metadata.department == 'legal'",
        "user == 'ada' && language == 'de' && complexity > 0.7",
        "budget.used_percent >= 90",
        "now.hour == 23 && now.weekday == 6 && now.day == 28",
        "tags.exists(it, it.startsWith('te'))",
        "['a', 'b'].all(it, it != task)",
        "request.input_tokens / 100 == 12",
        "(request.tools ? 1 : 2) == 2",
        "complexity > 0",
    ] {
        check(held, true);
    }
    check("task != 'code'", false);
    check("request.tools || tags.team.contains('x')", false);
}

#[test]
fn what_a_caller_did_not_say_is_empty() {
    check("tags.nobody == ''", true);
    check("tags.nobody == 'x'", false);
    check("metadata['nobody'] != 'x'", true);
}

#[test]
fn names_and_functions_that_there_are_not_are_named() {
    let name = |it: &str| BadCondition::UnknownName(it.to_owned());
    let function = |it: &str| BadCondition::UnknownFunction(it.to_owned());
    refuse("taks == 'code'", name("taks"));
    refuse("request.size > 1", name("request.size"));
    refuse("request.model.name == ''", name("request.model.name"));
    refuse("request == 1", name("request"));
    refuse("tags.a.b == ''", name("tags.a.b"));
    refuse("has(request.nothing)", name("request.nothing"));
    refuse("tags.exists(it, it.name == '')", name("it.name"));
    refuse("false && nothing", name("nothing"));
    refuse("task.matches('c.*')", function("matches"));
    refuse("now() > 1", function("now"));
    refuse("{'a': 1}['a'] == 1", function("[ ]"));
    refuse("tags[user] == ''", function("[ ]"));
    refuse("b'a' == b'a'", function("bytes"));
    refuse("size({}) == 0", function("{}"));
}

#[test]
fn what_is_not_true_or_false_or_not_of_a_kind_is_refused_beforehand() {
    refuse("task", BadCondition::NotTrueOrFalse("a text".to_owned()));
    refuse("1 + 1", BadCondition::NotTrueOrFalse("a number".to_owned()));
    for text in [
        "task == 1",
        "false && task == 1",
        "task > 1",
        "task && true",
        "true || task",
        "!task",
        "request.input_tokens + 'a' == 'a'",
        "size(1) == 1",
        "task in 'code'",
        "task.startsWith(1)",
        "['a'].exists(it, it > 1)",
        "(task ? 1 : 2) == 1",
    ] {
        let refused = Condition::parse(text).unwrap_err();
        assert!(matches!(refused, BadCondition::Mismatch(_)), "{text}: {refused}");
    }
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, expected) in [("task ==", 7), ("task = 'code'", 5), ("'code", 0), ("a b", 2)] {
        let refused = Condition::parse(text).unwrap_err();
        let BadCondition::Unreadable { at, why } = refused else { panic!("{text}: {refused}") };
        assert!(!why.is_empty(), "{text}");
        assert!(at.abs_diff(expected) <= 1, "{text}: {at}: {why}");
    }
}

#[test]
fn conditions_are_bounded() {
    refuse("", BadCondition::Length);
    refuse(&format!("task == '{}'", "x".repeat(LONGEST)), BadCondition::Length);
    refuse("tags.exists(a, tags.exists(b, a == b))", BadCondition::Loops);
    refuse("tags.all(a, a != '') && tags.all(a, a != '')", BadCondition::Loops);
    refuse(&format!("1{} > 0", "+1".repeat(119)), BadCondition::Deep);
    // Whatever is as deep as can be, and much deeper, is refused on the stack of a small thread.
    for of in
        ["(", "[", "{", "-(", "!(", "-", "!", "1+", "1-", "1<", "1?", "1?1:", "a.", "a[", "f("]
    {
        for times in [12, 13, 30, 60, 119, 120, 300, 900] {
            let open = of.repeat(times);
            let closed = of.chars().rev().map(|it| match it {
                '(' => ')',
                '[' => ']',
                '{' => '}',
                _ => ' ',
            });
            let closed = closed.collect::<String>().repeat(times);
            for text in [open.clone(), format!("{open}1"), format!("{open}1{closed}")] {
                let _ = Condition::parse(&text);
            }
        }
    }
    for chain in [".a", ".size()", "+1", "==1", "[0]", "?1:1", " in a"] {
        for times in [12, 60, 119, 300] {
            let _ = Condition::parse(&format!("task{}", chain.repeat(times)));
        }
    }
    let refused = Condition::parse(&format!("{}true{}", "(".repeat(40), ")".repeat(40)));
    assert!(refused.is_err());
    // Many in a row are no depth.
    let many = vec!["task == 'a'"; 55].join(" || ");
    assert!(Condition::parse(&many).is_ok());
}

#[test]
fn what_goes_wrong_with_a_call_is_told_without_what_it_said() {
    let told = |text: &str, call: &Call| Condition::parse(text).unwrap().holds(call).unwrap_err();
    let idle = Call { used: 0, ..call() };
    assert_eq!(told("100 / budget.used_percent > 1", &idle).to_string(), "it divides by zero");
    assert_eq!(told("100 % budget.used_percent > 1", &idle).to_string(), "it divides by zero");
    let endless = Call { tokens: u64::MAX, ..call() };
    assert_eq!(told("request.input_tokens + 1 > 1", &endless).to_string(), "a number is too large");
    // One side that is known decides.
    let either = Condition::parse("100 / budget.used_percent > 1 || task == 'code'").unwrap();
    assert_eq!(either.holds(&idle), Ok(true));
}

#[test]
fn what_asks_for_nothing_is_always_the_same() {
    let constant = |text: &str| Condition::parse(text).unwrap().constant();
    assert_eq!(constant("false"), Some(false));
    assert_eq!(constant("1 > 2 || 'a' in ['b']"), Some(false));
    assert_eq!(constant("true"), Some(true));
    assert_eq!(constant("false && task == 'code'"), None);
    let parse = |text: &str| Condition::parse(text).unwrap();
    assert_eq!(parse("task=='code'"), parse("  task == \"code\" "));
    assert_ne!(parse("task == 'code'"), parse("task == 'qa'"));
}

/// Texts that are mostly conditions.
fn text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("task".to_owned()),
        Just("tags".to_owned()),
        Just("tags.team".to_owned()),
        Just("request.input_tokens".to_owned()),
        Just("complexity".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("18446744073709551615u".to_owned()),
        any::<i64>().prop_map(|it| it.to_string()),
        any::<f64>().prop_map(|it| format!("{it:?}")),
        "[a-z'\\\\]{0,4}".prop_map(|it| format!("'{it}'")),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operators = "&&|\\|\\||==|!=|<|>|<=|>=|\\+|-|\\*|/|%| in ";
        prop_oneof![
            (inner.clone(), operators, inner.clone())
                .prop_map(|(a, op, b)| format!("({a}{op}{b})")),
            inner.clone().prop_map(|it| format!("!({it})")),
            inner.clone().prop_map(|it| format!("-({it})")),
            inner.clone().prop_map(|it| format!("size({it})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a},{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}.exists(x, x == {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}.map(x, {b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}?{b}:{c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_typed_is_a_panic(text in "\\PC{0,80}|[(\\[{.?:a'\"+!]{0,200}") {
        let _ = Condition::parse(&text);
    }

    #[test]
    fn nothing_that_is_a_condition_is_a_panic(text in text(), tokens: u64, used in 0u64..3) {
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.holds(&Call { tokens, used, ..call() });
            prop_assert_eq!(Condition::parse(condition.text()), Ok(condition));
        }
    }
}

/// Tells what reading and evaluating take: `cargo test --release -p shared -- --ignored evaluation`.
#[test]
#[ignore = "measures"]
fn an_evaluation_takes_some_microseconds() {
    let calls = 100_000;
    for text in [
        "task == 'code'",
        "tags.team == 'search' && request.input_tokens > 1000",
        "task in ['code', 'math_reasoning'] && budget.used_percent < 95 && language != 'en'",
        "tags.exists(it, it.startsWith('te'))",
    ] {
        let begun = std::time::Instant::now();
        let condition = Condition::parse(text).unwrap();
        let read = begun.elapsed();
        let (call, begun) = (call(), std::time::Instant::now());
        let held = (0..calls).filter(|_| condition.holds(&call) == Ok(true)).count();
        assert_eq!(held, calls);
        eprintln!("{text}: read in {read:?}, evaluated in {:?}", begun.elapsed() / 100_000);
    }
}
