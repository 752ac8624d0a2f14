//! The operators' page of whether the books agree.

use askama::Template;
use shared::money::Money;

use super::{
    Difference, Equality, Verdict,
    store::{self, Found},
};
use crate::{
    access::{Doors, Operator},
    web::{Failure, Frame, Moment, Page},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/reconciliation", show);
}

#[derive(Template)]
#[template(path = "operator_pages/reconciliation.html")]
struct ReconciliationPage {
    frame: Frame,
    rows: Vec<Row>,
    compared: Option<Moment>,
}

/// An equality.
struct Row {
    name: &'static str,
    left_name: &'static str,
    right_name: &'static str,
    found: Option<Shown>,
    differences: Vec<Difference>,
}

struct Shown {
    left: String,
    right: String,
    verdict: Verdict,
    differs: i64,
    left_out: Option<String>,
    since: Moment,
}

impl Shown {
    fn of(equality: Equality, found: &Found, zone: &str) -> Self {
        let said = |it| match equality {
            Equality::Rounding => picos(it),
            Equality::Counters
            | Equality::Holds
            | Equality::Windows
            | Equality::Hours
            | Equality::Days
            | Equality::Costs
            | Equality::Log
            | Equality::Charges
            | Equality::Ledger
            | Equality::Invoices => nanos(it),
        };
        Self {
            left: said(found.left),
            right: said(found.right),
            verdict: Verdict::of(found.differs > 0, found.left_out.is_some()),
            differs: found.differs,
            left_out: found.left_out.clone(),
            since: Moment::new(found.since, zone),
        }
    }
}

fn nanos(amount: i128) -> String {
    i64::try_from(amount).map_or_else(
        |_| format!("{amount} nano-dollars"),
        |it| format!("${}", Money::from_nanos(it).exact()),
    )
}

/// To the last pico-dollar.
fn picos(amount: i128) -> String {
    let (whole, rest) = (amount / 1_000, amount % 1_000);
    format!("{}{:03}", nanos(whole), rest.unsigned_abs())
}

async fn show(operator: Operator) -> Result<Page<ReconciliationPage>, Failure> {
    let Operator(staff) = operator;
    let zone = &staff.session.time_zone;
    let mut conn = staff.platform.db.acquire().await?;
    let (mut rows, mut compared) = (Vec::new(), None);
    for equality in Equality::ALL {
        let found = store::latest(&mut conn, equality).await?;
        let differences = match &found {
            Some(it) if it.differs > 0 => store::differences(&mut conn, equality, it.run).await?,
            Some(_) | None => Vec::new(),
        };
        compared = compared.max(found.as_ref().map(|it| it.began_at));
        let (left_name, right_name) = equality.sides();
        rows.push(Row {
            name: equality.name(),
            left_name,
            right_name,
            found: found.map(|it| Shown::of(equality, &it, zone)),
            differences,
        });
    }
    Ok(Page(ReconciliationPage {
        frame: staff.frame(),
        rows,
        compared: compared.map(|it| Moment::new(it, zone)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_to_the_last_digit() {
        assert_eq!(nanos(1_000_000_001), "$1.000000001");
        assert_eq!(picos(1_000_000_001_002), "$1.000000001002");
        assert!(nanos(i128::MAX).ends_with("nano-dollars"));
    }
}
