//! Revision after revision: what is taken, what is refused, and that every proxy ends
//! where every other does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::snapshot::{
    Change, Digest, Document, Entity, Form, Head, PIECE, RecordId, SCHEMA, SetSum, Signed, Signer,
    Verifier, pack,
};
use uuid::Uuid;

use super::*;

/// A publisher in small, and everything it has published.
struct Chain {
    signer: Signer,
    revision: i64,
    digest: Digest,
    records: BTreeMap<RecordId, String>,
    deltas: Vec<Genuine>,
}

impl Chain {
    fn new() -> Self {
        Self {
            signer: Signer::new(&Signer::generate().0).unwrap(),
            revision: 0,
            digest: Digest::NOTHING,
            records: BTreeMap::new(),
            deltas: Vec::new(),
        }
    }

    /// The next revision; `None` takes a record away.
    fn publish(&mut self, changes: &[(RecordId, Option<String>)]) -> Genuine {
        for (id, content) in changes {
            match content {
                Some(content) => drop(self.records.insert(*id, content.clone())),
                None => drop(self.records.remove(id)),
            }
        }
        let change = |(id, content): &(RecordId, Option<String>)| (*id, content.clone());
        let changes: Vec<_> = changes.iter().map(change).collect();
        let body = pack(changes.iter().map(|it| Change { id: it.0, content: it.1.as_deref() }));
        self.revision += 1;
        let delta = self.sealed(Form::Delta, self.digest, body.unwrap());
        self.digest = delta.head.digest();
        self.deltas.push(delta.clone());
        delta
    }

    fn everything(&self) -> Genuine {
        self.sealed(Form::Full, self.digest, pack(self.all()).unwrap())
    }

    fn sum(&self) -> SetSum {
        SetSum::of_all(self.all())
    }

    fn all(&self) -> impl Iterator<Item = Change<'_>> {
        self.records.iter().map(|(id, content)| Change::put(*id, content))
    }

    fn sealed(&self, form: Form, chain: Digest, body: Vec<u8>) -> Genuine {
        let head = Head {
            form,
            schema: SCHEMA,
            revision: self.revision,
            published_at: 1_763_712_000_000_000,
            chain,
            sum: self.sum(),
            body: Digest::of(&body),
        };
        self.signer.verifier().verify(self.signer.sign(&head, body)).unwrap()
    }
}

fn record(key: &Key) -> (RecordId, Option<String>) {
    let id = RecordId { entity: Entity::Key, id: key.id.uuid() };
    (id, Some(serde_json::to_string(key).unwrap()))
}

fn new_key() -> Key {
    key(&NewKey::generate(Brand::Live))
}

fn hash_of(key: &Key) -> KeyHash {
    KeyHash(key.secrets[0].hash.clone().try_into().unwrap())
}

fn started(chain: &mut Chain) -> Catalog {
    let catalog = Fixture::default().catalog();
    catalog.replace(&chain.everything(), &[]).unwrap();
    catalog
}

#[test]
fn a_key_comes_changes_and_goes() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let mut key = new_key();
    catalog.follow(&chain.publish(&[record(&key)])).unwrap();
    let old = hash_of(&key);
    assert!(present(&catalog).secret(&old).is_some());

    key.secrets = new_key().secrets;
    catalog.follow(&chain.publish(&[record(&key)])).unwrap();
    assert!(present(&catalog).secret(&old).is_none(), "the secret was replaced");
    assert!(present(&catalog).secret(&hash_of(&key)).is_some());

    catalog.follow(&chain.publish(&[(record(&key).0, None)])).unwrap();
    assert!(present(&catalog).secret(&hash_of(&key)).is_none());
    assert_eq!(present(&catalog).size(), (0, 0));
    assert!(present(&catalog).adds_up());
    assert_eq!(present(&catalog).sum(), SetSum::default());
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let first = chain.publish(&[record(&new_key())]);
    let second = chain.publish(&[record(&new_key())]);
    assert!(matches!(catalog.follow(&second), Err(Rejected::Gap { expected: 1, came: 2 })));
    catalog.follow(&first).unwrap();
    assert!(matches!(catalog.follow(&first), Err(Rejected::Gap { expected: 2, came: 1 })));

    let mut other = Chain::new();
    other.publish(&[]);
    let forked = other.publish(&[]);
    assert!(matches!(catalog.follow(&forked), Err(Rejected::OtherChain { revision: 2 })));
    assert_eq!(present(&catalog).revision, 1);
    catalog.follow(&second).unwrap();

    let back = Chain::new().everything();
    assert!(matches!(catalog.replace(&back, &[]), Err(Rejected::Older { offered: 0, present: 2 })));
    assert_eq!(present(&catalog).revision, 2);
}

#[test]
fn records_that_do_not_add_up_are_refused() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let good = chain.publish(&[record(&new_key())]);
    let head = Head { sum: SetSum(7), ..good.head };
    let lie = chain.signer.sign(&head, good.signed.body.clone());
    let lie = chain.signer.verifier().verify(lie).unwrap();
    assert!(matches!(catalog.follow(&lie), Err(Rejected::Sum { revision: 1 })));
    assert_eq!(present(&catalog).size(), (0, 0));
    catalog.follow(&good).unwrap();
}

#[test]
fn a_body_that_is_no_body_is_refused() {
    let chain = Chain::new();
    for body in [vec![], b"nonsense".to_vec(), vec![0; PIECE]] {
        let full = chain.sealed(Form::Full, Digest::NOTHING, body);
        assert!(matches!(Fixture::default().catalog().replace(&full, &[]), Err(Rejected::Body(_))));
    }
}

#[test]
fn a_bad_record_leaves_the_good_one_it_was() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let (key, other) = (new_key(), new_key());
    catalog.follow(&chain.publish(&[record(&key)])).unwrap();
    let id = record(&key).0;
    for poison in ["{}", "null", "[1,2]", "{\"id\":", "\u{0}", &"x".repeat(100_000)] {
        let changes = [(id, Some(poison.to_owned())), record(&other)];
        catalog.follow(&chain.publish(&changes)).unwrap();
        let now = present(&catalog);
        assert!(now.secret(&hash_of(&key)).is_some(), "{poison}");
        assert!(now.secret(&hash_of(&other)).is_some(), "{poison}");
        assert_eq!(now.quarantined.len(), 1);
        assert!(now.adds_up());
    }
    // Another one's content under our name is no better.
    catalog.follow(&chain.publish(&[(id, record(&new_key()).1)])).unwrap();
    assert!(present(&catalog).quarantined[0].reason.contains("another one"));
    // Going away works whatever it was.
    catalog.follow(&chain.publish(&[(id, None)])).unwrap();
    assert!(present(&catalog).secret(&hash_of(&key)).is_none());
    assert_eq!(present(&catalog).quarantined.len(), 0);
}

fn named(entity: Entity, id: Uuid, content: &str) -> (RecordId, Option<String>) {
    (RecordId { entity, id }, Some(content.to_owned()))
}

/// Whom a bad record without a good one before it stops, by delta and by full image, until a
/// good one comes or it goes away.
#[test]
fn a_bad_record_closes_those_whose_it_is() {
    let key = new_key();
    let (organization, project) = (key.organization, key.project);
    let policy = shared::ids::PolicyId::generate();
    let own = format!(r#"{{"id":"{policy}","organization":"{organization}","#);
    let good = format!(r#"{own}"name":"auto","version":1,"document":{{"otherwise":{{}}}}}}"#);
    let cut = format!("{own}\"na");
    let odd = format!(r#"{own}"name":7,"version":1,"document":{{"otherwise":{{}}}}}}"#);
    let tenant = format!(r#"{{"organization":"{organization}","limits":{{}}}}"#);
    let budget = format!(r#"{{"scope":"?","organization":"{organization}"}}"#);
    let upstream = format!(r#"{{"base_url":7,"organization":"{organization}"}}"#);
    let cut_upstream = format!(r#"{{"organization": "{organization}","base_"#);
    let limits = r#""limits":{"tokens_per_minute":"many"}"#;
    let bad_tenant = format!(r#"{{"organization":"{organization}",{limits}}}"#);
    for (entity, id, bad, good) in [
        (Entity::Organization, organization.uuid(), "{}", Some(&tenant)),
        (Entity::Organization, organization.uuid(), &*bad_tenant, Some(&tenant)),
        (Entity::Project, project.uuid(), "null", None),
        (Entity::Policy, policy.uuid(), &*cut, Some(&good)),
        (Entity::Policy, policy.uuid(), &*odd, Some(&good)),
        (Entity::Budget, Uuid::nil(), &*budget, None),
        (Entity::Upstream, Uuid::nil(), &*upstream, None),
        (Entity::Upstream, Uuid::nil(), &*cut_upstream, None),
    ] {
        let (mut chain, other) = (Chain::new(), new_key());
        let catalog = started(&mut chain);
        let bad = named(entity, id, bad);
        catalog.follow(&chain.publish(&[record(&key), record(&other), bad.clone()])).unwrap();
        let anew = started(&mut chain);
        for catalog in [&catalog, &anew] {
            let now = present(catalog);
            assert!(now.bars(&key) && !now.bars(&other), "{bad:?}");
            assert!(now.quarantined[0].record.contains(entity.name()), "{bad:?}");
            assert!(now.adds_up() && now.sum() == chain.sum());
        }
        // It stays so while it is as bad, and another who is bad goes his own way.
        catalog.follow(&chain.publish(std::slice::from_ref(&bad))).unwrap();
        assert!(present(&catalog).bars(&key));
        let better = (bad.0, good.cloned());
        catalog.follow(&chain.publish(std::slice::from_ref(&better))).unwrap();
        assert!(!present(&catalog).bars(&key), "{bad:?}");
        assert_eq!(present(&catalog).quarantined.len(), 0);
        if better.1.is_some() {
            // What was good once goes on.
            catalog.follow(&chain.publish(std::slice::from_ref(&bad))).unwrap();
            assert!(!present(&catalog).bars(&key));
            assert_eq!(present(&catalog).quarantined.len(), 1);
        }
    }
}

fn upstream_record(it: &published::Upstream) -> (RecordId, Option<String>) {
    let id = RecordId { entity: Entity::Upstream, id: it.id.uuid() };
    (id, Some(serde_json::to_string(it).unwrap()))
}

/// Calls that are for a provider of one's own go to no other because it cannot be called.
#[test]
fn an_upstream_of_ones_own_that_cannot_be_called_closes_its_models() {
    let mut fixture = Fixture::default();
    let (mine, other) = (OrganizationId::generate(), OrganizationId::generate());
    let platform = fixture.upstream(None, &["auto", "same", "late"]).clone();
    let good = fixture.upstream(Some(mine), &["auto", "own"]).clone();
    let mut bad = good.clone();
    bad.base_url = "https://elsewhere.example.com/v1".to_owned();
    bad.models.push(model("late"));
    let mut chain = Chain::new();
    let anew = |chain: &Chain| {
        let catalog = fixture.catalog();
        catalog.replace(&chain.everything(), &[]).unwrap();
        catalog
    };
    let served = |catalog: &Catalog, organization| -> Vec<String> {
        let now = present(catalog);
        let listed: Vec<_> = now.models(organization).map(|it| it.name.clone()).collect();
        let is_served = |it: &&str| now.serving(organization, it).next().is_some();
        let names = ["auto", "late", "own", "same"];
        let all: Vec<_> = names.into_iter().filter(is_served).collect();
        assert_eq!(listed, all);
        assert!(names.iter().all(|it| !now.is_disabled(organization, it)));
        listed
    };
    let catalog = anew(&chain);
    catalog.follow(&chain.publish(&[upstream_record(&platform), upstream_record(&bad)])).unwrap();
    for catalog in [&catalog, &anew(&chain)] {
        assert_eq!(served(catalog, mine), ["same"]);
        assert_eq!(served(catalog, other), ["auto", "late", "same"]);
        let now = present(catalog);
        assert!(now.is_shut(mine, "auto") && !now.is_shut(mine, "same"));
        assert_eq!(now.quarantined.len(), 1);
    }
    // The good one serves, and goes on when the next is bad; what is new in that one is closed.
    catalog.follow(&chain.publish(&[upstream_record(&good)])).unwrap();
    assert_eq!(served(&catalog, mine), ["auto", "late", "own", "same"]);
    catalog.follow(&chain.publish(&[upstream_record(&bad)])).unwrap();
    assert_eq!(served(&catalog, mine), ["auto", "own", "same"]);
    // Another of one's own serves it instead, since somebody chose that one too.
    let second = fixture.upstream(Some(mine), &["late"]).clone();
    catalog.follow(&chain.publish(&[upstream_record(&second)])).unwrap();
    assert_eq!(served(&catalog, mine), ["auto", "late", "own", "same"]);
    let gone = [(upstream_record(&bad).0, None), (upstream_record(&second).0, None)];
    catalog.follow(&chain.publish(&gone)).unwrap();
    assert_eq!(served(&catalog, mine), ["auto", "late", "same"], "nothing is left of it");
    assert_eq!(present(&catalog).quarantined.len(), 0);
}

/// Whether a proxy follows every change or comes to one by an image, it has had the good record:
/// who never had it cannot know what it was.
#[test]
fn an_image_with_a_bad_record_leaves_the_good_one_too() {
    let key = new_key();
    let (organization, project) = (key.organization, key.project);
    let policy = Policy {
        id: shared::ids::PolicyId::generate(),
        organization: Some(organization),
        name: "auto".into(),
        version: 4,
        document: Document::default(),
        staged: None,
    };
    let limits = Limits { concurrent: Some(7), ..Limits::default() };
    let tenant = Tenant {
        organization,
        limits,
        disabled: vec![],
        books: vec![],
        routing: Default::default(),
        explore_per_mille: 0,
        worths: vec![],
    };
    let mut fixture = Fixture::default();
    let own = fixture.upstream(Some(organization), &["own"]).clone();
    let platforms = fixture.upstream(None, &["shared"]).clone();
    let revoked = published::Revoked {
        id: ApiKeyId::generate(),
        hashes: vec![published::SecretHash(hash_of(&new_key()).0.to_vec())],
        at: 7,
        by: published::RevokedBy::Owner,
    };
    let budget = budget(organization);
    let project = published::Project {
        id: project,
        organization,
        limits,
        team: None,
        splits: vec![],
        routing: Default::default(),
    };
    let text = |it: serde_json::Result<String>| it.unwrap();
    let good = [
        record(&key),
        upstream_record(&own),
        upstream_record(&platforms),
        named(Entity::Policy, policy.id.uuid(), &text(serde_json::to_string(&policy))),
        named(Entity::Organization, organization.uuid(), &text(serde_json::to_string(&tenant))),
        named(Entity::Project, project.id.uuid(), &text(serde_json::to_string(&project))),
        named(Entity::Budget, budget.id.uuid(), &text(serde_json::to_string(&budget))),
        named(Entity::Revoked, revoked.id.uuid(), &text(serde_json::to_string(&revoked))),
    ];
    let mut chain = Chain::new();
    let [followed, skipped] = [(); 2].map(|()| {
        let catalog = fixture.catalog();
        catalog.replace(&chain.everything(), &[]).unwrap();
        catalog
    });
    let first = chain.publish(&good);
    for it in [&followed, &skipped] {
        it.follow(&first).unwrap();
    }
    let cut = format!(r#"{{"organization":"{organization}","#);
    let bad: Vec<_> = good.iter().map(|(id, _)| (*id, Some(cut.clone()))).collect();
    followed.follow(&chain.publish(&bad)).unwrap();
    skipped.replace(&chain.everything(), &[]).unwrap();
    for catalog in [&followed, &skipped] {
        let now = present(catalog);
        assert!(now.adds_up() && now.sum() == chain.sum());
        assert_eq!(now.quarantined.len(), good.len());
        assert!(!now.bars(&key) && now.secret(&hash_of(&key)).is_some());
        let names: Vec<_> = now.models(organization).map(|it| it.name.clone()).collect();
        assert_eq!(names, ["own", "shared"]);
        assert_eq!(now.policy(organization, "auto").unwrap().version, 4);
        assert_eq!(now.organization_limits(organization).concurrent, Some(7));
        assert_eq!(now.project_limits(project.id).concurrent, Some(7));
        assert_eq!(now.budgets(organization).len(), 1);
        let hash = KeyHash(revoked.hashes[0].0.clone().try_into().unwrap());
        assert!(matches!(now.why_shut(&hash), Some(Shut::Revoked(it)) if it.at == 7));
    }
    let fresh = fixture.catalog();
    fresh.replace(&chain.everything(), &[]).unwrap();
    let now = present(&fresh);
    assert!(now.bars(&key) && now.secret(&hash_of(&key)).is_none());
    assert_eq!(now.models(organization).count(), 0);
    // What goes away goes, wherever it was kept.
    let gone: Vec<_> = good.iter().map(|(id, _)| (*id, None)).collect();
    let last = chain.publish(&gone);
    for catalog in [&followed, &skipped, &fresh] {
        catalog.follow(&last).unwrap();
        let now = present(catalog);
        assert!(!now.bars(&key) && now.secret(&hash_of(&key)).is_none());
        assert_eq!((now.models(organization).count(), now.budgets(organization).len()), (0, 0));
        assert_eq!((now.size(), now.quarantined.len()), ((0, 0), 0));
        assert!(now.policy(organization, "auto").is_none());
        assert_eq!(now.organization_limits(organization), Limits::default());
    }
}

fn budget(organization: OrganizationId) -> published::Budget {
    published::Budget {
        id: shared::ids::BudgetId::generate(),
        organization,
        name: "Search".into(),
        scope: published::BudgetScope::Organization,
        period: shared::money::Period::Month,
        zone: shared::money::Zone::UTC,
        caps: published::Caps { requests: Some(9), ..published::Caps::default() },
        raise: None,
        is_hard: true,
        thresholds: published::Thresholds::default(),
        on_tight: published::OnTight::Deny,
        on_redis_loss: published::OnRedisLoss::Closed,
        version: 1,
        raised_by: String::new(),
    }
}

/// It comes with its record and goes with it, and opens nothing.
#[test]
fn a_revoked_key_is_known_while_its_record_is_there() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let (key, another) = (new_key(), new_key());
    catalog.follow(&chain.publish(&[record(&key)])).unwrap();
    let revoked = |of: &Key| published::Revoked {
        id: key.id,
        hashes: vec![published::SecretHash(of.secrets[0].hash.clone())],
        at: 1,
        by: published::RevokedBy::Member,
    };
    let put = |of: &Key| {
        named(Entity::Revoked, key.id.uuid(), &serde_json::to_string(&revoked(of)).unwrap())
    };
    let is_known = |of: &Key| present(&catalog).why_shut(&hash_of(of)).is_some();
    catalog.follow(&chain.publish(&[(record(&key).0, None), put(&key)])).unwrap();
    assert!(present(&catalog).secret(&hash_of(&key)).is_none());
    assert!(is_known(&key) && !is_known(&another));
    catalog.follow(&chain.publish(&[put(&another)])).unwrap();
    assert!(!is_known(&key) && is_known(&another));
    catalog.follow(&chain.publish(&[(put(&key).0, None)])).unwrap();
    assert!(!is_known(&another));
    assert_eq!((present(&catalog).size(), present(&catalog).adds_up()), ((0, 0), true));
}

#[test]
fn a_bad_record_of_the_platforms_closes_nobody() {
    let (mut chain, key) = (Chain::new(), new_key());
    let catalog = started(&mut chain);
    let bad = [r#"{"organization":null,"name":7}"#, r#"{"organ"#, "[]"].into_iter().enumerate();
    let id = |at: usize| Uuid::from_u128(at as u128);
    let mut changes: Vec<_> = bad.map(|(at, it)| named(Entity::Policy, id(at), it)).collect();
    changes.push(named(Entity::Upstream, Uuid::nil(), "{}"));
    changes.push(record(&key));
    catalog.follow(&chain.publish(&changes)).unwrap();
    assert_eq!(present(&catalog).quarantined.len(), 4);
    assert!(!present(&catalog).bars(&key));
}

#[test]
fn a_record_of_an_entity_that_we_do_not_know_is_carried() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    // Written by who knows its name.
    let text = format!("wallet {} {{}}\n", Uuid::nil().simple());
    let id = RecordId { entity: Entity::named("wallet"), id: Uuid::nil() };
    chain.records.insert(id, "{}".to_owned());
    chain.revision = 1;
    let body = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let delta = chain.sealed(Form::Delta, chain.digest, body);
    catalog.follow(&delta).unwrap();
    assert_eq!(present(&catalog).sum(), chain.sum());
    assert_eq!(present(&catalog).quarantined.len(), 0);
}

/// Until a revision comes that must have seen why.
#[test]
fn what_was_stopped_stays_so_until_a_later_revision_has_its_word() {
    let mut chain = Chain::new();
    let catalog = started(&mut chain);
    let (key, other) = (new_key(), new_key());
    catalog.follow(&chain.publish(&[record(&key), record(&other)])).unwrap();
    catalog.stop(&[(hash_of(&key), 3)]);
    let is_open = |key: &Key| present(&catalog).secret(&hash_of(key)).is_some();
    assert!(!is_open(&key) && is_open(&other));

    catalog.follow(&chain.publish(&[record(&key)])).unwrap();
    assert!(!is_open(&key), "revision 2 may have begun before the stop");
    catalog.replace(&chain.everything(), &[]).unwrap();
    assert!(!is_open(&key));
    catalog.follow(&chain.publish(&[])).unwrap();
    assert!(is_open(&key), "revision 3 says that it opens something");
    catalog.stop(&[(hash_of(&key), 3)]);
    assert!(is_open(&key), "that was heard before");
}

#[test]
fn an_upstream_of_ones_own_comes_and_goes_alone() {
    let mut fixture = Fixture::default();
    let (mine, other) = (OrganizationId::generate(), OrganizationId::generate());
    let platform = fixture.upstream(None, &["auto"]).clone();
    let own = fixture.upstream(Some(mine), &["auto", "own"]).clone();
    let of = |it: &published::Upstream| {
        let id = RecordId { entity: Entity::Upstream, id: it.id.uuid() };
        (id, Some(serde_json::to_string(it).unwrap()))
    };
    let mut chain = Chain::new();
    let catalog = fixture.catalog();
    catalog.replace(&chain.everything(), &[]).unwrap();
    catalog.follow(&chain.publish(&[of(&platform), of(&own)])).unwrap();
    let names = |organization| {
        let now = present(&catalog);
        let names: Vec<_> = now.models(organization).map(|it| it.name.clone()).collect();
        names
    };
    assert_eq!(
        (names(mine), names(other)),
        (vec!["auto".into(), "own".into()], vec!["auto".into()])
    );
    let serving = present(&catalog);
    let owners: Vec<_> = serving.serving(mine, "auto").map(|it| it.upstream.organization).collect();
    assert_eq!(owners, [Some(mine), None]);

    catalog.follow(&chain.publish(&[(of(&own).0, None)])).unwrap();
    assert_eq!((names(mine), names(other)), (vec!["auto".to_owned()], vec!["auto".to_owned()]));
}

#[test]
fn a_signed_text_is_checked_whole() {
    let mut chain = Chain::new();
    let delta = chain.publish(&[record(&new_key())]).signed;
    let verifier: Verifier = chain.signer.verifier();
    assert!(verifier.verify(delta.clone()).is_ok());
    let stranger = Signer::new(&Signer::generate().0).unwrap();
    assert!(stranger.verifier().verify(delta.clone()).is_err());
    assert!(verifier.verify(Signed { body: vec![], ..delta }).is_err());
}

#[derive(Clone, Debug)]
enum Came {
    /// This delta, whatever we have.
    Delta(usize),
    /// Everything as of this revision.
    Full(usize),
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![(0..30_usize).prop_map(Came::Delta), (0..30_usize).prop_map(Came::Full)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever comes, twice, late, in any order, or not at all: no revision is served
    /// that was not published, none is gone back from, and who then looks at the newest
    /// is where everybody is.
    #[test]
    fn every_proxy_ends_where_every_other_does(
        edits in prop::collection::vec((0..6_usize, any::<bool>()), 1..30),
        coming in prop::collection::vec(came(), 0..60),
    ) {
        let mut chain = Chain::new();
        let keys: Vec<_> = (0..6).map(|_| new_key()).collect();
        let mut fulls = vec![chain.everything()];
        let mut sums = vec![chain.sum()];
        for (at, is_there) in edits {
            let (id, content) = record(&keys[at]);
            chain.publish(&[(id, content.filter(|_| is_there))]);
            fulls.push(chain.everything());
            sums.push(chain.sum());
        }
        let catalog = Fixture::default().catalog();
        catalog.replace(&fulls[0], &[]).unwrap();
        let mut at = 0;
        for it in coming {
            match it {
                Came::Delta(number) => if let Some(it) = chain.deltas.get(number) { let _ = catalog.follow(it); },
                Came::Full(number) => if let Some(it) = fulls.get(number) { let _ = catalog.replace(it, &[]); },
            }
            let now = present(&catalog);
            prop_assert!(now.revision >= at);
            at = now.revision;
            prop_assert_eq!(now.sum(), sums[usize::try_from(at).unwrap()]);
            prop_assert!(now.adds_up());
        }
        for delta in chain.deltas.iter().skip(usize::try_from(at).unwrap()) {
            catalog.follow(delta).unwrap();
        }
        let straight = Fixture::default().catalog();
        straight.replace(fulls.last().unwrap(), &[]).unwrap();
        let (now, straight) = (present(&catalog), present(&straight));
        prop_assert_eq!(now.sum(), chain.sum());
        prop_assert_eq!(now.size(), straight.size());
        for key in &keys {
            let hash = hash_of(key);
            prop_assert_eq!(now.secret(&hash).is_some(), straight.secret(&hash).is_some());
        }
    }
}
