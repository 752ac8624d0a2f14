//! The form of a policy, as browsers send it.

use super::*;

const TWO: &str = r#"{
    "rules": [
        {"name": "Code", "when": "task == 'code'",
         "choose": {"tiers": [{"targets": [{"model": "large"}]}]}},
        {"name": "Long", "when": "request.input_tokens > 8000",
         "choose": {"strategy": "cheapest", "retry": {"attempts": 2}}}
    ],
    "otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}
}"#;

type Fields = Vec<(&'static str, &'static str)>;

/// The form with nothing but rules open, or what is chosen otherwise.
fn sent(open: &'static str, more: &[(&'static str, &'static str)]) -> Fields {
    let mut fields = vec![("name", "auto"), ("document", TWO), ("open", open)];
    fields.extend(more);
    fields
}

const LARGE: [(&str, &str); 4] =
    [("tier", "1"), ("model", "large"), ("provider", ""), ("weight", "1")];
const SMALL: [(&str, &str); 4] =
    [("tier", "1"), ("model", "small"), ("provider", ""), ("weight", "1")];

fn code(more: &[(&'static str, &'static str)]) -> Fields {
    let mut fields = sent("0", &LARGE);
    fields.extend(more);
    fields
}

fn otherwise(more: &[(&'static str, &'static str)]) -> Fields {
    let mut fields = sent("", &SMALL);
    fields.extend(more);
    fields
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rule_is_written_in_the_form(root: PgPool) {
    let fixture = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let all = "/orgs/ours/policies";
    // Nothing is made before it is saved.
    let mut typed = vec![("name", "auto"), ("do", "add")];
    typed.extend(SMALL);
    let added = admin.post(all, &typed).await;
    added.says(StatusCode::OK, r#"name="rule_name" autocomplete="off" value="Rule 1" autofocus"#);
    added.says(StatusCode::OK, "Where all other calls go");
    admin.get(all).await.says(StatusCode::OK, "No policies of your own yet");

    let document = r#"{"rules": [{"name": "Rule 1", "when": "", "choose": {}}],
        "otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}}"#;
    let mut typed = vec![
        ("name", "auto"),
        ("document", document),
        ("open", "0"),
        ("rule_name", "Code"),
        ("when", "task == 'code'"),
        ("strategy", "pinned"),
        ("regions", ""),
        ("not_providers", ""),
        ("fallback", "some"),
        ("failed", "server"),
        ("failed", "rate_limited"),
        ("attempts", "3"),
        ("stick_minutes", "10"),
        ("hedge", "milliseconds"),
        ("hedge_milliseconds", "800"),
        ("hedge_percent", ""),
    ];
    typed.extend(LARGE);
    let made = admin.post(all, &typed).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.body);
    let path = made.location.unwrap();
    let page = admin.get(&path).await;
    page.says(StatusCode::OK, "When task is code: large and nothing else; another is asked only");
    page.says(StatusCode::OK, "when one has reached a limit or says that it failed; tried 3 times");
    page.says(StatusCode::OK, "until it was quiet for 10 minutes; the next is asked as well");
    page.says(
        StatusCode::OK,
        "is silent for 800 ms, on 5 % of the calls at most. Otherwise: small",
    );
    let form = admin.get(&format!("{path}/edit")).await;
    form.says(StatusCode::OK, r#"aria-label="Edit Code""#);
    form.says(StatusCode::OK, "When task is code: large and nothing else");
}

#[sqlx::test(migrations = "../migrations")]
async fn rules_are_opened_moved_and_removed_in_the_form(root: PgPool) {
    let fixture = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let all = "/orgs/ours/policies";
    let made = admin.post(all, &otherwise(&[])).await;
    let path = made.location.unwrap();
    let press = async |fields: Fields, button: &'static str| {
        let mut fields = fields;
        fields.push(("do", button));
        admin.post(&path, &fields).await
    };
    let opened = press(otherwise(&[]), "open-1").await;
    opened.says(StatusCode::OK, r#"<textarea class="mono" id="field-when" name="when""#);
    opened.says(StatusCode::OK, "request.input_tokens &#62; 8000</textarea>");
    opened.says(StatusCode::OK, r#"name="attempts" type="text" value="2""#);
    let moved = press(otherwise(&[]), "up-1").await;
    moved.says(StatusCode::OK, r#"aria-label="Move Long down" autofocus"#);
    let removed = press(otherwise(&[]), "remove-0").await;
    assert!(!removed.body.contains("Move Code"), "{}", removed.body);
    removed.says(StatusCode::OK, r#"<h2 id="field-rules" tabindex="-1" autofocus>Rules</h2>"#);
    let more = press(otherwise(&[]), "row").await;
    more.says(StatusCode::OK, r#"id="field-model-2" name="model" list="models""#);
    let text = press(otherwise(&[]), "text").await;
    text.says(StatusCode::OK, r#"name="view" value="document""#);
    // None of it was saved.
    let page = admin.get(&path).await;
    assert!(!page.body.contains("Not in force"), "{}", page.body);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_wrong_is_told_at_its_field_and_nothing_typed_is_lost(root: PgPool) {
    let fixture = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let all = "/orgs/ours/policies";
    let refused = async |fields: Fields, words: &[&str]| {
        let page = admin.post(all, &fields).await;
        for words in words {
            page.says(StatusCode::UNPROCESSABLE_ENTITY, words);
        }
    };
    let when = [("rule_name", "Code"), ("when", "taks == 'code'"), ("attempts", "3")];
    refused(
        code(&when),
        &[
            r##"<a href="#field-when">rules[0].when: nothing is called"##,
            r#"aria-invalid="true" aria-describedby="problem-when hint-when">taks == &#39;code&#39;"#,
            r#"name="attempts" type="text" value="3""#,
            "When request.input_tokens",
        ],
    )
    .await;
    let named = [("rule_name", "Code"), ("when", "task == 'code'")];
    for (more, words) in [
        (
            ("stick_minutes", "9999"),
            "field-stick_minutes\">rules[0].choose.stick.minutes: a session",
        ),
        (("attempts", "17"), "field-attempts\">rules[0].choose.retry.attempts: a call is tried"),
        (("attempts", "often"), "field-attempts\">enter a whole number of times"),
        (("fallback", "some"), "field-fallback\">check a failure"),
        (("regions", "é"), "field-regions\">rules[0].choose.constraints.regions: an entry has"),
        (("goal", "cost_percent"), "field-goal_value\">say how many percent"),
        (("strategy", "pinned"), "Row 2: rules[0].choose.tiers[0].targets[1].model: there is no"),
    ] {
        let mut fields = code(&named);
        fields.push(more);
        if more.0 == "strategy" {
            fields.extend([("tier", "1"), ("model", "tiny"), ("provider", ""), ("weight", "1")]);
        }
        refused(fields, &[words]).await;
    }
    // What is wrong elsewhere is opened.
    let broken = r#"{
        "rules": [
            {"name": "Code", "when": "task == 'code'", "choose": {"strategy": "best"}},
            {"name": "Never", "when": "false", "choose": {"strategy": "best"}}
        ],
        "otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}
    }"#;
    let mut fields = vec![("name", "auto"), ("document", broken), ("open", "")];
    fields.extend(LARGE);
    refused(
        fields,
        &[
            r##"<a href="#field-when">rules[1].when: the condition is never true"##,
            r#"name="open" value="1""#,
            r#"name="rule_name" autocomplete="off" value="Never""#,
            // What was typed elsewhere goes with it.
            "<p>large</p>",
        ],
    )
    .await;
    admin.get(all).await.says(StatusCode::OK, "No policies of your own yet");
}
