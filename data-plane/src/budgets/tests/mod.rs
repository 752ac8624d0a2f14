//! Against a real Redis: TURNPIKE_TEST_REDIS_URL, or the one that
//! `infra/stack.sh start .run/test` started.

mod beside;
mod costs;
mod ends;
mod exact;
mod learning;
mod model;
mod repeats;
mod weights;

use std::{collections::HashMap, sync::Arc};

use redis::AsyncCommands;
use secrecy::SecretString;
use shared::{
    counters::{Amounts, Counter, Incarnation, Opening, Places, Shard, Terms},
    ids::{BudgetId, RequestId},
    keys::{Brand, NewKey},
    money::{Money, Period, PinnedPrice, Price, Rates, UnitPrice, Zone},
    snapshot::{
        Budget, BudgetScope, Caps, Key, Limits, Model as Published, OnRedisLoss, OnTight,
        Thresholds,
    },
    wire::Wire,
};

use super::*;
use crate::{
    ask::{Ask, Form},
    authenticate::Caller,
    catalog::{
        Candidate,
        tests::{Fixture as Catalogue, key, snapshot},
    },
    emit::Story,
    limits::{
        Asked, Limiter, Permit, Place, Scripts,
        tests::{answered, asked_of_budgets, name_in, redis, redis_url},
    },
    metrics::Metrics,
};

/// A Tuesday in March of 2025, by the clock of the test.
const START: i64 = 1_742_299_200_000;
const DAY: i64 = 86_400_000;
/// A token of input, and one of output, in pico-dollars.
const IN: i64 = 1_000;
const OUT: i64 = 4_000;

/// An organization of its own in a Redis of its own, on a clock that only the test moves.
struct Fixture {
    redis: Wire,
    url: SecretString,
    name: String,
    caller: Caller,
    model: Published,
    budgets: Vec<Budget>,
}

fn price() -> PinnedPrice {
    let each = |picos| UnitPrice::try_from(picos).unwrap();
    let rates = Rates::of_text(each(IN), each(OUT));
    PinnedPrice { revision: 7, price: Price::flat(rates).unwrap() }
}

impl Fixture {
    async fn new() -> Self {
        let url = redis_url();
        let mut model = crate::catalog::tests::model("gpt-5");
        model.price = Some(price());
        let key = key(&NewKey::generate(Brand::Live));
        let mut fixture = Self {
            redis: redis(&url).await,
            url,
            name: name_in(Shard::of(key.organization)),
            caller: Caller { key: Arc::new(key) },
            model,
            budgets: Vec::new(),
        };
        // What nobody has looked after is cold: this is, and is warm.
        let scripts = fixture.scripts();
        scripts.enter(&fixture.redis.history().await.unwrap());
        let () = scripts.load().exec_async(&mut fixture.redis).await.unwrap();
        fixture.set_clock(START).await;
        fixture.set_state(Incarnation(1), 'W').await;
        fixture
    }

    fn key(&self) -> &Key {
        &self.caller.key
    }

    fn shard(&self) -> Shard {
        Shard::of(self.key().organization)
    }

    fn places(&self) -> Places {
        Places::with_prefix(&format!("{}:", self.name))
    }

    async fn set_clock(&mut self, milliseconds: i64) {
        let () = self.redis.set(format!("{}:now", self.name), milliseconds).await.unwrap();
    }

    async fn set_state(&mut self, incarnation: Incarnation, state: char) {
        let place = self.places().incarnation(self.shard());
        let () = self.redis.set(place, format!("{} {state} 0", incarnation.0)).await.unwrap();
    }

    fn scripts(&self) -> Scripts {
        let clock = format!(
            "local function clock() return tonumber(redis.call('GET', '{}:now')) end\n",
            self.name
        );
        Scripts::with(&clock, std::time::Duration::from_secs(30), self.places())
    }

    async fn proxy(&self) -> Arc<Meter> {
        self.proxy_at(self.url.clone()).await
    }

    /// Nothing was spent before the budgets counted, and nothing is in any window yet.
    async fn open(&self) {
        let opening = Opening { from_ms: -1, until_ms: 0, spent: Amounts::default() };
        let scripts = self.scripts();
        for budget in &self.budgets {
            let terms = Terms { budget, opening: Some(opening) };
            let ask = scripts.counters.set_terms(self.shard(), terms);
            let _: i64 = ask.query_async(&mut self.redis.clone()).await.unwrap();
        }
    }

    async fn proxy_at(&self, redis_url: SecretString) -> Arc<Meter> {
        self.proxy_with(Place { redis_url, ..self.place() }).await
    }

    fn place(&self) -> Place {
        Place {
            redis_url: self.url.clone(),
            fleet: format!("{}:fleet", self.name),
            assumed_proxies: 2,
            // A busy machine is no outage.
            patience: std::time::Duration::from_secs(10),
            repeat: std::time::Duration::ZERO,
            counters: self.places(),
        }
    }

    async fn proxy_with(&self, place: Place) -> Arc<Meter> {
        self.open().await;
        let metrics = Metrics::new().unwrap();
        let limiter =
            Limiter::for_tests(place, metrics.limits.clone(), self.scripts()).await.unwrap();
        self.meter(limiter, &metrics)
    }

    fn meter(&self, limiter: Arc<Limiter>, metrics: &Metrics) -> Arc<Meter> {
        Meter::begin(None, 256 << 20, limiter, metrics.meter.clone()).unwrap()
    }

    /// A hard one that is refused when it is tight.
    fn budget(&mut self, scope: BudgetScope, period: Period, money: i64) -> &mut Budget {
        self.budgets.push(Budget {
            id: BudgetId::generate(),
            organization: self.key().organization,
            name: "Search".into(),
            scope,
            period,
            zone: Zone::UTC,
            caps: Caps { money: Some(Money::from_nanos(money)), ..Caps::default() },
            raise: None,
            is_hard: true,
            thresholds: Thresholds::default(),
            on_tight: OnTight::Deny,
            on_redis_loss: OnRedisLoss::Closed,
            version: 1,
            raised_by: "an owner or admin".into(),
        });
        self.budgets.last_mut().unwrap()
    }

    fn bearings(&self) -> Vec<Bearing> {
        self.budgets
            .iter()
            .map(|it| Bearing { budget: Arc::new(it.clone()), share: 10_000 })
            .collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let mut catalogue = Catalogue::default();
        catalogue.upstream(None, &[]).models = vec![self.model.clone()];
        let snapshot = snapshot(&catalogue);
        let model = snapshot.serving(self.key().organization, &self.model.name).next().unwrap();
        vec![Candidate::new(
            model.clone(),
            model.upstream.credentials[0].clone(),
            model.prices.at(0).cloned(),
        )]
    }

    /// A call that has begun, and whether it was let through.
    async fn call(&self, proxy: &Arc<Meter>, body: &str) -> Result<Call, NotAdmitted> {
        self.call_to(proxy, body, self.candidates()).await
    }

    async fn call_to(
        &self,
        proxy: &Arc<Meter>,
        body: &str,
        candidates: Vec<Candidate>,
    ) -> Result<Call, NotAdmitted> {
        let ask = Ask::parse(Form::Chat, bytes::Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let mut call = Call::begin(self, proxy, &ask, candidates);
        call.admit(self, proxy, &ask).await?;
        Ok(call)
    }

    async fn counter(&self, budget: BudgetId) -> Counter {
        let ask = self.scripts().counters.budget(self.shard(), budget);
        let kept: Vec<u8> = ask.query_async(&mut self.redis.clone()).await.unwrap();
        Counter::read(&kept)
    }

    /// What is spent and held of a budget in its present window.
    async fn taken(&self, budget: BudgetId) -> (i64, i64) {
        let window = self.counter(budget).await.window.unwrap_or_default();
        (window.spent.money, window.held.money)
    }
}

/// A call under way, as the pipeline has it.
struct Call {
    story: Story,
    candidates: Vec<Candidate>,
    permit: Option<Permit>,
}

impl Call {
    fn begin(fixture: &Fixture, proxy: &Arc<Meter>, ask: &Ask, candidates: Vec<Candidate>) -> Self {
        let mut story = Story::begin(proxy, RequestId::generate(), "chat");
        story.caller(&fixture.caller);
        let organization = fixture.key().organization;
        let tab = Tab::open(proxy, story.request(), organization, fixture.bearings(), ask);
        story.opens(tab);
        Self { story, candidates, permit: None }
    }

    async fn admit(
        &mut self,
        fixture: &Fixture,
        proxy: &Arc<Meter>,
        ask: &Ask,
    ) -> Result<(), NotAdmitted> {
        let none = Limits::default();
        let asked = Asked {
            organization: fixture.key().organization,
            project: fixture.key().project,
            key: fixture.key().id,
            key_limits: &none,
            project_limits: &none,
            organization_limits: &none,
            tokens: 1,
        };
        let tab = self.story.tab_mut().unwrap();
        let permit = admit(&proxy.limiter, asked, (ask, &mut self.candidates), tab).await?;
        self.permit = Some(permit);
        Ok(())
    }

    fn tab(&mut self) -> &mut Tab {
        self.story.tab_mut().unwrap()
    }

    /// Its first candidate answers, and has used so much.
    fn answered(mut self, input: u64, output: u64) {
        let candidate = self.candidates[0].clone();
        self.tab().sends(&candidate).unwrap();
        let usage = Some(shared::usage::Usage { input, output, ..Default::default() });
        let is_complete = true;
        self.story.delivers(&Delivered { usage, is_complete, ..Delivered::default() });
        self.story.ends(shared::event::Outcome::Success, 200);
    }
}

const BODY: &str =
    r#"{"model":"gpt-5","max_tokens":300,"messages":[{"role":"user","content":"hi"}]}"#;

/// What a call with that body may come to at most, in nano-dollars.
fn worst(fixture: &Fixture, body: &str) -> i64 {
    let ask = Ask::parse(Form::Chat, bytes::Bytes::copy_from_slice(body.as_bytes())).unwrap();
    Weight::of(&ask, &ask.marks(), &fixture.candidates()[0]).amounts().money
}
