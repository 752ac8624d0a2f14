//! Calls that were settled, at prices that are known: what tests of the ledger and of invoices
//! stand on. Needs no Redis.

use std::collections::BTreeSet;

use shared::{
    counters::Epoch,
    event::{Event, Line, SettlementId, UsageSource},
    ids::{
        ApiKeyId, CostCenterId, CredentialId, OrganizationId, PriceBookId, ProjectId, UpstreamId,
    },
    money::{Pico, Price, Rates, UnitPrice},
    usage::Usage,
};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{Fixture, tenant};
use crate::{
    access::Role,
    billing::{self, Month, Seller},
    cost_centers::{self, BasisPoints, Draft, splits},
    ledger, requests, usage,
};

pub struct Books {
    pub fixture: Fixture,
    pub projects: Vec<ProjectId>,
    pub key: ApiKeyId,
    pub centers: Vec<CostCenterId>,
    /// The platform's, and the organization's own.
    pub upstream: UpstreamId,
    pub own: UpstreamId,
    epoch: u64,
    number: u64,
}

/// What an organization parts its costs by.
#[derive(Clone, Copy)]
pub struct Parts {
    pub projects: &'static [&'static str],
    pub centers: &'static [&'static str],
}

/// Three projects, two of which two cost centers share.
const FEW: Parts = Parts { projects: &["=bot", "review", "search"], centers: &["ENG", "SUP"] };

/// What both upstreams ask.
pub fn price() -> Price {
    let each = |text| UnitPrice::per_million(text).unwrap();
    let text = Rates::of_text(each("1.25"), each("10"));
    Price::flat(Rates { cached_input: Some(each("0.125")), ..text }).unwrap()
}

impl Books {
    /// Some projects and cost centers, and a seller.
    pub async fn new(root: PgPool) -> Self {
        Self::of(Fixture::new(root).await).await
    }

    pub async fn of(fixture: Fixture) -> Self {
        Self::on(fixture, FEW).await
    }

    pub async fn on(fixture: Fixture, parts: Parts) -> Self {
        let upstream = UpstreamId::generate();
        let books = Self::made(fixture, parts, upstream, 7).await;
        books.put_upstream(None, upstream).await;
        let mut conn = books.fixture.db.acquire().await.unwrap();
        let actor = books.fixture.ours.actor(Role::Owner);
        billing::change_seller(&mut conn, &actor, crate::access::Origin::internal(), seller())
            .await
            .unwrap();
        drop(conn);
        books
    }

    /// Those of another organization, which uses the same provider of the platform's.
    pub async fn beside(&self, slug: &'static str, parts: Parts) -> Self {
        let ours = tenant(&self.fixture.root, slug).await;
        let fixture = Fixture { ours, ..self.fixture.clone() };
        Self::made(fixture, parts, self.upstream, self.epoch + 1).await
    }

    async fn made(fixture: Fixture, parts: Parts, upstream: UpstreamId, epoch: u64) -> Self {
        let mut books = Self {
            projects: parts.projects.iter().map(|_| ProjectId::generate()).collect(),
            key: ApiKeyId::generate(),
            centers: Vec::new(),
            upstream,
            own: UpstreamId::generate(),
            epoch,
            number: 0,
            fixture,
        };
        for (project, name) in books.projects.iter().zip(parts.projects) {
            sqlx::query("INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, $3)")
                .bind(books.organization())
                .bind(project)
                .bind(name)
                .execute(&books.fixture.root)
                .await
                .unwrap();
        }
        books.put_upstream(Some(books.organization()), books.own).await;
        books.put_centers(parts.centers).await;
        books
    }

    pub fn organization(&self) -> OrganizationId {
        self.fixture.ours.id
    }

    async fn put_upstream(&self, organization: Option<OrganizationId>, id: UpstreamId) {
        sqlx::query(
            "INSERT INTO upstreams (id, organization_id, vendor, name, dialect, base_url)
             VALUES ($1, $2, 'openai', $1::text, 'open_ai', 'https://api.openai.com/v1')",
        )
        .bind(id)
        .bind(organization)
        .execute(&self.fixture.root)
        .await
        .unwrap();
        // The database dates what is written to it itself, and these were written long ago.
        let mut past = self.fixture.root.begin().await.unwrap();
        sqlx::query("SET LOCAL session_replication_role = replica")
            .execute(&mut *past)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO model_prices
                    (organization_id, upstream_id, model, revision, price, created_at, valid_from)
             VALUES ($1, $2, 'gpt-5', 1, $3::text::jsonb, '2020-01-01', '2020-01-01')",
        )
        .bind(organization)
        .bind(id)
        .bind(serde_json::to_string(&price()).unwrap())
        .execute(&mut *past)
        .await
        .unwrap();
        past.commit().await.unwrap();
    }

    async fn put_centers(&mut self, codes: &[&str]) {
        let mut work = self.fixture.work(Role::Owner).await;
        let from = time::macros::date!(2020 - 01 - 01);
        for code in codes {
            let draft = Draft {
                code: code.parse().unwrap(),
                name: code.parse().unwrap(),
                owner: None,
                valid_from: from.into(),
                valid_until: None,
            };
            self.centers.push(cost_centers::create(&mut work, &draft).await.unwrap());
        }
        let points = |it| BasisPoints::try_from(it).unwrap();
        let both = self.centers.iter().copied().zip([points(3_333), points(6_667)]).collect();
        for (project, shares) in
            [(self.projects[0], both), (self.projects[1], vec![(self.centers[0], points(2_500))])]
        {
            let plan = splits::Plan::new(from.into(), &shares).unwrap();
            splits::replace(&mut work, project, &plan).await.unwrap();
        }
        work.commit().await.unwrap();
    }

    /// A call that used so much, at a moment.
    pub fn call(&mut self, project: usize, at: OffsetDateTime, usage: Usage) -> Event {
        self.call_at(project, at, usage, self.upstream)
    }

    pub fn call_at(
        &mut self,
        project: usize,
        at: OffsetDateTime,
        usage: Usage,
        upstream: UpstreamId,
    ) -> Event {
        self.number += 1;
        let cost = price().cost(&usage, None);
        let line = Line {
            model: "gpt-5".into(),
            upstream,
            provider: "openai".into(),
            credential: CredentialId::generate(),
            usage,
            source: UsageSource::Upstream,
            service_tier: None,
            price: Some(1),
            cost: Pico::from_picos(cost.picos()),
        };
        let event = requests::tests::event(self.organization(), self.projects[project], self.key);
        Event {
            settlement: Some(SettlementId { epoch: Epoch(self.epoch), number: self.number }),
            billed_at_ms: i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap(),
            lines: vec![line],
            usage,
            cost: cost.to_money(),
            ..event
        }
    }

    /// The next price of the platform's model, in the organization's contract: a third more. Of
    /// each organization it is another revision.
    pub async fn put_dearer(&self) -> (i64, Price) {
        let revision = i64::try_from(self.epoch).unwrap() - 5;
        let each = |text| UnitPrice::per_million(text).unwrap();
        let text = Rates::of_text(each("1.666667"), each("13.333333"));
        let rates = Rates { cached_input: Some(each("0.166667")), ..text };
        let price = Price::flat(rates).unwrap();
        let book = PriceBookId::generate();
        sqlx::query(
            "INSERT INTO price_books (id, kind, name, organization_id)
             VALUES ($1, 'contract', $2::text, $2)",
        )
        .bind(book)
        .bind(self.organization())
        .execute(&self.fixture.root)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO model_prices (upstream_id, model, revision, price, book_id)
             VALUES ($1, 'gpt-5', $4, $3::text::jsonb, $2)",
        )
        .bind(self.upstream)
        .bind(book)
        .bind(serde_json::to_string(&price).unwrap())
        .bind(revision)
        .execute(&self.fixture.root)
        .await
        .unwrap();
        (revision, price)
    }

    /// Puts what was settled into the meter, as the ingester does.
    pub async fn meter(&self, events: &[Event]) {
        let mut conn = self.fixture.db.acquire().await.unwrap();
        let days: BTreeSet<_> = events.iter().map(|it| usage::billed_on(it).unwrap()).collect();
        for day in days {
            usage::make_days(&mut conn, day, day).await.unwrap();
        }
        let all: Vec<_> = events.iter().collect();
        usage::add(&mut conn, &all).await.unwrap();
        let settled: Vec<_> = events
            .iter()
            .filter_map(|it| Some((shared::counters::Shard::of(it.organization), it.settlement?)))
            .collect();
        usage::advance(&mut conn, &settled).await.unwrap();
    }

    /// Charges all that can be, and says how many hours that was.
    pub async fn charge(&self) -> usize {
        ledger::charge_due(&self.fixture.db).await.unwrap()
    }

    /// Calls of all projects over the month, charged.
    pub async fn used(&mut self, month: Month, calls: i64) -> Vec<Event> {
        let events = self.calls(month, calls);
        self.meter(&events).await;
        self.charge().await;
        events
    }

    /// Calls of all projects over the month, one in seven at the organization's own provider.
    pub fn calls(&mut self, month: Month, calls: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for turn in 0..calls {
            let at = month.starts_at() + time::Duration::minutes(turn * 397 % 38_000);
            let draw = |stride: i64, below: i64| u64::try_from(turn * stride % below).unwrap();
            let usage = Usage {
                input: 1_000 + draw(1_237, 9_001),
                cached_input: draw(331, 701),
                output: 10 + draw(97, 303),
                ..Usage::default()
            };
            let project = usize::try_from(turn).unwrap() % self.projects.len();
            let upstream = if turn % 7 == 3 { self.own } else { self.upstream };
            events.push(self.call_at(project, at, usage, upstream));
        }
        events
    }

    /// What of it is owed, in nano-dollars.
    pub fn owed(&self, events: &[Event]) -> i64 {
        let ours = events.iter().filter(|it| it.lines[0].upstream == self.upstream);
        ours.map(|it| it.cost.nanos()).sum()
    }

    pub async fn number(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(&self.fixture.root).await.unwrap()
    }
}

pub fn seller() -> Seller {
    Seller {
        name: "Turnpike Ltd".to_owned(),
        address: "1 Toll Road\nLondon".to_owned(),
        tax_id: "GB123".to_owned(),
        series: "TP".to_owned(),
        remittance: "IBAN GB00".to_owned(),
        contact: "billing@turnpike.test".to_owned(),
    }
}

/// The month before this one.
pub fn last_month() -> Month {
    Month::at(OffsetDateTime::now_utc()).previous()
}
