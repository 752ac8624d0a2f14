use std::{sync::Arc, time::Duration};

use http::StatusCode;
use shared::{
    event::{Outcome, UsageSource},
    failure::code,
    ids::RequestId,
    keys::{Brand, NewKey},
    usage::Usage,
};

use super::*;
use crate::{
    ask::{Ask, Form},
    authenticate::Caller,
    budgets::{Delivered, Meter, Tab},
    call::{Attempt, Fate, Served},
    catalog::{
        Candidate,
        tests::{Fixture, key, snapshot},
    },
    route::{Decision, Reason},
};

fn caller() -> Caller {
    Caller { key: Arc::new(key(&NewKey::generate(Brand::Live))) }
}

fn candidate() -> Candidate {
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["gpt-5"]);
    let snapshot = snapshot(&fixture);
    let model = snapshot.serving(caller().organization(), "gpt-5").next().unwrap().clone();
    let credential = model.upstream.credentials.first().unwrap().clone();
    Candidate::new(model, credential, None)
}

fn told(meter: &Arc<Meter>, how: impl FnOnce(&mut Story)) -> Vec<Event> {
    let mut story = Story::begin(meter, RequestId::generate(), "chat");
    how(&mut story);
    drop(story);
    meter.told()
}

fn attempt(candidate: &Candidate, fate: Fate, status: StatusCode) -> Attempt {
    let (started, took) = (tokio::time::Instant::now(), Duration::from_millis(3));
    Attempt { candidate: candidate.clone(), fate, status: Some(status), started, took }
}

fn served(attempts: Vec<Attempt>) -> Served {
    let model = attempts[0].candidate.model.clone();
    Served { asked: "gpt-5".into(), model, reason: Reason::Asked, attempts }
}

#[test]
fn a_call_is_told_once_with_all_that_is_known() {
    let meter = Meter::nowhere();
    let (candidate, caller) = (candidate(), caller());
    let usage = Usage { input: 7, output: 9, ..Usage::default() };
    let events = told(&meter, |story| {
        story.caller(&caller);
        story.client(Some("OpenAI/Python 2.8.0"), Some("team=search"));
        story.asks("gpt-5\u{7}");
        story.streams();
        story.routed(&Arc::new(Decision {
            asked: "gpt-5".into(),
            default: None,
            reason: Reason::Asked,
            task: None,
            judged: None,
            sticks: None,
            exploration: None,
            weighed: Vec::new(),
            considered: Vec::new(),
            not_evaluated: 0,
            inputs: None,
            learned: None,
            keeps_nothing: false,
        }));
        let refused = attempt(&candidate, Fate::RateLimited, StatusCode::TOO_MANY_REQUESTS);
        let answered = attempt(&candidate, Fate::Answered, StatusCode::OK);
        story.tried(&served(vec![refused, answered]));
        story.first_byte();
        let ask = Ask::parse(Form::Chat, r#"{"model":"gpt-5"}"#.into()).unwrap();
        let tab = story.opens(Tab::open(
            &meter,
            RequestId::generate(),
            caller.organization(),
            Vec::new(),
            &ask,
        ));
        tab.sends(&candidate).unwrap();
        let is_complete = true;
        story.delivers(&Delivered { usage: Some(usage), is_complete, ..Delivered::default() });
        story.ends(Outcome::Broken, 200);
        story.ends(Outcome::Success, 200);
        story.fails(code::UPSTREAM_ERROR);
    });
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.key, event.project), (caller.key.id, caller.key.project));
    assert_eq!((event.asked.as_str(), event.stream), ("gpt-5", true));
    assert_eq!(event.client.as_deref(), Some("openai-python"));
    assert_eq!(event.tags["team"], "search");
    let attempts: Vec<_> = event.attempts.iter().map(|it| (&*it.outcome, it.status)).collect();
    assert_eq!(attempts, [("rate_limited", Some(429)), ("answered", Some(200))]);
    let served = event.served.as_ref().unwrap();
    assert_eq!((served.provider.as_str(), served.credential), ("example", candidate.credential.id));
    assert!(event.first_byte_ms.is_some());
    assert_eq!((event.usage, event.usage_source), (usage, UsageSource::Upstream));
    let [line] = event.lines.as_slice() else { panic!("{event:?}") };
    assert_eq!((line.usage, line.credential, line.price), (usage, candidate.credential.id, None));
    assert_eq!((event.outcome, event.status), (Outcome::Broken, 200));
    assert!(event.settlement.is_some_and(|it| it.number == 1) && event.billed_at_ms > 0);
    assert_eq!(event.error.as_deref(), Some("upstream_error"));
}

#[test]
fn a_call_that_says_nothing_more_is_one_whose_client_is_gone() {
    let meter = Meter::nowhere();
    let events = told(&meter, |story| story.caller(&caller()));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.outcome, event.status), (Outcome::Gone, 0));
}

#[test]
fn a_call_of_nobody_is_not_told() {
    let meter = Meter::nowhere();
    let events = told(&meter, |story| {
        story.asks("gpt-5");
        story.fails(code::INVALID_API_KEY);
        story.ends(Outcome::ClientError, 401);
    });
    assert!(events.is_empty(), "{events:?}");
}
