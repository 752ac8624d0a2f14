//! What invoices come to: from what was charged to documents, by arithmetic alone.
//!
//! Each amount is exact until one rounding: all that a month's usage comes to is rounded to the
//! cent, and parted among invoices, sections and lines so that each of these is the cent above or
//! below what it is exactly.

use std::collections::BTreeMap;

use shared::{
    ids::{ApiKeyId, CostCenterId, OrganizationId, ProjectId},
    money::{Cents, Money, apportion, largest_remainder},
};
use time::{Date, Duration};

use super::document::{
    Adjustment, Buyer, CenterPart, CreditUse, Detail, Document, Kind, Line, OwnUsage, Scope,
    Section, Tax, unit,
};
use crate::{
    billing::{Grouping, Month, Seller, Settings, Terms},
    ledger::credits::{self, Credit, Use},
};

/// What a day's usage of one class came to, before it is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Charged {
    /// Of UTC.
    pub day: Date,
    /// Where the organization is, which is what splits go by.
    pub local_day: Date,
    pub project: ProjectId,
    pub key: ApiKeyId,
    pub provider: String,
    pub model: String,
    pub source: String,
    pub is_own: bool,
    pub class: String,
    pub unit_price: String,
    pub published_price: String,
    pub quantity: i64,
    pub nanos: i64,
}

/// A cost center that bears a part of a project's costs on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Center {
    pub id: CostCenterId,
    pub code: String,
    pub name: String,
    pub basis_points: i32,
}

/// Who bears a project's costs on the days where the organization is.
pub(super) type Splits = BTreeMap<(ProjectId, Date), Vec<Center>>;

/// All that invoices of a month depend on.
pub(super) struct Basis {
    pub organization: OrganizationId,
    pub organization_name: String,
    pub month: Month,
    pub issued_on: Date,
    pub seller: Option<Seller>,
    pub settings: Settings,
    pub terms: Terms,
    pub names: BTreeMap<ProjectId, String>,
    pub charged: Vec<Charged>,
    pub splits: Splits,
    pub credits: Vec<Credit>,
    pub calls: i64,
}

/// An invoice, what its lines are made of, and what it uses of credits.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub document: Document,
    pub details: Vec<Detail>,
    pub uses: Vec<Use>,
}

/// A part of what was charged that one cost center bears.
#[derive(Clone, Debug)]
struct Portion<'a> {
    of: &'a Charged,
    center: Option<&'a Center>,
    quantity: i64,
    nanos: i64,
}

/// Every invoice of the month, in a fixed order.
pub(super) fn draw(basis: &Basis) -> Vec<Drawn> {
    let portions = allocate(basis);
    let groups = grouped(basis, &portions);
    let exact: Vec<_> = groups.values().map(|it| billed(it)).collect();
    let all: i128 = exact.iter().sum();
    let usage = Cents::of_nanos(all);
    let parts = apportion(usage, &exact);
    let terms = &basis.terms;
    let discount = Cents::share_of_nanos(all, points(terms.discount_basis_points)).min(usage);
    let discounts = parted(discount, &parts);
    let minimums = parted((terms.minimum - (usage - discount)).max(Cents::ZERO), &parts);
    let mut credits = basis.credits.clone();
    let mut drawn = Vec::new();
    for (at, (scope, portions)) in groups.into_iter().enumerate() {
        let (discount, minimum) = (discounts[at], minimums[at]);
        drawn.push(one(basis, scope, &portions, parts[at], discount, minimum, &mut credits));
    }
    drawn
}

/// An invoice of a month in which nothing was used, for whoever looks at it.
pub(super) fn empty(basis: &Basis) -> Drawn {
    let nothing = Cents::ZERO;
    one(basis, Scope::Organization, &[], nothing, nothing, nothing, &mut [])
}

fn points(basis_points: i32) -> u32 {
    u32::try_from(basis_points).unwrap_or_default()
}

/// An amount, parted by what was used.
fn parted(amount: Cents, usage: &[Cents]) -> Vec<Cents> {
    let weights: Vec<_> = usage.iter().map(|it| it.cents().unsigned_abs()).collect();
    let parts = largest_remainder(i128::from(amount.cents()), &weights);
    let cents = |it| Cents::from_cents(i64::try_from(it).unwrap_or_default());
    parts.into_iter().map(cents).collect()
}

fn billed(portions: &[Portion<'_>]) -> i128 {
    portions.iter().filter(|it| !it.of.is_own).map(|it| i128::from(it.nanos)).sum()
}

/// Parts each charge among the cost centers that bear it, and what nobody does.
fn allocate(basis: &Basis) -> Vec<Portion<'_>> {
    let mut portions = Vec::new();
    for charged in &basis.charged {
        let centers = basis.splits.get(&(charged.project, charged.local_day));
        let centers = centers.map_or(&[][..], Vec::as_slice);
        let weights: Vec<_> = centers.iter().map(|it| u64::from(points(it.basis_points))).collect();
        let left = 10_000_u64.saturating_sub(weights.iter().sum());
        let weights = [weights, vec![left]].concat();
        let nanos = largest_remainder(i128::from(charged.nanos), &weights);
        let quantities = largest_remainder(i128::from(charged.quantity), &weights);
        let bearers = centers.iter().map(Some).chain([None]);
        for ((center, nanos), quantity) in bearers.zip(nanos).zip(quantities) {
            let narrow = |it| i64::try_from(it).unwrap_or_default();
            let (nanos, quantity) = (narrow(nanos), narrow(quantity));
            if nanos != 0 || quantity != 0 {
                portions.push(Portion { of: charged, center, quantity, nanos });
            }
        }
    }
    portions
}

type Groups<'a> = BTreeMap<Scope, Vec<Portion<'a>>>;

fn grouped<'a>(basis: &Basis, portions: &[Portion<'a>]) -> Groups<'a> {
    let mut groups = Groups::new();
    for portion in portions {
        groups.entry(scope_of(basis, portion)).or_default().push(portion.clone());
    }
    // What is agreed is owed in a month without usage too.
    if groups.is_empty() && basis.terms.minimum > Cents::ZERO {
        groups.insert(Scope::Organization, Vec::new());
    }
    groups
}

fn scope_of(basis: &Basis, portion: &Portion<'_>) -> Scope {
    match basis.settings.grouping {
        Grouping::Organization => Scope::Organization,
        Grouping::Project => {
            let id = portion.of.project;
            Scope::Project { id, name: project_name(basis, id) }
        }
        Grouping::CostCenter => Scope::CostCenter {
            id: portion.center.map(|it| it.id),
            code: portion.center.map_or(UNALLOCATED, |it| &it.code).to_owned(),
        },
    }
}

pub(super) const UNALLOCATED: &str = "Unallocated";

fn project_name(basis: &Basis, project: ProjectId) -> String {
    basis.names.get(&project).cloned().unwrap_or_else(|| project.to_string())
}

fn one(
    basis: &Basis,
    scope: Scope,
    portions: &[Portion<'_>],
    usage: Cents,
    discount: Cents,
    minimum: Cents,
    credits: &mut [Credit],
) -> Drawn {
    let Basis { terms, settings, month, .. } = basis;
    let net = usage - discount + minimum;
    let tax = Tax {
        name: terms.tax_name.clone(),
        basis_points: terms.tax_basis_points,
        reverse_charge: terms.reverse_charge,
        amount: net.share(points(terms.tax_basis_points)),
    };
    let total = net + tax.amount;
    let uses = credits::plan(credits, total, *month);
    let due = total - uses.iter().map(|it| it.amount).sum::<Cents>();
    let due_on = basis.issued_on + Duration::days(terms.payment_days.into());
    let is_ours = |it: &&Portion<'_>| !it.of.is_own;
    let estimated: i64 = portions
        .iter()
        .filter(is_ours)
        .filter(|it| it.of.source != "upstream")
        .map(|it| it.nanos)
        .sum();
    let document = Document {
        number: None,
        kind: Kind::Invoice,
        month: *month,
        first_day: month.first().into(),
        last_day: month.last().into(),
        issued_on: basis.issued_on.into(),
        due_on: due_on.into(),
        payment_days: terms.payment_days,
        currency: "USD".to_owned(),
        seller: basis.seller.clone(),
        buyer: Buyer {
            account: basis.organization.to_string(),
            organization: basis.organization_name.clone(),
            legal_name: match settings.legal_name.as_str() {
                "" => basis.organization_name.clone(),
                name => name.to_owned(),
            },
            address: settings.address.clone(),
            tax_id: settings.tax_id.clone(),
            purchase_order: settings.purchase_order.clone(),
        },
        scope,
        sections: sections(basis, portions, usage),
        cost_centers: centers(portions, usage),
        own: own(basis, portions),
        usage_nano: money(billed(portions)),
        usage,
        discount: (discount != Cents::ZERO).then(|| Adjustment {
            label: format!("Discount, {} %", percent(terms.discount_basis_points)),
            amount: -discount,
        }),
        minimum: (minimum != Cents::ZERO).then(|| Adjustment {
            label: format!("Up to the agreed minimum of {}", terms.minimum),
            amount: minimum,
        }),
        net,
        tax,
        total,
        credits: uses
            .iter()
            .map(|it| CreditUse {
                credit: it.credit,
                kind: it.kind,
                name: it.name.clone(),
                amount: it.amount,
            })
            .collect(),
        due,
        estimated_nano: Money::from_nanos(estimated),
        calls_charged: basis.calls,
        refers_to: None,
        reason: None,
        returned: None,
    };
    Drawn { document, details: details(portions), uses }
}

fn percent(basis_points: i32) -> String {
    format!("{}.{:02}", basis_points / 100, basis_points % 100)
}

fn money(nanos: i128) -> Money {
    Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// What makes a line: the rest of what was charged is summed up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LineKey {
    late_of: Option<Month>,
    provider: String,
    model: String,
    place: usize,
    class: String,
    unit_price: String,
}

/// In the order in which classes are used.
fn place(class: &str) -> usize {
    let all = shared::money::Class::ALL;
    all.iter().position(|it| it.name() == class).unwrap_or(all.len())
}

fn sections(basis: &Basis, portions: &[Portion<'_>], usage: Cents) -> Vec<Section> {
    type Lines = BTreeMap<LineKey, (i64, i64)>;
    let mut by_project = BTreeMap::<(String, ProjectId), Lines>::new();
    for it in portions.iter().filter(|it| !it.of.is_own) {
        let used_in = Month::of(it.of.day);
        let key = LineKey {
            late_of: Some(used_in).filter(|it| *it != basis.month),
            provider: it.of.provider.clone(),
            model: it.of.model.clone(),
            place: place(&it.of.class),
            class: it.of.class.clone(),
            unit_price: it.of.unit_price.clone(),
        };
        let project = (project_name(basis, it.of.project), it.of.project);
        let sum = by_project.entry(project).or_default().entry(key).or_default();
        sum.0 = sum.0.saturating_add(it.quantity);
        sum.1 += it.nanos;
    }
    let exact = |lines: &Lines| -> i128 { lines.values().map(|it| i128::from(it.1)).sum() };
    let sums: Vec<_> = by_project.values().map(exact).collect();
    let amounts = apportion(usage, &sums);
    let mut sections = Vec::new();
    for (((name, project), lines), (sum, amount)) in
        by_project.into_iter().zip(sums.into_iter().zip(amounts))
    {
        let exact: Vec<_> = lines.values().map(|it| i128::from(it.1)).collect();
        let parts = apportion(amount, &exact);
        let line = |((key, (quantity, nanos)), amount): ((LineKey, (i64, i64)), Cents)| Line {
            unit: unit(&key.class).to_owned(),
            provider: key.provider,
            model: key.model,
            class: key.class,
            late_of: key.late_of,
            quantity,
            unit_price: key.unit_price,
            cost_nano: Money::from_nanos(nanos),
            amount,
        };
        let lines = lines.into_iter().zip(parts).map(line).collect();
        sections.push(Section { project, name, cost_nano: money(sum), amount, lines });
    }
    sections
}

/// By code, what nobody receives last.
fn centers(portions: &[Portion<'_>], usage: Cents) -> Vec<CenterPart> {
    let mut by_center = BTreeMap::<(bool, String), (Option<&Center>, i128)>::new();
    for it in portions.iter().filter(|it| !it.of.is_own) {
        let code = it.center.map_or(UNALLOCATED, |it| &it.code).to_owned();
        let sum = by_center.entry((it.center.is_none(), code)).or_insert((it.center, 0));
        sum.1 += i128::from(it.nanos);
    }
    let exact: Vec<_> = by_center.values().map(|it| it.1).collect();
    let amounts = apportion(usage, &exact);
    let part = |(((_, code), (center, nanos)), amount): (_, Cents)| CenterPart {
        cost_center: Option::<&Center>::map(center, |it| it.id),
        code,
        name: center.map(|it| it.name.clone()).unwrap_or_default(),
        cost_nano: money(nanos),
        amount,
    };
    by_center.into_iter().zip(amounts).map(part).collect()
}

fn own(basis: &Basis, portions: &[Portion<'_>]) -> Vec<OwnUsage> {
    let mut sums = BTreeMap::<(String, ProjectId, &str, &str), i64>::new();
    for it in portions.iter().filter(|it| it.of.is_own) {
        let name = project_name(basis, it.of.project);
        *sums
            .entry((name, it.of.project, it.of.provider.as_str(), it.of.model.as_str()))
            .or_default() += it.nanos;
    }
    let one = |((name, project, provider, model), nanos): (_, i64)| {
        let (provider, model) = (str::to_owned(provider), str::to_owned(model));
        OwnUsage { project, name, provider, model, cost_nano: Money::from_nanos(nanos) }
    };
    sums.into_iter().map(one).collect()
}

fn details(portions: &[Portion<'_>]) -> Vec<Detail> {
    let detail = |it: &Portion<'_>| Detail {
        project: it.of.project,
        day: it.of.day.into(),
        key: it.of.key,
        center: it.center.map(|it| it.code.clone()).unwrap_or_default(),
        provider: it.of.provider.clone(),
        model: it.of.model.clone(),
        class: it.of.class.clone(),
        unit_price: it.of.unit_price.clone(),
        published_price: it.of.published_price.clone(),
        source: it.of.source.clone(),
        own: it.of.is_own,
        quantity: it.quantity,
        cost_nano: Money::from_nanos(it.nanos),
    };
    let mut details: Vec<_> = portions.iter().map(detail).collect();
    details.sort_unstable();
    details
}
