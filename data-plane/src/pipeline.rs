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
    time::{Instant, SystemTime},
};

use shared::snapshot::Scope;

use crate::{
    answer::Answer,
    ask::{Ask, Form},
    authenticate::{Caller, Knock, NotLetIn, TrustedProxies, authenticate},
    call::{CallFailed, Open, Reply, call},
    catalog::Catalog,
    config::Timeouts,
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
    pub timeouts: Timeouts,
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
    let candidate = plan.candidates.first().cloned();
    let since = Instant::now();
    let outcome = call(client, &gateway.timeouts, plan).await;
    if let Some(candidate) = candidate {
        story.served(&candidate);
        let (how, status) = attempt(&outcome);
        story.attempt(&candidate, how, status, since);
    }
    Ok(Answer::Opened(Box::new(outcome?)))
}

/// How an upstream answered, as the request log tells it.
fn attempt(outcome: &Result<Open, CallFailed>) -> (&'static str, Option<u16>) {
    match outcome {
        Ok(Open { reply: Reply::Stream { .. }, .. }) => ("answered", Some(200)),
        Ok(Open { reply: Reply::Whole { status, .. }, .. }) if status.is_success() => {
            ("answered", Some(status.as_u16()))
        }
        Ok(Open { reply: Reply::Whole { status, .. }, .. }) => ("refused", Some(status.as_u16())),
        Err(failed) if failed.why.is_timeout() => ("timeout", None),
        Err(_) => ("failed", None),
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
