//! Going along every chain, to see that each is as it was written.

use std::{collections::BTreeMap, fmt, path::Path};

use secrecy::SecretString;
use serde::Serialize;
use shared::ids::OrganizationId;
use sqlx::{PgConnection, PgPool};

use super::{
    AuditError, PLATFORM,
    chain::{End, Finding, Walk, hex},
    checkpoints, store,
};

/// What a verification saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub chains: usize,
    pub entries: u64,
    /// How many signed ends the chains were compared with.
    pub checkpoints: usize,
    pub problems: Vec<Problem>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, chain: impl Into<String>, finding: Finding) {
        self.problems.push(Problem { chain: chain.into(), finding });
    }
}

/// Something wrong, and in whose chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// An organization's id, `platform`, or `checkpoints`.
    pub chain: String,
    #[serde(flatten)]
    pub finding: Finding,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chains, entries, checkpoints, problems } = self;
        let seen = format!("{chains} chains, {entries} entries, {checkpoints} checkpoints");
        if problems.is_empty() {
            return write!(f, "Verified {seen}: every entry is as it was written.");
        }
        write!(f, "Found {} wrong in {seen}:", problems.len())?;
        for Problem { chain, finding } in problems {
            write!(f, "\n  {chain}: {finding}")?;
        }
        Ok(())
    }
}

/// Goes along every chain. With the file of checkpoints and the key that signed them it
/// also finds what was cut or written anew together with the hashes that would tell.
pub async fn verify(
    db: &PgPool,
    signed: Option<(&Path, &SecretString)>,
) -> Result<Report, AuditError> {
    // Read first: the chains only grow, so they hold whatever was signed before now.
    let mut signed = match signed {
        Some((path, key)) => checkpoints::read(path, key).await?,
        None => checkpoints::Signed::default(),
    };
    let mut report = Report { checkpoints: signed.count, ..Report::default() };
    for line in &signed.bad_lines {
        report.add("checkpoints", Finding::BadCheckpoint { line: *line });
    }
    // One view of all, so that what is appended meanwhile is not taken for a fault.
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    for end in store::ends(&mut tx).await? {
        let marks = signed.chains.remove(&end.organization).unwrap_or_default();
        let (walk, entries) = walk(&mut tx, &end, marks).await?;
        report.chains += 1;
        report.entries += entries;
        for finding in walk.findings {
            report.add(name(end.organization), finding);
        }
    }
    for (organization, marks) in signed.chains {
        let signed = marks.keys().next_back().copied().unwrap_or_default();
        report.add(name(organization), Finding::CutBelowCheckpoint { last: 0, signed });
    }
    Ok(report)
}

/// Passes every entry, comparing those that were signed with what was.
async fn walk(
    conn: &mut PgConnection,
    end: &End,
    mut marks: BTreeMap<i64, String>,
) -> Result<(Walk, u64), AuditError> {
    let mut walk = Walk::from_the_start(end.organization);
    let (mut after, mut entries) = (i64::MIN, 0);
    let mut is_rewritten = false;
    loop {
        let page = store::page(conn, end.organization, after, 1_000).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for link in &page {
            entries += 1;
            walk.pass(link);
            let mark = marks.remove(&link.seq);
            if !is_rewritten && mark.is_some_and(|it| it != hex(&link.hash)) {
                is_rewritten = true;
                walk.findings.push(Finding::Rewritten { seq: link.seq });
            }
        }
    }
    walk.finish(end);
    let beyond = marks.into_keys().next_back().filter(|it| *it > walk.last());
    if let Some(signed) = beyond {
        let last = walk.last();
        walk.findings.push(Finding::CutBelowCheckpoint { last, signed });
    }
    Ok((walk, entries))
}

fn name(chain: OrganizationId) -> String {
    if chain == PLATFORM { "platform".to_owned() } else { chain.to_string() }
}
