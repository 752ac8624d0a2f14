//! The operators' page of an organization's ledger.

use actix_web::web::Path;
use askama::Template;
use shared::{
    ids::{OrganizationId, PostingId},
    money::Money,
};

use super::{LedgerError, balances, store};
use crate::{
    access::{Doors, Operator, Work},
    web::{After, Failure, Frame, Moment, Page, Pager, Search, Span},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/ledger/{organization}", show);
}

#[derive(Template)]
#[template(path = "operator_pages/ledger.html")]
struct LedgerPage {
    frame: Frame,
    id: OrganizationId,
    name: String,
    accounts: Vec<Balance>,
    rows: Vec<Row>,
    pager: Pager,
}

struct Balance {
    name: &'static str,
    about: &'static str,
    debit: String,
    credit: String,
}

struct Row {
    at: Moment,
    kind: String,
    about: String,
    id: PostingId,
    entries: Vec<(String, String, String)>,
}

/// On its side, to the last nano-dollar.
fn sides(nanos: i128) -> (String, String) {
    let said = |it: i128| match i64::try_from(it) {
        Ok(0) => String::new(),
        Ok(it) => format!("${}", Money::from_nanos(it).exact()),
        Err(_) => format!("{it} nano-dollars"),
    };
    (said(nanos.max(0)), said((-nanos).max(0)))
}

async fn show(
    operator: Operator,
    path: Path<String>,
    query: Search<After<PostingId>>,
) -> Result<Page<LedgerPage>, Failure> {
    let Operator(staff) = operator;
    let id: OrganizationId = path.parse().map_err(|_| LedgerError::NotFound)?;
    let (actor, origin) = (staff.actor(), staff.visit.origin());
    let mut work = Work::begin(&staff.platform.db, id, actor, origin).await?;
    let name = store::organization_name(&mut work, id.uuid()).await.map_err(LedgerError::from)?;
    let name = name.ok_or(LedgerError::NotFound)?;
    let span = Span::page(query.after);
    let posted = store::postings(&mut work, id, query.after, span.limit())
        .await
        .map_err(LedgerError::from)?;
    let part = span.part(posted, |it| it.id);
    let balance = |(account, nanos): (super::Account, i128)| {
        let (debit, credit) = sides(nanos);
        Balance { name: account.name(), about: account.about(), debit, credit }
    };
    let entry = |(account, amount): (String, i64)| {
        let (debit, credit) = sides(i128::from(amount));
        (account, debit, credit)
    };
    let zone = &staff.session.time_zone;
    let row = |it: store::Posted| Row {
        at: Moment::new(it.posted_at, zone),
        kind: it.kind.replace('_', " "),
        about: it.about,
        id: it.id,
        entries: it.accounts.into_iter().zip(it.amounts).map(entry).collect(),
    };
    Ok(Page(LedgerPage {
        frame: staff.frame(),
        id,
        name,
        accounts: balances(&mut work).await?.into_iter().map(balance).collect(),
        pager: Pager::new(&format!("/operator/ledger/{id}"), query.after, part.next),
        rows: part.items.into_iter().map(row).collect(),
    }))
}
