//! The operators' page of collecting: how far invoices are, and what does not go on by itself.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use shared::ids::{InvoiceId, OrganizationId};
use time::OffsetDateTime;

use super::{PaymentError, Stage, Stuck, begin, go_on, store};
use crate::{
    access::{Doors, Operator},
    web::{Failure, Form, Frame, Moment, Nothing, Page, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/payments", show);
    doors.post("/operator/payments/{organization}/{invoice}/retry", retry);
}

#[derive(Template)]
#[template(path = "operator_pages/payments.html")]
struct PaymentsPage {
    frame: Frame,
    /// Whether anybody collects, and real money.
    is_collected: bool,
    is_live: bool,
    swept: Option<Moment>,
    counts: Vec<(Stage, i64)>,
    stuck: Vec<StuckRow>,
    unhandled: Vec<(String, String, i32, String)>,
}

struct StuckRow {
    it: Stuck,
    since: Moment,
}

async fn show(operator: Operator) -> Result<Page<PaymentsPage>, Failure> {
    let staff = &operator.0;
    let zone = &staff.session.time_zone;
    let mut conn = staff.platform.db.acquire().await?;
    let row = |it: Stuck| StuckRow { since: Moment::new(it.changed_at, zone), it };
    let rail = staff.platform.payments.as_ref();
    Ok(Page(PaymentsPage {
        frame: staff.frame(),
        is_collected: rail.is_some(),
        is_live: rail.is_some_and(|it| it.is_live),
        swept: store::swept_until(&mut conn).await?.map(|it| Moment::new(it, zone)),
        counts: store::counted(&mut conn).await?,
        stuck: store::stuck(&mut conn).await?.into_iter().map(row).collect(),
        unhandled: store::unhandled(&mut conn).await?,
    }))
}

/// Has something tried now that would be later.
async fn retry(
    operator: Operator,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let organization: OrganizationId = path.0.parse().map_err(|_| PaymentError::NotFound)?;
    let invoice: InvoiceId = path.1.parse().map_err(|_| PaymentError::NotFound)?;
    let platform = &operator.0.platform;
    let mut work = begin(&platform.db, organization).await?;
    store::wake(&mut work, organization, invoice).await?;
    work.commit().await?;
    if let Some(rail) = &platform.payments {
        go_on(rail, &platform.db, organization, invoice, OffsetDateTime::now_utc()).await?;
    }
    Ok(see_other_saying("/operator/payments", "Tried again"))
}
