//! The way of an image through a real Redis: TURNPIKE_TEST_REDIS_URL, or the one that
//! `infra/stack.sh start .run/test` started.

use std::time::Duration;

use data_plane::{
    app::{Running, start_from},
    catalog::feed::Source,
};
use redis::AsyncCommands;
use secrecy::SecretString;
use shared::{
    ids::RequestId,
    keys::{Brand, NewKey},
    seal::MasterKey,
    snapshot::Snapshot,
};

use crate::{plane, soon};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

fn redis_url() -> SecretString {
    const NAME: &str = "TURNPIKE_TEST_REDIS_URL";
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.run/test/stack.env");
    let named = std::env::var(NAME).ok().or_else(|| {
        let file = std::fs::read_to_string(FILE).ok()?;
        let line = file.lines().find_map(|it| it.strip_prefix(NAME)?.strip_prefix('='));
        line.map(str::to_owned)
    });
    named.expect("a Redis for tests: infra/stack.sh start .run/test").into()
}

struct Published {
    running: Running,
    source: Source,
    redis: redis::aio::MultiplexedConnection,
    image: Snapshot,
}

impl Published {
    /// Under keys of its own: the Redis is shared.
    async fn start(period: Duration) -> Self {
        let name = RequestId::generate();
        let source = Source {
            redis_url: redis_url(),
            image: format!("test:{name}:image"),
            hint: format!("test:{name}:hint"),
            last_used: format!("test:{name}:last_used"),
            events: format!("test:{name}:events"),
            period,
        };
        let client = redis::Client::open(secrecy::ExposeSecret::expose_secret(&source.redis_url));
        let redis = client.unwrap().get_multiplexed_async_connection().await.unwrap();
        let master = MasterKey::generate();
        let running = start_from(source.clone(), plane::config(&master)).await.unwrap();
        let key = NewKey::generate(Brand::Live);
        let image = plane::image(&master, &key, "127.0.0.1:1".parse().unwrap());
        Self { running, source, redis, image }
    }

    async fn put(&mut self, image: Vec<u8>) {
        let () = self.redis.set_ex(&self.source.image, image, 60).await.unwrap();
    }

    async fn publish(&mut self, revision: i64) {
        self.image.revision = revision;
        let image = serde_json::to_vec(&self.image).unwrap();
        self.put(image).await;
    }

    /// Waits until somebody listens, and hints.
    async fn hint(&mut self) {
        while self.redis.publish::<_, _, u32>(&self.source.hint, "").await.unwrap() == 0 {}
    }

    async fn reaches(&self, revision: i64) {
        soon(self.running.catalog.reaches(revision)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_served_on_the_hint() {
    let mut published = Published::start(NEVER).await;
    published.publish(1).await;
    published.hint().await;
    published.reaches(1).await;
    published.publish(2).await;
    published.hint().await;
    published.reaches(2).await;
    published.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hint_costs_a_period() {
    let mut published = Published::start(Duration::from_millis(20)).await;
    for revision in 1..10 {
        published.publish(revision).await;
        published.reaches(revision).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_leaves_the_good_one_and_a_better_one_replaces_it() {
    let mut published = Published::start(NEVER).await;
    published.publish(1).await;
    published.hint().await;
    published.reaches(1).await;
    published.put(b"{\"revision\":2".to_vec()).await;
    published.hint().await;
    let metrics = published.running.metrics_address.unwrap();
    let rejected = async {
        loop {
            let request = http::Request::get(format!("http://{metrics}/metrics"));
            let answer = plane::send(request, "").await;
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            if text.contains("turnpike_snapshots_rejected_total 1") {
                return text;
            }
        }
    };
    let text = soon(rejected).await;
    assert!(text.contains("turnpike_snapshot_revision 1"), "{text}");
    published.publish(3).await;
    published.hint().await;
    published.reaches(3).await;
}
