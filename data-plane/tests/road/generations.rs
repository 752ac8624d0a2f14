//! What became of calls, as callers are told it; the control plane is played.

use data_plane::catalog::feed::Source;
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use serde_json::{Value, json, value::to_raw_value};
use shared::{
    generations::{MOST_WAITING, Question, Reply},
    ids::RequestId,
    snapshot::Scope,
};
use tokio::join;
use uuid::{NoContext, Timestamp, Uuid};

use crate::{
    counting::source,
    feed::redis_url,
    plane::{Answer, Plane, warm},
    upstream::Upstream,
};

async fn redis() -> MultiplexedConnection {
    let client = redis::Client::open(redis_url().expose_secret()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A plane whose key is for nothing but embeddings: who asks need not be who may chat.
async fn plane() -> (Plane, Source) {
    let (upstream, source) = (Upstream::start([]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    plane.serve_scopes(upstream.address, &[Scope::Embeddings]);
    (plane, source)
}

async fn ask(plane: &Plane, id: RequestId) -> Answer {
    plane.get(&format!("/v1/generations/{id}")).await
}

/// Answers what is asked next.
async fn answers(source: &Source, reply: Reply) -> Question {
    let mut redis = redis().await;
    let mut pop = redis::cmd("BLPOP");
    pop.arg(&source.generations).arg(10);
    let (_, asked): (String, Vec<u8>) = pop.query_async(&mut redis).await.unwrap();
    let question = Question::decode(&asked).unwrap();
    let mut put = redis::cmd("SET");
    put.arg(question.place(&source.generations)).arg(reply.encode());
    let () = put.query_async(&mut redis).await.unwrap();
    question
}

fn found(record: &Value) -> Reply {
    Reply::Found(to_raw_value(record).unwrap())
}

/// A call of long ago.
fn old() -> RequestId {
    let long_ago = Timestamp::from_unix(NoContext, 1_600_000_000, 0);
    RequestId::from_uuid(Uuid::new_v7(long_ago))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_call_is_told_as_the_log_has_it() {
    let (plane, source) = plane().await;
    let (id, record) = (old(), json!({ "object": "generation", "cost": 7, "\u{e9}": [1] }));
    let (answer, question) = join!(ask(&plane, id), answers(&source, found(&record)));
    assert_eq!((answer.status.as_u16(), answer.json()), (200, record));
    assert_eq!(question.request, id);
    let present = plane.running.catalog.present();
    let key = present.as_ref().unwrap().secret(&plane.key.hash).unwrap().key.clone();
    assert_eq!((question.organization, question.project), (key.organization, key.project));
    assert_ne!(answer.headers["x-request-id"].to_str().unwrap(), id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_in_the_clients_words() {
    let (plane, source) = plane().await;
    let (answer, _) = join!(ask(&plane, old()), answers(&source, Reply::NotFound));
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "generation_not_found".into()));
    assert_eq!(answer.headers["x-should-retry"], "false");
    assert!(!answer.headers.contains_key("retry-after"));
    for bad in ["7", "req_7", "%20", &old().uuid().to_string()] {
        let answer = plane.get(&format!("/v1/generations/{bad}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "generation_not_found".into()));
        assert_eq!(answer.json()["error"]["param"], "id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_on_its_way_into_the_log_is_waited_for() {
    let (plane, source) = plane().await;
    let record = json!({ "object": "generation" });
    let is_there_at_last = async {
        answers(&source, Reply::NotFound).await;
        answers(&source, found(&record)).await
    };
    let (answer, _) = join!(ask(&plane, RequestId::generate()), is_there_at_last);
    assert_eq!((answer.status.as_u16(), answer.json()), (200, record.clone()));

    let never_is = async {
        for _ in 0..4 {
            answers(&source, Reply::NotFound).await;
        }
    };
    let (answer, ()) = join!(ask(&plane, RequestId::generate()), never_is);
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "generation_not_found".into()));
    assert_eq!(
        (&answer.headers["retry-after"], &answer.headers["x-should-retry"]),
        (&"1".parse().unwrap(), &"true".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_answer_is_said_to_be_away() {
    let (plane, source) = plane().await;
    let (answer, _) = join!(ask(&plane, old()), answers(&source, Reply::Away));
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "unavailable".into()));
    assert!(answer.headers.contains_key("retry-after"));

    let mut filling = redis::pipe();
    for _ in 0..MOST_WAITING {
        filling.cmd("RPUSH").arg((&source.generations, "{}")).ignore();
    }
    let () = filling.query_async(&mut redis().await).await.unwrap();
    let full = ask(&plane, old()).await;
    assert_eq!((full.status.as_u16(), full.code()), (503, "unavailable".into()));
    let waiting: usize =
        redis::cmd("LLEN").arg(&source.generations).query_async(&mut redis().await).await.unwrap();
    assert_eq!(waiting, MOST_WAITING);
    let () =
        redis::cmd("DEL").arg(&source.generations).query_async(&mut redis().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_told() {
    let upstream = Upstream::start([]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve(upstream.address);
    let answer = ask(&plane, RequestId::generate()).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "unavailable".into()));
    assert!(answer.headers.contains_key("retry-after"));
}
