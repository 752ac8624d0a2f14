//! What became of a call, for the key of its project: its record in the request log, which the
//! control plane reads for us.
//!
//! Always holds: so many wait for an answer at once and no more, each for two seconds at most, and
//! on connections that nobody else needs; what is another project's is answered exactly like what
//! never was.

use std::{sync::Arc, time::Duration};

use redis::{cmd, pipe};
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    generations::{LASTS_SECONDS, MOST_WAITING, NotRead, Question, Reply},
    ids::{OrganizationId, RequestId},
    wire::Pool,
};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::{
    admit::{Overloaded, Room, Seat},
    authenticate::Caller,
    catalog::feed::FeedError,
};

/// How long a caller waits for an answer, whatever becomes of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many wait at once.
const MOST_AT_ONCE: u32 = 64;
/// When it is first looked for an answer; then after twice as long each time, up to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// An event is in the log some hundred milliseconds after its call has ended: so long it is waited
/// for before it is said that there is none, where the call is as young.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// A call that began so lately may still be under way, or on its way into the log.
const YOUNG: time::Duration = time::Duration::minutes(10);
/// The most of an id that an error message repeats.
const SHOWN: usize = 40;

/// The way to the control plane: one list with what is asked, and a key for each answer.
pub struct Questions {
    redis: Pool,
    list: String,
    room: Arc<Room>,
}

/// What `x-request-id` said of an answer, read.
pub fn named(id: &str) -> Result<RequestId, NotTold> {
    id.parse().map_err(|_| NotTold::NotAnId { id: id.chars().take(SHOWN).collect() })
}

impl Questions {
    pub fn new(redis: Pool, list: String) -> Self {
        Self { redis, list, room: Room::new(MOST_AT_ONCE, 0) }
    }

    /// To be kept for as long as one waits.
    pub fn seat(&self, organization: OrganizationId) -> Result<Seat, Overloaded> {
        self.room.seat(organization)
    }

    /// The record of a request of the caller's project, as JSON.
    pub async fn ask(
        &self,
        caller: &Caller,
        request: RequestId,
        now: OffsetDateTime,
    ) -> Result<Vec<u8>, NotTold> {
        let is_young = is_young(request, now);
        let mut said = Err(NotTold::Away);
        let asking = async {
            said = self.ask_once(caller, request, is_young).await;
            for pause in PAUSES {
                if !matches!(said, Err(NotTold::NotYet { .. })) {
                    return;
                }
                sleep(pause).await;
                said = self.ask_once(caller, request, is_young).await;
            }
        };
        // Who was told that there is none while there was time knows as much.
        let _ = timeout(PATIENCE, asking).await;
        said
    }

    async fn ask_once(
        &self,
        caller: &Caller,
        request: RequestId,
        is_young: bool,
    ) -> Result<Vec<u8>, NotTold> {
        let question = Question::new(caller.organization(), caller.key.project, request);
        let answered = async {
            if !self.put(&question).await? {
                return Ok(None);
            }
            self.reply(&question.place(&self.list)).await.map(Some)
        };
        match answered.await {
            Ok(Some(Reply::Found(record))) => Ok(String::from(Box::<str>::from(record)).into()),
            Ok(Some(Reply::NotFound)) if is_young => Err(NotTold::NotYet { request }),
            Ok(Some(Reply::NotFound)) => Err(NotTold::Unknown { request }),
            Ok(Some(Reply::Away)) => Err(NotTold::Away),
            Ok(None) => Err(NotTold::Full),
            Err(error) => {
                warn!(%error, "nobody could be asked about a call");
                Err(NotTold::Away)
            }
        }
    }

    /// Unless too much waits there.
    async fn put(&self, question: &Question) -> Result<bool, NotAsked> {
        let mut connection = self.redis.get().await.map_err(FeedError::from)?;
        let waiting = cmd("LLEN").arg(&self.list).query_async(&mut connection).await;
        let waiting: usize = waiting.map_err(FeedError::from)?;
        if waiting >= MOST_WAITING {
            return Ok(false);
        }
        let mut asking = pipe();
        asking.cmd("RPUSH").arg(&self.list).arg(question.encode()).ignore();
        asking.cmd("EXPIRE").arg(&self.list).arg(LASTS_SECONDS).ignore();
        let () = asking.query_async(&mut connection).await.map_err(FeedError::from)?;
        Ok(true)
    }

    /// Looks for the answer until it is there. No connection is held between two looks.
    async fn reply(&self, place: &str) -> Result<Reply, NotAsked> {
        let mut pause = FIRST_LOOK;
        loop {
            sleep(pause).await;
            if let Some(text) = self.look(place).await? {
                return Ok(Reply::decode(&text)?);
            }
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    async fn look(&self, place: &str) -> Result<Option<Vec<u8>>, FeedError> {
        let mut connection = self.redis.get().await?;
        Ok(cmd("GETDEL").arg(place).query_async(&mut connection).await?)
    }
}

/// Whether the call began just now, by its id, which anybody may have made up.
fn is_young(request: RequestId, now: OffsetDateTime) -> bool {
    let Some(began) = request.uuid().get_timestamp() else { return false };
    let (seconds, nanoseconds) = began.to_unix();
    let began = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let age = (now.unix_timestamp_nanos() - began).unsigned_abs();
    age < YOUNG.whole_nanoseconds().unsigned_abs()
}

#[derive(Debug, thiserror::Error)]
enum NotAsked {
    #[error(transparent)]
    Redis(#[from] FeedError),
    #[error(transparent)]
    NotRead(#[from] NotRead),
}

#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    #[error("{id:?} is not what x-request-id says of an answer: req_ and 32 digits.")]
    NotAnId { id: String },
    #[error(
        "There is no request {request} in the log that was made for this key's project, or not any \
         more."
    )]
    Unknown { request: RequestId },
    #[error(
        "There is no request {request} in the log yet that was made for this key's project. A call \
         is there about a second after it has ended."
    )]
    NotYet { request: RequestId },
    #[error("{MOST_WAITING} questions wait already for the control plane")]
    Full,
    #[error("Redis, the control plane or its database does not answer")]
    Away,
}

impl NotTold {
    /// What may be there in a moment is worth asking for again, though it is a 404.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotYet { .. } => {
                vec![("retry-after", "1".to_owned()), ("x-should-retry", "true".to_owned())]
            }
            Self::NotAnId { .. } | Self::Unknown { .. } | Self::Full | Self::Away => Vec::new(),
        }
    }
}

impl Classified for NotTold {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAnId { .. } | Self::Unknown { .. } | Self::NotYet { .. } => Kind::NotFound,
            Self::Full | Self::Away => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotAnId { .. } | Self::Unknown { .. } | Self::NotYet { .. } => {
                code::GENERATION_NOT_FOUND
            }
            Self::Full | Self::Away => code::UNAVAILABLE,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::NotAnId { .. } => vec![Problem { field: "id", message: self.to_string() }],
            Self::Unknown { .. } | Self::NotYet { .. } | Self::Full | Self::Away => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::{NoContext, Timestamp, Uuid};

    use super::*;

    fn questions() -> Questions {
        let patience = shared::wire::Patience { connect: PATIENCE, answer: PATIENCE };
        let address: shared::wire::Address = "redis://127.0.0.1:1".parse().unwrap();
        Questions::new(address.pool(patience, 1).unwrap(), "nowhere".into())
    }

    #[test]
    fn an_id_is_read_as_answers_bear_it() {
        let id = RequestId::generate();
        assert_eq!(named(&id.to_string()).unwrap(), id);
        for bad in ["", "7", "req_", &id.uuid().to_string(), "key_01989d1f0c5f7d7b8f0c0c0c0c0c0c0c"]
        {
            assert!(matches!(named(bad), Err(NotTold::NotAnId { .. })), "{bad}");
        }
        let told = named(&"é".repeat(10_000)).unwrap_err().to_string();
        assert!(told.len() < 200, "{told}");
    }

    #[test]
    fn a_call_is_young_by_its_id() {
        let now = OffsetDateTime::now_utc();
        let begun = |at: OffsetDateTime| {
            let seconds = u64::try_from(at.unix_timestamp()).unwrap();
            RequestId::from_uuid(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)))
        };
        assert!(is_young(RequestId::generate(), now));
        assert!(is_young(begun(now - YOUNG / 2), now) && is_young(begun(now + YOUNG / 2), now));
        assert!(!is_young(begun(now - YOUNG * 2), now) && !is_young(begun(now + YOUNG * 2), now));
        assert!(!is_young(RequestId::from_uuid(Uuid::from_u128(7)), now));
    }

    #[test]
    fn so_many_wait_at_once_and_one_organization_leaves_room_for_others() {
        let questions = questions();
        let [one, other] = [(); 2].map(|()| OrganizationId::generate());
        let seats: Vec<_> = (0..MOST_AT_ONCE).map_while(|_| questions.seat(one).ok()).collect();
        assert!(seats.len() < MOST_AT_ONCE as usize && questions.seat(other).is_ok());
        drop(seats);
        assert!(questions.seat(one).is_ok());
    }
}
