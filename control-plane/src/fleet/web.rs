//! The operators' page of the fleet.

use std::time::Duration;

use askama::Template;
use time::OffsetDateTime;
use tracing::warn;

use super::{LeftAlone, Proxy, left_alone, proxies};
use crate::{
    access::{Doors, Operator},
    operator::{self, Site},
    platform::Platform,
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
    sites: Vec<SiteRow>,
    /// How many more there are than proxies list.
    unlisted: usize,
}

/// A site that is left alone.
struct SiteRow {
    left: LeftAlone,
    /// Nothing where its credential is gone, and the proxies do not know yet.
    site: Option<Site>,
    since: String,
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
        _ => format!("{} ago", length(silent_for)),
    }
}

fn length(of: Duration) -> String {
    match of.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

async fn show(operator: Operator) -> Result<Page<FleetPage>, Failure> {
    let Operator(staff) = operator;
    let zone = &staff.session.time_zone;
    let newest = snapshots::newest(&staff.platform.db).await?;
    let revision = newest.map_or(0, |it| it.0);
    let proxies = proxies(&staff.platform).await;
    let proxies = proxies.inspect_err(|error| warn!(%error, "could not ask for the fleet")).ok();
    let (sites, unlisted) = sites(&staff.platform, proxies.as_deref().unwrap_or_default()).await?;
    let row = |it| Row::of(it, revision, zone);
    let rows: Option<Vec<Row>> = proxies.map(|it| it.into_iter().map(row).collect());
    let is_current = |it: &&Row| matches!(it.state, State::Current);
    Ok(Page(FleetPage {
        frame: staff.frame(),
        newest: newest.map(|(revision, at)| (revision, Moment::new(at, zone))),
        current: rows.iter().flatten().filter(is_current).count(),
        rows,
        sites,
        unlisted,
    }))
}

/// What proxies leave alone, and how much of it they do not list.
async fn sites(
    platform: &Platform,
    proxies: &[Proxy],
) -> Result<(Vec<SiteRow>, usize), sqlx::Error> {
    let live = proxies.iter().filter(|it| it.is_live()).map(|it| &it.report.breakers);
    let unlisted = live.map(|it| it.count.saturating_sub(it.listed.len())).max();
    let left = left_alone(proxies);
    if left.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let credentials: Vec<_> = left.iter().map(|it| it.credential).collect();
    let mut conn = platform.db.acquire().await?;
    let known = operator::sites(&mut conn, &credentials).await?;
    let row = |left: LeftAlone| SiteRow {
        site: known.iter().find(|it| it.credential == left.credential).cloned(),
        since: length(left.open),
        left,
    };
    Ok((left.into_iter().map(row).collect(), unlisted.unwrap_or_default()))
}
