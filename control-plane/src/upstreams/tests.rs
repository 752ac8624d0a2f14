//! Upstreams as the application sees them, with row security in force.

mod pages;

use shared::{
    money::{PinnedPrice, Price, Rates, UnitPrice},
    reach::Reach,
};
use sqlx::PgPool;

use super::*;
use crate::{
    access::{Actor, Origin, Role},
    egress::Egress,
    limits,
    testing::Fixture,
};

/// An upstream of no vendor's, at an address.
pub(crate) fn declared(name: &str, base_url: &str, secret: &str) -> Declared {
    let draft = Draft {
        vendor: "acme".to_owned(),
        name: name.to_owned(),
        base_url: base_url.to_owned(),
        ..Draft::default()
    };
    Declared {
        place: draft.place(&Egress::new(Reach::with_this_machine())).unwrap(),
        secret: secret.to_owned().into(),
        models: vec![
            Model::of_text("small", "small-1", 8_000, 1_000),
            Model::of_text("large", "large-1", 64_000, 4_000),
        ],
    }
}

const BASE: &str = "https://llm.example.com/v1";
const SECRET: &str = "sk-0123456789abcdefWXYZ";

struct Scene {
    fixture: Fixture,
    upstream: UpstreamId,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let mut work = fixture.work(Role::Admin).await;
        let sealer = &fixture.platform.secrets.credentials;
        let upstream = put(&mut work, sealer, &declared("Acme", BASE, SECRET)).await.unwrap();
        work.commit().await.unwrap();
        Self { fixture, upstream }
    }

    fn sealer(&self) -> &Sealer {
        &self.fixture.platform.secrets.credentials
    }

    async fn work(&self) -> Work {
        self.fixture.work(Role::Admin).await
    }

    async fn published(&self, work: &mut Work) -> Option<shared::snapshot::Upstream> {
        published(work, Some(&[self.upstream])).await.unwrap().pop()
    }

    async fn first(&self, work: &mut Work) -> Credential {
        credentials::list(work, self.upstream).await.unwrap().remove(0)
    }
}

async fn of_the_platform(fixture: &Fixture, secret: &str) -> UpstreamId {
    let (db, platform) = (&fixture.db, audit::PLATFORM);
    let mut work = Work::begin(db, platform, Actor::System, Origin::internal()).await.unwrap();
    let sealer = &fixture.platform.secrets.credentials;
    let declared = declared("Simulator", "http://127.0.0.1:9/v1", secret);
    let upstream = put(&mut work, sealer, &declared).await.unwrap();
    work.commit().await.unwrap();
    upstream
}

#[sqlx::test(migrations = "../migrations")]
async fn a_secret_is_sealed_for_its_place(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let seen = scene.published(&mut work).await.unwrap();
    assert_eq!((seen.organization, seen.provider.as_str()), (Some(work.organization), "acme"));
    assert_eq!(seen.base_url, BASE);
    let described = |it: &Model| Model { created: None, ..it.clone() };
    let models: Vec<_> = seen.models.iter().map(described).collect();
    assert_eq!(models, declared("Acme", BASE, SECRET).models);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    assert!(seen.models.iter().all(|it| it.created.is_some_and(|at| (now - at).abs() < 60)));
    let [credential] = &seen.credentials[..] else { panic!("one credential") };
    let opens = |organization, base_url: &str| {
        let purpose = shared::snapshot::Upstream::purpose(credential.id, organization, base_url);
        scene.sealer().open(&credential.sealed_secret, &purpose)
    };
    assert_eq!(opens(seen.organization, BASE).unwrap(), SECRET.as_bytes());
    assert!(opens(Some(scene.fixture.theirs.id), BASE).is_err());
    assert!(opens(None, BASE).is_err());
    assert!(opens(seen.organization, "https://evil.example/v1").is_err());
    assert_eq!(scene.first(&mut work).await.hint, "WXYZ");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_secret_follows_nobody_to_another_address(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let renamed = declared("Acme EU", BASE, SECRET).place;
    assert_eq!(change(&mut work, scene.upstream, &renamed).await.unwrap(), 0);
    let moved = declared("Acme EU", "https://evil.example/v1", SECRET).place;
    assert_eq!(change(&mut work, scene.upstream, &moved).await.unwrap(), 1);
    assert!(credentials::list(&mut work, scene.upstream).await.unwrap().is_empty());
    assert!(scene.published(&mut work).await.is_none(), "nothing opens it");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_declared_again_changes_nothing(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let before = scene.published(&mut work).await.unwrap();
    let put_again = async |work: &mut Work, secret| {
        put(work, scene.sealer(), &declared("Acme", BASE, secret)).await.unwrap()
    };
    assert_eq!(put_again(&mut work, SECRET).await, scene.upstream);
    let after = scene.published(&mut work).await.unwrap();
    assert_eq!(before.credentials[0].sealed_secret, after.credentials[0].sealed_secret);
    assert_eq!(put_again(&mut work, "sk-another").await, scene.upstream);
    let after = scene.published(&mut work).await.unwrap();
    assert_ne!(before.credentials[0].sealed_secret, after.credentials[0].sealed_secret);
    assert_eq!(before.credentials[0].id, after.credentials[0].id);
}

/// So that who declares it again need not say them again.
#[sqlx::test(migrations = "../migrations")]
async fn timeouts_are_found_by_a_name(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let mut place = declared("Acme", BASE, SECRET).place;
    assert_eq!(timeouts(&mut work, &place.name).await.unwrap(), Timeouts::default());
    place.timeouts.idle_seconds = Some(7);
    change(&mut work, scene.upstream, &place).await.unwrap();
    assert_eq!(timeouts(&mut work, &place.name).await.unwrap(), place.timeouts);
    let nobody = "Nobody".parse().unwrap();
    assert_eq!(timeouts(&mut work, &nobody).await.unwrap(), Timeouts::default());
    work.commit().await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_switched_off_is_not_published(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    set_enabled(&mut work, scene.upstream, false).await.unwrap();
    assert!(scene.published(&mut work).await.is_none());
    set_enabled(&mut work, scene.upstream, true).await.unwrap();
    assert!(scene.published(&mut work).await.is_some());

    models::set_enabled(&mut work, scene.upstream, "small", false).await.unwrap();
    let names = scene.published(&mut work).await.unwrap().models;
    assert_eq!(names.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["large"]);
    assert_eq!(first_model(&mut work).await.unwrap().as_deref(), Some("large"));

    let credential = scene.first(&mut work).await.id;
    let off = credentials::Change { enabled: Some(false), ..Default::default() };
    credentials::change(&mut work, scene.upstream, credential, off).await.unwrap();
    assert!(scene.published(&mut work).await.is_none());
    let on = credentials::Change { enabled: Some(true), weight: Some(7), label: None };
    credentials::change(&mut work, scene.upstream, credential, on).await.unwrap();
    assert_eq!(scene.published(&mut work).await.unwrap().credentials[0].weight, 7);

    archive(&mut work, scene.upstream).await.unwrap();
    assert!(scene.published(&mut work).await.is_none());
    let refused = set_enabled(&mut work, scene.upstream, false).await.unwrap_err();
    assert_eq!(refused.code(), code::ARCHIVED);
    restore(&mut work, scene.upstream).await.unwrap();
    assert!(scene.published(&mut work).await.is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_changes_what_is_published_is_noted(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let noted = async |work: &mut Work| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM config_outbox")
            .fetch_one(&mut **work)
            .await
            .unwrap()
    };
    let start = noted(&mut work).await;
    let credential = scene.first(&mut work).await.id;
    let organization = work.organization;
    store::note_result(&mut work, organization, credential, Connection::Ok).await.unwrap();
    assert_eq!(noted(&mut work).await, start, "a test of a connection is no change");
    models::set_enabled(&mut work, scene.upstream, "small", false).await.unwrap();
    let switched = noted(&mut work).await;
    assert!(switched > start);
    let secret = "sk-another".to_owned().into();
    credentials::rotate(&mut work, scene.sealer(), scene.upstream, credential, &secret)
        .await
        .unwrap();
    assert!(noted(&mut work).await > switched);
    assert_eq!(scene.first(&mut work).await.last_result, None, "a new secret is not tested");
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_upstream_is_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let ours = scene.fixture.ours.id;
    let mut own = scene.work().await;
    let credential = scene.first(&mut own).await.id;
    drop(own);
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    assert!(matches!(find(&mut work, scene.upstream).await, Err(UpstreamError::NotFound)));
    assert!(list(&mut work).await.unwrap().is_empty());
    assert!(served(&mut work).await.unwrap().is_empty());
    assert!(archive(&mut work, scene.upstream).await.is_err());
    // Even where a statement names the wrong organization.
    assert!(store::find(&mut work, ours, scene.upstream).await.unwrap().is_none());
    store::set_enabled(&mut work, ours, scene.upstream, false).await.unwrap();
    assert_eq!(store::drop_credentials(&mut work, ours, scene.upstream).await.unwrap(), 0);
    assert!(store::secret(&mut work, ours, scene.upstream, credential).await.unwrap().is_none());
    assert!(!store::delete_model(&mut work, ours, scene.upstream, "small").await.unwrap());
    work.commit().await.unwrap();
    assert!(scene.published(&mut scene.work().await).await.is_some());
    // A credential of one organization cannot open an upstream of another.
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    let theirs = work.organization;
    let new = NewCredential::first();
    let id = shared::ids::CredentialId::generate();
    let kept = credentials::Kept { hint: String::new(), sealed: b"x".to_vec() };
    let put = store::insert_credential(&mut work, theirs, scene.upstream, id, &new, &kept);
    assert!(put.await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_platforms_upstream_is_everybodys_and_nobodys_to_change(root: PgPool) {
    let scene = Scene::new(root).await;
    let platforms = of_the_platform(&scene.fixture, "one").await;
    assert_eq!(of_the_platform(&scene.fixture, "two").await, platforms);
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    let seen = find(&mut work, platforms).await.unwrap();
    assert!(seen.is_platforms && seen.models == 2);
    assert_eq!(seen.credentials, 0, "its secrets are nobody's to count");
    assert_eq!(seen.base_url, "", "nor is its address anybody's to know");
    assert_eq!(served(&mut work).await.unwrap().len(), 2);
    assert_eq!(first_model(&mut work).await.unwrap().as_deref(), Some("small"));
    assert!(credentials::list(&mut work, platforms).await.unwrap().is_empty());
    let refused = archive(&mut work, platforms).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    for statement in [
        "UPDATE upstreams SET base_url = 'https://evil.test'",
        "UPDATE upstream_models SET upstream_name = 'evil'",
        "DELETE FROM upstream_models",
        "UPDATE provider_credentials SET sealed_secret = ''",
    ] {
        let done = sqlx::query(statement).execute(&mut *work).await.unwrap();
        assert_eq!(done.rows_affected(), 0, "{statement}");
    }
    let platform = published(&mut work, Some(&[platforms])).await.unwrap().remove(0);
    let purpose =
        shared::snapshot::Upstream::purpose(platform.credentials[0].id, None, &platform.base_url);
    let open = scene.sealer().open(&platform.credentials[0].sealed_secret, &purpose);
    assert_eq!(open.unwrap(), b"two");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_the_platforms_is_disabled_for_one_organization(root: PgPool) {
    let scene = Scene::new(root).await;
    let platforms = of_the_platform(&scene.fixture, "one").await;
    let names = async |work: &mut Work| -> Vec<String> {
        served(work).await.unwrap().into_iter().map(|it| it.model.name + "@" + &it.vendor).collect()
    };
    let disabled_by = async |work: &mut Work| -> Vec<_> {
        let all = catalogue(work).await.unwrap().into_iter();
        all.filter(|it| it.is_platforms).map(|it| it.disabled_by).collect()
    };
    let mut work = scene.work().await;
    set_enabled(&mut work, scene.upstream, false).await.unwrap();
    models::set_enabled(&mut work, platforms, "small", false).await.unwrap();
    models::set_enabled(&mut work, platforms, "small", false).await.unwrap();
    assert_eq!(names(&mut work).await, ["large@acme"]);
    assert_eq!(first_model(&mut work).await.unwrap().as_deref(), Some("large"));
    assert_eq!(disabled_by(&mut work).await, [None, Some(DisabledBy::Model)]);
    assert!(!models::one(&mut work, platforms, "small").await.unwrap().enabled);
    let refused = models::set_enabled(&mut work, platforms, "none", false).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    set_enabled(&mut work, platforms, false).await.unwrap();
    let seen = find(&mut work, platforms).await.unwrap();
    assert_eq!((seen.enabled, seen.disabled_by), (false, Some(DisabledBy::Provider)));
    assert_eq!(names(&mut work).await, [""; 0]);
    assert_eq!(disabled_by(&mut work).await, [Some(DisabledBy::Provider); 2]);
    let told = limits::published_organizations(&mut work, None).await.unwrap().remove(0);
    let named = |model: Option<&str>| shared::snapshot::Disabled {
        upstream: platforms,
        model: model.map(str::to_owned),
    };
    assert_eq!(told.organization, work.organization);
    assert_eq!(told.disabled, [named(None), named(Some("small"))]);
    let actions: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_entries WHERE target = $1 AND organization_id = $2 ORDER BY seq",
    )
    .bind(platforms.to_string())
    .bind(work.organization)
    .fetch_all(&mut *work)
    .await
    .unwrap();
    assert_eq!(actions, ["provider.model_disabled", "provider.disabled"]);
    work.commit().await.unwrap();

    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    assert_eq!(names(&mut work).await.len(), 2, "it is the others' still");
    // Even where a statement names the wrong organization.
    let ours = scene.fixture.ours.id;
    assert!(!store::want(&mut work, ours, platforms, None).await.unwrap());
    assert!(store::disable(&mut work, ours, platforms, Some("large")).await.is_err());

    let mut work = scene.work().await;
    set_enabled(&mut work, platforms, true).await.unwrap();
    models::set_enabled(&mut work, platforms, "small", true).await.unwrap();
    assert_eq!(names(&mut work).await.len(), 2);
    assert!(limits::published_organizations(&mut work, None).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn names_are_taken_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let place = declared("Acme", "https://other.example/v1", SECRET).place;
    assert!(matches!(add(&mut work, &place, &[]).await, Err(UpstreamError::NameTaken)));
    let mut work = scene.work().await;
    let secret = SECRET.to_owned().into();
    let again = NewCredential::first();
    let refused =
        credentials::add(&mut work, scene.sealer(), scene.upstream, &again, &secret).await;
    assert!(matches!(refused, Err(UpstreamError::LabelTaken)));
}

#[sqlx::test(migrations = "../migrations")]
async fn connections_are_tried_a_few_times_a_minute(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let (organization, now) = (work.organization, OffsetDateTime::now_utc());
    for count in 1..=connection::A_MINUTE + 1 {
        let seen = store::count_trial(&mut work, organization, now).await.unwrap();
        assert_eq!(seen, count);
    }
    let later = now + time::Duration::seconds(61);
    assert_eq!(store::count_trial(&mut work, organization, later).await.unwrap(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn no_secret_is_in_the_audit_log(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let credential = scene.first(&mut work).await.id;
    let secret = "sk-another-secret".to_owned().into();
    credentials::rotate(&mut work, scene.sealer(), scene.upstream, credential, &secret)
        .await
        .unwrap();
    credentials::remove(&mut work, scene.upstream, credential).await.unwrap();
    let told: Vec<String> =
        sqlx::query_scalar("SELECT body FROM audit_entries").fetch_all(&mut *work).await.unwrap();
    assert!(told.len() >= 4);
    for body in told {
        assert!(!body.contains("sk-") && !body.contains("WXYZ"), "{body}");
    }
}

fn price(input: &str, output: &str) -> Price {
    let each = |text| UnitPrice::per_million(text).unwrap();
    Price::flat(Rates::of_text(each(input), each(output))).unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_price_follows_another_and_the_newest_is_in_force(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let in_force = async |work: &mut Work| {
        let models = scene.published(work).await.unwrap().models;
        models.into_iter().find(|it| it.name == "small").unwrap().price
    };
    assert_eq!(in_force(&mut work).await, None);
    let (one, other) = (price("0.15", "0.60"), price("0.20", "0.60"));
    for price in [Some(&one), Some(&one), Some(&other), None, Some(&one)] {
        prices::set(&mut work, scene.upstream, "small", price).await.unwrap();
    }
    let history = prices::history(&mut work, scene.upstream, "small").await.unwrap();
    let told: Vec<_> = history.iter().map(|it| (it.revision, it.price.as_ref())).collect();
    assert_eq!(told, [(4, Some(&one)), (3, None), (2, Some(&other)), (1, Some(&one))]);
    assert_eq!(history[0].created_by.as_deref(), Some("admin@ours.test"));
    assert_eq!(in_force(&mut work).await, Some(PinnedPrice { revision: 4, price: one }));
    // A model without a price in its description keeps the one it has.
    let before = models::one(&mut work, scene.upstream, "small").await.unwrap();
    let model = Model { price: None, display_name: "Small".to_owned(), ..before.model };
    let described = OfferedModel { model, enabled: true };
    models::put(&mut work, scene.upstream, &described).await.unwrap();
    assert_eq!(in_force(&mut work).await.unwrap().revision, 4);
    let changed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM config_outbox WHERE entity = 'upstream'")
            .fetch_one(&mut *work)
            .await
            .unwrap();
    assert!(changed > 0, "proxies hear of it");
    let refused = prices::set(&mut work, scene.upstream, "none", None).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::NoModel));
    work.commit().await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn prices_of_others_are_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work().await;
    let dear = price("1", "1");
    prices::set(&mut work, scene.upstream, "small", Some(&dear)).await.unwrap();
    work.commit().await.unwrap();
    let mut theirs = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    assert!(prices::history(&mut theirs, scene.upstream, "small").await.is_err());
    let ours = scene.fixture.ours.id;
    assert!(store::prices(&mut theirs, ours, scene.upstream, "small").await.unwrap().is_empty());
    let planted =
        store::insert_price(&mut theirs, ours, scene.upstream, "small", Some(&dear), None, None)
            .await;
    assert!(planted.is_err(), "row security refuses it");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_declared_price_does_not_undo_what_somebody_said(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let sealer = &fixture.platform.secrets.credentials;
    let mut acme = declared("Acme", BASE, SECRET);
    let upstream = put(&mut work, sealer, &acme).await.unwrap();
    acme.models[0].price = Some(prices::declared(price("1", "2")));
    put(&mut work, sealer, &acme).await.unwrap();
    let kept = async |work: &mut Work| {
        models::one(work, upstream, "small").await.unwrap().model.price.map(|it| it.price)
    };
    assert_eq!(kept(&mut work).await, Some(price("1", "2")));
    prices::set(&mut work, upstream, "small", Some(&price("3", "4"))).await.unwrap();
    put(&mut work, sealer, &acme).await.unwrap();
    assert_eq!(kept(&mut work).await, Some(price("3", "4")));
}
