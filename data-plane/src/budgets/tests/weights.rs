//! That no call can cost more than was thought possible.

use proptest::prelude::*;
use shared::usage::Usage;

use super::*;

fn candidate(change: impl FnOnce(&mut Published)) -> Candidate {
    let mut model = crate::catalog::tests::model("gpt-5");
    model.price = Some(price());
    change(&mut model);
    let mut catalogue = Catalogue::default();
    catalogue.upstream(None, &[]).models = vec![model];
    let snapshot = snapshot(&catalogue);
    let model = snapshot.serving(shared::ids::OrganizationId::generate(), "gpt-5").next().unwrap();
    Candidate::new(
        model.clone(),
        model.upstream.credentials[0].clone(),
        model.prices.at(0).cloned(),
    )
}

#[track_caller]
fn check(form: Form, body: &str, to: &Candidate, (input, output): (u64, u64)) {
    let ask = Ask::parse(form, bytes::Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let bound = Weight::of(&ask, &ask.marks(), to).bound;
    assert_eq!((bound.input_tokens, bound.output_tokens()), (input, output), "{body}");
}

#[test]
fn a_bound_is_what_the_call_may_use() {
    let to = candidate(|it| it.context_length = 8_000);
    let said = |rest: &str| format!(r#"{{"model":"gpt-5"{rest}}}"#);
    let bytes = |text: &str| text.len() as u64 + 64;
    let plain = said("");
    check(Form::Chat, &plain, &to, (bytes(&plain), 1_000));
    let capped = said(r#","max_tokens":5000,"n":3"#);
    check(Form::Chat, &capped, &to, (bytes(&capped), 3_000));
    let short = said(r#","max_completion_tokens":7"#);
    check(Form::Chat, &short, &to, (bytes(&short), 7));
    let turns = said(r#","messages":[{"role":"user"},{"role":"user"}],"tools":[]"#);
    check(Form::Chat, &turns, &to, (bytes(&turns) + 32 + 1_024, 1_000));
    check(Form::Chat, &said(r#","x":{"file_id":"f"}"#), &to, (8_000, 1_000));
    check(Form::Chat, &said(r#","x":{"image_url":"f"}"#), &to, (8_000, 1_000));
    let many = said(r#","prompt":["a","b"],"best_of":4"#);
    check(Form::Completions, &many, &to, (bytes(&many), 8_000));
    check(Form::Embeddings, &plain, &to, (bytes(&plain), 0));
    // Each text has a context of its own.
    let twenty = format!(r#""{}","#, "y".repeat(999)).repeat(20);
    let texts = said(&format!(r#","input":[{twenty}"y"]"#));
    check(Form::Embeddings, &texts, &to, (bytes(&texts), 0));
    check(Form::Embeddings, &said(r#","input":["y","z"],"file_id":"f""#), &to, (16_000, 0));
    check(Form::Completions, &said(r#","prompt":["y","z"],"file_id":"f""#), &to, (16_000, 2_000));
    let long = said(&format!(r#","x":"{}""#, "y".repeat(9_000)));
    check(Form::Chat, &long, &to, (8_000, 1_000));
    // Of a vendor whose cap is for the answer alone, however much was thought.
    let mut catalogue = Catalogue::default();
    let thinks = vec![shared::snapshot::Capability::Reasoning];
    catalogue.upstream(None, &["qwen3"]).provider = "qwen".into();
    catalogue.upstreams[0].models[0].capabilities = thinks;
    let snapshot = snapshot(&catalogue);
    let model = snapshot.serving(shared::ids::OrganizationId::generate(), "qwen3").next().unwrap();
    let credential = model.upstream.credentials[0].clone();
    let thinking = Candidate::new(model.clone(), credential, model.prices.at(0).cloned());
    check(Form::Chat, &short, &thinking, (bytes(&short), 1_007));
    // Of a model that says nothing of itself.
    let silent = candidate(|it| (it.context_length, it.max_output_tokens) = (500, 0));
    check(Form::Chat, &plain, &silent, (bytes(&plain), 500));
}

proptest! {
    /// Whatever is used within the bound costs no more than was held.
    #[test]
    fn nothing_within_the_bound_costs_more(
        max in 1..2_000_u64, n in 1..5_u64, input in 0..20_000_u64, output in 0..9_000_u64,
        cached in any::<bool>(),
    ) {
        let to = candidate(|_| ());
        let body = format!(r#"{{"model":"gpt-5","max_tokens":{max},"n":{n}}}"#);
        let ask = Ask::parse(Form::Chat, body.into()).unwrap();
        let weight = Weight::of(&ask, &ask.marks(), &to);
        let input = input.min(weight.bound.input_tokens);
        let output = output.min(weight.bound.output_tokens());
        let (input, cached_input) = if cached { (0, input) } else { (input, 0) };
        let usage = Usage { input, cached_input, output, ..Usage::default() };
        let cost = price().price.cost(&usage, None).to_money();
        prop_assert!(cost <= weight.cost);
    }

    /// A cap that was lowered to what is left fits into it, and one token more would not.
    #[test]
    fn what_is_affordable_is_exactly_so(max in 1..2_000_u64, n in 1..5_u64, room in 0..9_000_i64) {
        let to = candidate(|it| it.max_output_tokens = 4_000);
        let body = format!(r#"{{"model":"gpt-5","max_tokens":{max},"n":{n}}}"#);
        let ask = Ask::parse(Form::Chat, body.into()).unwrap();
        let marks = ask.marks();
        let weight = Weight::of(&ask, &marks, &to);
        let with = |cap| Weight::of(&ask, &marks, &Candidate { most_output: Some(cap), ..to.clone() });
        match weight.cap_within(room, i64::MAX, &to) {
            None => prop_assert!(with(0).cost.nanos() > room),
            Some(cap) => {
                prop_assert!(cap <= weight.cap && with(cap).cost.nanos() <= room);
                prop_assert!(cap == weight.cap || with(cap + 1).cost.nanos() > room);
            }
        }
    }
}
