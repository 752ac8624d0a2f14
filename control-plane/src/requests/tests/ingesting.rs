use shared::{
    counters::{Places, Shard},
    event::FIELD,
    random,
};

use super::*;
use crate::requests::store;

/// Streams of this test alone: the Redis is shared.
struct Streams {
    places: Places,
    redis: shared::wire::Connection,
}

impl Streams {
    async fn new(desk: &Desk) -> Self {
        let places = Places::with_prefix(&format!("test:{}:", random::base62(12)));
        Self { places, redis: desk.fixture.platform.redis.get().await.unwrap() }
    }

    fn ingester(&self, desk: &Desk) -> Ingester {
        Ingester::new(desk.fixture.platform.clone(), self.places.clone(), 30)
    }

    async fn tell(&mut self, event: &Event) {
        self.tell_raw(event.organization, FIELD, &event.encode()).await;
    }

    async fn tell_raw(&mut self, organization: OrganizationId, field: &str, bytes: &[u8]) {
        let stream = self.places.events(Shard::of(organization));
        let () = redis::cmd("XADD")
            .arg((stream, "*", field, bytes))
            .query_async(&mut self.redis)
            .await
            .unwrap();
    }

    async fn left(&mut self) -> usize {
        let mut left = 0;
        for shard in Shard::all() {
            let length: usize = redis::cmd("XLEN")
                .arg(self.places.events(shard))
                .query_async(&mut self.redis)
                .await
                .unwrap();
            left += length;
        }
        left
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_told_is_logged_once_however_often_it_is_told(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    let theirs = event(desk.fixture.theirs.id, ProjectId::generate(), ApiKeyId::generate());
    for event in [desk.event(), desk.event(), theirs] {
        // A proxy that heard no answer says it again.
        streams.tell(&event).await;
        streams.tell(&event).await;
    }
    let ingester = streams.ingester(&desk);
    ingester.run().await.unwrap();
    assert_eq!((desk.logged().await, streams.left().await), (3, 0));
    ingester.run().await.unwrap();
    assert_eq!(desk.logged().await, 3);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_log_keeps_what_was_told_to_the_letter(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    // A later proxy tells more than we know of.
    let told =
        String::from_utf8(desk.event().encode()).unwrap().replacen('{', "{ \"later\": 1.0, ", 1);
    streams.tell_raw(desk.fixture.ours.id, FIELD, told.as_bytes()).await;
    streams.ingester(&desk).run().await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT event::text FROM request_events")
        .fetch_one(&desk.fixture.root)
        .await
        .unwrap();
    assert_eq!(kept, told);
}

/// As it is found after a process died between its commit and the removal.
#[sqlx::test(migrations = "../migrations")]
async fn a_death_between_commit_and_removal_counts_nothing_twice(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    let events: Vec<_> = (0..20).map(|_| desk.event()).collect();
    for event in &events {
        streams.tell(event).await;
    }
    desk.log(events[..12].to_vec()).await;
    streams.ingester(&desk).run().await.unwrap();
    assert_eq!((desk.logged().await, streams.left().await), (20, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_somebody_else_is_taking_is_left_to_them(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    let event = desk.event();
    streams.tell(&event).await;
    let ingester = streams.ingester(&desk);
    let mut tx = desk.fixture.db.begin().await.unwrap();
    let held = [Shard::of(event.organization)];
    assert_eq!(store::claim(&mut tx, &streams.places, &held).await.unwrap(), held);
    ingester.run().await.unwrap();
    assert_eq!((desk.logged().await, streams.left().await), (0, 1));
    drop(tx);
    // They died: their transaction ends, and nothing of theirs was removed.
    while desk.logged().await == 0 {
        ingester.run().await.unwrap();
    }
    assert_eq!((desk.logged().await, streams.left().await), (1, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn any_number_may_take_at_once(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    for _ in 0..700 {
        streams.tell(&desk.event()).await;
    }
    let (one, other) = (streams.ingester(&desk), streams.ingester(&desk));
    let (a, b) = tokio::join!(one.run(), other.run());
    a.unwrap();
    b.unwrap();
    one.run().await.unwrap();
    assert_eq!((desk.logged().await, streams.left().await), (700, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_read_is_put_aside_and_stops_nothing(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    let ours = desk.fixture.ours.id;
    let good = [desk.event(), desk.event()];
    streams.tell(&good[0]).await;
    streams.tell_raw(ours, FIELD, b"nonsense").await;
    streams.tell_raw(ours, FIELD, b"\xff\xfe").await;
    streams.tell_raw(ours, "v9", &desk.event().encode()).await;
    // There is no room for what is older than the log.
    let ancient = OffsetDateTime::now_utc() - Duration::days(100);
    streams.tell(&begun(ancient, desk.event())).await;
    streams.tell(&good[1]).await;

    streams.ingester(&desk).run().await.unwrap();
    assert_eq!((desk.logged().await, streams.left().await), (2, 0));
    let aside: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_aside")
        .fetch_one(&desk.fixture.root)
        .await
        .unwrap();
    assert_eq!(aside, 4);
    let mut work = desk.fixture.work(Role::Viewer).await;
    for event in good {
        find(&mut work, event.request).await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn there_is_room_for_late_events_and_none_for_those_long_past(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut streams = Streams::new(&desk).await;
    let now = OffsetDateTime::now_utc();
    let past = begun(now - Duration::days(40), desk.event());
    let late = begun(now - Duration::days(5), desk.event());
    // Logged when it was new.
    desk.log(vec![past.clone()]).await;
    streams.tell(&late).await;
    streams.ingester(&desk).run().await.unwrap();
    let mut work = desk.fixture.work(Role::Viewer).await;
    find(&mut work, late.request).await.unwrap();
    assert!(matches!(find(&mut work, past.request).await, Err(RequestError::NotFound)));
}
