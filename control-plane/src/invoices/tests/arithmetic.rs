//! Whatever was charged, however it is grouped: nothing is lost, and no line is a cent off.

use proptest::{collection::vec, prelude::*};
use shared::ids::{ApiKeyId, CostCenterId, CreditId, ProjectId};
use time::macros::date;

use super::*;
use crate::{
    billing::Grouping,
    invoices::draw::{Center, Charged, draw},
    ledger::credits::{Credit, CreditKind},
};

/// What is drawn: project, class, quantity, nano-dollars, whether it is own, and the day.
type Draw = (usize, usize, i64, i64, bool, u8);

fn charges() -> impl Strategy<Value = Vec<Draw>> {
    let nanos = prop_oneof![0..30_000_000_i64, 0..9_000_000_000_i64];
    vec(
        (0..4_usize, 0..3_usize, 0..5_000_000_i64, nanos, prop::bool::weighted(0.15), 1..29_u8),
        0..40,
    )
}

fn terms() -> impl Strategy<Value = Terms> {
    (0..10_001_i32, 0..40_000_i64, prop_oneof![Just(0), 0..3_000_i32]).prop_map(
        |(discount, minimum, tax)| Terms {
            discount_basis_points: discount,
            minimum: Cents::from_cents(minimum),
            tax_name: "VAT".to_owned(),
            tax_basis_points: tax,
            ..Terms::default()
        },
    )
}

fn grouping() -> impl Strategy<Value = Grouping> {
    prop::sample::select(Grouping::ALL.to_vec())
}

fn made(
    draws: &[Draw],
    shares: &[[i32; 2]],
    terms: Terms,
    grouping: Grouping,
    credit: i64,
) -> Basis {
    let month: Month = "2026-11".parse().unwrap();
    let projects: Vec<_> = (0..4).map(|_| ProjectId::generate()).collect();
    let centers: Vec<_> = ["ENG", "SUP"]
        .map(|code| (CostCenterId::generate(), code.to_owned()))
        .into_iter()
        .collect();
    let key = ApiKeyId::generate();
    let mut basis = basis(OrganizationId::generate(), month);
    basis.terms = terms;
    basis.settings.grouping = grouping;
    for (at, project) in projects.iter().enumerate() {
        basis.names.insert(*project, format!("project {at}"));
    }
    for (project, class, quantity, nanos, is_own, day) in draws {
        let day = date!(2026 - 11 - 01).replace_day(*day).unwrap();
        let borne = &shares[*project % shares.len()];
        let bearers = centers.iter().zip(borne).filter(|(_, points)| **points > 0);
        let bearers = bearers.map(|((id, code), points)| Center {
            id: *id,
            code: code.clone(),
            name: code.clone(),
            basis_points: *points,
        });
        basis.splits.insert((projects[*project], day), bearers.collect());
        basis.charged.push(Charged {
            day,
            local_day: day,
            project: projects[*project],
            key,
            provider: "openai".to_owned(),
            model: "gpt-5".to_owned(),
            source: "upstream".to_owned(),
            is_own: *is_own,
            class: ["input", "cached_input", "output"][*class].to_owned(),
            unit_price: "0.00000125".to_owned(),
            published_price: String::new(),
            quantity: *quantity,
            nanos: *nanos,
        });
    }
    basis.credits = vec![Credit {
        id: CreditId::generate(),
        kind: CreditKind::Paid,
        name: "top-up".to_owned(),
        priority: 1,
        amount: Cents::from_cents(credit),
        left: Cents::from_cents(credit),
        effective_on: date!(2026 - 01 - 01),
        expires_on: None,
        reference: String::new(),
        created_at: OffsetDateTime::now_utc(),
    }];
    basis
}

fn owed(basis: &Basis) -> i128 {
    basis.charged.iter().filter(|it| !it.is_own).map(|it| i128::from(it.nanos)).sum()
}

const CENT: i128 = 10_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn lines_sections_centers_and_invoices_add_up(
        draws in charges(),
        shares in vec([0..5_001_i32, 0..5_000_i32], 1..4),
        terms in terms(),
        grouping in grouping(),
        credit in 1..50_000_i64,
    ) {
        let basis = made(&draws, &shares, terms, grouping, credit);
        let drawn = draw(&basis);
        let exact = owed(&basis);
        let nanos = |it: &shared::money::Money| i128::from(it.nanos());
        let sum = |of: fn(&Document) -> Cents| -> Cents { drawn.iter().map(|it| of(&it.document)).sum() };
        // All invoices of the month are all that was used, rounded once.
        let usage: i128 = drawn.iter().map(|it| nanos(&it.document.usage_nano)).sum();
        prop_assert_eq!(usage, exact);
        prop_assert_eq!(sum(|it| it.usage), Cents::of_nanos(exact));
        let quantity: i64 = basis.charged.iter().map(|it| it.quantity).sum();
        let detailed: i64 = drawn.iter().flat_map(|it| &it.details).map(|it| it.quantity).sum();
        prop_assert_eq!(detailed, quantity);
        for it in &drawn {
            let Document { sections, cost_centers, usage, usage_nano, .. } = &it.document;
            prop_assert_eq!(sections.iter().map(|it| it.amount).sum::<Cents>(), *usage);
            prop_assert_eq!(cost_centers.iter().map(|it| it.amount).sum::<Cents>(), *usage);
            prop_assert_eq!(
                sections.iter().map(|it| nanos(&it.cost_nano)).sum::<i128>(), nanos(usage_nano)
            );
            prop_assert_eq!(
                cost_centers.iter().map(|it| nanos(&it.cost_nano)).sum::<i128>(), nanos(usage_nano)
            );
            let billed = it.details.iter().filter(|it| !it.own);
            prop_assert_eq!(billed.map(|it| nanos(&it.cost_nano)).sum::<i128>(), nanos(usage_nano));
            for section in sections {
                let lines = &section.lines;
                prop_assert_eq!(lines.iter().map(|it| it.amount).sum::<Cents>(), section.amount);
                prop_assert_eq!(
                    lines.iter().map(|it| nanos(&it.cost_nano)).sum::<i128>(),
                    nanos(&section.cost_nano)
                );
                for line in lines {
                    prop_assert!((line.amount.nanos() - nanos(&line.cost_nano)).abs() < CENT);
                }
            }
            // What stands below adds up too.
            let document = &it.document;
            let adjusted = |it: &Option<document::Adjustment>| it.as_ref().map_or(Cents::ZERO, |it| it.amount);
            let net = document.usage + adjusted(&document.discount) + adjusted(&document.minimum);
            prop_assert_eq!(document.net, net);
            prop_assert_eq!(document.total, document.net + document.tax.amount);
            let credits: Cents = document.credits.iter().map(|it| it.amount).sum();
            prop_assert_eq!(document.due, document.total - credits);
            prop_assert!(document.due >= Cents::ZERO && document.net >= Cents::ZERO);
        }
        let used: Cents = drawn.iter().flat_map(|it| &it.uses).map(|it| it.amount).sum();
        prop_assert_eq!(used, sum(|it| it.total).min(Cents::from_cents(credit)));
        // What is agreed is billed.
        prop_assert!(drawn.is_empty() || sum(|it| it.net) >= basis.terms.minimum);
    }

    #[test]
    fn the_order_of_what_was_charged_does_not_matter(
        draws in charges(), grouping in grouping(), by in any::<prop::sample::Index>(),
    ) {
        let basis = made(&draws, &[[3_333, 3_333]], Terms::default(), grouping, 1);
        let before: Vec<_> = draw(&basis).into_iter().map(|it| (it.document, it.details)).collect();
        let mut turned = basis;
        if !turned.charged.is_empty() {
            let at = by.index(turned.charged.len());
            turned.charged.rotate_left(at);
        }
        let after: Vec<_> = draw(&turned).into_iter().map(|it| (it.document, it.details)).collect();
        // Which of two equal remainders comes first is said by the lines' own order.
        prop_assert_eq!(before, after);
    }

    #[test]
    fn files_add_up_to_what_is_to_be_paid(
        draws in charges(), terms in terms(), grouping in grouping(), credit in 1..50_000_i64,
    ) {
        let basis = made(&draws, &[[3_333, 3_333], [0, 10_000]], terms, grouping, credit);
        for it in draw(&basis) {
            let due = it.document.due;
            let usage = i128::from(it.document.usage_nano.nanos());
            let told = files::Told { document: it.document, details: it.details, only: None };
            let simple = downloads::column(&files::simple(&told), "amount_usd");
            prop_assert_eq!(simple, due.nanos());
            let billed = downloads::column(&files::focus(&told), "BilledCost");
            prop_assert_eq!(billed, due.nanos());
            let lines = files::lines(&told);
            let (all, own) = (downloads::column(&lines, "cost_usd"), downloads::own(&lines));
            prop_assert_eq!(all - own, usage);
        }
    }
}
