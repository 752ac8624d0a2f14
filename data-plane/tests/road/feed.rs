//! The way of a change through a real Redis: TURNPIKE_TEST_REDIS_URL, or the one that
//! `infra/stack.sh start .run/test` started.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use data_plane::{
    app::{Running, start_from},
    catalog::feed::Source,
    config::Config,
};
use redis::AsyncCommands;
use secrecy::{ExposeSecret, SecretString};
use shared::{
    ids::RequestId,
    keys::{Brand, NewKey},
    seal::MasterKey,
    snapshot::{
        Change, Digest, Entity, Form, Head, Key, Places, RecordId, Report, SCHEMA, SetSum, Signed,
        Signer, pack,
    },
};
use time::OffsetDateTime;

use crate::{plane, soon};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);
const OFTEN: Duration = Duration::from_millis(20);

pub fn redis_url() -> SecretString {
    const NAME: &str = "TURNPIKE_TEST_REDIS_URL";
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.run/test/stack.env");
    let named = std::env::var(NAME).ok().or_else(|| {
        let file = std::fs::read_to_string(FILE).ok()?;
        let line = file.lines().find_map(|it| it.strip_prefix(NAME)?.strip_prefix('='));
        line.map(str::to_owned)
    });
    named.expect("a Redis for tests: infra/stack.sh start .run/test").into()
}

/// Publishes as the control plane does, or as it never would.
struct Publisher {
    source: Source,
    redis: redis::aio::MultiplexedConnection,
    signer: Signer,
    public_key: String,
    master: MasterKey,
    revision: i64,
    digest: Digest,
    records: BTreeMap<RecordId, String>,
}

impl Publisher {
    /// Under names of its own: the Redis is shared.
    async fn new(period: Duration) -> Self {
        let name = RequestId::generate();
        let source = Source {
            redis_url: redis_url(),
            places: Places::new(&format!("test:{{{name}}}")),
            last_used: format!("test:{name}:last_used"),
            pulses: format!("test:{name}:pulses"),
            feedback: format!("test:{name}:feedback"),
            generations: format!("test:{{{name}}}:generations"),
            events: shared::counters::Places::with_prefix(&format!("test:{name}:")),
            period,
            lane_period: period,
        };
        let client = redis::Client::open(source.redis_url.expose_secret()).unwrap();
        let redis = client.get_multiplexed_async_connection().await.unwrap();
        let (key, public_key) = Signer::generate();
        Self {
            source,
            redis,
            signer: Signer::new(&key).unwrap(),
            public_key,
            master: MasterKey::generate(),
            revision: 0,
            digest: Digest::NOTHING,
            records: BTreeMap::new(),
        }
    }

    fn config(&self, state_dir: Option<PathBuf>) -> Config {
        let mut config = plane::config(&self.master);
        config.snapshot_public_keys = vec![self.public_key.parse().unwrap()];
        config.proxy_name = Some("one".to_owned());
        config.state_dir = state_dir;
        config
    }

    async fn proxy(&self) -> Running {
        start_from(self.source.clone(), self.config(None)).await.unwrap()
    }

    fn next(&mut self, key: &Key) -> Signed {
        let id = RecordId { entity: Entity::Key, id: key.id.uuid() };
        let content = serde_json::to_string(key).unwrap();
        let body = pack([Change { id, content: Some(&content) }]).unwrap();
        self.records.insert(id, content);
        self.revision += 1;
        let head = self.head(Form::Delta, &body);
        self.digest = head.digest();
        self.signer.sign(&head, body)
    }

    fn everything(&self) -> Signed {
        let body = pack(self.all()).unwrap();
        self.signer.sign(&self.head(Form::Full, &body), body)
    }

    fn head(&self, form: Form, body: &[u8]) -> Head {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        Head {
            form,
            schema: SCHEMA,
            revision: self.revision,
            published_at: i64::try_from(now).unwrap(),
            chain: self.digest,
            sum: SetSum::of_all(self.all()),
            body: Digest::of(body),
        }
    }

    fn all(&self) -> impl Iterator<Item = Change<'_>> {
        self.records.iter().map(|(id, content)| Change::put(*id, content))
    }

    async fn publish(&mut self, key: &Key) {
        let delta = self.next(key);
        self.put_delta(delta).await;
    }

    async fn put_delta(&mut self, delta: Signed) {
        let Signed { head, signature, body } = delta;
        let mut add = redis::cmd("XADD");
        add.arg(self.source.places.log()).arg(format!("{}-0", self.revision));
        add.arg("head").arg(head).arg("signature").arg(signature).arg("body").arg(body);
        let () = add.query_async(&mut self.redis).await.unwrap();
        self.point().await;
    }

    async fn put_everything(&mut self, Signed { head, signature, body }: Signed) {
        let place = self.source.places.full(self.revision);
        let middle = body.len() / 2;
        let pieces = [("0", body[..middle].to_vec()), ("1", body[middle..].to_vec())];
        let () = self.redis.hset_multiple(&place, &pieces).await.unwrap();
        let rest =
            [("head", head.into_bytes()), ("signature", signature), ("pieces", b"2".to_vec())];
        let () = self.redis.hset_multiple(&place, &rest).await.unwrap();
        let head = self.source.places.head();
        let () = self.redis.hset(&head, "full", self.revision).await.unwrap();
        self.point().await;
    }

    async fn point(&mut self) {
        let head = self.source.places.head();
        let () = self.redis.hset(&head, "revision", self.revision).await.unwrap();
        for place in [head, self.source.places.log(), self.source.places.full(self.revision)] {
            let () = self.redis.expire(place, 60).await.unwrap();
        }
    }

    /// Publishes a first revision whole.
    async fn begin(&mut self, key: &Key) {
        let _ = self.next(key);
        let everything = self.everything();
        self.put_everything(everything).await;
    }

    /// Waits until somebody listens, and hints.
    async fn hint(&mut self, what: &str) {
        let hint = self.source.places.hint();
        while self.redis.publish::<_, _, u32>(&hint, what).await.unwrap() == 0 {}
    }

    /// Tells the fast lane, waits until the proxy has heard, and says where both were told.
    async fn stop(&mut self, key: &NewKey, until: i64) -> [String; 2] {
        let stopped = self.source.places.stopped();
        let mut add = redis::cmd("XADD");
        add.arg(&stopped).arg("*").arg("until").arg(until).arg("secrets").arg(&key.hash.0);
        let entry: String = add.query_async(&mut self.redis).await.unwrap();
        let heard = self.source.places.heard(&entry);
        soon(async {
            while self.redis.hget::<_, _, Option<i64>>(&heard, "one").await.unwrap().is_none() {}
        })
        .await;
        [stopped, heard]
    }

    async fn report(&mut self) -> Option<Report> {
        let reports = self.source.places.reports();
        let said: Option<String> = self.redis.hget(reports, "one").await.unwrap();
        said.and_then(|it| serde_json::from_str(it.split_once(' ')?.1).ok())
    }

    /// Waits until the proxy says why it refuses.
    async fn refusal(&mut self) -> String {
        soon(async {
            loop {
                if let Some(why) = self.report().await.and_then(|it| it.refuses) {
                    return why;
                }
            }
        })
        .await
    }
}

fn key() -> (NewKey, Key) {
    let new = NewKey::generate(Brand::Live);
    let image = plane::image(&MasterKey::generate(), &new, "127.0.0.1:1".parse().unwrap());
    (new, image.keys.into_iter().next().unwrap())
}

fn lets_in(running: &Running, key: &NewKey) -> bool {
    running.catalog.present().as_ref().is_some_and(|it| it.secret(&key.hash).is_some())
}

async fn reaches(running: &Running, revision: i64) {
    soon(running.catalog.reaches(revision)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_served_on_the_hint() {
    let mut publisher = Publisher::new(NEVER).await;
    publisher.begin(&key().1).await;
    let running = publisher.proxy().await;
    reaches(&running, 1).await;
    let (new, record) = key();
    publisher.publish(&record).await;
    publisher.hint("2").await;
    reaches(&running, 2).await;
    assert!(lets_in(&running, &new));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hint_costs_a_period() {
    let mut publisher = Publisher::new(OFTEN).await;
    publisher.begin(&key().1).await;
    let running = publisher.proxy().await;
    for revision in 2..10 {
        publisher.publish(&key().1).await;
        reaches(&running, revision).await;
    }
    let report = publisher.report().await.unwrap();
    assert!(report.revision > 0 && report.refuses.is_none(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_filled_with_everything() {
    let mut publisher = Publisher::new(OFTEN).await;
    publisher.begin(&key().1).await;
    let running = publisher.proxy().await;
    reaches(&running, 1).await;
    // Nobody ever sees these.
    for _ in 0..3 {
        let _ = publisher.next(&key().1);
    }
    let (new, record) = key();
    publisher.publish(&record).await;
    let why = publisher.refusal().await;
    assert!(why.contains("revision 5 came where 2 was to come"), "{why}");
    let everything = publisher.everything();
    publisher.put_everything(everything).await;
    reaches(&running, 5).await;
    assert!(lets_in(&running, &new));
}

/// Each is refused with its reason, and what comes after it whole is taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_and_told() {
    for (spoil, reason) in [
        (0, "not signed by a key that we know"),
        (1, "not the one that was signed"),
        (2, "newer than our"),
        (3, "does not follow"),
        (4, "do not add up"),
    ] {
        let mut publisher = Publisher::new(OFTEN).await;
        let (first, record) = key();
        publisher.begin(&record).await;
        let running = publisher.proxy().await;
        reaches(&running, 1).await;
        let before = publisher.digest;
        let (second, record) = key();
        let mut delta = publisher.next(&record);
        let body = delta.body.clone();
        let head = publisher.head(Form::Delta, &body);
        let lie = |head: Head| publisher.signer.sign(&head, body.clone());
        match spoil {
            0 => delta.signature[3] ^= 1,
            1 => delta.body.push(0),
            2 => delta = lie(Head { schema: SCHEMA + 1, chain: before, ..head }),
            3 => delta = lie(Head { chain: Digest::of(b"another"), ..head }),
            _ => delta = lie(Head { sum: SetSum(1), chain: before, ..head }),
        }
        publisher.put_delta(delta).await;
        let why = publisher.refusal().await;
        assert!(why.contains(reason), "{why}");
        assert!(lets_in(&running, &first), "the present one serves on");
        assert!(!lets_in(&running, &second));

        let everything = publisher.everything();
        publisher.put_everything(everything).await;
        reaches(&running, 2).await;
        assert!(lets_in(&running, &first) && lets_in(&running, &second));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fast_lane_needs_no_revision() {
    let mut publisher = Publisher::new(OFTEN).await;
    let (new, record) = key();
    publisher.begin(&record).await;
    let running = publisher.proxy().await;
    reaches(&running, 1).await;
    assert!(lets_in(&running, &new));
    let places = publisher.stop(&new, 3).await;
    assert!(!lets_in(&running, &new));
    let answer = plane::send(
        http::Request::get(format!("http://{}/v1/models", running.address))
            .header("authorization", format!("Bearer {}", new.secret.expose_secret())),
        "",
    );
    assert_eq!(answer.await.status, http::StatusCode::UNAUTHORIZED);
    let () = publisher.redis.del(&places).await.unwrap();
}

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("turnpike-{}", RequestId::generate())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn nowhere(source: &Source) -> Source {
    Source { redis_url: "redis://127.0.0.1:1".to_owned().into(), ..source.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_starts_from_its_disk_when_all_else_is_down() {
    let (mut publisher, place) = (Publisher::new(OFTEN).await, Place::new());
    let (first, record) = key();
    publisher.begin(&record).await;
    let config = publisher.config(Some(place.0.clone()));
    let running = start_from(publisher.source.clone(), config.clone()).await.unwrap();
    let (second, record) = key();
    publisher.publish(&record).await;
    reaches(&running, 2).await;
    running.drain().await;

    let running = start_from(nowhere(&publisher.source), config.clone()).await.unwrap();
    assert!(lets_in(&running, &first) && lets_in(&running, &second));
    assert_eq!(running.catalog.present().as_ref().unwrap().revision, 2);
    running.drain().await;

    let bytes = std::fs::read(place.0.join("snapshot")).unwrap();
    let is_readable = bytes.windows(16).any(|it| it == &first.hash.0[..16]);
    assert!(!is_readable && !bytes.windows(9).any(|it| it == b"turnpike "), "it is sealed");
}

/// A copy that is not what we wrote, or not signed by whom we trust now, is not served;
/// the one before it is, and without any nobody is let in or told that they are unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_tampered_with_is_not_served() {
    let (mut publisher, place) = (Publisher::new(OFTEN).await, Place::new());
    publisher.begin(&key().1).await;
    let config = publisher.config(Some(place.0.clone()));
    for revision in 1..3 {
        let running = start_from(publisher.source.clone(), config.clone()).await.unwrap();
        if revision > 1 {
            publisher.publish(&key().1).await;
        }
        reaches(&running, revision).await;
        running.drain().await;
    }
    let served = async |config: &Config| {
        let running = start_from(nowhere(&publisher.source), config.clone()).await.unwrap();
        let revision = running.catalog.present().as_ref().map(|it| it.revision);
        running.drain().await;
        revision
    };
    assert_eq!(served(&config).await, Some(2));
    let mut strangers = config.clone();
    strangers.snapshot_public_keys = vec![Signer::generate().1.parse().unwrap()];
    assert_eq!(served(&strangers).await, None);
    let mut other_key = config.clone();
    other_key.credential_key = MasterKey::generate();
    assert_eq!(served(&other_key).await, None);

    let spoil = |name: &str| {
        let path = place.0.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    spoil("snapshot");
    assert_eq!(served(&config).await, Some(1), "the generation before");
    spoil("snapshot.before");
    assert_eq!(served(&config).await, None);
}

/// The process dies at once after it heard, before the copy is written anew, and starts
/// where nobody is. Until the revision that has seen why, whichever copy it starts from.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_stopped_stays_so_when_all_else_is_down() {
    let (mut publisher, place) = (Publisher::new(OFTEN).await, Place::new());
    let ((first, record), (second, other)) = (key(), key());
    publisher.begin(&record).await;
    let config = publisher.config(Some(place.0.clone()));
    let running = start_from(publisher.source.clone(), config.clone()).await.unwrap();
    publisher.publish(&other).await;
    reaches(&running, 2).await;
    running.drain().await;

    let running = start_from(publisher.source.clone(), config.clone()).await.unwrap();
    let places = publisher.stop(&first, 4).await;
    let died = Place::new();
    copy(&place, &died);
    publisher.publish(&key().1).await;
    reaches(&running, 3).await;
    running.drain().await;
    let (nowhere, keeping) = (nowhere(&publisher.source), config.clone());
    let served = async |place: &Place| {
        let config = Config { state_dir: Some(place.0.clone()), ..keeping.clone() };
        let running = start_from(nowhere.clone(), config).await.unwrap();
        let revision = running.catalog.present().as_ref().unwrap().revision;
        let lets_in = (lets_in(&running, &first), lets_in(&running, &second));
        running.drain().await;
        (revision, lets_in)
    };
    assert_eq!(served(&died).await, (2, (false, true)));
    assert_eq!(served(&place).await, (3, (false, true)));
    let is_readable = |it: &[u8]| it.windows(16).any(|it| it == &first.hash.0[..16]);
    assert!(!is_readable(&std::fs::read(place.0.join("stopped")).unwrap()), "it is sealed");

    // A revision that lets it in all the same has the last word.
    let running = start_from(publisher.source.clone(), config).await.unwrap();
    publisher.publish(&key().1).await;
    reaches(&running, 4).await;
    running.drain().await;
    assert_eq!(served(&place).await, (4, (true, true)));
    let newest = place.0.join("snapshot");
    std::fs::write(newest, "spoilt").unwrap();
    assert_eq!(served(&place).await, (3, (false, true)), "the generation before");
    let () = publisher.redis.del(&places).await.unwrap();
}

/// Each would write over what the other keeps.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_do_not_share_a_directory() {
    let (publisher, place) = (Publisher::new(OFTEN).await, Place::new());
    let config = publisher.config(Some(place.0.clone()));
    let running = start_from(publisher.source.clone(), config.clone()).await.unwrap();
    let Err(refused) = start_from(publisher.source.clone(), config.clone()).await else {
        panic!("it started");
    };
    let said = refused.to_string();
    assert!(
        said.contains("another process has its state in") && said.contains("of its own"),
        "{said}"
    );
    // Once that one is gone, it may; and at once in another place, whatever it is called.
    let elsewhere = Place::new();
    let config = Config { state_dir: Some(elsewhere.0.clone()), ..config };
    start_from(publisher.source.clone(), config.clone()).await.unwrap().drain().await;
    running.drain().await;
    let config = Config { state_dir: Some(place.0.clone()), ..config };
    start_from(publisher.source.clone(), config).await.unwrap().drain().await;
}

/// What is served from. A journal is its process' own.
fn copy(from: &Place, to: &Place) {
    std::fs::create_dir_all(&to.0).unwrap();
    for file in std::fs::read_dir(&from.0).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            continue;
        }
        std::fs::copy(file.path(), to.0.join(file.file_name())).unwrap();
    }
}
