use std::path::PathBuf;

use actix_web::http::StatusCode;
use aws_lc_rs::rand;
use futures::future::join_all;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use secrecy::SecretString;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    chain::{Link, hash},
    log::{Filter, Standing, standing},
    *,
};
use crate::{access::Role, testing::Fixture, tokens};

async fn write(fixture: &Fixture, times: usize) {
    for index in 0..times {
        let mut work = fixture.work(Role::Admin).await;
        let entry = Entry::new("team.created", index, format!("Team {index}")).after("Zoë");
        record(&mut work, entry).await.unwrap();
        work.commit().await.unwrap();
    }
}

/// Runs a statement on our chain as somebody who may do everything.
async fn tamper(fixture: &Fixture, statement: &'static str) {
    let done = sqlx::query(statement).bind(fixture.ours.id).execute(&fixture.root).await.unwrap();
    assert!(done.rows_affected() > 0);
}

async fn findings(fixture: &Fixture) -> Vec<Finding> {
    let report = verify(&fixture.db, None).await.unwrap();
    report.problems.into_iter().map(|it| it.finding).collect()
}

/// A file of checkpoints, gone with the test.
struct Checkpoints {
    path: PathBuf,
    key: SecretString,
}

impl Checkpoints {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-{}.jsonl", Uuid::now_v7()));
        Self { path, key: tokens::generate_signing_key().0 }
    }

    async fn sign(&self, fixture: &Fixture) -> usize {
        checkpoint(&fixture.db, &self.key, &self.path).await.unwrap()
    }

    async fn findings(&self, fixture: &Fixture) -> Vec<Finding> {
        let report = verify(&fixture.db, Some((&self.path, &self.key))).await.unwrap();
        report.problems.into_iter().map(|it| it.finding).collect()
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_chain_as_it_was_written_is_sound(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 3).await;
    let mut conn = fixture.db.acquire().await.unwrap();
    let entry = Entry::new("person.signed_in", "per", "Ann");
    record_platform(&mut conn, &Actor::System, Origin::internal(), entry).await.unwrap();
    let report = verify(&fixture.db, None).await.unwrap();
    assert_eq!((report.chains, report.entries, report.is_sound()), (2, 4, true), "{report}");

    let mut work = fixture.work(Role::Viewer).await;
    assert_eq!(standing(&mut work).await.unwrap(), Standing::Sound { first: 1, through: 3 });
    let mut work = fixture.work_of(&fixture.theirs, Role::Viewer).await;
    assert_eq!(standing(&mut work).await.unwrap(), Standing::Empty);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_application_can_only_append(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 1).await;
    for statement in [
        "UPDATE audit_entries SET body = '{}'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "INSERT INTO audit_entries (organization_id, seq, at, body, hash)
         VALUES (app.organization_id(), 9, now(), '{}', sha256(''))",
        "UPDATE audit_heads SET seq = 0",
        "DELETE FROM audit_heads",
        "SELECT app.audit_append(gen_random_uuid(), '{}')",
    ] {
        let mut work = fixture.work(Role::Owner).await;
        let error = sqlx::query(statement).execute(&mut *work).await.unwrap_err();
        let code = error.as_database_error().and_then(|it| it.code()).unwrap_or_default();
        // Insufficient privilege, and the exception of audit_append.
        assert!(code == "42501" || code == "P0001", "{statement}: {error}");
    }
    assert_eq!(findings(&fixture).await, []);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_edit_is_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 4).await;
    tamper(
        &fixture,
        "UPDATE audit_entries SET body = replace(body, 'Team 1', 'Team X')
          WHERE organization_id = $1 AND seq = 2",
    )
    .await;
    assert_eq!(findings(&fixture).await, [Finding::Changed { seq: 2 }]);
    let mut work = fixture.work(Role::Viewer).await;
    let broken = Standing::Broken(Finding::Changed { seq: 2 });
    assert_eq!(standing(&mut work).await.unwrap(), broken);
}

#[sqlx::test(migrations = "../migrations")]
async fn another_time_and_another_hash_are_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 4).await;
    tamper(
        &fixture,
        "UPDATE audit_entries SET at = at - interval '1 microsecond'
          WHERE organization_id = $1 AND seq = 3",
    )
    .await;
    assert_eq!(findings(&fixture).await, [Finding::Changed { seq: 3 }]);
    // With a hash that fits the entry, the next one no longer does.
    tamper(
        &fixture,
        "UPDATE audit_entries e
            SET hash = app.audit_hash(p.hash, e.organization_id, e.seq, e.at, e.body)
           FROM audit_entries p
          WHERE e.organization_id = $1 AND p.organization_id = $1 AND e.seq = 3 AND p.seq = 2",
    )
    .await;
    assert_eq!(findings(&fixture).await, [Finding::Changed { seq: 4 }]);
}

#[sqlx::test(migrations = "../migrations")]
async fn missing_inserted_and_exchanged_entries_are_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 6).await;
    tamper(
        &fixture,
        "INSERT INTO audit_entries (organization_id, seq, at, body, hash)
         SELECT organization_id, 0, at, body, hash FROM audit_entries
          WHERE organization_id = $1 AND seq = 1",
    )
    .await;
    assert_eq!(findings(&fixture).await, [Finding::Misplaced { seq: 0 }]);
    tamper(&fixture, "DELETE FROM audit_entries WHERE organization_id = $1 AND seq = 0").await;

    tamper(
        &fixture,
        "UPDATE audit_entries e SET body = o.body FROM audit_entries o
          WHERE e.organization_id = $1 AND o.organization_id = $1
            AND e.seq IN (3, 4) AND o.seq = 7 - e.seq",
    )
    .await;
    let exchanged = [Finding::Changed { seq: 3 }, Finding::Changed { seq: 4 }];
    assert_eq!(findings(&fixture).await, exchanged);

    tamper(&fixture, "DELETE FROM audit_entries WHERE organization_id = $1 AND seq IN (3, 4)")
        .await;
    assert_eq!(findings(&fixture).await, [Finding::Missing { first: 3, last: 4 }]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cut_tail_is_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 4).await;
    tamper(&fixture, "DELETE FROM audit_entries WHERE organization_id = $1 AND seq > 2").await;
    assert_eq!(findings(&fixture).await, [Finding::CutTail { last: 2, head: 4 }]);
    let mut work = fixture.work(Role::Viewer).await;
    let broken = Standing::Broken(Finding::CutTail { last: 2, head: 4 });
    assert_eq!(standing(&mut work).await.unwrap(), broken);
    tamper(&fixture, "UPDATE audit_heads SET seq = 1 WHERE organization_id = $1").await;
    assert_eq!(findings(&fixture).await, [Finding::BeyondHead { last: 2, head: 1 }]);
    tamper(&fixture, "UPDATE audit_heads SET seq = 2 WHERE organization_id = $1").await;
    assert_eq!(findings(&fixture).await, [Finding::HeadChanged { seq: 2 }]);
    tamper(&fixture, "DELETE FROM audit_heads WHERE organization_id = $1").await;
    assert_eq!(findings(&fixture).await, [Finding::BeyondHead { last: 2, head: 0 }]);
}

/// Cuts our chain after its second entry so that it fits together again.
async fn cut_and_cover_up(fixture: &Fixture) {
    tamper(fixture, "DELETE FROM audit_entries WHERE organization_id = $1 AND seq > 2").await;
    tamper(
        fixture,
        "UPDATE audit_heads h SET seq = 2, hash = e.hash FROM audit_entries e
          WHERE h.organization_id = $1 AND e.organization_id = $1 AND e.seq = 2",
    )
    .await;
    assert_eq!(findings(fixture).await, [], "the chain alone does not tell");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cut_that_was_covered_up_is_found_by_its_checkpoint(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let checkpoints = Checkpoints::new();
    write(&fixture, 4).await;
    assert_eq!(checkpoints.sign(&fixture).await, 1);
    assert_eq!(checkpoints.sign(&fixture).await, 0, "nothing moved");
    assert_eq!(checkpoints.findings(&fixture).await, []);

    cut_and_cover_up(&fixture).await;
    let cut = Finding::CutBelowCheckpoint { last: 2, signed: 4 };
    assert_eq!(checkpoints.findings(&fixture).await, std::slice::from_ref(&cut));
    // Signed again as it is now, it is still found.
    assert_eq!(checkpoints.sign(&fixture).await, 1);
    assert_eq!(checkpoints.findings(&fixture).await, [cut]);
    // And when others have taken the place of what was cut.
    write(&fixture, 2).await;
    assert_eq!(findings(&fixture).await, []);
    assert_eq!(checkpoints.findings(&fixture).await, [Finding::Rewritten { seq: 4 }]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_chain_that_is_gone_is_found_by_its_checkpoint(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let checkpoints = Checkpoints::new();
    write(&fixture, 4).await;
    checkpoints.sign(&fixture).await;
    tamper(&fixture, "DELETE FROM audit_entries WHERE organization_id = $1").await;
    tamper(&fixture, "DELETE FROM audit_heads WHERE organization_id = $1").await;
    assert_eq!(findings(&fixture).await, []);
    let gone = Finding::CutBelowCheckpoint { last: 0, signed: 4 };
    assert_eq!(checkpoints.findings(&fixture).await, [gone]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_checkpoint_that_we_did_not_sign_is_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let checkpoints = Checkpoints::new();
    write(&fixture, 2).await;
    checkpoints.sign(&fixture).await;
    let text = std::fs::read_to_string(&checkpoints.path).unwrap();
    let forged = text.replace("\"seq\":2", "\"seq\":1");
    assert_ne!(forged, text);
    std::fs::write(&checkpoints.path, format!("{text}{forged}{{\"cut")).unwrap();
    // What a crash left of a line does not spoil the next.
    write(&fixture, 1).await;
    checkpoints.sign(&fixture).await;
    let bad = [Finding::BadCheckpoint { line: 2 }, Finding::BadCheckpoint { line: 3 }];
    assert_eq!(checkpoints.findings(&fixture).await, bad);

    let missing = PathBuf::from("/nowhere/checkpoints");
    let error = verify(&fixture.db, Some((&missing, &checkpoints.key))).await.unwrap_err();
    assert!(matches!(error, AuditError::File { .. }));
    let key = "not a key".into();
    let error = checkpoint(&fixture.db, &key, &checkpoints.path).await.unwrap_err();
    assert!(matches!(error, AuditError::BadKey));
}

#[sqlx::test(migrations = "../migrations")]
async fn we_and_the_database_hash_alike(root: PgPool) {
    let mut runner = TestRunner::deterministic();
    let random = rand::SystemRandom::new();
    for _ in 0..200 {
        let texts = ("\\PC*", 1..i64::MAX, 0..4_102_444_800_000_000_i64);
        let (body, seq, micros) = texts.new_tree(&mut runner).unwrap().current();
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap();
        let previous: [u8; 32] = rand::generate(&random).unwrap().expose();
        let organization = OrganizationId::generate();
        let theirs: Vec<u8> = sqlx::query_scalar("SELECT app.audit_hash($1, $2, $3, $4, $5)")
            .bind(previous.as_slice())
            .bind(organization)
            .bind(seq)
            .bind(at)
            .bind(&body)
            .fetch_one(&root)
            .await
            .unwrap();
        let link = Link { seq, at, body, hash: Vec::new() };
        assert_eq!(hash(&previous, organization, &link), theirs, "{link:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn who_writes_at_the_same_time_makes_a_chain_without_gaps(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let writers = (0..8).map(|_| write(&fixture, 5));
    join_all(writers).await;
    let report = verify(&fixture.db, None).await.unwrap();
    assert_eq!((report.entries, report.is_sound()), (40, true), "{report}");
}

#[sqlx::test(migrations = "../migrations")]
async fn entries_are_found_by_what_was_done_and_by_whom(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 2).await;
    let mut work = fixture.work(Role::Owner).await;
    record(&mut work, Entry::new("team.archived", 1, "Team 1")).await.unwrap();
    let organization = work.organization;
    let admin = fixture.ours.person(Role::Admin).to_string();
    for (action, actor, seqs) in [
        ("", "", vec![3, 2, 1]),
        ("team.archived", "", vec![3]),
        ("team", "", vec![]),
        ("", "Admin@", vec![2, 1]),
        ("", "%", vec![]),
        ("", "owner@ours.test", vec![3]),
        ("", admin.as_str(), vec![2, 1]),
        ("team.archived", "admin", vec![]),
    ] {
        let filter = Filter::new(action, actor);
        let found = store::before(&mut work, organization, &filter, i64::MAX, 10).await.unwrap();
        let found: Vec<_> = found.iter().map(|it| it.seq).collect();
        assert_eq!(found, seqs, "{action:?} by {actor:?}");
    }
    let known = store::actions(&mut work, organization).await.unwrap();
    assert_eq!(known, ["team.archived", "team.created"]);
    let after = store::after(&mut work, organization, &Filter::default(), 1, 1).await.unwrap();
    assert_eq!(after.iter().map(|it| it.seq).collect::<Vec<_>>(), [2]);
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_entries_are_out_of_sight(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 2).await;
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
    for table in ["audit_entries", "audit_heads"] {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let seen: i64 = sqlx::query_scalar(statement).fetch_one(&mut *theirs).await.unwrap();
        assert_eq!(seen, 0, "{table}");
    }
    let ours = fixture.ours.id;
    let found = store::before(&mut theirs, ours, &Filter::default(), i64::MAX, 10).await.unwrap();
    assert!(found.is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_page_leads_from_the_newest_entry_to_the_oldest_and_back(root: PgPool) {
    let fixture = Fixture::new(root).await;
    write(&fixture, 60).await;
    let browser = fixture.browser(Role::Viewer).await;
    let newest = browser.get("/orgs/ours/audit").await;
    newest.says(StatusCode::OK, "through entry 60");
    newest.says(StatusCode::OK, "Entries 60 to 36");
    newest.says(StatusCode::OK, "/orgs/ours/audit?before=36");
    assert!(!newest.body.contains("Newer"));
    browser.get("/orgs/ours/audit?before=36").await.says(StatusCode::OK, "Entries 35 to 11");
    let oldest = browser.get("/orgs/ours/audit?before=11").await;
    oldest.says(StatusCode::OK, "Entries 10 to 1");
    assert!(!oldest.body.contains("Older"));
    oldest.says(StatusCode::OK, "/orgs/ours/audit?after=10");
    let back = browser.get("/orgs/ours/audit?after=10").await;
    back.says(StatusCode::OK, "Entries 35 to 11");
    let top = browser.get("/orgs/ours/audit?after=35").await;
    top.says(StatusCode::OK, "Entries 60 to 36");
    assert!(!top.body.contains("Newer"));
    let filtered = browser.get("/orgs/ours/audit?action=team.created&actor=admin").await;
    filtered
        .says(StatusCode::OK, "/orgs/ours/audit?action=team.created&#38;actor=admin&#38;before=36");
    browser.get("/orgs/ours/audit?action=nothing").await.says(StatusCode::OK, "Nothing matches");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_export_is_a_file_of_the_same_entries(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    record(&mut work, Entry::new("team.created", "team_1", "=cmd()").after("a\"b")).await.unwrap();
    record(&mut work, Entry::new("team.archived", "team_1", "Team")).await.unwrap();
    work.commit().await.unwrap();
    let browser = fixture.browser(Role::Viewer).await;
    let all = browser.get("/orgs/ours/audit.csv").await;
    assert_eq!(all.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(all.header("content-disposition"), "attachment; filename=\"audit-ours.csv\"");
    assert_eq!(all.body.lines().count(), 3);
    all.says(StatusCode::OK, "\"'=cmd()\"");
    let some = browser.get("/orgs/ours/audit.csv?action=team.archived").await;
    assert_eq!(some.body.lines().count(), 2);
}
