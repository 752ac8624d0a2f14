//! Splits as proxies are given them: by the moment at which their days begin where the
//! organization is, and with those shares alone that are received.

use std::collections::{BTreeMap, BTreeSet};

use shared::{
    ids::{CostCenterId, ProjectId},
    snapshot,
};
use sqlx::PgConnection;

use super::{BasisPoints, Day, Validity, store};

/// One share of a split, or a split without one.
pub(super) struct Row {
    pub project: ProjectId,
    pub effective_from: Day,
    pub zone: String,
    pub share: Option<(CostCenterId, BasisPoints, Validity)>,
}

/// The present and the later splits of those of the projects that have any.
pub async fn published(
    conn: &mut PgConnection,
    projects: &[ProjectId],
) -> Result<BTreeMap<ProjectId, Vec<snapshot::Split>>, sqlx::Error> {
    let mut rows = BTreeMap::<_, Vec<Row>>::new();
    for row in store::published(conn, projects).await? {
        rows.entry(row.project).or_default().push(row);
    }
    Ok(rows.into_iter().map(|(project, rows)| (project, splits(&rows))).collect())
}

/// A cost center may begin or cease to receive while a split goes on.
fn splits(rows: &[Row]) -> Vec<snapshot::Split> {
    let Some(first) = rows.first() else { return Vec::new() };
    let begins: BTreeSet<Day> = rows.iter().map(|it| it.effective_from).collect();
    let shares = rows.iter().filter_map(|it| Some((it.effective_from, it.share?)));
    let shares: Vec<_> = shares.collect();
    let changes = shares.iter().flat_map(|(_, (.., validity))| validity.changes());
    let days: BTreeSet<Day> = begins.iter().copied().chain(changes).collect();
    let mut splits: Vec<snapshot::Split> = Vec::new();
    for day in days.into_iter().filter(|it| *it >= first.effective_from) {
        let begun = begins.range(..=day).next_back();
        let received = shares
            .iter()
            .filter(|(from, (.., validity))| Some(from) == begun && validity.receives_on(day));
        let received = received.map(|(_, (cost_center, points, _))| snapshot::Share {
            cost_center: *cost_center,
            basis_points: u16::try_from(points.get()).unwrap_or(0),
        });
        let split =
            snapshot::Split { from_ms: day.begins(&first.zone), shares: received.collect() };
        if splits.last().is_none_or(|it| it.shares != split.shares) {
            splits.push(split);
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn row(from: &str, share: Option<(CostCenterId, i32, Validity)>) -> Row {
        Row {
            project: ProjectId::from_uuid(uuid::Uuid::nil()),
            effective_from: from.parse().unwrap(),
            zone: "Europe/Berlin".to_owned(),
            share: share.map(|(it, points, validity)| (it, points.try_into().unwrap(), validity)),
        }
    }

    #[test]
    fn a_share_counts_while_it_is_received() {
        let (one, other) = (CostCenterId::generate(), CostCenterId::generate());
        let day = |text: &str| text.parse::<Day>().unwrap();
        let always = Validity::new(day("2020-01-01"), None, None, "Europe/Berlin");
        let until =
            Validity::new(day("2020-01-01"), Some(day("2026-03-01")), None, "Europe/Berlin");
        let told = splits(&[
            row("2026-02-01", Some((one, 6_000, always))),
            row("2026-02-01", Some((other, 4_000, until))),
            row("2026-04-01", None),
        ]);
        let at = |it: time::OffsetDateTime| it.unix_timestamp() * 1_000;
        let told: Vec<_> = told.iter().map(|it| (it.from_ms, it.shares.len())).collect();
        // Days begin in Berlin, in summer an hour earlier.
        let expected = [
            (at(datetime!(2026-01-31 23:00 UTC)), 2),
            (at(datetime!(2026-02-28 23:00 UTC)), 1),
            (at(datetime!(2026-03-31 22:00 UTC)), 0),
        ];
        assert_eq!(told, expected);
        assert!(splits(&[]).is_empty());
    }
}
