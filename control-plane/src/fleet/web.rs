//! The operators' page of the fleet.

use std::time::Duration;

use askama::Template;
use time::OffsetDateTime;
use tracing::warn;

use super::{Proxy, proxies};
use crate::{
    access::{Doors, Operator},
    snapshots,
    web::{Failure, Frame, Moment, Page},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/fleet", show);
}

#[derive(Template)]
#[template(path = "operator_pages/fleet.html")]
struct FleetPage {
    frame: Frame,
    /// The newest revision there is, and since when.
    newest: Option<(i64, Moment)>,
    /// Nothing where Redis does not answer.
    rows: Option<Vec<Row>>,
    current: usize,
}

struct Row {
    proxy: Proxy,
    state: State,
    published: Moment,
    heard: String,
}

/// What there is to say of a proxy first.
enum State {
    Silent,
    Refuses,
    Behind(i64),
    Current,
}

impl Row {
    fn of(proxy: Proxy, newest: i64, zone: &str) -> Self {
        let behind = proxy.is_behind_by(newest);
        let state = match (proxy.is_live(), &proxy.report.refuses) {
            (false, _) => State::Silent,
            (true, Some(_)) => State::Refuses,
            (true, None) if behind > 0 => State::Behind(behind),
            (true, None) => State::Current,
        };
        let at = i128::from(proxy.report.published_at) * 1_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(at);
        let published = Moment::new(at.unwrap_or(OffsetDateTime::UNIX_EPOCH), zone);
        Self { state, published, heard: ago(proxy.silent_for), proxy }
    }
}

/// Round enough to be read at a glance.
fn ago(silent_for: Duration) -> String {
    match silent_for.as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3_600),
    }
}

async fn show(operator: Operator) -> Result<Page<FleetPage>, Failure> {
    let Operator(staff) = operator;
    let zone = &staff.session.time_zone;
    let newest = snapshots::newest(&staff.platform.db).await?;
    let revision = newest.map_or(0, |it| it.0);
    let rows = match proxies(&staff.platform).await {
        Ok(proxies) => Some(proxies.into_iter().map(|it| Row::of(it, revision, zone)).collect()),
        Err(error) => {
            warn!(%error, "could not ask for the fleet");
            None
        }
    };
    let rows: Option<Vec<Row>> = rows;
    let is_current = |it: &&Row| matches!(it.state, State::Current);
    Ok(Page(FleetPage {
        frame: staff.frame(),
        newest: newest.map(|(revision, at)| (revision, Moment::new(at, zone))),
        current: rows.iter().flatten().filter(is_current).count(),
        rows,
    }))
}
