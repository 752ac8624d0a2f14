//! What the demo's programs might have used last month and this one, made up: so that last month
//! is closed and invoiced, and this one is a draft.

use shared::{
    counters::{Epoch, Shard},
    event::{Attempt, Event, Line, Outcome, Server, SettlementId, UsageSource},
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, ProxyId, UpstreamId},
    money::{Cents, Money, PinnedPrice},
    snapshot::Model,
    usage::Usage,
};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::{
    DemoError,
    led::Led,
    providers::{self, SUPPORT_CHAT},
    requests::id_at,
};
use crate::{
    access::{Actor, Origin, Work},
    audit,
    billing::{self, Month, Seller, Settings, Terms},
    invoices, keys, learning, ledger,
    ledger::credits::{self, CreditKind, NewCredit},
    policies::{self, Stranding},
    requests,
    upstreams::{self, models},
    usage,
    web::Span,
};

/// A process that was none of ours, whose numbers nobody else has.
const EPOCH: Epoch = Epoch(0xdec0_de00_0000_0001);
/// How many calls there were each day.
const A_DAY: u32 = 24;

/// The request log has those since then: it keeps none that are older.
const LOGGED: Duration = Duration::days(27);

/// So many answers of the desk's policy somebody judged.
const JUDGED: usize = 160;

/// What calls ask for that leave it to us who is right for them,
const AUTO: &str = "auto";
/// how many of them there were each day while the log has been kept,
pub(super) const AUTO_A_DAY: u32 = 150;
/// how many of a thousand are explored,
const EXPLORED: u16 = 50;
/// and of how many of the others somebody judged one: of those that are explored each.
const JUDGED_ONE_IN: usize = 20;

/// A model that the simulator serves, with its price.
pub(super) struct Served {
    pub upstream: UpstreamId,
    pub model: Model,
    price: PinnedPrice,
}

/// Makes the demo's books where there are none yet, with so many calls a day that are left to us.
pub async fn keep(
    db: &PgPool,
    organization: OrganizationId,
    owner: &Actor,
    left_to_us_a_day: u32,
) -> Result<(), DemoError> {
    let mut work = Work::begin(db, organization, owner.clone(), Origin::internal()).await?;
    let credit = NewCredit {
        kind: CreditKind::Promotional,
        name: "Welcome credit".to_owned(),
        priority: 10,
        amount: Cents::from_cents(500),
        effective_on: Month::at(OffsetDateTime::now_utc()).previous().first(),
        expires_on: None,
        reference: String::new(),
    };
    if credits::grant(&mut work, &credit, "demo").await?.is_none() {
        return Ok(());
    }
    let settings = Settings {
        legal_name: "Northwind Labs GmbH".to_owned(),
        address: "Speicherstraße 12\n20457 Hamburg\nGermany".to_owned(),
        tax_id: "DE123456789".to_owned(),
        purchase_order: "PO-2026-0417".to_owned(),
        ..Settings::default()
    };
    billing::change_settings(&mut work, settings).await?;
    let terms = Terms { tax_name: "VAT".to_owned(), tax_basis_points: 1_900, ..Terms::default() };
    billing::change_terms(&mut work, terms).await?;
    let every = keys::Filter { which: keys::Which::All, project: None, span: Span::long(None) };
    let keys = keys::list(&mut work, &every).await?.items;
    let keys: Vec<_> = keys.iter().map(|it| (it.project, it.id)).collect();
    work.commit().await?;

    let served = served(db).await?;
    let now = OffsetDateTime::now_utc();
    let month = Month::at(now).previous();
    if !keys.is_empty() && !served.is_empty() {
        let mut work = Work::begin(db, organization, owner.clone(), Origin::internal()).await?;
        learning::explore(&mut work, EXPLORED).await?;
        work.commit().await?;
        let led = Led::new(db, organization, &keys).await?;
        let scene = Scene { organization, keys: &keys, served: &served, led: &led };
        let mut events = scene.calls((month.starts_at(), now));
        let told = u64::try_from(events.len()).unwrap_or(u64::MAX);
        events.extend(scene.left_to_us((now - LOGGED, now), left_to_us_a_day, told));
        tell(db, &events).await?;
        let logged = events.into_iter().filter(|it| it.started_at > now - LOGGED);
        let logged: Vec<_> = logged.collect();
        requests::add(&mut *db.acquire().await?, logged.clone()).await?;
        judge(db, organization, owner, &logged).await?;
        raise_the_goal(db).await?;
    }
    while ledger::charge_due(db).await? > 0 {}
    let mut tx = db.begin().await?;
    if billing::seller(&mut tx).await?.is_none() {
        billing::change_seller(&mut tx, &Actor::System, Origin::internal(), seller()).await?;
    }
    tx.commit().await?;
    let mut work = Work::begin(db, organization, Actor::System, Origin::internal()).await?;
    invoices::close(&mut work, month, "The demo’s first month", "Turnpike").await?;
    work.commit().await?;
    Ok(())
}

async fn raise_the_goal(db: &PgPool) -> Result<(), DemoError> {
    let mut work = Work::begin(db, audit::PLATFORM, Actor::System, Origin::internal()).await?;
    let draft = providers::auto_next()?;
    if let Some(policy) = policies::named(&mut work, AUTO).await? {
        policies::change(&mut work, policy, &draft, None, Stranding::Refuse).await?;
    }
    work.commit().await?;
    Ok(())
}

/// What somebody might have said of the last answers, and of those that were explored: the small
/// model is good enough for all but code and mathematics.
async fn judge(
    db: &PgPool,
    organization: OrganizationId,
    owner: &Actor,
    logged: &[Event],
) -> Result<(), DemoError> {
    let mut work = Work::begin(db, organization, owner.clone(), Origin::internal()).await?;
    let of = |name: &'static str| {
        move |it: &&Event| it.policy.as_ref().is_some_and(|it| it.name == name)
    };
    let last = logged.iter().rev().filter(of(SUPPORT_CHAT)).take(JUDGED);
    let is_explored = |it: &Event| it.reason.as_deref() == Some("explored");
    let ours = logged.iter().filter(of(AUTO)).enumerate();
    let ours = ours.filter(|(at, it)| is_explored(it) || at % JUDGED_ONE_IN == 0);
    for it in last.chain(ours.map(|it| it.1)) {
        let task = it.decision.as_ref().and_then(|it| it.inputs.as_ref()?.turn.as_ref());
        let is_hard = task.is_some_and(|it| ["code", "math_reasoning"].contains(&&*it.task));
        let is_small = it.served.as_ref().is_some_and(|it| it.model == "sim-small");
        let per_mille = if is_hard && is_small { 200 } else { 900 };
        learning::judge(&mut work, it.request, None, per_mille).await?;
    }
    work.commit().await?;
    Ok(())
}

fn seller() -> Seller {
    Seller {
        name: "Turnpike Demo Ltd".to_owned(),
        address: "1 Toll House Lane\nBristol BS1 4ST\nUnited Kingdom".to_owned(),
        tax_id: "GB 000 0000 00".to_owned(),
        series: "DEMO".to_owned(),
        remittance: "This is a demo: no real money is asked for, and none moves.".to_owned(),
        contact: "billing@turnpike.invalid".to_owned(),
    }
}

/// The simulator's models that cost something.
async fn served(db: &PgPool) -> Result<Vec<Served>, DemoError> {
    let mut work = Work::begin(db, audit::PLATFORM, Actor::System, Origin::internal()).await?;
    let mut served = Vec::new();
    for upstream in upstreams::list(&mut work).await? {
        if upstream.vendor != "simulator" {
            continue;
        }
        for it in models::list(&mut work, upstream.id).await? {
            let Some(price) = it.model.price.clone() else { continue };
            served.push(Served { upstream: upstream.id, model: it.model, price });
        }
    }
    Ok(served)
}

/// Who calls, and who answers.
struct Scene<'a> {
    organization: OrganizationId,
    keys: &'a [(ProjectId, ApiKeyId)],
    served: &'a [Served],
    led: &'a Led,
}

impl Scene<'_> {
    /// Those of each day up to the hour that is not over.
    fn calls(&self, (from, now): (OffsetDateTime, OffsetDateTime)) -> Vec<Event> {
        let Self { organization, keys, served, led } = *self;
        let proxy = ProxyId::generate();
        let until = ledger::charged_until(now);
        let (mut events, mut turn) = (Vec::new(), 0_u32);
        loop {
            let (day, place) = (turn / A_DAY, turn % A_DAY);
            // Strides that share no factor, so that everything meets everything.
            let nth = turn;
            let draw = |stride: u32, below: u32| nth.wrapping_mul(stride) % 10_007 % below;
            let at = from + Duration::days(day.into()) + Duration::minutes((place * 59 + 7).into());
            if at >= until {
                return events;
            }
            turn += 1;
            let pick = |stride, of: usize| {
                usize::try_from(draw(stride, u32::try_from(of).unwrap_or(1))).unwrap_or_default()
            };
            let (project, key) = keys[pick(37, keys.len())];
            let it = &served[pick(53, served.len())];
            let usage = Usage {
                input: (2_000 + draw(431, 9_000) * 2).into(),
                output: (300 + draw(593, 1_500)).into(),
                ..Usage::default()
            };
            let whose = (organization, project, key);
            let event = call(proxy, whose, it, usage, (at, turn.into()));
            // Two of three ask for the policy, and get what it says.
            let lead = |event| led.lead(event, served, (SUPPORT_CHAT, turn));
            events.push(if turn % 3 > 0 { lead(event) } else { event });
        }
    }

    /// Short ones that are left to us, of which those are numbered after `told` others.
    fn left_to_us(
        &self,
        (from, now): (OffsetDateTime, OffsetDateTime),
        a_day: u32,
        told: u64,
    ) -> impl Iterator<Item = Event> {
        let Self { organization, keys, served, led } = *self;
        let (proxy, until) = (ProxyId::generate(), ledger::charged_until(now));
        let apart = Duration::days(1) / a_day.max(1);
        let times = (1..).map(move |turn: u32| (turn, from + apart * turn));
        let times = times.take_while(move |it| it.1 < until);
        let whose = keys.iter().cycle().zip(served.iter().cycle());
        times.zip(whose).map(move |((turn, at), ((project, key), it))| {
            let draw = |stride: u32, below: u32| turn.wrapping_mul(stride) % 10_007 % below;
            let usage = Usage {
                input: (120 + draw(431, 1_800)).into(),
                output: (80 + draw(593, 700)).into(),
                ..Usage::default()
            };
            let number = told + u64::from(turn);
            let event = call(proxy, (organization, *project, *key), it, usage, (at, number));
            led.lead(event, served, (AUTO, turn))
        })
    }
}

fn call(
    proxy: ProxyId,
    (organization, project, key): (OrganizationId, ProjectId, ApiKeyId),
    it: &Served,
    usage: Usage,
    (at, number): (OffsetDateTime, u64),
) -> Event {
    let name = &it.model.name;
    let event = Event {
        request: id_at(at),
        proxy,
        organization,
        project,
        key,
        endpoint: "chat".into(),
        asked: name.clone(),
        policy: None,
        reason: Some("asked".into()),
        decision: None,
        served: None,
        attempts: Vec::new(),
        outcome: Outcome::Success,
        status: 200,
        error: None,
        stream: false,
        usage,
        usage_source: UsageSource::Upstream,
        started_at: at,
        first_byte_ms: Some(240),
        total_ms: 800,
        client: Some("openai-python".into()),
        tags: [("demo".to_owned(), "made up".to_owned())].into(),
        settlement: Some(SettlementId { epoch: EPOCH, number }),
        billed_at_ms: at.unix_timestamp() * 1_000,
        lines: Vec::new(),
        cost: Money::ZERO,
        counted: Vec::new(),
        overrun: Money::ZERO,
    };
    it.serves(event)
}

impl Served {
    /// The call as it is when this has answered it.
    pub fn serves(&self, event: Event) -> Event {
        let (usage, credential) = (event.usage, CredentialId::generate());
        let (model, provider) = (self.model.name.clone(), "simulator".to_owned());
        let cost = self.price.price.cost(&usage, None);
        let line = Line {
            model: model.clone(),
            upstream: self.upstream,
            provider: provider.clone(),
            credential,
            usage,
            source: UsageSource::Upstream,
            service_tier: None,
            price: Some(self.price.revision),
            cost,
        };
        let attempt = Attempt {
            provider: provider.clone(),
            model: model.clone(),
            outcome: "answered".into(),
            status: Some(200),
            took_ms: event.total_ms,
        };
        let upstream_model = self.model.upstream_name.clone();
        let upstream = self.upstream;
        Event {
            served: Some(Server { model, upstream_model, upstream, provider, credential }),
            attempts: vec![attempt],
            lines: vec![line],
            cost: cost.to_money(),
            ..event
        }
    }
}

/// Into the meter, as the ingester does it.
async fn tell(db: &PgPool, events: &[Event]) -> Result<(), DemoError> {
    let mut tx = db.begin().await?;
    for part in events.chunks(500) {
        let days = part.iter().filter_map(usage::billed_on);
        let (first, last) = (days.clone().min(), days.max());
        if let Some((first, last)) = first.zip(last) {
            usage::make_days(&mut tx, first, last).await?;
        }
        usage::add(&mut tx, &part.iter().collect::<Vec<_>>()).await?;
        let settled: Vec<_> = part
            .iter()
            .filter_map(|it| Some((Shard::of(it.organization), it.settlement?)))
            .collect();
        usage::advance(&mut tx, &settled).await?;
    }
    tx.commit().await?;
    Ok(())
}
