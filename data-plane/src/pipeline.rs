//! The stages of a request, in order. Each takes what the one before it made, so that a
//! call cannot be sent before it is routed, nor routed before we know whose it is.
//!
//! What `admit` has let through holds what it may come to until the last byte, and what `call`
//! has opened settles and is told of as it ends, whichever way it does: the story owns its
//! tab and its room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use shared::snapshot::{Key, Limits as KeyLimits, Scope};

use crate::{
    admit::{Admitted, Room, Seat},
    answer::{Answer, Tagged},
    ask::{Ask, Form},
    authenticate::{Caller, Knock, NotLetIn, TrustedProxies, authenticate},
    budgets::{self, Bearing, Meter, NotAdmitted, Tab, bearings},
    call::{Calling, call},
    catalog::Catalog,
    egress::Client,
    emit::{Story, tags},
    feedback::{self, Post},
    generations::{self, Questions},
    last_used::LastUsed,
    limits::Asked,
    metrics::Metrics,
    models,
    receive::{Limits, NotReceived, Sending, receive},
    refusals::Refusals,
    refused::{Pages, Refused},
    route::{self, Dice, Dry, Plan, Sight, route},
};

/// What every request needs, shared by all workers.
pub struct Gateway {
    pub catalog: Arc<Catalog>,
    pub metrics: Arc<Metrics>,
    pub last_used: Arc<LastUsed>,
    pub refusals: Arc<Refusals>,
    pub meter: Arc<Meter>,
    pub feedback: Post,
    pub generations: Questions,
    pub proxies: TrustedProxies,
    pub limits: Limits,
    pub room: Arc<Room>,
    pub calling: Arc<Calling>,
    /// Where errors lead to.
    pub pages: Pages,
    pub draining: AtomicBool,
}

pub async fn ask(
    gateway: &Gateway,
    client: &Client,
    knock: Knock<'_>,
    form: Form,
    sending: Sending<'_>,
    story: &mut Story,
) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, form.scope())?;
    story.caller(&caller);
    story.client(said(knock, "user-agent"), said(knock, "x-turnpike-tags"));
    let seat = gateway.room.seat(caller.organization())?;
    let memory = gateway.room.memory(caller.organization());
    let body = gateway.calling.unless_leaving(receive(&gateway.limits, memory, sending)).await;
    let ask = parsed(form, body.unwrap_or(Err(NotReceived::Leaving))?, knock)?;
    story.asks(&ask.model);
    let mut plan = gateway.route(caller, ask, &mut route::dice(story.request()))?;
    story.routed(&plan.decision);
    if let Some(sticks) = plan.decision.sticks {
        gateway.calling.sessions.count(sticks);
    }
    gateway.admit(&mut plan, seat, story).await?;
    story.intends(plan.candidates.first())?;
    let tab = story.tab_mut().ok_or(NotLetIn::NotReady)?;
    let outcome = call(client, &gateway.calling, &gateway.room, plan, tab).await;
    story.tried(match &outcome {
        Ok(open) => &open.served,
        Err(failed) => &failed.served,
    });
    Ok(Answer::Opened(Box::new(outcome?)))
}

/// What the same call would cost, and whether its budgets would let it through.
pub async fn quote(
    gateway: &Gateway,
    knock: Knock<'_>,
    form: Form,
    sending: Sending<'_>,
) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, form.scope())?;
    let _seat = gateway.room.seat(caller.organization())?;
    let memory = gateway.room.memory(caller.organization());
    let ask = parsed(form, receive(&gateway.limits, memory, sending).await?, knock)?;
    let (organization, bearings) = (caller.organization(), gateway.bearings(&caller));
    let (of_organization, of_project) = gateway.limits(&caller.key);
    let asked = asked(&caller.key, (&of_organization, &of_project), 0);
    let _permit = budgets::admit_question(&gateway.meter, asked).await?;
    let plan = gateway.route(caller, ask, &mut Dry(fastrand::Rng::new()))?;
    let Plan { ask, candidates, .. } = plan;
    let borne = (organization, bearings);
    Ok(Answer::Json(budgets::quote(&gateway.meter, &ask, candidates, borne).await))
}

/// How the same call would be routed. It is made to nobody.
pub async fn decide(
    gateway: &Gateway,
    knock: Knock<'_>,
    form: Form,
    sending: Sending<'_>,
) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, form.scope())?;
    let _seat = gateway.room.seat(caller.organization())?;
    let memory = gateway.room.memory(caller.organization());
    let ask = parsed(form, receive(&gateway.limits, memory, sending).await?, knock)?;
    let (of_organization, of_project) = gateway.limits(&caller.key);
    let asked = asked(&caller.key, (&of_organization, &of_project), 0);
    let _permit = budgets::admit_question(&gateway.meter, asked).await?;
    let plan = gateway.route(caller, ask, &mut Dry(fastrand::Rng::new()))?;
    let mut told = plan.decision.told();
    told["object"] = "route".into();
    Ok(Answer::Json(serde_json::to_vec(&told).unwrap_or_default()))
}

/// What the caller says of answers. It is in Redis when we say that it is taken.
pub async fn feedback(
    gateway: &Gateway,
    knock: Knock<'_>,
    sending: Sending<'_>,
) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, Scope::Chat)?;
    let _seat = gateway.room.seat(caller.organization())?;
    let memory = gateway.room.memory(caller.organization());
    let body = receive(&gateway.limits, memory, sending).await?;
    let said = feedback::read(&body)?;
    let (of_organization, of_project) = gateway.limits(&caller.key);
    let asked = asked(&caller.key, (&of_organization, &of_project), 0);
    let _permit = budgets::admit_question(&gateway.meter, asked).await?;
    let (mut judged, now) = (Vec::with_capacity(said.len()), SystemTime::now().into());
    for some in said.chunks(feedback::AT_A_TIME) {
        judged.extend(gateway.with_snapshot(|it| Ok(feedback::judge(it, &caller, some, now)?))?);
        tokio::task::yield_now().await;
    }
    gateway.feedback.send(&judged).await?;
    let told = serde_json::json!({ "object": "feedback", "taken": judged.len() });
    Ok(Answer::Taken(serde_json::to_vec(&told).unwrap_or_default()))
}

/// What became of a call of the key's project. Whoever has a key may ask, for whatever it is.
pub async fn generation(gateway: &Gateway, knock: Knock<'_>, id: &str) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, None::<Scope>)?;
    let request = generations::named(id)?;
    let _seat = gateway.generations.seat(caller.organization())?;
    let (of_organization, of_project) = gateway.limits(&caller.key);
    let asked = asked(&caller.key, (&of_organization, &of_project), 0);
    let _permit = budgets::admit_question(&gateway.meter, asked).await?;
    let now = SystemTime::now().into();
    Ok(Answer::Json(gateway.generations.ask(&caller, request, now).await?))
}

/// The body, and what the head says of who is to answer.
fn parsed(form: Form, body: Bytes, knock: Knock<'_>) -> Result<Ask, Refused> {
    let (policy, most_cost) = ("x-turnpike-policy", "x-turnpike-max-cost-usd");
    let mut ask = Ask::parse(form, body)?.headed(said(knock, policy), said(knock, most_cost))?;
    ask.tags = said(knock, "x-turnpike-tags").map(tags).unwrap_or_default();
    ask.session = said(knock, "x-turnpike-session").map(|it| it.trim().to_owned());
    Ok(ask)
}

/// What the limits of a key are asked, and of whose it is.
fn asked<'a>(
    key: &'a Key,
    (organization_limits, project_limits): (&'a KeyLimits, &'a KeyLimits),
    tokens: u64,
) -> Asked<'a> {
    Asked {
        organization: key.organization,
        project: key.project,
        key: key.id,
        key_limits: &key.limits,
        project_limits,
        organization_limits,
        tokens,
    }
}

fn said<'a>(knock: Knock<'a>, header: &str) -> Option<&'a str> {
    knock.headers.get(header)?.to_str().ok()
}

pub fn models(gateway: &Gateway, knock: Knock<'_>) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, Scope::Models)?;
    let wanted = models::Wanted::parse(knock.query)?;
    let now_ms = gateway.meter.clock().now_ms();
    let list = gateway.with_snapshot(|it| Ok(models::list(it, &caller, &wanted, now_ms)))?;
    Ok(Answer::Tagged(Tagged::new(list, said(knock, "if-none-match"))))
}

pub fn model(gateway: &Gateway, knock: Knock<'_>, name: &str) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, Scope::Models)?;
    let now_ms = gateway.meter.clock().now_ms();
    let one = gateway.with_snapshot(|it| Ok(models::one(it, &caller, name, now_ms)?))?;
    Ok(Answer::Tagged(Tagged::new(one, said(knock, "if-none-match"))))
}

impl Gateway {
    /// Whether we can serve, which needs a snapshot, room to write calls down, and no store.
    pub fn is_ready(&self) -> bool {
        let leaves = self.draining.load(Ordering::Relaxed);
        !leaves && self.catalog.present().is_some() && !self.meter.journal_is_full()
    }

    fn authenticate(
        &self,
        knock: Knock<'_>,
        scope: impl Into<Option<Scope>>,
    ) -> Result<Caller, Refused> {
        let (present, now) = (self.catalog.present(), SystemTime::now().into());
        let caller = authenticate(present.as_deref(), &self.proxies, knock, scope, now)?;
        self.last_used.note(caller.key.id, now);
        Ok(caller)
    }

    /// Within every limit and every budget of the caller's, in one question. From here on the
    /// call has a tab.
    async fn admit(
        &self,
        plan: &mut Plan,
        seat: Seat,
        story: &mut Story,
    ) -> Result<(), NotAdmitted> {
        let key = plan.caller.key.clone();
        let organization = key.organization;
        let (of_organization, of_project) = self.limits(&key);
        let tokens = plan.ask.estimated_tokens();
        let asked = asked(&key, (&of_organization, &of_project), tokens);
        let bearings = self.bearings(&plan.caller);
        let tab = Tab::open(&self.meter, story.request(), organization, bearings, &plan.ask);
        let asks = (&plan.ask, &mut plan.candidates);
        let permit = budgets::admit(&self.meter.limiter, asked, asks, story.opens(tab)).await?;
        story.admits(Admitted::new(permit, seat));
        Ok(())
    }

    fn route(&self, caller: Caller, ask: Ask, dice: &mut dyn Dice) -> Result<Plan, Refused> {
        let now_ms = self.meter.clock().now_ms();
        self.with_snapshot(|snapshot| {
            let key = caller.key.clone();
            let used = || self.meter.used_percent(&bearings(snapshot, &key, now_ms));
            let live = &self.calling.live;
            let (breakers, sessions) = (&self.calling.breakers, &self.calling.sessions);
            let sight =
                Sight { snapshot, live, breakers, sessions, now_ms, budget_used_percent: &used };
            let plan = route(sight, caller, ask, dice)?;
            self.metrics.rules_not_evaluated.inc_by(plan.decision.not_evaluated.into());
            Ok(plan)
        })
    }

    /// Those of the organization and the project that a key belongs to.
    fn limits(&self, key: &Key) -> (KeyLimits, KeyLimits) {
        match self.catalog.present().as_ref() {
            Some(it) => (it.organization_limits(key.organization), it.project_limits(key.project)),
            None => Default::default(),
        }
    }

    fn bearings(&self, caller: &Caller) -> Vec<Bearing> {
        let present = self.catalog.present();
        let now_ms = self.meter.clock().now_ms();
        present.as_ref().map_or_else(Vec::new, |it| bearings(it, &caller.key, now_ms))
    }

    fn with_snapshot<T>(
        &self,
        work: impl FnOnce(&crate::catalog::Snapshot) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        work(self.catalog.present().as_deref().ok_or(NotLetIn::NotReady)?)
    }
}
