//! Charging usage: an hour's events, class by class, at the prices that they were charged by.

use std::collections::{BTreeMap, HashMap};

use shared::{
    event::UsageSource,
    ids::{ApiKeyId, OrganizationId, ProjectId},
    money::{Class, Price, largest_remainder},
};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use tracing::error;

use super::{Account, LedgerError, Posting, Reason, begin, post, store};
use crate::{
    billing::Month,
    usage::{self, MeteredLine},
};

/// How many hours are charged before others are looked for.
const AT_ONCE: i32 = 500;

/// What is charged together: what costs the same, of the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub project: ProjectId,
    pub key: ApiKeyId,
    pub provider: String,
    pub model: String,
    pub source: &'static str,
    pub is_own: bool,
    pub class: &'static str,
    pub unit_price: String,
    /// What everybody else pays, where that is another price.
    pub published_price: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub quantity: i64,
    pub nanos: i64,
}

pub(super) type Charges = BTreeMap<Kind, Sum>;

/// What is known of a price, and of whose provider it is of.
pub(super) struct Known {
    pub price: Option<Price>,
    /// What the platform's own book asks, where the price is of another book.
    pub published: Option<Price>,
    pub is_own: bool,
}

/// Charges the hours that are over and of which more was used than charged. Says how many.
/// Running it twice, or two of it at once, charges nothing twice.
pub async fn charge_due(db: &PgPool) -> Result<usize, LedgerError> {
    let until = charged_until(OffsetDateTime::now_utc());
    let due = {
        let mut conn = db.acquire().await?;
        store::uncharged(&mut conn, until, AT_ONCE).await?
    };
    let mut charged = 0;
    for (organization, hour) in due {
        // One that cannot be charged keeps no other from it.
        match charge(db, organization, hour).await {
            Ok(()) => charged += 1,
            Err(error) => {
                error!(organization.id = %organization, "an hour was not charged: {error}");
            }
        }
    }
    Ok(charged)
}

/// Hours are charged when they are over: up to the one that a moment is in.
pub fn charged_until(moment: OffsetDateTime) -> OffsetDateTime {
    let into = moment.unix_timestamp().rem_euclid(3_600);
    moment.replace_nanosecond(0).unwrap_or(moment) - Duration::seconds(into)
}

async fn charge(
    db: &PgPool,
    organization: OrganizationId,
    hour: OffsetDateTime,
) -> Result<(), LedgerError> {
    let mut work = begin(db, organization).await?;
    // Read after whoever charged it before has committed.
    store::lock(&mut work, organization).await?;
    let before = store::charged(&mut work, organization, hour).await?;
    let mut known = HashMap::new();
    for pinned in usage::pinned_prices(&mut work, organization, hour).await? {
        let found = store::known(&mut work, organization, hour, &pinned).await?;
        known.insert(pinned, found);
    }
    let (mut charges, mut calls, mut cost) = (Charges::new(), 0, 0);
    usage::each_line(&mut work, organization, hour, |project, key, line| {
        calls += i64::from(line.calls);
        cost += line.cost_nano;
        add(&mut charges, project, key, &line, known.get(&line.pinned()));
    })
    .await?;
    let new = beyond(charges, &before).ok_or(LedgerError::Shrunk(organization))?;
    let owed: i128 = new.iter().filter(|it| !it.0.is_own).map(|it| i128::from(it.1.nanos)).sum();
    let key = format!("usage {} {calls} {cost}", hour.unix_timestamp());
    let about = format!("usage of {} {:02}:00 UTC", hour.date(), hour.hour());
    let posting = Posting::new(Reason::Usage, key, about)
        .debit(Account::Accrued, owed)
        .credit(Account::Revenue, owed);
    if let Some(id) = post(&mut work, &posting).await? {
        let month = store::open_month(&mut work, organization, Month::at(hour)).await?;
        store::insert_charges(&mut work, organization, id, hour, month, &new).await?;
    }
    store::set_charged(&mut work, organization, hour, calls, cost).await?;
    work.commit().await?;
    Ok(())
}

const fn source(of: UsageSource) -> &'static str {
    match of {
        UsageSource::Upstream => "upstream",
        UsageSource::Estimated => "estimated",
        UsageSource::Interrupted => "interrupted",
        UsageSource::None => "none",
    }
}

/// Parts what a line cost among the classes that it used, by what each of them costs.
fn add(
    charges: &mut Charges,
    project: ProjectId,
    key: ApiKeyId,
    line: &MeteredLine,
    known: Option<&Known>,
) {
    let mut used = items(line, known.and_then(|it| it.price.as_ref()));
    if used.is_empty() {
        if line.cost_nano == 0 {
            return;
        }
        used.push((Class::Request, 1, String::new(), 1));
    }
    let published = known.and_then(|it| it.published.as_ref());
    let published = published.map_or_else(Vec::new, |it| items(line, Some(it)));
    let weights: Vec<_> = used.iter().map(|it| it.3).collect();
    let parts = largest_remainder(i128::from(line.cost_nano), &weights);
    for ((class, count, unit_price, _), nanos) in used.into_iter().zip(parts) {
        let others_pay = published.iter().find(|it| it.0 == class).map(|it| &it.2);
        let published_price = others_pay.filter(|it| **it != unit_price).cloned();
        let kind = Kind {
            project,
            key,
            provider: line.provider.clone(),
            model: line.model.clone(),
            source: source(line.usage_source),
            is_own: known.is_some_and(|it| it.is_own),
            class: class.name(),
            unit_price,
            published_price: published_price.unwrap_or_default(),
        };
        let sum = charges.entry(kind).or_default();
        sum.quantity = sum.quantity.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        sum.nanos += i64::try_from(nanos).unwrap_or_default();
    }
}

/// Classes with how much was used of each, its price, and how much it weighs beside the others.
/// Where the price is not known, each unit weighs the same.
fn items(line: &MeteredLine, price: Option<&Price>) -> Vec<(Class, u64, String, u64)> {
    match price {
        Some(price) => price
            .items(&line.usage, line.service_tier.as_deref())
            .into_iter()
            .map(|it| (it.class, it.count, it.unit_price(), it.weight()))
            .collect(),
        None => Class::ALL
            .into_iter()
            .filter(|it| *it != Class::Request)
            .map(|it| (it, it.count(&line.usage), String::new(), it.count(&line.usage)))
            .filter(|it| it.1 > 0)
            .collect(),
    }
}

/// What was used beyond what was charged before; nothing where less was.
fn beyond(mut charges: Charges, before: &[(Kind, Sum)]) -> Option<Charges> {
    for (kind, was) in before {
        let is = charges.get_mut(kind)?;
        is.quantity -= was.quantity;
        is.nanos -= was.nanos;
        if is.quantity < 0 || is.nanos < 0 {
            return None;
        }
    }
    charges.retain(|_, it| *it != Sum::default());
    Some(charges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::{
        money::{Rates, UnitPrice},
        usage::Usage,
    };

    use super::*;

    fn line(usage: Usage, cost_nano: i64) -> MeteredLine {
        MeteredLine {
            provider: "openai".to_owned(),
            model: "gpt-5".to_owned(),
            upstream: None,
            service_tier: None,
            price: Some(1),
            usage_source: UsageSource::Upstream,
            calls: 1,
            usage,
            cost_nano,
        }
    }

    fn known() -> Known {
        let each = |text| UnitPrice::per_million(text).unwrap();
        let rates =
            Rates { cached_input: Some(each("0.125")), ..Rates::of_text(each("1.25"), each("10")) };
        Known { price: Some(Price::flat(rates).unwrap()), published: None, is_own: false }
    }

    #[test]
    fn a_line_is_parted_among_its_classes_at_their_prices() {
        let usage = Usage { input: 1_000, cached_input: 800, output: 100, ..Usage::default() };
        let mut charges = Charges::new();
        // 1,250,000 + 100,000 + 1,000,000 nano-dollars.
        let (project, key) = (ProjectId::generate(), ApiKeyId::generate());
        add(&mut charges, project, key, &line(usage, 2_350_000), Some(&known()));
        let told: Vec<_> = charges
            .iter()
            .map(|(kind, it)| (kind.class, kind.unit_price.as_str(), it.quantity, it.nanos))
            .collect();
        assert_eq!(
            told,
            [
                ("cached_input", "0.000000125", 800, 100_000),
                ("input", "0.00000125", 1_000, 1_250_000),
                ("output", "0.00001", 100, 1_000_000)
            ]
        );
    }

    #[test]
    fn what_everybody_else_pays_is_told_where_it_is_another_price() {
        let each = |text| UnitPrice::per_million(text).unwrap();
        let published = Price::flat(Rates::of_text(each("2"), each("10"))).unwrap();
        let known = Known { published: Some(published), ..known() };
        let usage = Usage { input: 1_000, cached_input: 800, output: 100, ..Usage::default() };
        let mut charges = Charges::new();
        let (project, key) = (ProjectId::generate(), ApiKeyId::generate());
        add(&mut charges, project, key, &line(usage, 2_350_000), Some(&known));
        let told: Vec<_> =
            charges.keys().map(|it| (it.class, it.published_price.as_str())).collect();
        // Output costs everybody the same.
        assert_eq!(told, [("cached_input", "0.000002"), ("input", "0.000002"), ("output", "")]);
    }

    #[test]
    fn what_was_charged_is_not_charged_again() {
        let usage = Usage { input: 10, ..Usage::default() };
        let (project, key) = (ProjectId::generate(), ApiKeyId::generate());
        let mut once = Charges::new();
        add(&mut once, project, key, &line(usage, 13), Some(&known()));
        let mut twice = once.clone();
        add(&mut twice, project, key, &line(usage, 13), Some(&known()));
        let before: Vec<_> = once.clone().into_iter().collect();
        assert_eq!(beyond(twice.clone(), &before), Some(once.clone()));
        assert_eq!(beyond(once.clone(), &before), Some(Charges::new()));
        let more: Vec<_> = twice.into_iter().collect();
        assert_eq!(beyond(once, &more), None);
    }

    proptest! {
        #[test]
        fn a_line_is_charged_to_the_nano_whatever_is_known_of_it(
            counts: (u32, u32, u32), cost in 0..i64::from(u32::MAX), is_known: bool,
        ) {
            let usage = Usage {
                input: counts.0.into(), cached_input: counts.1.into(), output: counts.2.into(),
                ..Usage::default()
            };
            let mut charges = Charges::new();
            let (project, key) = (ProjectId::generate(), ApiKeyId::generate());
            let known = known();
            let found = is_known.then_some(&known);
            add(&mut charges, project, key, &line(usage, cost), found);
            prop_assert_eq!(charges.values().map(|it| it.nanos).sum::<i64>(), cost);
        }
    }
}
