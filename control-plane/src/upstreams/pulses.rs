//! How models at upstreams do, as proxies tell it over Redis. Pages show it where it is there and
//! do without where it is not.

use std::{collections::HashMap, time::Duration};

use redis::AsyncCommands;
use shared::{
    event::Pulse,
    pulses::{At, PLACE, Told, together},
    wire::Pool,
};
use time::OffsetDateTime;
use tokio::time::timeout;

/// A page does not wait longer for what it can do without.
const PATIENCE: Duration = Duration::from_millis(300);

/// What all proxies together saw lately.
pub async fn lately(redis: &Pool) -> HashMap<At, Pulse> {
    let asked = async {
        let mut connection = redis.get().await.ok()?;
        connection.hgetall::<_, HashMap<String, String>>(PLACE).await.ok()
    };
    let all = timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default();
    let now_ms = OffsetDateTime::now_utc().unix_timestamp() * 1_000;
    let told: Vec<_> = all.values().filter_map(|it| Told::read(it, now_ms)).collect();
    together(&told)
}

/// As members of one organization may see it: how many calls are with what everybody shares says
/// how much others do.
pub const fn shown(pulse: Pulse, is_platforms: bool) -> Pulse {
    let in_flight = if is_platforms { 0 } else { pulse.in_flight };
    Pulse { in_flight, ..pulse }
}

/// In words: `begins after 180 ms, 90 tokens/s, 2 under way`.
pub fn in_words(pulse: &Pulse) -> String {
    let first = pulse.first_ms.map(|it| format!("begins after {it} ms"));
    let whole = pulse.total_ms.filter(|_| pulse.first_ms.is_none());
    let whole = whole.map(|it| format!("answers after {it} ms"));
    let pace = pulse.tokens_per_second.map(|it| format!("{it} tokens/s"));
    let failed = Some(pulse.failures_per_mille).filter(|it| *it > 0);
    let failed = failed.map(|it| format!("{}.{} % fail", it / 10, it % 10));
    let way = Some(pulse.in_flight).filter(|it| *it > 0).map(|it| format!("{it} under way"));
    [first, whole, pace, failed, way].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let pulse = Pulse {
            first_ms: Some(180),
            total_ms: Some(900),
            tokens_per_second: Some(90),
            failures_per_mille: 12,
            in_flight: 2,
        };
        let words = "begins after 180 ms, 90 tokens/s, 1.2 % fail, 2 under way";
        assert_eq!(in_words(&pulse), words);
        let whole = Pulse { total_ms: Some(900), ..Pulse::default() };
        assert_eq!(in_words(&whole), "answers after 900 ms");
        assert_eq!(in_words(&Pulse::default()), "");
    }
}
