//! What forms say of documents, and documents of forms.

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
    strategy::Strategy as Random,
};
use shared::snapshot::{
    After, Choice, Constraints, Failed, Fallback, Goal, Hedge, Retry, Rule, Stick, Strategy,
    Target, Tier, Usual,
};

use super::*;
use crate::{
    policies::{
        Flaws,
        check::{At, Flaw, Why},
    },
    upstreams::words::CAPABILITIES,
};

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

fn of_text(text: &str) -> PolicyForm {
    PolicyForm::of("auto", &read(text).unwrap(), 3)
}

fn otherwise(of: &PolicyForm) -> Choice {
    of.draft().unwrap().document.otherwise
}

/// Presses a button, which has to do what it says.
fn press(form: PolicyForm, button: &str) -> PolicyForm {
    let form = PolicyForm { act: button.to_owned(), ..form };
    let (form, marks) = form.clone().after(form.act().unwrap());
    assert!(marks.is_empty(), "{marks:?}");
    assert_eq!(form.act(), None);
    form
}

fn names(of: &PolicyForm) -> Vec<String> {
    of.draft().unwrap().document.rules.into_iter().map(|it| it.name).collect()
}

const THREE: &str = r#"{
    "rules": [
        {"name": "A", "when": "task == 'code'", "choose": {"strategy": "best"}},
        {"name": "B", "when": "user == 'b'", "choose": {"strategy": "cheapest"}},
        {"name": "C", "when": "user == 'c'", "choose": {"strategy": "fastest"}}
    ],
    "otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}
}"#;

#[test]
fn rows_become_tiers_in_the_order_of_their_numbers() {
    let form = form(&[("2", "slow", "1"), ("", "", ""), ("1", "small", "3"), ("1", "large", "1")]);
    let tiers: Vec<Vec<_>> = otherwise(&form)
        .tiers
        .into_iter()
        .map(|it| it.targets.into_iter().map(|it| (it.model, it.weight)).collect())
        .collect();
    let target = |model: &str, weight| (model.to_owned(), weight);
    assert_eq!(tiers, [vec![target("small", 3), target("large", 1)], vec![target("slow", 1)]]);
}

#[test]
fn a_flaw_stands_at_the_field_that_has_it() {
    let rows = form(&[("3", "slow", "1"), ("1", "small", "3"), ("1", "tiny", "1")]);
    let flaw = |at, tier, target, why| Flaw { at, tier, target, why };
    let unknown = || Why::UnknownModel("tiny".to_owned());
    let tiny = flaw(At::Otherwise, Some(0), Some(1), unknown());
    let list = vec![
        tiny,
        flaw(At::Otherwise, None, None, Why::Minutes),
        flaw(At::Rule(1), None, None, Why::Never),
        flaw(At::Rules, None, None, Why::Rules),
    ];
    let flaws = Flaws::of(list, false).unwrap_err();
    let fields = |form: &PolicyForm| {
        form.marks(&flaws).list().iter().map(|it| it.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fields(&rows), ["model-3", "stick_minutes", "rule-2", "rules"]);
    let marks = rows.marks(&flaws);
    let told = marks.of("model-3").unwrap();
    assert_eq!(told, r#"otherwise.tiers[0].targets[1].model: there is no model "tiny""#);
    let opened = press(of_text(THREE), "open-1");
    assert_eq!(fields(&opened), ["otherwise", "otherwise", "when", "rules"]);
    let text = press(of_text(THREE), "text");
    assert!(fields(&text).iter().all(|it| it == "document"));
}

#[test]
fn what_has_a_flaw_is_opened() {
    let flaws = |at| {
        let list = vec![Flaw { at, tier: None, target: None, why: Why::Minutes }];
        Flaws::of(list, false).unwrap_err()
    };
    let mut typed = of_text(THREE);
    typed.strategy = "fastest".to_owned();
    let opened = typed.clone().at_flaw(&flaws(At::Rule(2)));
    assert_eq!((opened.opened(), opened.rule_name.as_str()), (Some(2), "C"));
    assert_eq!(otherwise(&opened).strategy, Strategy::Fastest);
    assert_eq!(typed.clone().at_flaw(&flaws(At::Otherwise)), typed);
    assert_eq!(opened.at_flaw(&flaws(At::Otherwise)).open, "");
}

#[test]
fn rules_are_added_moved_and_taken_away() {
    let three = of_text(THREE);
    assert_eq!(names(&press(three.clone(), "up-2")), ["A", "C", "B"]);
    assert_eq!(names(&press(three.clone(), "down-0")), ["B", "A", "C"]);
    assert_eq!(names(&press(three.clone(), "up-0")), ["A", "B", "C"]);
    assert_eq!(names(&press(three.clone(), "down-2")), ["A", "B", "C"]);
    assert_eq!(names(&press(three.clone(), "remove-1")), ["A", "C"]);
    assert_eq!(names(&press(three.clone(), "remove-7")), ["A", "B", "C"]);
    let added = press(three.clone(), "add");
    assert_eq!((added.opened(), added.rule_name.as_str()), (Some(3), "Rule 4"));
    assert!(added.is_focused("rule_name"));
    assert_eq!(names(&press(press(added, "up-3"), "remove-1")), ["A", "Rule 4", "C"]);
    // Whoever goes on with the keyboard finds the same button, or the one that is left.
    assert!(press(three.clone(), "up-2").is_focused("up-1"));
    assert!(press(three.clone(), "up-1").is_focused("down-0"));
    assert!(press(three.clone(), "down-1").is_focused("up-2"));
    assert!(press(three, "remove-0").is_focused("rules"));
}

#[test]
fn what_is_open_goes_with_its_rule() {
    let mut open = press(of_text(THREE), "open-1");
    open.rule_name = "Bee".to_owned();
    open.when = "user == 'bee'\r\n|| user == 'b'".to_owned();
    let open = press(press(open, "up-1"), "down-0");
    assert_eq!((open.opened(), open.rule_name.as_str()), (Some(1), "Bee"));
    assert_eq!(open.when, "user == 'bee'\n|| user == 'b'");
    let open = press(open, "remove-0");
    assert_eq!((open.opened(), names(&open)), (Some(0), vec!["Bee".to_owned(), "C".to_owned()]));
    assert_eq!(press(open.clone(), "down-0").opened(), Some(1));
    // What was typed into it goes too, whatever it was.
    let broken = PolicyForm { attempts: "often".to_owned(), ..open };
    let (same, marks) = broken.clone().after(Act::Add);
    assert_eq!((same, marks.of("attempts").is_some()), (broken.clone(), true));
    let gone = press(broken, "remove-0");
    assert_eq!((gone.open.as_str(), names(&gone)), ("", vec!["C".to_owned()]));
    let lost = PolicyForm { open: "9".to_owned(), ..gone };
    assert!(lost.draft().unwrap_err().of("document").is_some());
}

#[test]
fn a_document_is_a_form_and_a_text() {
    let text = press(of_text(THREE), "text");
    assert!(text.is_text());
    assert_eq!(text.draft().unwrap().document, read(THREE).unwrap());
    let form = press(text.clone(), "form");
    assert_eq!((form.is_text(), names(&form).len()), (false, 3));
    let broken = PolicyForm { document: "{".to_owned(), ..text };
    let (still, marks) = broken.after(Act::AsForm);
    assert!(still.is_text() && marks.of("document").is_some());
}

#[test]
fn fields_say_what_documents_say() {
    let set = |change: fn(&mut PolicyForm)| {
        let mut form = form(&[("1", "small", "1")]);
        change(&mut form);
        otherwise(&form)
    };
    let fallback = |on: &[Failed]| Some(Fallback { on: on.to_vec() });
    assert_eq!(set(|it| it.fallback = "never".to_owned()).fallback, fallback(&[]));
    let some = set(|it| {
        it.fallback = "some".to_owned();
        it.failed = vec!["lost".to_owned(), "server".to_owned(), "bored".to_owned()];
    });
    assert_eq!(some.fallback, fallback(&[Failed::Server, Failed::Lost]));
    // What is checked counts only where it is asked for.
    assert_eq!(set(|it| it.failed = vec!["lost".to_owned()]).fallback, None);
    let retry = Retry { attempts: Some(3), first_byte_seconds: None, total_seconds: Some(1200) };
    let retried = set(|it| {
        it.attempts = " 3 ".to_owned();
        it.total_seconds = "1,200".to_owned();
    });
    assert_eq!(retried.retry, Some(retry));
    assert_eq!(set(|it| it.stick_minutes = "30".to_owned()).stick, Some(Stick { minutes: 30 }));
    let usual: Hedge = serde_json::from_str(r#"{"after": "p95"}"#).unwrap();
    assert_eq!(set(|it| it.hedge = "p95".to_owned()).hedge, Some(usual));
    let hedged = set(|it| {
        it.hedge = "milliseconds".to_owned();
        it.hedge_milliseconds = "800".to_owned();
        it.hedge_percent = "7".to_owned();
    });
    assert_eq!(hedged.hedge, Some(Hedge { after: After::Milliseconds(800), most_percent: 7 }));
    let goal = set(|it| {
        it.goal = "most_micro_dollars".to_owned();
        it.goal_value = "$0.0025".to_owned();
    });
    assert_eq!(goal.goal, Some(Goal::MostMicroDollars(2500)));
    let bound = set(|it| {
        it.not_models = "tiny,, other ".to_owned();
        it.capability = vec!["tools".to_owned()];
        it.quantizations = "fp16".to_owned();
        it.least_context = "8 000".to_owned();
    });
    assert_eq!(bound.constraints.not_models, ["tiny", "other"]);
    assert_eq!(bound.constraints.capabilities.len(), 1);
    assert_eq!(bound.constraints.quantizations, ["fp16"]);
    assert_eq!(bound.constraints.least_context, Some(8000));
    // What is too much is for the check to tell.
    let many = set(|it| it.attempts = "300".to_owned()).retry.unwrap();
    assert_eq!(many.attempts, Some(255));
}

#[test]
fn what_cannot_be_read_is_told_at_its_field() {
    let told = |change: fn(&mut PolicyForm)| {
        let mut form = form(&[("1", "small", "1")]);
        change(&mut form);
        let marks = form.draft().unwrap_err();
        let [only] = marks.list() else { panic!("{marks:?}") };
        only.field.clone()
    };
    assert_eq!(told(|it| it.weight = vec!["a lot".to_owned()]), "model-1");
    assert_eq!(told(|it| it.fallback = "some".to_owned()), "fallback");
    assert_eq!(told(|it| it.attempts = "often".to_owned()), "attempts");
    assert_eq!(told(|it| it.total_seconds = "-1".to_owned()), "total_seconds");
    assert_eq!(told(|it| it.stick_minutes = "0.5".to_owned()), "stick_minutes");
    assert_eq!(told(|it| it.hedge = "milliseconds".to_owned()), "hedge_milliseconds");
    assert_eq!(told(|it| it.goal = "cost_percent".to_owned()), "goal_value");
    assert_eq!(told(|it| it.most_input_price = "cheap".to_owned()), "most_input_price");
    assert_eq!(told(|it| it.least_context = "much".to_owned()), "least_context");
    assert_eq!(told(|it| it.name = String::new()), "name");
    assert_eq!(told(|it| it.note = "x".repeat(201)), "note");
    assert_eq!(told(|it| it.document = "{".to_owned()), "document");
    assert_eq!(told(|it| it.open = "0".to_owned()), "document");
}

#[test]
fn a_text_that_is_no_document_says_where() {
    let told = |text: &str| read(text).unwrap_err();
    let strange = told(r#"{"otherwise": {"constraints": {"region": "eu"}}}"#);
    assert!(strange.starts_with("otherwise.constraints.region: unknown field"), "{strange}");
    assert!(told(r#"{"otherwise": {"strategy": "dearest"}}"#).starts_with("otherwise.strategy"));
    assert!(!told("{").is_empty() && !told(r#"{"otherwise": {}} x"#).is_empty());
}

fn words() -> impl Random<Value = Vec<String>> {
    vec("[a-z]{1,6}|fp16| odd, entry|", 0..4)
}

fn tiers() -> impl Random<Value = Vec<Tier>> {
    let provider = option::of("acme|other|");
    let target = ("[a-z]{1,8}(/[a-z]{1,4})?|", provider, any::<u16>())
        .prop_map(|(model, provider, weight)| Target { model, provider, weight });
    vec(vec(target, 0..4).prop_map(|targets| Tier { targets }), 0..5)
}

fn goals() -> impl Random<Value = Option<Goal>> {
    option::of(prop_oneof![
        any::<u8>().prop_map(Goal::QualityPercent),
        any::<u8>().prop_map(Goal::CostPercent),
        any::<u64>().prop_map(Goal::MostMicroDollars),
    ])
}

fn constraints() -> impl Random<Value = Constraints> {
    let prices = (option::of(any::<u64>()), option::of(0..3_000_000_u64), option::of(any::<u32>()));
    let capabilities = subsequence(CAPABILITIES.map(|it| it.0).to_vec(), 0..9).prop_shuffle();
    let models = (words(), words(), words(), words());
    let places = (words(), words(), any::<bool>(), any::<bool>());
    (models, places, prices, capabilities).prop_map(
        |(
            (models, not_models, providers, not_providers),
            (regions, quantizations, zero_retention, no_training),
            (most_input_price, most_output_price, least_context),
            capabilities,
        )| Constraints {
            models,
            not_models,
            providers,
            not_providers,
            regions,
            zero_retention,
            no_training,
            most_input_price,
            most_output_price,
            least_context,
            capabilities,
            quantizations,
        },
    )
}

type Calling = (Option<Fallback>, Option<Retry>, Option<Stick>, Option<Hedge>);

fn calling() -> impl Random<Value = Calling> {
    let on = subsequence(Failed::ALL.map(|it| it.0).to_vec(), 0..=13).prop_shuffle();
    let retry = (option::of(any::<u8>()), option::of(any::<u32>()), option::of(any::<u32>()));
    let retry = retry.prop_map(|(attempts, first_byte_seconds, total_seconds)| Retry {
        attempts,
        first_byte_seconds,
        total_seconds,
    });
    let after =
        prop_oneof![Just(After::Usual(Usual::P95)), any::<u32>().prop_map(After::Milliseconds)];
    let hedge = (after, any::<u8>());
    (
        option::of(on.prop_map(|on| Fallback { on })),
        option::of(retry),
        option::of(any::<u16>().prop_map(|minutes| Stick { minutes })),
        option::of(hedge.prop_map(|(after, most_percent)| Hedge { after, most_percent })),
    )
}

fn choices() -> impl Random<Value = Choice> {
    let strategy = select(Strategy::ALL.map(|it| it.0).to_vec());
    (strategy, goals(), tiers(), constraints(), calling()).prop_map(
        |(strategy, goal, tiers, constraints, (fallback, retry, stick, hedge))| Choice {
            strategy,
            goal,
            tiers,
            constraints,
            fallback,
            retry,
            stick,
            hedge,
        },
    )
}

fn documents() -> impl Random<Value = Document> {
    let rule = ("[ -~]{0,12}", "[ -~\n\"']{0,40}", choices())
        .prop_map(|(name, when, choose)| Rule { name, when, choose });
    (vec(rule, 0..5), choices()).prop_map(|(rules, otherwise)| Document { rules, otherwise })
}

/// The form as a browser sends it back.
fn sent(form: &PolicyForm) -> PolicyForm {
    let lines = |text: &str| text.replace('\n', "\r\n");
    PolicyForm {
        when: lines(form.when.strip_prefix('\n').unwrap_or(&form.when)),
        document: lines(&form.document),
        focus: String::new(),
        ..form.clone()
    }
}

proptest! {
    /// Whatever it says, flaws and all, and whichever part of it is open.
    #[test]
    fn a_document_that_went_through_the_form_is_the_same(document in documents()) {
        let mut form = PolicyForm::of("auto", &document, 1);
        prop_assert_eq!(&sent(&form).draft().unwrap().document, &document);
        for place in 0..document.rules.len() {
            form = press(sent(&form), &format!("open-{place}"));
            prop_assert_eq!(&sent(&form).draft().unwrap().document, &document);
        }
        let text = press(sent(&form), "text");
        prop_assert_eq!(&sent(&text).draft().unwrap().document, &document);
        prop_assert_eq!(&press(text, "form").draft().unwrap().document, &document);
    }

    /// A field that is changed changes nothing beside it.
    #[test]
    fn what_is_changed_in_a_form_changes_nothing_else(document in documents(), place in 0..5usize) {
        let mut form = PolicyForm::of("auto", &document, 1);
        let mut expected = document;
        let choice = match expected.rules.get_mut(place) {
            Some(rule) => {
                form = press(form, &format!("open-{place}"));
                &mut rule.choose
            }
            None => &mut expected.otherwise,
        };
        let mut form = sent(&form);
        form.stick_minutes = "7".to_owned();
        choice.stick = Some(Stick { minutes: 7 });
        form.regions = "eu, ch".to_owned();
        choice.constraints.regions = vec!["eu".to_owned(), "ch".to_owned()];
        prop_assert_eq!(form.draft().unwrap().document, expected);
    }
}
