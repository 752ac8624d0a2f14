//! What is spent of budgets at this moment, as Redis counts it, and what that comes to.

use std::time::Duration;

use serde::Serialize;
use shared::{
    counters::{self, Amounts, Counter, Shard},
    failure::{Classified, Kind},
    ids::OrganizationId,
    money::{Money, Period, Span},
    snapshot::Caps,
};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;

use super::{Budget, terms::now_ms};
use crate::{platform::Platform, upstreams::words::grouped};

/// A page waits no longer than this for Redis.
const PATIENCE: Duration = Duration::from_millis(500);
/// No forecast is made of less than a hundredth of a window.
const TOO_SOON: i128 = 100;

/// What is spent and held of a budget in its present window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub window: Span,
    pub now_ms: i64,
    pub spent: Amounts,
    /// By calls under way, and by the dead.
    pub held: Amounts,
    /// Of the money held, what calls of dead processes do.
    pub held_by_the_dead: i64,
}

/// Nobody could say what is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is spent cannot be told at this moment: the counters did not answer")]
pub struct Away;

impl Classified for Away {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// Of each budget, in their order.
pub async fn usage(
    platform: &Platform,
    organization: OrganizationId,
    budgets: &[Budget],
) -> Result<Vec<Usage>, Away> {
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let asked = timeout(PATIENCE, ask(platform, organization, budgets)).await;
    asked.map_err(|_| Away)?.map_err(|error| {
        warn!(%error, "could not ask what is spent");
        Away
    })
}

async fn ask(
    platform: &Platform,
    organization: OrganizationId,
    budgets: &[Budget],
) -> Result<Vec<Usage>, super::terms::TermsError> {
    let mut redis = platform.redis.get().await?;
    let now_ms = now_ms(&mut redis).await?;
    let shard = Shard::of(organization);
    let mut ask = redis::pipe();
    for budget in budgets {
        ask.add_command(platform.counters.budget(shard, budget.id));
    }
    let told: Vec<Vec<u8>> = ask.query_async(&mut redis).await?;
    let counted = budgets.iter().zip(&told);
    Ok(counted.map(|(budget, kept)| Usage::of(budget, &Counter::read(kept), now_ms)).collect())
}

impl Usage {
    fn of(budget: &Budget, counter: &Counter, now_ms: i64) -> Self {
        let window = budget.period.span_at(&budget.zone, now_ms);
        let none = Self {
            window,
            now_ms,
            spent: Amounts::default(),
            held: Amounts::default(),
            held_by_the_dead: 0,
        };
        // Of one that was put back nobody may know yet when it ends.
        let is_present = |it: &&counters::Window| it.until_ms == 0 && it.from_ms >= window.start_ms;
        let counted = counter.at(now_ms).or(counter.window.as_ref().filter(is_present));
        let counted = counted.map(|it| Self {
            spent: it.spent,
            held: it.held,
            held_by_the_dead: it.held_by_the_dead,
            ..none
        });
        counted.unwrap_or(none)
    }

    /// What will be spent at the window's end if it goes on like this. Nothing is said of a
    /// window that has just begun, nor of one that never ends.
    fn forecast(&self, period: Period, spent: i64) -> Option<i64> {
        let Span { start_ms, end_ms } = self.window;
        let whole = i128::from(end_ms) - i128::from(start_ms);
        let gone = i128::from(self.now_ms) - i128::from(start_ms);
        if period == Period::Total || gone * TOO_SOON < whole {
            return None;
        }
        i64::try_from(i128::from(spent) * whole / gone).ok()
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    Money,
    Requests,
    Tokens,
}

impl Counted {
    const ALL: [Self; 3] = [Self::Money, Self::Requests, Self::Tokens];

    fn cap(self, caps: Caps) -> Option<i64> {
        match self {
            Self::Money => caps.money.map(|it| it.nanos()),
            Self::Requests => caps.requests,
            Self::Tokens => caps.tokens,
        }
    }

    fn amount(self, amounts: Amounts) -> i64 {
        match self {
            Self::Money => amounts.money,
            Self::Requests => amounts.requests,
            Self::Tokens => amounts.tokens,
        }
    }

    /// As settlements tell it, and the database keeps it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }

    /// As people read it.
    pub fn words(self, amount: i64) -> String {
        match self {
            Self::Money => Money::from_nanos(amount).to_string(),
            Self::Requests => format!("{} {}", grouped(&amount), plural(amount, "request")),
            Self::Tokens => format!("{} {}", grouped(&amount), plural(amount, "token")),
        }
    }

    /// To the last digit, for whoever computes.
    pub fn exact(self, amount: i64) -> String {
        match self {
            Self::Money => Money::from_nanos(amount).exact(),
            Self::Requests | Self::Tokens => amount.to_string(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("money, requests and tokens are counted, and nothing else")]
pub struct NotCounted;

impl std::str::FromStr for Counted {
    type Err = NotCounted;

    fn from_str(name: &str) -> Result<Self, NotCounted> {
        Self::ALL.into_iter().find(|it| it.name() == name).ok_or(NotCounted)
    }
}

fn plural(count: i64, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// One cap of a budget and how far it is used, as a page shows it.
#[derive(Clone, Debug)]
pub struct Bar {
    pub counted: Counted,
    pub cap: i64,
    pub spent: i64,
    pub held: i64,
    pub dead: i64,
    pub forecast: Option<i64>,
}

impl Bar {
    /// One for each cap.
    pub fn all(budget: &Budget, usage: &Usage, now: OffsetDateTime) -> Vec<Self> {
        let caps = budget.caps_at(now);
        let bar = |counted: Counted| {
            let spent = counted.amount(usage.spent);
            let dead = if counted == Counted::Money { usage.held_by_the_dead } else { 0 };
            Some(Self {
                counted,
                cap: counted.cap(caps)?,
                spent,
                held: counted.amount(usage.held).saturating_sub(dead).max(0),
                dead,
                forecast: usage.forecast(budget.period, spent),
            })
        };
        Counted::ALL.into_iter().filter_map(bar).collect()
    }

    /// How much of the cap is spent, in percent. Of a cap of nothing all is.
    pub fn percent(&self) -> i64 {
        match self.cap {
            0 => 100,
            cap => {
                i64::try_from(i128::from(self.spent) * 100 / i128::from(cap)).unwrap_or(i64::MAX)
            }
        }
    }

    /// In thousandths of the bar's length, which is the cap, or what is beyond it.
    fn width(&self, amount: i64) -> i64 {
        let taken = self.spent.saturating_add(self.held).saturating_add(self.dead);
        let whole = self.cap.max(taken).max(1);
        i64::try_from(i128::from(amount.max(0)) * 1_000 / i128::from(whole)).unwrap_or(1_000)
    }

    pub fn spent_width(&self) -> i64 {
        if self.cap == 0 { 1_000 } else { self.width(self.spent) }
    }

    pub fn held_width(&self) -> i64 {
        self.width(self.held)
    }

    pub fn held_from(&self) -> i64 {
        self.width(self.spent)
    }

    pub fn dead_width(&self) -> i64 {
        self.width(self.dead)
    }

    pub fn dead_from(&self) -> i64 {
        self.held_from() + self.held_width()
    }

    /// Where the forecast is, if it is on the bar.
    pub fn forecast_at(&self) -> Option<i64> {
        self.forecast.map(|it| self.width(it)).filter(|it| (1..=1_000).contains(it))
    }

    pub fn class(&self) -> &'static str {
        match self.percent() {
            ..80 => "f",
            80..100 => "w",
            _ => "b",
        }
    }

    pub fn spent_words(&self) -> String {
        self.counted.words(self.spent)
    }

    pub fn spent_exact(&self) -> String {
        self.counted.exact(self.spent)
    }

    pub fn cap_words(&self) -> String {
        self.counted.words(self.cap)
    }

    pub fn held_words(&self) -> String {
        self.counted.words(self.held)
    }

    pub fn dead_words(&self) -> String {
        self.counted.words(self.dead)
    }

    pub fn left_words(&self) -> String {
        let taken = self.spent.saturating_add(self.held).saturating_add(self.dead);
        self.counted.words(self.cap.saturating_sub(taken).max(0))
    }

    pub fn forecast_words(&self) -> Option<String> {
        self.forecast.map(|it| self.counted.words(it))
    }

    /// Whether it will be used up before the window ends.
    pub fn is_outrun(&self) -> bool {
        self.forecast.is_some_and(|it| it > self.cap)
    }

    /// What the bar shows, for those who do not see it.
    pub fn label(&self) -> String {
        format!("{} of {} spent, {} %", self.spent_words(), self.cap_words(), self.percent())
    }
}

/// Amounts as programs are told them: money as exact decimals of a dollar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SaidAmounts {
    pub usd: String,
    pub requests: i64,
    pub tokens: i64,
}

impl From<Amounts> for SaidAmounts {
    fn from(it: Amounts) -> Self {
        let usd = Money::from_nanos(it.money).exact();
        Self { usd, requests: it.requests, tokens: it.tokens }
    }
}

/// What is spent and held of a budget in its present window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BudgetUsage)]
pub struct SaidUsage {
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub window_start: Option<OffsetDateTime>,
    /// When it starts anew. Null where it never does.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resets_at: Option<OffsetDateTime>,
    pub spent: SaidAmounts,
    /// By calls under way, and by calls of proxies that died.
    pub held: SaidAmounts,
    /// Of the money held, what calls of proxies that died do.
    pub held_by_dead_proxies_usd: String,
    /// What money will be spent at the window's end at this pace.
    pub forecast_usd: Option<String>,
}

impl SaidUsage {
    pub fn of(budget: &Budget, usage: &Usage) -> Self {
        let forecast = usage.forecast(budget.period, usage.spent.money);
        Self {
            window_start: at(usage.window.start_ms),
            resets_at: resets_at(budget, usage),
            spent: usage.spent.into(),
            held: usage.held.into(),
            held_by_dead_proxies_usd: Money::from_nanos(usage.held_by_the_dead).exact(),
            forecast_usd: forecast.map(|it| Money::from_nanos(it).exact()),
        }
    }
}

/// When the present window ends, if it does.
pub fn resets_at(budget: &Budget, usage: &Usage) -> Option<OffsetDateTime> {
    at(usage.window.end_ms).filter(|_| budget.period != Period::Total)
}

fn at(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}
