mod becoming;
mod chaos;
mod forgery;
mod pages;
mod refunding;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::BoxFuture;
use shared::{ids::OrganizationId, money::Cents};
use sqlx::PgPool;
use time::{Duration, macros::datetime};
use tokio::sync::Notify;

use super::{
    collect::collect,
    events::{handle, sweep_all},
    fake_stripe::{Ask, Fake, Manners},
    stripe::{Request, Response, Transport},
    *,
};
use crate::{access::Role, egress::NoAnswer, invoices::tests::plant_of, testing::Fixture};

pub(super) const SECRETS: [&str; 2] = ["whsec_old", "whsec_new"];
/// When tests begin.
pub(super) const NOON: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// The way to the fake, which can end in the middle of a call.
#[derive(Clone)]
pub(crate) struct Line {
    pub fake: Arc<Fake>,
    /// Before and after which change our process dies; none where it is zero.
    pub dies_before: Arc<AtomicUsize>,
    pub dies_after: Arc<AtomicUsize>,
    pub died: Arc<Notify>,
}

impl Line {
    fn counts(at: &AtomicUsize) -> bool {
        let counted = at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        counted == Ok(1)
    }
}

impl Transport for Line {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, NoAnswer>> {
        Box::pin(async move {
            let ask = Ask {
                method: request.method.to_string(),
                path: request.path,
                form: request.form,
                key: request.key,
            };
            let is_change = ask.method != "GET";
            if is_change && Self::counts(&self.dies_before) {
                self.died.notify_one();
                std::future::pending::<()>().await;
            }
            let answered = self.fake.answer(&ask);
            if is_change && Self::counts(&self.dies_after) {
                self.died.notify_one();
                std::future::pending::<()>().await;
            }
            let reply = answered.ok_or(NoAnswer)?;
            Ok(Response { status: reply.status, body: reply.body.to_string().into_bytes() })
        })
    }
}

/// Somebody who has invoices collected by the fake, and a clock that is moved.
pub(crate) struct Till {
    pub fixture: Fixture,
    pub rail: Rail,
    pub line: Line,
    pub fake: Arc<Fake>,
    now: Mutex<OffsetDateTime>,
}

pub(super) fn line() -> Line {
    let fake = Arc::new(Fake::new("https://pay.test"));
    let never = Arc::<AtomicUsize>::default;
    Line { fake, dies_before: never(), dies_after: never(), died: Arc::default() }
}

pub(super) fn rail(line: &Line) -> Rail {
    Rail {
        provider: Box::new(Stripe { transport: line.clone() }),
        secrets: SECRETS.map(SecretString::from).to_vec(),
        is_live: false,
        letters: Letters {
            sealer: shared::seal::MasterKey::generate().sealer("mail"),
            public_url: "https://turnpike.test/".parse().unwrap(),
            nudge: Arc::default(),
        },
    }
}

impl Till {
    pub async fn new(root: PgPool) -> Self {
        let line = line();
        let fixture = Fixture::collecting(root, rail(&line)).await;
        let till =
            Self { fixture, rail: rail(&line), fake: line.fake.clone(), line, now: NOON.into() };
        till.advance(Duration::ZERO);
        till
    }

    pub fn now(&self) -> OffsetDateTime {
        *self.now.lock().unwrap()
    }

    pub fn set_now(&self, now: OffsetDateTime) {
        *self.now.lock().unwrap() = now;
        self.fake.set_time(now.unix_timestamp());
    }

    pub fn advance(&self, by: Duration) {
        self.set_now(self.now() + by);
    }

    pub fn ours(&self) -> OrganizationId {
        self.fixture.ours.id
    }

    pub async fn collect(&self) {
        collect(&self.rail, &self.fixture.db, self.now()).await.unwrap();
    }

    /// What is told goes into the inbox and is handled.
    pub async fn hear(&self, manners: Manners) {
        for it in self.fake.deliveries(&SECRETS, manners) {
            let (body, at) = (it.body.as_bytes(), self.now().unix_timestamp());
            assert!(webhook::is_signed(&self.rail.secrets, &it.signature, body, at));
            let (event, _, _) = stripe::event(it.body.as_bytes()).unwrap();
            let mut conn = self.fixture.db.acquire().await.unwrap();
            store::insert_event(&mut conn, &event, "webhook", self.now()).await.unwrap();
        }
        handle(&self.rail, &self.fixture.db, self.now()).await.unwrap();
    }

    pub async fn sweep(&self) -> Result<usize, PaymentError> {
        sweep_all(&self.rail, &self.fixture.db, self.now()).await
    }

    /// The organization types a card's number on the provider's page.
    pub async fn add_card(&self, organization: OrganizationId, number: &str) {
        let done: Url = "https://turnpike.test/billing/card".parse().unwrap();
        let pages = Pages { cancelled: done.clone(), done };
        let db = &self.fixture.db;
        let page = set_up(&self.rail, db, organization, &pages, self.now()).await.unwrap();
        let session = page.path_segments().unwrap().next_back().unwrap().to_owned();
        self.fake.choose(&session, number).unwrap();
        self.hear(Manners::default()).await;
    }

    pub async fn plant(&self, month: &str, cents: i64) -> InvoiceId {
        let (root, month) = (&self.fixture.root, month.parse().unwrap());
        plant_of(root, self.ours(), month, Cents::from_cents(cents)).await
    }

    pub async fn collection(&self, invoice: InvoiceId) -> Collection {
        let mut work = self.fixture.work(Role::Owner).await;
        store::find(&mut work, self.ours(), invoice).await.unwrap().unwrap()
    }

    pub async fn invoice(&self, invoice: InvoiceId) -> Invoice {
        let mut work = self.fixture.work(Role::Owner).await;
        crate::invoices::find(&mut work, invoice).await.unwrap()
    }

    pub async fn number(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(&self.fixture.root).await.unwrap()
    }
}
