//! What other tests build their snapshots from, and the tests of the catalog itself.

use secrecy::SecretString;
use shared::{
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, UpstreamId},
    keys::{Brand, NewKey},
    reach::Reach,
    seal::MasterKey,
    snapshot::{
        Dialect, Learned, Limits, Policy, PriceBook, Revoked, Scope, Secret, Snapshot as Image,
        Tenant,
    },
};
use time::macros::datetime;

use super::*;
use crate::config::Timeouts;

mod chain;
mod prices;

/// What an image is made of, and the key that opens its secrets.
pub struct Fixture {
    pub revision: i64,
    pub upstreams: Vec<published::Upstream>,
    pub keys: Vec<Key>,
    pub policies: Vec<Policy>,
    pub tenants: Vec<Tenant>,
    pub books: Vec<PriceBook>,
    pub revoked: Vec<Revoked>,
    pub learned: Vec<Learned>,
    pub master: MasterKey,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            revision: 1,
            upstreams: vec![],
            keys: vec![],
            policies: vec![],
            tenants: vec![],
            books: vec![],
            revoked: vec![],
            learned: vec![],
            master: MasterKey::generate(),
        }
    }
}

impl Fixture {
    pub fn upstream(
        &mut self,
        organization: Option<OrganizationId>,
        models: &[&str],
    ) -> &mut published::Upstream {
        let (credential, base_url) = (CredentialId::generate(), "https://api.example.com/v1");
        let purpose = published::Upstream::purpose(credential, organization, base_url);
        let secret = SecretString::from("sk-upstream");
        let sealed_secret = self.master.sealer("credentials").seal_text(&secret, &purpose);
        self.upstreams.push(published::Upstream {
            id: UpstreamId::generate(),
            organization,
            provider: "example".into(),
            dialect: Dialect::OpenAi,
            base_url: base_url.into(),
            region: None,
            credentials: vec![published::Credential { id: credential, weight: 1, sealed_secret }],
            models: models.iter().map(|name| model(name)).collect(),
            timeouts: published::Timeouts::default(),
            assurances: published::Assurances::default(),
        });
        self.upstreams.last_mut().unwrap()
    }

    pub fn image(&self) -> serde_json::Value {
        let taken_at = datetime!(2026-11-20 12:00 UTC);
        let image = Image {
            revision: self.revision,
            taken_at,
            upstreams: self.upstreams.clone(),
            keys: self.keys.clone(),
            policies: self.policies.clone(),
            tenants: self.tenants.clone(),
            projects: vec![],
            budgets: vec![],
            books: self.books.clone(),
            revoked: self.revoked.clone(),
            learned: self.learned.clone(),
        };
        serde_json::to_value(image).unwrap()
    }

    pub fn catalog(&self) -> Catalog {
        let sealer = self.master.sealer("credentials");
        Catalog::new(Opener::new(sealer, Egress::new(Reach::default(), &Timeouts::default())))
    }
}

pub fn model(name: &str) -> published::Model {
    let model = published::Model::of_text(name, &format!("{name}-upstream"), 8_000, 1_000);
    published::Model { display_name: name.to_uppercase(), ..model }
}

pub fn key(new: &NewKey) -> Key {
    Key {
        id: ApiKeyId::generate(),
        organization: OrganizationId::generate(),
        project: ProjectId::generate(),
        secrets: vec![Secret { hash: new.hash.0.to_vec(), valid_until: None }],
        scopes: Scope::ALL.to_vec(),
        allowed_models: None,
        allowed_addresses: vec![],
        expires_at: None,
        limits: Limits::default(),
        routing: Default::default(),
    }
}

pub fn snapshot(fixture: &Fixture) -> Arc<Snapshot> {
    let catalog = fixture.catalog();
    offer(&catalog, &fixture.image()).unwrap();
    present(&catalog)
}

fn offer(catalog: &Catalog, image: &serde_json::Value) -> Result<Offered, Rejected> {
    catalog.offer(&serde_json::to_vec(image).unwrap())
}

fn present(catalog: &Catalog) -> Arc<Snapshot> {
    catalog.present().as_ref().unwrap().clone()
}

/// Two keys and two upstreams; `spoil` may alter the image.
#[track_caller]
fn check(spoil: impl FnOnce(&mut serde_json::Value), quarantined: &[&str], left: (usize, usize)) {
    let keys = (0..2).map(|_| key(&NewKey::generate(Brand::Live))).collect();
    let mut fixture = Fixture { keys, ..Fixture::default() };
    fixture.upstream(None, &["a"]);
    fixture.upstream(None, &["b"]);
    let catalog = fixture.catalog();
    let mut image = fixture.image();
    spoil(&mut image);
    offer(&catalog, &image).unwrap();

    let snapshot = present(&catalog);
    let reasons: Vec<_> = snapshot.quarantined.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), quarantined.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(quarantined) {
        assert!(reason.contains(expected), "{reason}");
    }
    let models = snapshot.models(OrganizationId::generate()).count();
    assert_eq!((snapshot.size().1, models), left);
}

#[test]
fn a_good_image_is_taken_whole() {
    check(|_| (), &[], (2, 2));
}

#[test]
fn a_bad_record_costs_itself_only() {
    check(|it| it["keys"][0]["id"] = "key_1".into(), &["not an id"], (1, 2));
    check(|it| it["keys"][0]["scopes"][0] = "fly".into(), &["unknown variant"], (1, 2));
    check(|it| it["keys"][0]["secrets"][0]["hash"] = "AAAA".into(), &["32 bytes"], (1, 2));
    check(|it| it["keys"][0] = serde_json::Value::Null, &["cannot be read"], (1, 2));
    check(
        |it| it["keys"][1]["secrets"] = it["keys"][0]["secrets"].clone(),
        &["same secret"],
        (1, 2),
    );
    check(|it| it["upstreams"][0] = 7.into(), &["cannot be read"], (2, 1));
    check(|it| it["upstreams"][0]["provider"] = "a\nb".into(), &["header"], (2, 1));
    check(|it| it["upstreams"][0]["models"][0]["name"] = "".into(), &["header"], (2, 1));
}

#[test]
fn a_secret_moved_to_another_address_or_owner_does_not_open() {
    let evil = "https://evil.example.com/v1";
    check(|it| it["upstreams"][0]["base_url"] = evil.into(), &["altered"], (2, 1));
    let other = OrganizationId::generate().to_string();
    check(|it| it["upstreams"][0]["organization"] = other.into(), &["altered"], (2, 1));
}

#[test]
fn an_address_that_is_not_permitted_is_left_out() {
    let plain = "http://api.example.com/v1";
    check(|it| it["upstreams"][0]["base_url"] = plain.into(), &["https://"], (2, 1));
    let here = "https://127.0.0.1/v1";
    check(|it| it["upstreams"][0]["base_url"] = here.into(), &["operator"], (2, 1));
    check(|it| it["upstreams"][0]["base_url"] = "api".into(), &["not a URL"], (2, 1));
}

#[test]
fn the_revision_never_goes_back() {
    let mut fixture = Fixture { revision: 7, ..Fixture::default() };
    let catalog = fixture.catalog();
    assert!(matches!(offer(&catalog, &fixture.image()), Ok(Offered::Taken { revision: 7 })));
    assert!(matches!(offer(&catalog, &fixture.image()), Ok(Offered::Known)));
    fixture.revision = 6;
    assert!(matches!(
        offer(&catalog, &fixture.image()),
        Err(Rejected::Older { offered: 6, present: 7 })
    ));
    assert_eq!(present(&catalog).revision, 7);
}

#[test]
fn a_bad_image_leaves_the_good_one() {
    let fixture = Fixture::default();
    let catalog = fixture.catalog();
    assert!(catalog.present().is_none());
    offer(&catalog, &fixture.image()).unwrap();
    for bad in ["", "{", "null", "[]", r#"{"revision":9}"#, r#"{"revision":"9","keys":[]}"#] {
        assert!(matches!(catalog.offer(bad.as_bytes()), Err(Rejected::Unreadable(_))), "{bad}");
    }
    assert_eq!(present(&catalog).revision, 1);
}

#[test]
fn an_organization_sees_its_own_upstreams_and_the_platforms() {
    let (mine, other) = (OrganizationId::generate(), OrganizationId::generate());
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["auto", "shared"]);
    fixture.upstream(Some(mine), &["auto", "own"]);
    fixture.upstream(Some(other), &["theirs"]);
    let snapshot = snapshot(&fixture);

    let names: Vec<_> = snapshot.models(mine).map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["auto", "own", "shared"]);
    assert_eq!(snapshot.serving(mine, "auto").next().unwrap().upstream.organization, Some(mine));
    assert_eq!(snapshot.serving(other, "auto").next().unwrap().upstream.organization, None);
    assert!(snapshot.serving(mine, "theirs").next().is_none());
}

#[test]
fn what_an_organization_disabled_is_the_others_still() {
    let (mine, other) = (OrganizationId::generate(), OrganizationId::generate());
    let mut fixture = Fixture::default();
    let first = fixture.upstream(None, &["a", "b"]).id;
    let second = fixture.upstream(None, &["b", "c", "d"]).id;
    fixture.upstream(Some(mine), &["d"]);
    let named = |upstream, model: Option<&str>| published::Disabled {
        upstream,
        model: model.map(str::to_owned),
    };
    let mut names = |organization, disabled: &[published::Disabled]| -> Vec<String> {
        let (limits, disabled) = (Limits::default(), disabled.to_vec());
        fixture.tenants = vec![Tenant {
            organization: mine,
            limits,
            disabled,
            books: vec![],
            routing: Default::default(),
            explore_per_mille: 0,
            worths: vec![],
        }];
        let snapshot = snapshot(&fixture);
        let listed: Vec<_> = snapshot.models(organization).map(|it| it.name.clone()).collect();
        let is_served = |name: &&str| snapshot.serving(organization, name).next().is_some();
        let served: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(is_served).collect();
        assert_eq!(listed, served);
        listed
    };
    let one = [named(first, Some("a")), named(first, Some("b"))];
    assert_eq!(names(mine, &one), ["b", "c", "d"], "the other place serves b still");
    assert_eq!(names(other, &one), ["a", "b", "c", "d"]);
    // Whatever else is said of a provider that is disabled as a whole, and in any order.
    let all = [named(second, Some("b")), named(second, None), named(second, Some("c"))];
    assert_eq!(names(mine, &all), ["a", "b", "d"], "one's own place serves d still");
    assert_eq!(names(mine, &[]), ["a", "b", "c", "d"]);
}

#[test]
fn an_opened_secret_does_not_print() {
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["a"]);
    let snapshot = snapshot(&fixture);
    let printed = format!("{:?}", snapshot.serving(OrganizationId::generate(), "a").next());
    assert!(!printed.contains("sk-upstream"), "{printed}");
}

#[tokio::test]
async fn a_revision_can_be_awaited() {
    let fixture = Fixture { revision: 3, ..Fixture::default() };
    let catalog = fixture.catalog();
    let offer = async { offer(&catalog, &fixture.image()).unwrap() };
    tokio::join!(catalog.reaches(3), offer);
    assert_eq!(present(&catalog).revision, 3);
}

/// Its calls are then routed as if nobody had said anything.
#[test]
fn what_was_learned_and_cannot_be_read_closes_nobody() {
    let key = key(&NewKey::generate(Brand::Live));
    let organization = key.organization;
    let learned = |tables| Learned { organization, version: "0a1b2c3d".into(), tables };
    let mut fixture = Fixture { keys: vec![key.clone()], ..Fixture::default() };
    fixture.learned = vec![learned(vec![9, 9])];
    let bad = snapshot(&fixture);
    assert!(bad.quarantined[0].reason.contains("nothing that was learned"));
    assert!(bad.learned(organization).is_none() && !bad.bars(&key));
    fixture.learned = vec![learned(routing_engine::Tenant::default().learned().encode())];
    let good = snapshot(&fixture);
    assert_eq!(good.learned(organization).map(|it| it.version.as_str()), Some("0a1b2c3d"));
    assert!(good.learned(OrganizationId::generate()).is_none() && good.quarantined.is_empty());
}
