use proptest::prelude::*;

use super::*;

fn turn(text: &str) -> Turn<'_> {
    Turn { text, ..Turn::default() }
}

fn task(text: &str) -> Task {
    router().judge(&turn(text)).task
}

#[test]
fn what_is_plain_is_told() {
    for (text, is) in [
        ("Translate into German: The cat sleeps on the warm stove.", Task::Translation),
        ("Write a Python function that reverses a linked list.", Task::Code),
        ("Summarize the following article.\nThe council met on Monday.", Task::Summarization),
        ("Write a short story about a dragon that fears fire.", Task::Creative),
        (
            "A shop sells 12 pens at $3 each and 5 books at $8 each. How much is that in total?",
            Task::MathReasoning,
        ),
    ] {
        assert_eq!(task(text), is, "{text}");
    }
    for (text, code) in [
        ("Where is the nearest railway station?", "en"),
        ("Wo ist denn hier der nächste Bahnhof?", "de"),
        ("Где здесь ближайший вокзал?", "ru"),
        ("最近的火车站在哪里？", "zh"),
    ] {
        assert_eq!(router().judge(&turn(text)).language.code(), code, "{text}");
    }
}

#[test]
fn what_is_known_of_models_is_shipped() {
    let of = |model| router().standing(model, Some(1_000_000)).at(Task::MathReasoning);
    let (strong, weak, unknown) = (of("openai/gpt-4o"), of("gpt-3.5-turbo"), of("nobody-knows"));
    assert!(strong.quality > weak.quality, "{strong:?} {weak:?}");
    assert_eq!((strong.basis, unknown.basis), (Basis::Measured, Basis::Price));
    let dear = router().standing("nobody-knows", Some(60_000_000)).at(Task::Qa).quality;
    assert!(dear > unknown.quality, "what costs more is expected to be better");
}

#[test]
fn only_head_and_tail_are_looked_at() {
    let long =
        |middle: &str| format!("{}{middle}{}", "a word ".repeat(1_200), "an end ".repeat(400));
    let judged = |text: &str| router().judge(&turn(text)).features.grams;
    assert_eq!(judged(&long(&"zebra ".repeat(900))), judged(&long(&"otter ".repeat(900))));
}

proptest! {
    #[test]
    fn any_prompt_has_one_judgement(
        text in prop_oneof!["\\PC{0,300}", "[ \n\ta-zA-Z0-9.?`{}()$\\\\-]{0,600}", any::<String>()],
        images: u32, wants_json: bool, price: Option<u64>
    ) {
        let turn = Turn { text: &text, images, wants_json };
        let judged = router().judge(&turn);
        prop_assert_eq!(&judged, &router().judge(&turn));
        prop_assert!(judged.features.numbers.iter().all(|it| it.is_finite()));
        prop_assert!((0.0..=1.0).contains(&judged.complexity()));
        let quality = router().quality(&judged, &text, &router().standing(&text, price), None);
        prop_assert!((0.0..=1.0).contains(&quality));
    }

    #[test]
    fn any_labels_leave_quality_between_nothing_and_all(
        labels in prop::collection::vec(("[a-e ]{0,20}", "[a-c]", any::<f32>()), 0..40)
    ) {
        let mut tenant = Tenant::default();
        for (text, model, score) in labels {
            let judged = router().judge(&turn(&text));
            let (task, features) = (judged.task, judged.features.into());
            tenant.learn(Label { features, task, model, expected: 0.5, score });
        }
        tenant.refit();
        let judged = router().judge(&turn("a b c"));
        let standing = router().standing("a", None);
        let quality = router().quality(&judged, "a", &standing, Some(tenant.learned()));
        prop_assert!((0.0..=1.0).contains(&quality));
    }
}

/// What people say first, and what they say to go on: no riddle, and no other language.
#[test]
fn few_words_are_what_they_are() {
    for (text, language) in [
        ("Hello", "en"),
        ("Hello!", "en"),
        ("hi", "en"),
        ("Hey", "en"),
        ("Good morning", "en"),
        ("Thanks", "en"),
        ("thank you very much", "en"),
        ("ok", "en"),
        ("yes", "en"),
        ("test", "en"),
        ("ping", "en"),
        ("continue", "en"),
        ("Who are you?", "en"),
        ("Hallo, wie geht es?", "de"),
        ("Guten Tag", "de"),
        ("Bonjour", "fr"),
        ("Gracias", "es"),
        ("Ciao, come stai?", "it"),
        ("Привет", "ru"),
        ("你好", "zh"),
    ] {
        let judged = router().judge(&Turn { text, ..Turn::default() });
        assert_eq!((judged.task, judged.language.code()), (Task::Chat, language), "{text:?}");
    }
}
