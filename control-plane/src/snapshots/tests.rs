//! The publisher, against a real Postgres and Redis.

use std::collections::BTreeMap;

use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use shared::snapshot::{
    Change, Entity, Form, Genuine, Places, RevokedBy, SecretHash, SetSum, Signed, Signer, Verifier,
    unpack,
};
use sqlx::PgPool;

use super::*;
use crate::{
    access::Role,
    keys,
    keys::tests::{new_key, project},
    testing::Fixture,
};

/// A publisher with a place in Redis that no other test uses, and who reads there what a
/// proxy would.
struct Corner {
    publisher: Publisher,
    verifier: Verifier,
    redis: shared::wire::Pool,
}

type Records = BTreeMap<RecordId, String>;

impl Corner {
    fn new(fixture: &Fixture) -> Self {
        let key = Signer::generate().0;
        let places = Places::new(&format!("test:{{{}}}", shared::random::base62(12)));
        let redis = fixture.platform.redis.clone();
        let signer = || Signer::new(&key).unwrap();
        let publisher = Publisher::new(fixture.db.clone(), redis.clone(), signer(), places);
        Self { publisher, verifier: signer().verifier(), redis }
    }

    /// Another control plane of the same installation.
    fn beside(&self, fixture: &Fixture, key: &SecretString) -> Publisher {
        let signer = Signer::new(key).unwrap();
        let places = self.publisher.places.clone();
        Publisher::new(fixture.db.clone(), self.redis.clone(), signer, places)
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> T {
        let mut conn = self.redis.get().await.unwrap();
        command.query_async(&mut conn).await.unwrap()
    }

    async fn head(&self, field: &str) -> Option<i64> {
        self.ask(redis::cmd("HGET").arg(self.publisher.places.head()).arg(field)).await
    }

    async fn log(&self) -> Vec<Genuine> {
        type Entry = (String, Vec<Vec<u8>>);
        let log = self.publisher.places.log();
        let entries: Vec<Entry> = self.ask(redis::cmd("XRANGE").arg(log).arg("-").arg("+")).await;
        let read = |(id, fields): Entry| {
            let [_, head, _, signature, _, body] = fields.try_into().unwrap();
            let head = String::from_utf8(head).unwrap();
            let genuine = self.verifier.verify(Signed { head, signature, body }).unwrap();
            assert_eq!(id, format!("{}-0", genuine.head.revision));
            genuine
        };
        entries.into_iter().map(read).collect()
    }

    async fn full(&self) -> Genuine {
        let place = self.publisher.places.full(self.head("full").await.unwrap());
        let field = async |name: &str| -> Vec<u8> {
            self.ask(redis::cmd("HGET").arg(&place).arg(name)).await
        };
        let head = String::from_utf8(field("head").await).unwrap();
        let pieces: usize = String::from_utf8(field("pieces").await).unwrap().parse().unwrap();
        let mut body = Vec::new();
        for number in 0..pieces {
            body.extend(field(&number.to_string()).await);
        }
        let signed = Signed { head, signature: field("signature").await, body };
        self.verifier.verify(signed).unwrap()
    }

    /// What a proxy that comes anew would hold in the end.
    async fn records(&self) -> Records {
        let full = self.full().await;
        assert_eq!(full.head.form, Form::Full);
        let mut records = Records::new();
        take(&mut records, &full);
        let mut chain = full.head.chain_end();
        let mut at = full.head.revision;
        for delta in self.log().await.into_iter().filter(|it| it.head.revision > full.head.revision)
        {
            assert_eq!((delta.head.chain, delta.head.revision), (chain, at + 1));
            take(&mut records, &delta);
            (chain, at) = (delta.head.digest(), delta.head.revision);
        }
        assert_eq!(Some(at), self.head("revision").await, "the head points at what is there");
        records
    }

    async fn forget(&self) {
        let places = &self.publisher.places;
        let fulls: String = self.ask(redis::cmd("HGET").arg(places.head()).arg("fulls")).await;
        let mut keys = vec![places.log(), places.head(), places.stopped()];
        keys.extend(fulls.split(' ').map(|it| format!("{}{it}", places.fulls())));
        let _: i64 = self.ask(redis::cmd("DEL").arg(&keys)).await;
    }
}

fn take(records: &mut Records, from: &Genuine) {
    unpack(&from.signed.body, |change| {
        let Change { id, content } = change.unwrap();
        match content {
            Some(content) => drop(records.insert(id, content.to_owned())),
            None => drop(records.remove(&id)),
        }
    })
    .unwrap();
    let sum = SetSum::of_all(records.iter().map(|(id, content)| Change::put(*id, content)));
    assert_eq!(sum, from.head.sum, "at {}", from.head.revision);
}

fn keys_in(records: &Records) -> Vec<shared::snapshot::Key> {
    let keys = records.iter().filter(|(id, _)| id.entity == Entity::Key);
    keys.map(|(_, content)| serde_json::from_str(content).unwrap()).collect()
}

async fn issue(fixture: &Fixture, name: &str) -> keys::Issued {
    let project = project(fixture, &fixture.ours, name).await;
    let mut work = fixture.work(Role::Developer).await;
    let new = new_key(project, fixture.ours.person(Role::Developer));
    let issued = keys::issue(&mut work, &new, None).await.unwrap();
    work.commit().await.unwrap();
    issued
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_is_published_once(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    assert_eq!(corner.publisher.publish().await.unwrap(), Some(1));
    assert_eq!(corner.publisher.publish().await.unwrap(), None);

    let issued = issue(&fixture, "web").await;
    assert_eq!(corner.publisher.publish().await.unwrap(), Some(2));
    assert_eq!(corner.publisher.publish().await.unwrap(), None);
    let keys = keys_in(&corner.records().await);
    let [key] = keys.as_slice() else { panic!("{} keys", keys.len()) };
    assert_eq!((key.id, key.organization), (issued.key, fixture.ours.id));
    let hash = shared::keys::KeyHash::of(issued.secret.expose_secret());
    assert_eq!(key.secrets[0].hash, hash.0);
    let last = corner.log().await.pop().unwrap();
    assert_eq!(last.head.revision, 2, "it travelled as a delta");
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_keys_calls_keep_to_travels_with_it(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    let issued = issue(&fixture, "web").await;
    corner.publisher.publish().await.unwrap();
    let policy = shared::ids::PolicyId::generate();
    let said = async |policy: Option<shared::ids::PolicyId>| {
        let put = "INSERT INTO routing_defaults (organization_id, key_id, default_model, policy_id)
                   VALUES ($1, $2, 'small', $3)
                   ON CONFLICT ON CONSTRAINT routing_defaults_once
                   DO UPDATE SET default_model = NULL, policy_id = excluded.policy_id";
        let put = sqlx::query(put).bind(fixture.ours.id).bind(issued.key).bind(policy);
        put.execute(&fixture.root).await.unwrap();
        corner.publisher.publish().await.unwrap().unwrap();
        keys_in(&corner.records().await).remove(0).routing
    };
    let both = said(Some(policy)).await;
    assert_eq!((both.default_model.as_deref(), both.policy), (Some("small"), Some(policy)));
    assert!(said(None).await.is_silent());
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_is_announced(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    let config = crate::testing::config();
    let client = redis::Client::open(config.stores.redis_url.expose_secret()).unwrap();
    let mut hints = client.get_async_pubsub().await.unwrap();
    hints.subscribe(corner.publisher.places.hint()).await.unwrap();
    corner.publisher.publish().await.unwrap();
    let hint = hints.on_message().next().await.unwrap();
    assert_eq!(hint.get_payload_bytes(), b"1");
    corner.forget().await;
}

/// It began first and commits last: what came in between is published before it.
#[sqlx::test(migrations = "../migrations")]
async fn a_slow_transaction_is_not_skipped(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    corner.publisher.publish().await.unwrap();
    let slow_project = project(&fixture, &fixture.ours, "slow").await;
    let mut slow = fixture.work(Role::Developer).await;
    let new = new_key(slow_project, fixture.ours.person(Role::Developer));
    keys::issue(&mut slow, &new, None).await.unwrap();

    for revision in 2..5 {
        // Of the other organization: the audit log's writers queue.
        sqlx::query("UPDATE organizations SET requests_per_minute = $1 WHERE id = $2")
            .bind(i32::try_from(revision).unwrap())
            .bind(fixture.theirs.id)
            .execute(&fixture.root)
            .await
            .unwrap();
        assert_eq!(corner.publisher.publish().await.unwrap(), Some(revision));
        assert_eq!(keys_in(&corner.records().await).len(), 0);
    }
    slow.commit().await.unwrap();
    assert_eq!(corner.publisher.publish().await.unwrap(), Some(5));
    assert_eq!(keys_in(&corner.records().await).len(), 1);
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn two_publishers_make_one_chain(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let key = Signer::generate().0;
    let mut corner = Corner::new(&fixture);
    corner.publisher = corner.beside(&fixture, &key);
    corner.verifier = Signer::new(&key).unwrap().verifier();
    let other = corner.beside(&fixture, &key);
    corner.publisher.publish().await.unwrap();
    for round in 0..6 {
        issue(&fixture, &format!("project {round}")).await;
        let (one, two) = tokio::join!(corner.publisher.publish(), other.publish());
        let made = [one.unwrap(), two.unwrap()];
        assert!(made.iter().flatten().count() <= 1, "{made:?}");
        // Whichever was turned away finds nothing left, or everything.
        other.publish().await.unwrap();
    }
    assert_eq!(keys_in(&corner.records().await).len(), 6);
    assert_eq!(corner.publisher.verify().await.unwrap().faults, [""; 0]);
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_redis_that_lost_something_gets_it_again(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    corner.publisher.publish().await.unwrap();
    let places = &corner.publisher.places;
    for lost in ["head", "log", "full", "all"] {
        issue(&fixture, lost).await;
        corner.publisher.publish().await.unwrap();
        let all = corner.records().await;
        let full = places.full(corner.head("full").await.unwrap());
        let keys = match lost {
            "head" => vec![places.head()],
            "log" => vec![places.log()],
            "full" => vec![full],
            _ => vec![places.head(), places.log(), full],
        };
        let _: i64 = corner.ask(redis::cmd("DEL").arg(&keys)).await;
        assert_eq!(corner.publisher.publish().await.unwrap(), None);
        assert_eq!(corner.records().await, all, "without {lost}");
    }
    issue(&fixture, "another").await;
    corner.publisher.publish().await.unwrap();
    assert_eq!(keys_in(&corner.records().await).len(), 5);
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_redis_that_is_ahead_is_an_operators_matter(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    corner.publisher.publish().await.unwrap();
    let head = corner.publisher.places.head();
    let _: i64 = corner.ask(redis::cmd("HSET").arg(head).arg("revision").arg(90)).await;
    let refused = corner.publisher.publish().await.unwrap_err();
    assert!(refused.to_string().contains("republish --after 90"), "{refused}");
    assert_eq!(corner.publisher.republish(Some(90)).await.unwrap(), 91);
    assert_eq!(corner.head("revision").await, Some(91));
    issue(&fixture, "web").await;
    assert_eq!(corner.publisher.publish().await.unwrap(), Some(92));
    assert_eq!(keys_in(&corner.records().await).len(), 1);
    assert_eq!(corner.publisher.verify().await.unwrap().faults, [""; 0]);
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_tampered_with_is_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    corner.publisher.publish().await.unwrap();
    issue(&fixture, "web").await;
    corner.publisher.publish().await.unwrap();
    let faults = async || corner.publisher.verify().await.unwrap().faults.len();
    assert_eq!(faults().await, 0);
    sqlx::query("UPDATE config_records SET content = '{}'").execute(&fixture.root).await.unwrap();
    assert_eq!(faults().await, 1);
    sqlx::query("UPDATE config_revisions SET body = '' WHERE revision = 2")
        .execute(&fixture.root)
        .await
        .unwrap();
    assert_eq!(faults().await, 2);
    corner.forget().await;
}

/// What proxies would let in is told to have stopped, whatever the reason.
#[sqlx::test(migrations = "../migrations")]
async fn a_stop_is_told_before_it_is_published(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    let issued = issue(&fixture, "web").await;
    corner.publisher.publish().await.unwrap();
    let stops = async || -> Vec<(String, Vec<Vec<u8>>)> {
        let stopped = corner.publisher.places.stopped();
        corner.ask(redis::cmd("XRANGE").arg(stopped).arg("-").arg("+")).await
    };
    issue(&fixture, "another").await;
    corner.publisher.tell_what_stopped().await.unwrap();
    assert_eq!(stops().await.len(), 0, "nothing stopped");

    sqlx::query("UPDATE memberships SET role = 'viewer' WHERE person_id = $1")
        .bind(fixture.ours.person(Role::Developer))
        .execute(&fixture.root)
        .await
        .unwrap();
    corner.publisher.tell_what_stopped().await.unwrap();
    let told = stops().await;
    let [(entry, fields)] = told.as_slice() else { panic!("{} stops", told.len()) };
    let hash = shared::keys::KeyHash::of(issued.secret.expose_secret());
    assert_eq!(fields[1], b"3", "the revision after the next");
    assert_eq!(fields[3], hash.0, "the published secret, and not the other, which never was");
    let stop: String =
        corner.ask(redis::cmd("GET").arg(corner.publisher.places.stop_of(issued.key))).await;
    assert_eq!(stop, *entry);

    assert_eq!(corner.publisher.publish().await.unwrap(), Some(2));
    assert_eq!(keys_in(&corner.records().await).len(), 0);
    corner.forget().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_whose_owner_may_not_use_it_is_not_published(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours, "web").await;
    let owner = fixture.ours.person(Role::Developer);
    let mut work = fixture.work(Role::Developer).await;
    keys::issue(&mut work, &new_key(project, owner), None).await.unwrap();
    work.commit().await.unwrap();
    let corner = Corner::new(&fixture);
    let published = async || {
        corner.publisher.publish().await.unwrap();
        keys_in(&corner.records().await).len()
    };
    assert_eq!(published().await, 1);

    for (change, back) in [
        (
            "UPDATE memberships SET role = 'billing' WHERE person_id = $1",
            "UPDATE memberships SET role = 'developer' WHERE person_id = $1",
        ),
        (
            "UPDATE people SET disabled_at = now() WHERE id = $1",
            "UPDATE people SET disabled_at = NULL WHERE id = $1",
        ),
    ] {
        sqlx::query(change).bind(owner).execute(&fixture.root).await.unwrap();
        assert_eq!(published().await, 0, "{change}");
        sqlx::query(back).bind(owner).execute(&fixture.root).await.unwrap();
        assert_eq!(published().await, 1, "{back}");
    }
    corner.forget().await;
}

/// For a month, with those of its secrets that opened it until then, and by whom without a name.
#[sqlx::test(migrations = "../migrations")]
async fn a_revoked_key_is_published_as_such_for_a_while(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    let (own, removed) = (issue(&fixture, "web").await, issue(&fixture, "worker").await);
    corner.publisher.publish().await.unwrap();
    let revoked = async || -> Vec<shared::snapshot::Revoked> {
        let records = corner.records().await;
        let revoked = records.iter().filter(|(id, _)| id.entity == Entity::Revoked);
        revoked.map(|(_, content)| serde_json::from_str(content).unwrap()).collect()
    };
    assert!(revoked().await.is_empty());
    sqlx::query(
        "UPDATE api_keys SET revoked_at = now(),
                revoked_by = CASE WHEN id = $1 THEN owner_id ELSE $2 END",
    )
    .bind(own.key)
    .bind(fixture.ours.person(Role::Admin))
    .execute(&fixture.root)
    .await
    .unwrap();
    assert_eq!(corner.publisher.publish().await.unwrap(), Some(2));
    assert_eq!(keys_in(&corner.records().await).len(), 0);
    for (issued, by) in [(&own, RevokedBy::Owner), (&removed, RevokedBy::Member)] {
        let all = revoked().await;
        let it = all.iter().find(|it| it.id == issued.key).unwrap();
        let hash = shared::keys::KeyHash::of(issued.secret.expose_secret());
        assert_eq!((it.hashes.as_slice(), it.by), (&[SecretHash(hash.0.to_vec())][..], by));
        assert!((OffsetDateTime::now_utc().unix_timestamp() - it.at).abs() < 60);
    }
    sqlx::query("UPDATE api_keys SET revoked_at = now() - interval '31 days' WHERE id = $1")
        .bind(own.key)
        .execute(&fixture.root)
        .await
        .unwrap();
    corner.publisher.republish(None).await.unwrap();
    let left: Vec<_> = revoked().await.iter().map(|it| it.id).collect();
    assert_eq!(left, [removed.key]);
    corner.forget().await;
}

/// An answer says that something has stopped when every proxy that lives has said so.
#[sqlx::test(migrations = "../migrations")]
async fn an_answer_waits_a_moment_for_the_proxies(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new(&fixture);
    let places = &corner.publisher.places;
    let stop = async || {
        let issued = issue(&fixture, &shared::random::base62(8)).await;
        corner.publisher.publish().await.unwrap();
        sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1")
            .bind(issued.key)
            .execute(&fixture.root)
            .await
            .unwrap();
    };
    assert_eq!(stops::told(&corner.publisher).await, Told::Nothing);
    stop().await;
    assert_eq!(stops::told(&corner.publisher).await, Told::Everybody, "nobody runs");

    let report = r#"{"revision":1,"refuses":null,"published_at":1,"lag_ms":1,"quarantined":0,
                     "version":"0.1.0","address":"127.0.0.1:7401"}"#;
    let now: (i64, i64) = corner.ask(&mut redis::cmd("TIME")).await;
    let said = format!("{} {report}", now.0 * 1_000);
    let _: i64 = corner.ask(redis::cmd("HSET").arg(places.reports()).arg("one").arg(said)).await;
    stop().await;
    let told = stops::told(&corner.publisher).await;
    assert_eq!(told, Told::Some { heard: 0, live: 1 });
    assert!(!told.is_effective() && told.beside("Key revoked").contains("0 of 1 have said"));

    // The proxy hears of each entry as it comes.
    stop().await;
    let hears = async {
        type Entry = (String, Vec<Vec<u8>>);
        loop {
            let stopped = places.stopped();
            let mut ask = redis::cmd("XRANGE");
            let entries: Vec<Entry> = corner.ask(ask.arg(stopped).arg("-").arg("+")).await;
            for (entry, _) in entries {
                let mut tell = redis::cmd("HSETNX");
                let _: i64 = corner.ask(tell.arg(places.heard(&entry)).arg("one").arg(1)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::select! {
        told = stops::told(&corner.publisher) => told,
        _ = hears => panic!("it hears for ever"),
    };
    assert_eq!(told, Told::Everybody);
    let _: i64 = corner.ask(redis::cmd("DEL").arg(places.reports())).await;
    corner.forget().await;
}
