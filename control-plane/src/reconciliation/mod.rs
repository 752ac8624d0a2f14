//! Whether the books agree. What was counted, what was billed and what is summed up are told
//! by the same events, and so are equal to the last nano-dollar, at every moment; this compares
//! them, and names each amount that is not.
//!
//! Always holds: a difference is told by table, row and amount, on both sides; what could not be
//! compared is not called equal. Comparing changes nothing.

mod counters;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::{
    collections::HashSet,
    fmt,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{IntGaugeVec, register_int_gauge_vec};
use redis::RedisError;
use serde::Serialize;
use shared::counters::Places;
use shared::wire::PoolError;
use sqlx::PgPool;
use time::{Date, OffsetDateTime};
use tokio::time::error::Elapsed;
use tracing::error;

use crate::{access::Doors, budgets, invoices, ledger};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

const PATIENCE: Duration = Duration::from_secs(10);
/// How many differences of an equality are named; the others are counted.
const NAMED: usize = 100;

static DIFFERENCES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "turnpike_reconciliation_differences",
        "Amounts that differ between what has to be equal, when it was compared last.",
        &["equality"]
    )
    .expect("the metric is registered once")
});

static NOT_COMPARED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "turnpike_reconciliation_not_compared",
        "Whether some of what has to be equal could not be compared, when it was tried last.",
        &["equality"]
    )
    .expect("the metric is registered once")
});

static RUN_AT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "turnpike_reconciliation_run_timestamp_seconds",
        "When it was compared last.",
        &["equality"]
    )
    .expect("the metric is registered once")
});

/// What has to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Equality {
    Counters,
    Holds,
    Windows,
    Hours,
    Days,
    Costs,
    Rounding,
    Log,
    Charges,
    Ledger,
    Invoices,
}

impl Equality {
    pub const ALL: [Self; 11] = [
        Self::Counters,
        Self::Holds,
        Self::Windows,
        Self::Hours,
        Self::Days,
        Self::Costs,
        Self::Rounding,
        Self::Log,
        Self::Charges,
        Self::Ledger,
        Self::Invoices,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Holds => "holds",
            Self::Windows => "windows",
            Self::Hours => "hours",
            Self::Days => "days",
            Self::Costs => "costs",
            Self::Rounding => "rounding",
            Self::Log => "log",
            Self::Charges => "charges",
            Self::Ledger => "ledger",
            Self::Invoices => "invoices",
        }
    }

    /// The two that are compared.
    pub const fn sides(self) -> (&'static str, &'static str) {
        match self {
            Self::Counters => ("Counters in Redis", "Windows of budgets, and events under way"),
            Self::Holds => ("What is held of budgets in Redis", "Holds of calls"),
            Self::Windows => ("What events told budgets", "Windows of budgets"),
            Self::Hours => ("Events", "Usage by the hour"),
            Self::Days => ("Usage by the hour", "Usage by the day"),
            Self::Costs => ("Lines of events", "Events"),
            Self::Rounding => ("Events, rounded up to nano-dollars", "Events, exact"),
            Self::Log => ("The request log", "Events that stand in it"),
            Self::Charges => ("Usage by the hour", "What was charged of it"),
            Self::Ledger => ("What was charged and is owed", "The ledger"),
            Self::Invoices => ("What was charged in closed months", "Invoices and the ledger"),
        }
    }

    /// The tables, for whoever looks for a difference in them.
    pub const fn tables(self) -> &'static str {
        match self {
            Self::Counters => "Redis | budget_windows",
            Self::Holds => "Redis | Redis",
            Self::Windows => "usage_events.counted | budget_windows",
            Self::Hours => "usage_events | usage_hours",
            Self::Days => "usage_hours | usage_days",
            Self::Costs => "usage_events.lines | usage_events",
            Self::Rounding => "usage_events.cost_nano | usage_events.cost_pico",
            Self::Log => "request_events.event | usage_events",
            Self::Charges => "usage_hours | charges",
            Self::Ledger => "charges | ledger_entries",
            Self::Invoices => "charges | invoices | ledger_entries",
        }
    }
}

impl fmt::Display for Equality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One amount that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: String,
    pub key: String,
    pub amount: String,
    pub left: i64,
    pub right: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, amount, left, right } = self;
        write!(f, "{table}: {key}: {amount} is {left} | {right}, {} apart", left.abs_diff(*right))
    }
}

/// Whether something is equal, as far as one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Equal,
    Differs,
    /// Nothing differs, but not all of it could be compared.
    NotCompared,
}

impl Verdict {
    const fn of(differs: bool, is_left_out: bool) -> Self {
        match (differs, is_left_out) {
            (true, _) => Self::Differs,
            (false, true) => Self::NotCompared,
            (false, false) => Self::Equal,
        }
    }
}

/// How an equality was found.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    pub equality: Equality,
    /// In nano-dollars; of what is rounded, in pico-dollars.
    pub left: i128,
    pub right: i128,
    /// How many amounts differ,
    pub differs: u64,
    /// and the first of them.
    pub differences: Vec<Difference>,
    /// What could not be compared, in words.
    pub left_out: Option<String>,
}

impl Compared {
    fn new(equality: Equality) -> Self {
        Self { equality, left: 0, right: 0, differs: 0, differences: Vec::new(), left_out: None }
    }

    fn note(&mut self, difference: Difference) {
        self.differs += 1;
        if self.differences.len() < NAMED {
            self.differences.push(difference);
        }
    }

    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.differs > 0, self.left_out.is_some())
    }

    pub fn holds(&self) -> bool {
        self.verdict() == Verdict::Equal
    }
}

/// What was found in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of which days. Counters are compared whole, whatever the days.
    pub is_whole: bool,
    pub events: i64,
    pub equalities: Vec<Compared>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.equalities.iter().any(|it| it.verdict() == verdict);
        Verdict::of(has(Verdict::Differs), has(Verdict::NotCompared))
    }

    pub fn is_sound(&self) -> bool {
        self.verdict() == Verdict::Equal
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.equalities {
            for difference in &it.differences {
                writeln!(f, "{difference}")?;
            }
            if let Some(left_out) = &it.left_out {
                writeln!(f, "{}: not compared: {left_out}", it.equality)?;
            }
            let Compared { equality, left, right, differs, .. } = it;
            let verdict = match it.verdict() {
                Verdict::Equal => "equal".to_owned(),
                Verdict::Differs => format!("{differs} differ"),
                Verdict::NotCompared => "not compared".to_owned(),
            };
            writeln!(f, "{equality:<9} {left:>24} {right:>24}  {verdict}")?;
        }
        write!(f, "{} events compared", self.events)
    }
}

/// Which days are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    All,
    /// Today's and yesterday's, and of the others the one whose turn it is.
    Latest {
        turn: usize,
    },
}

/// Compares everything. Redis is read first, so that each event that is not in the database yet
/// was in its stream.
pub async fn compare(
    db: &PgPool,
    redis: &shared::wire::Pool,
    places: &Places,
    extent: Extent,
) -> Result<Report, ReconciliationError> {
    let mut conn = db.acquire().await?;
    // Those that were told something, and all that may be, though nobody knows of it yet.
    let mut budgets: HashSet<_> = store::budgets(&mut conn).await?.into_iter().collect();
    let published = budgets::published(&mut conn, None).await?;
    budgets.extend(published.iter().map(|it| (it.organization, it.id)));
    let read = counters::read(redis, places, budgets.into_iter().collect()).await?;
    let mut tx = store::begin(&mut conn).await?;
    let days = chosen(store::days(&mut tx).await?, extent, OffsetDateTime::now_utc().date());
    let counters = counters::compare(&mut tx, places, &read).await?;
    let holds = counters::compare_holds(places, &read);
    let mut equalities = vec![counters, holds];
    let (events, sums) = sums(&mut tx, &days).await?;
    for mut compared in sums {
        for day in &days {
            store::differing(&mut tx, compared.equality, *day)
                .await?
                .into_iter()
                .for_each(|it| compared.note(it));
        }
        equalities.push(compared);
    }
    equalities.extend(books(&mut tx, &days, extent).await?);
    Ok(Report { is_whole: extent == Extent::All, events, equalities })
}

fn chosen(mut days: Vec<Date>, extent: Extent, today: Date) -> Vec<Date> {
    days.sort_unstable();
    let Extent::Latest { turn } = extent else { return days };
    let first = today.previous_day().unwrap_or(today);
    let (older, mut latest): (Vec<_>, Vec<_>) = days.into_iter().partition(|it| *it < first);
    latest.extend(older.get(turn.checked_rem(older.len()).unwrap_or_default()));
    latest
}

/// The two numbers of each equality but the counters'.
async fn sums(
    conn: &mut sqlx::PgConnection,
    days: &[Date],
) -> Result<(i64, Vec<Compared>), ReconciliationError> {
    let of = Compared::new;
    let (mut windows, mut hours, mut by_day) =
        (of(Equality::Windows), of(Equality::Hours), of(Equality::Days));
    let (mut costs, mut rounding) = (of(Equality::Costs), of(Equality::Rounding));
    let mut log = of(Equality::Log);
    let mut events = 0;
    for day in days {
        let sums = store::sums(conn, *day).await?;
        events += sums.events;
        let add = |to: &mut Compared, left, right| {
            to.left += left;
            to.right += right;
        };
        add(&mut windows, sums.counted, sums.windows);
        add(&mut hours, sums.nanos, sums.hours);
        add(&mut by_day, sums.hours, sums.days);
        add(&mut costs, sums.line_nanos, sums.nanos);
        add(&mut rounding, sums.nanos * 1_000, sums.picos);
        let (logged, billed) = store::logged(conn, *day).await?;
        add(&mut log, logged, billed);
        // Each event is rounded up once: by less than a nano-dollar.
        let above = sums.nanos * 1_000 - sums.picos;
        if !(0..=999 * i128::from(sums.events)).contains(&above) {
            let narrow = |it: i128| i64::try_from(it).unwrap_or(i64::MAX);
            rounding.note(Difference {
                table: Equality::Rounding.tables().to_owned(),
                key: format!("day={day} events={}", sums.events),
                amount: "pico-dollars".to_owned(),
                left: narrow(sums.nanos * 1_000),
                right: narrow(sums.picos),
            });
        }
    }
    Ok((events, vec![windows, hours, by_day, costs, rounding, log]))
}

/// Before anything was ever used.
const FIRST: Date = time::macros::date!(2000 - 01 - 01);
/// How long what is closed and sealed is looked at again all the time.
const RECENT: time::Duration = time::Duration::days(40);

/// What was used, charged, posted and invoiced.
async fn books(
    conn: &mut sqlx::PgConnection,
    days: &[Date],
    extent: Extent,
) -> Result<[Compared; 3], ReconciliationError> {
    let of = Compared::new;
    let (mut charges, mut posted) = (of(Equality::Charges), of(Equality::Ledger));
    let mut invoices = of(Equality::Invoices);
    let mut behind = 0;
    for day in days {
        let sums = ledger::sums(conn, *day).await?;
        charges.left += sums.used;
        charges.right += sums.charged;
        behind += sums.behind;
        for it in ledger::differing_charges(conn, *day).await? {
            charges.note(apart(Equality::Charges, it));
        }
        for it in ledger::differing_accruals(conn, *day).await? {
            posted.note(apart(Equality::Ledger, it));
        }
        posted.left += sums.owed;
        posted.right += sums.accrued;
    }
    let since = match extent {
        Extent::All => FIRST,
        Extent::Latest { .. } => OffsetDateTime::now_utc().date() - RECENT,
    };
    for it in ledger::broken(conn, since).await? {
        posted.note(apart(Equality::Ledger, it));
    }
    for it in invoices::sums(conn, since).await? {
        invoices.left += i128::from(it.ours);
        invoices.right += i128::from(it.theirs);
        if it.ours != it.theirs {
            invoices.note(apart(Equality::Invoices, it));
        }
    }
    if behind > 0 {
        charges.left_out = Some(format!("{behind} hours that were not charged yet"));
    }
    Ok([charges, posted, invoices])
}

fn apart(equality: Equality, it: ledger::Differing) -> Difference {
    let table = equality.tables().to_owned();
    Difference { table, key: it.row_key, amount: it.amount, left: it.ours, right: it.theirs }
}

/// Compares what is new, keeps what was found, and raises the alarm.
pub async fn run(
    db: &PgPool,
    redis: &shared::wire::Pool,
    places: &Places,
) -> Result<(), ReconciliationError> {
    let mut conn = db.acquire().await?;
    // Of several control planes one compares.
    let Some(run) = store::next_run(&mut conn).await? else { return Ok(()) };
    let began_at = OffsetDateTime::now_utc();
    let turn = usize::try_from(run).unwrap_or_default();
    let report = compare(db, redis, places, Extent::Latest { turn }).await?;
    store::keep(&mut conn, run, began_at, &report).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for it in &report.equalities {
        let differs = i64::try_from(it.differs).unwrap_or(i64::MAX);
        DIFFERENCES.with_label_values(&[it.equality.name()]).set(differs);
        let not_compared = i64::from(it.left_out.is_some());
        NOT_COMPARED.with_label_values(&[it.equality.name()]).set(not_compared);
        RUN_AT.with_label_values(&[it.equality.name()]).set(i64::try_from(now).unwrap_or_default());
        if it.verdict() == Verdict::Differs {
            let first = it.differences.first().map(ToString::to_string).unwrap_or_default();
            error!(
                equality = it.equality.name(),
                differs, "the books do not agree: {differs} amounts differ, the first is {first}"
            );
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum ReconciliationError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("a shard of counters cannot be understood")]
    Unreadable,
    #[error("the database failed")]
    Store(#[from] sqlx::Error),
}
