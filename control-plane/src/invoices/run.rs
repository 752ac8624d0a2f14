//! Closing months for many organizations: when an operator says so, and when it is time.

use std::sync::LazyLock;

use prometheus::{IntGauge, register_int_gauge};
use time::OffsetDateTime;
use tracing::{error, info};

use super::{GRACE, InvoiceError, close, send, store};
use crate::{
    access::{Actor, Origin, Work},
    billing::{self, Month},
    platform::Platform,
};

/// Who closed a month that nobody was asked about.
const NOBODY: &str = "Turnpike";

static LEFT: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "turnpike_months_left",
        "Organizations whose last month waited for what comes late and is not closed, since it is \
         parked or unusual."
    )
    .expect("the metric is registered once")
});

/// How many organizations' months were closed, and how many are left to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub closed: usize,
    pub left: usize,
}

impl Run {
    pub fn counts(&mut self, outcome: Result<usize, InvoiceError>) -> Result<(), InvoiceError> {
        match outcome {
            Ok(_) => self.closed += 1,
            Err(InvoiceError::Closed(_)) => {}
            Err(InvoiceError::Parked(_) | InvoiceError::Unusual(_)) => self.left += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Closes a month and tells those who pay. Says how many invoices that makes.
pub(super) async fn close_and_send(
    platform: &Platform,
    mut work: Work,
    month: Month,
    approval: &str,
    by: &str,
) -> Result<usize, InvoiceError> {
    let written = close(&mut work, month, approval, by).await?;
    for invoice in &written {
        send(&mut work, &platform.secrets.mail, &platform.public_url, *invoice).await?;
    }
    work.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(written.len())
}

/// Closes the month that was over long enough for what comes late, of all organizations where it
/// is as usual. The rest is left for an operator. Running it twice, or two of it at once, closes
/// nothing twice. Nothing is closed before somebody said whom invoices are from.
pub async fn close_due(platform: &Platform) -> Result<(), InvoiceError> {
    let month = due(OffsetDateTime::now_utc());
    let open = {
        let mut conn = platform.db.acquire().await?;
        if billing::seller(&mut conn).await?.is_none() {
            return Ok(());
        }
        store::unclosed(&mut conn, month).await?
    };
    let mut run = Run::default();
    for organization in open {
        let closed = async {
            let origin = Origin::internal();
            let work = Work::begin(&platform.db, organization, Actor::System, origin).await?;
            close_and_send(platform, work, month, "", NOBODY).await
        };
        // One that cannot be closed keeps no other from it.
        if let Err(error) = run.counts(closed.await) {
            run.left += 1;
            error!(organization.id = %organization, "{month} was not closed: {error}");
        }
    }
    LEFT.set(i64::try_from(run.left).unwrap_or(i64::MAX));
    if run.closed > 0 {
        info!("{month} was closed for {} organizations, {} are left", run.closed, run.left);
    }
    Ok(())
}

/// The latest month that waited long enough.
fn due(now: OffsetDateTime) -> Month {
    Month::at(now - GRACE).previous()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_month_is_due_when_two_days_have_passed() {
        let month = |now| due(now).to_string();
        assert_eq!(month(datetime!(2026-11-02 23:59:59 UTC)), "2026-09");
        assert_eq!(month(datetime!(2026-11-03 00:00 UTC)), "2026-10");
        assert_eq!(month(datetime!(2026-11-30 12:00 UTC)), "2026-10");
    }
}
