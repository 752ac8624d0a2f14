//! The stages of a request, in order. Each takes what the one before it made, so that a
//! call cannot be sent before it is routed, nor routed before we know whose it is.
//!
//! Between `authenticate` and `route` there will be `admit`, which holds money and room
//! under limits; what `call` opens will settle and emit as it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use shared::snapshot::Scope;

use crate::{
    answer::Answer,
    ask::{Ask, Form},
    authenticate::{Caller, Knock, NotLetIn, TrustedProxies, authenticate},
    call::{Attempt, CallFailed, Calling, Open, Served, call},
    catalog::Catalog,
    egress::Client,
    emit::{Emitter, Story},
    last_used::LastUsed,
    metrics::Metrics,
    models,
    receive::{Limits, Sending, receive},
    refused::Refused,
    route::route,
};

/// What every request needs, shared by all workers.
pub struct Gateway {
    pub catalog: Arc<Catalog>,
    pub metrics: Arc<Metrics>,
    pub last_used: Arc<LastUsed>,
    pub emitter: Arc<Emitter>,
    pub proxies: TrustedProxies,
    pub limits: Limits,
    pub calling: Arc<Calling>,
    /// Where the pages about error codes are; ends with a slash.
    pub error_docs: String,
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
    let ask = Ask::parse(form, receive(&gateway.limits, sending).await?)?;
    story.asks(&ask.model);
    let plan = gateway
        .with_snapshot(|snapshot| Ok(route(snapshot, caller, ask, &mut fastrand::Rng::new())?))?;
    story.routed(plan.reason.name(), plan.reason.policy());
    let outcome = call(client, &gateway.calling, plan).await;
    match &outcome {
        Ok(Open { served, .. }) | Err(CallFailed { served, .. }) => tell(story, served),
    }
    Ok(Answer::Opened(Box::new(outcome?)))
}

/// All that was tried, and who it was in the end.
fn tell(story: &mut Story, served: &Served) {
    for Attempt { candidate, fate, status, took, .. } in &served.attempts {
        if Arc::ptr_eq(&candidate.model, &served.model) {
            story.served(candidate);
        }
        story.attempt(candidate, fate.name(), status.map(|it| it.as_u16()), *took);
    }
}

fn said<'a>(knock: Knock<'a>, header: &str) -> Option<&'a str> {
    knock.headers.get(header)?.to_str().ok()
}

pub fn models(gateway: &Gateway, knock: Knock<'_>) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, Scope::Models)?;
    gateway.with_snapshot(|snapshot| Ok(Answer::Json(models::list(snapshot, &caller))))
}

pub fn model(gateway: &Gateway, knock: Knock<'_>, name: &str) -> Result<Answer, Refused> {
    let caller = gateway.authenticate(knock, Scope::Models)?;
    gateway.with_snapshot(|snapshot| Ok(Answer::Json(models::one(snapshot, &caller, name)?)))
}

impl Gateway {
    /// Whether we can serve, which needs a snapshot and no store.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.catalog.present().is_some()
    }

    fn authenticate(&self, knock: Knock<'_>, scope: Scope) -> Result<Caller, Refused> {
        let (present, now) = (self.catalog.present(), SystemTime::now().into());
        let caller = authenticate(present.as_deref(), &self.proxies, knock, scope, now)?;
        self.last_used.note(caller.key.id, now);
        Ok(caller)
    }

    fn with_snapshot<T>(
        &self,
        work: impl FnOnce(&crate::catalog::Snapshot) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        work(self.catalog.present().as_deref().ok_or(NotLetIn::NotReady)?)
    }
}
