//! What proxies see of upstreams, told to each other over Redis: so that one that has just begun,
//! or has had no call for a model, knows who is slow. Nothing of a call waits for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::AsyncCommands;
use shared::{
    pulses::{Told, together},
    tasks::Supervisor,
    wire::Pool,
};
use time::OffsetDateTime;
use tokio::{sync::Notify, time::Instant};

use super::{Calling, Live};
use crate::catalog::feed::FeedError;

const PERIOD: Duration = Duration::from_secs(5);

/// Who we are to the others, and where we meet.
#[derive(Clone)]
pub struct Neighbours {
    pub redis: Pool,
    pub place: String,
    pub name: String,
}

impl Neighbours {
    pub fn start(self, supervisor: &Supervisor, calling: Arc<Calling>) {
        let unasked = Arc::<Notify>::default();
        supervisor.every("tell how upstreams do", PERIOD, unasked, move || {
            let (neighbours, calling) = (self.clone(), calling.clone());
            async move { neighbours.meet(&calling.live).await }
        });
    }

    /// Tells what we saw, and hears what the others did. What was heard before stays where Redis
    /// is away: it is old, and says more than nothing.
    pub async fn meet(&self, live: &Live) -> Result<(), FeedError> {
        let now_ms = OffsetDateTime::now_utc().unix_timestamp() * 1_000;
        let told = Told { at_ms: now_ms, flows: live.seen(Instant::now()) };
        let mut connection = self.redis.get().await?;
        let () = connection.hset(&self.place, &self.name, told.encode()).await?;
        let all: HashMap<String, String> = connection.hgetall(&self.place).await?;
        let gone: Vec<_> = all.iter().filter(|it| Told::is_gone(it.1, now_ms)).collect();
        let gone: Vec<_> = gone.into_iter().map(|it| it.0.clone()).collect();
        if !gone.is_empty() {
            let () = connection.hdel(&self.place, &gone).await?;
        }
        let others = all.into_iter().filter(|it| it.0 != self.name);
        let others: Vec<_> = others.filter_map(|it| Told::read(&it.1, now_ms)).collect();
        live.hears(together(&others));
        Ok(())
    }

    /// We are no more.
    pub async fn leave(&self) -> Result<(), FeedError> {
        let mut connection = self.redis.get().await?;
        let () = connection.hdel(&self.place, &self.name).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use secrecy::ExposeSecret;
    use shared::{
        ids::{OrganizationId, RequestId},
        wire::{Address, Patience},
    };

    use super::*;
    use crate::{
        call::LiveMetrics,
        catalog::tests::{Fixture, snapshot},
        limits::tests::redis_url,
    };

    fn neighbour(place: &str, name: &str) -> (Neighbours, Live) {
        let patience = Patience { connect: PERIOD, answer: PERIOD };
        let address: Address = redis_url().expose_secret().parse().unwrap();
        let redis = address.pool(patience, 1).unwrap();
        let live = Live::new(&LiveMetrics::new(&Registry::new()).unwrap());
        (Neighbours { redis, place: place.to_owned(), name: name.to_owned() }, live)
    }

    #[tokio::test]
    async fn one_knows_what_the_other_saw_until_it_leaves() {
        let place = format!("test:{}:pulses", RequestId::generate());
        let ((one, one_saw), (other, other_saw)) =
            (neighbour(&place, "one"), neighbour(&place, "other"));
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["a"]);
        let snapshot = snapshot(&fixture);
        let model = snapshot.serving(OrganizationId::generate(), "a").next().unwrap();
        let now = Instant::now();
        let flight = one_saw.flow(model, now).sends(now);
        flight.ends(0, now + Duration::from_millis(700));
        one.meet(&one_saw).await.unwrap();
        other.meet(&other_saw).await.unwrap();
        let pulse = other_saw.pulse(model, now);
        assert_eq!((pulse.total_ms, pulse.in_flight), (Some(700), 1));
        // What one says of itself it does not hear as another's.
        one.meet(&one_saw).await.unwrap();
        assert_eq!(one_saw.pulse(model, now).in_flight, 1);
        one.leave().await.unwrap();
        other.meet(&other_saw).await.unwrap();
        assert_eq!(other_saw.pulse(model, now), crate::call::Pulse::default());
    }
}
