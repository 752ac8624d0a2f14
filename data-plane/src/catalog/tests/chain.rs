//! Revision after revision: what is taken, what is refused, and that every proxy ends
//! where every other does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::snapshot::{
    Change, Digest, Entity, Form, Head, PIECE, RecordId, SCHEMA, SetSum, Signed, Signer, Verifier,
    pack,
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
    let good = format!(r#"{own}"name":"auto","version":1,"tiers":[]}}"#);
    let cut = format!("{own}\"na");
    let odd = format!(r#"{own}"name":7,"version":1,"tiers":[]}}"#);
    let tenant = format!(r#"{{"organization":"{organization}","limits":{{}}}}"#);
    let budget = format!(r#"{{"scope":"?","organization":"{organization}"}}"#);
    let limits = r#""limits":{"tokens_per_minute":"many"}"#;
    let bad_tenant = format!(r#"{{"organization":"{organization}",{limits}}}"#);
    for (entity, id, bad, good) in [
        (Entity::Organization, organization.uuid(), "{}", Some(&tenant)),
        (Entity::Organization, organization.uuid(), &*bad_tenant, Some(&tenant)),
        (Entity::Project, project.uuid(), "null", None),
        (Entity::Policy, policy.uuid(), &*cut, Some(&good)),
        (Entity::Policy, policy.uuid(), &*odd, Some(&good)),
        (Entity::Budget, Uuid::nil(), &*budget, None),
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
