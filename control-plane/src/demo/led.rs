//! Calls of the demo that a policy leads: decided by the code that proxies run, of questions that
//! are made up and not kept, so that there is something to look back on.

use data_plane::{
    ask::{Ask, Form},
    authenticate::Caller,
    call::Pulse,
    catalog::{self, Snapshot},
    route::{self, Breaking, Health, Kept, Remembering, Session, Sight},
};
use serde_json::json;
use shared::{
    event::{Event, PolicyVersion},
    ids::{ApiKeyId, OrganizationId, ProjectId},
};
use sqlx::PgPool;
use tokio::time::Instant;

use super::{DemoError, books::Served};
use crate::{
    access::{Actor, Origin, Work},
    snapshots,
};

/// What people might ask a support desk, a reviewer of code and a search.
const QUESTIONS: [&str; 12] = [
    "How do I change the address that my invoices go to?",
    "Write a Rust function that merges two sorted lists, and test it with cargo.",
    "Translate this into German: your parcel will arrive on Tuesday.",
    "Summarize the complaint above in two sentences.",
    "A crate holds 24 bottles, and a pallet 32 crates. How many bottles are on 7 pallets?",
    "Extract the order number, the date and the total as JSON.",
    "Hi! I only wanted to say thanks, that solved it.",
    "Why does this SQL query not use the index? SELECT * FROM orders WHERE lower(email) = $1",
    "Write a friendly note to a customer whose repair takes a week longer.",
    "Wie lange ist die Garantie auf einen Akku?",
    "Which of these three articles answers the question best?",
    "Prove that the sum of two odd numbers is even.",
];

/// Policies and all that they may lead to.
pub(super) struct Led(Snapshot);

/// How the simulator's models do.
struct Usual;

impl Health for Usual {
    fn pulse(&self, model: &catalog::Model, _: Instant) -> Pulse {
        let (first_ms, tokens_per_second) = match model.name.as_str() {
            "sim-small" => (180, 160),
            "sim-large" => (420, 70),
            "sim-reasoning" => (900, 90),
            _ => (1_500, 30),
        };
        Pulse {
            first_ms: Some(first_ms),
            total_ms: Some(first_ms * 4),
            tokens_per_second: Some(tokens_per_second),
            ..Pulse::default()
        }
    }
}

impl Breaking for Usual {
    fn rests(&self, _: &catalog::Model, _: Instant) -> bool {
        false
    }
}

impl Remembering for Usual {
    fn kept(&self, _: Session) -> Option<Kept> {
        None
    }
}

impl Led {
    pub async fn new(
        db: &PgPool,
        organization: OrganizationId,
        keys: &[(ProjectId, ApiKeyId)],
    ) -> Result<Self, DemoError> {
        let keys: Vec<_> = keys.iter().map(|it| it.1).collect();
        let mut work = Work::begin(db, organization, Actor::System, Origin::internal()).await?;
        let records = snapshots::of_organization(&mut work, organization, &keys).await?;
        Ok(Self(Snapshot::deciding(1, &records)))
    }

    /// The call as it is when it asked for the policy called `name`. As it was, where that does not
    /// lead its key anywhere.
    pub fn lead(&self, event: Event, served: &[Served], (name, turn): (&str, u32)) -> Event {
        let of = u32::try_from(QUESTIONS.len()).unwrap_or(1);
        let question = usize::try_from(turn.wrapping_mul(7) % of).unwrap_or_default();
        let question = QUESTIONS.get(question).copied().unwrap_or_default();
        self.decided(event.clone(), served, (name, question)).unwrap_or(event)
    }

    fn decided(
        &self,
        event: Event,
        served: &[Served],
        (name, question): (&str, &str),
    ) -> Option<Event> {
        // What surrounds the question is as long as what is billed.
        let around = "Notes of the case. ".repeat(usize::try_from(event.usage.input / 5).ok()?);
        let body = json!({
            "model": name,
            "messages": [
                { "role": "system", "content": around },
                { "role": "user", "content": question },
            ],
        });
        let ask = Ask::parse(Form::Chat, body.to_string().into()).ok()?;
        let caller = Caller { key: self.0.key(event.key)?.clone() };
        let now_ms = event.billed_at_ms;
        let sight = Sight {
            snapshot: &self.0,
            live: &Usual,
            breakers: &Usual,
            sessions: &Usual,
            now_ms,
            budget_used_percent: &|| 0,
        };
        let plan = route::route(sight, caller, ask, &mut route::dice(event.request)).ok()?;
        let first = &plan.candidates.first()?.model;
        let at = served
            .iter()
            .find(|it| it.upstream == first.upstream.id && it.model.name == first.name)?;
        let policy = plan.decision.reason.policy()?;
        let decided = Event {
            asked: name.to_owned(),
            policy: Some(PolicyVersion {
                name: policy.policy.name.clone(),
                version: policy.version,
            }),
            reason: Some(plan.decision.reason.name().into()),
            decision: plan.decision.kept().map(Box::new),
            ..event
        };
        Some(at.serves(decided))
    }
}
