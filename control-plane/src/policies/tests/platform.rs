//! What is the platform's, and whom another document of it would leave without a model.

use super::*;
use crate::{
    audit::PLATFORM,
    keys::{self, Mode, NewApiKey, Terms, tests::project},
    testing::Tenant,
};

const AT_ONCE: Publication =
    Publication { note: None, how: How::AtOnce, stranding: Stranding::Refuse };

async fn staff(fixture: &Fixture) -> Work {
    Work::begin(&fixture.db, PLATFORM, Actor::System, Origin::internal()).await.unwrap()
}

/// Where the models `small` and `large` are served to everybody, and the platform's `auto` leads to
/// `small`.
async fn platforms(root: PgPool) -> (Fixture, PolicyId) {
    let fixture = Fixture::new(root).await;
    let mut work = staff(&fixture).await;
    let sealer = &fixture.platform.secrets.credentials;
    let simulator = declared("Simulator", "http://127.0.0.1:9/v1", "sk-1");
    upstreams::put(&mut work, sealer, &simulator).await.unwrap();
    let policy = create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    work.commit().await.unwrap();
    (fixture, policy)
}

/// A key that may ask for `models` only.
async fn restricted(fixture: &Fixture, tenant: &Tenant, models: &[&str]) -> shared::ids::ApiKeyId {
    let project = project(fixture, tenant, &format!("web {}", models.join(" "))).await;
    let mut work = fixture.work_of(tenant, Role::Owner).await;
    let mut terms = Terms::named(format!("wrote {}", models.join(" ")).parse().unwrap());
    terms.allowed_models = Some(models.iter().map(|it| (*it).to_owned()).collect());
    let key = NewApiKey { project: Some(project), mode: Mode::Live, owner: None, terms };
    let key = keys::issue(&mut work, &key, None).await.unwrap().key;
    work.commit().await.unwrap();
    key
}

#[sqlx::test(migrations = "../migrations")]
async fn the_platforms_policies_strand_nobodys_keys_unless_somebody_says_so(root: PgPool) {
    let (fixture, policy) = platforms(root).await;
    let (ours, theirs) = (fixture.ours.clone(), fixture.theirs.clone());
    let lost = restricted(&fixture, &ours, &["small"]).await;
    restricted(&fixture, &ours, &["auto"]).await;
    restricted(&fixture, &ours, &["small", "large"]).await;
    let also_lost = restricted(&fixture, &theirs, &["small"]).await;

    let mut work = staff(&fixture).await;
    save(&mut work, policy, &draft("auto", &[&[target("large", 1)]]), None).await.unwrap();
    let refused = publish(&mut work, policy, &AT_ONCE).await.unwrap_err();
    assert_eq!(refused.problems()[0].field, "nevertheless");
    let PolicyError::StrandsTenants(stranded) = &refused else { panic!("{refused}") };
    let mut told: Vec<_> =
        stranded.tenants.iter().map(|it| (it.organization, it.keys.clone(), it.projects)).collect();
    told.sort();
    let mut expected = vec![(ours.id, vec![lost], 1), (theirs.id, vec![also_lost], 1)];
    expected.sort();
    assert_eq!((told, stranded.is_cut), (expected, false));
    let words = refused.to_string();
    let begins = "2 keys of 2 projects in 2 organizations would have no model left: ";
    assert!(words.starts_with(begins) && words.contains(&format!("ours ({lost})")), "{words}");
    assert!(!words.contains("wrote") && !words.contains("web"), "{words}");
    assert_eq!(work.organization, PLATFORM);

    let nevertheless = Publication { stranding: Stranding::Allow, ..AT_ONCE };
    publish(&mut work, policy, &nevertheless).await.unwrap();
    assert_eq!(find(&mut work, policy).await.unwrap().version, 2);
    work.commit().await.unwrap();
    let told: String = sqlx::query_scalar(
        "SELECT to_jsonb(e)::text FROM audit_entries e
          WHERE action = 'policy.changed' AND target = $1",
    )
    .bind(policy.to_string())
    .fetch_one(&fixture.root)
    .await
    .unwrap();
    assert!(told.contains(&lost.to_string()) && told.contains(&also_lost.to_string()), "{told}");
}

#[sqlx::test(migrations = "../migrations")]
async fn who_is_led_by_their_own_is_not_stranded_by_the_platforms(root: PgPool) {
    let (fixture, policy) = platforms(root).await;
    restricted(&fixture, &fixture.ours, &["small"]).await;
    let mut work = fixture.work(Role::Admin).await;
    create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    work.commit().await.unwrap();
    restricted(&fixture, &fixture.theirs, &["small"]).await;

    let mut work = staff(&fixture).await;
    let large = draft("auto", &[&[target("large", 1)]]);
    save(&mut work, policy, &large, None).await.unwrap();
    let before = find(&mut work, policy).await.unwrap();
    let lost = stranded(&mut work, &before, &large.name, &large.document).await.unwrap();
    let whose: Vec<_> = lost.tenants.iter().map(|it| it.organization).collect();
    assert_eq!(whose, [fixture.theirs.id]);
}
