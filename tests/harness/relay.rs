//! A way to Redis on which settlements are said twice and connections break, by chance.
//!
//! It knows where a command and an answer end, and nothing else of what they say: a settlement
//! is a script whose first key is that of what is settled. Who subscribes is only listened to.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub struct Relay {
    pub address: SocketAddr,
    faults: Arc<Faults>,
    /// Ended when this is dropped.
    _passing: JoinSet<()>,
}

/// How often what goes wrong, and how often it did.
#[derive(Default)]
struct Faults {
    /// Of a hundred settlements, how many are said twice.
    doubled_percent: AtomicU32,
    /// Of 100,000 commands, how many break their connection: half of them before Redis hears.
    broken: AtomicU32,
    settlements: AtomicU64,
    doubled: AtomicU64,
    cut: AtomicU64,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub settlements: u64,
    pub doubled: u64,
    pub cut: u64,
}

impl Relay {
    /// # Panics
    /// If no port is free.
    pub async fn start(redis: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let faults = Arc::new(Faults::default());
        let mut passing = JoinSet::new();
        let shared = faults.clone();
        passing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let faults = shared.clone();
                // A connection that breaks is what this is for.
                connections.spawn(async move { _ = pass(client, redis, &faults).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, faults, _passing: passing }
    }

    pub fn doubles(&self, percent: u32) {
        self.faults.doubled_percent.store(percent, Ordering::Relaxed);
    }

    /// Of 100,000 commands.
    pub fn breaks(&self, commands: u32) {
        self.faults.broken.store(commands, Ordering::Relaxed);
    }

    pub fn done(&self) -> Done {
        let Faults { settlements, doubled, cut, .. } = &*self.faults;
        let [settlements, doubled, cut] =
            [settlements, doubled, cut].map(|it| it.load(Ordering::Relaxed));
        Done { settlements, doubled, cut }
    }
}

/// Answers that are under way: whether each is for the client.
type Awaited = Mutex<VecDeque<bool>>;

async fn pass(mut client: TcpStream, redis: SocketAddr, faults: &Faults) -> io::Result<()> {
    let mut redis = TcpStream::connect(redis).await?;
    client.set_nodelay(true)?;
    redis.set_nodelay(true)?;
    let awaited = Awaited::default();
    let ended = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_redis, mut to_redis) = redis.split();
        let asking = async {
            let mut kept = Vec::new();
            loop {
                while let Some(length) = command(&kept) {
                    let said: Vec<_> = kept.drain(..length).collect();
                    if contains(&said, b"SUBSCRIBE\r\n") {
                        to_redis.write_all(&said).await?;
                        to_redis.write_all(&kept).await?;
                        return io::Result::Ok(true);
                    }
                    ask(&said, &mut to_redis, &awaited, faults).await?;
                }
                if from_client.read_buf(&mut kept).await? == 0 {
                    return Ok(false);
                }
            }
        };
        let answering = async {
            let mut kept = Vec::new();
            loop {
                while let Some(length) = answer(&kept) {
                    let said: Vec<_> = kept.drain(..length).collect();
                    let next = awaited.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    if next.unwrap_or(true) {
                        to_client.write_all(&said).await?;
                    }
                }
                if from_redis.read_buf(&mut kept).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        tokio::select! {
            ended = asking => ended?,
            ended = answering => { ended?; false }
        }
    };
    if ended {
        copy_bidirectional(&mut client, &mut redis).await?;
    }
    Ok(())
}

async fn ask(
    said: &[u8],
    to: &mut (impl AsyncWriteExt + Unpin),
    awaited: &Awaited,
    faults: &Faults,
) -> io::Result<()> {
    let by_chance =
        |of: u32, times: &AtomicU32| fastrand::u32(..of) < times.load(Ordering::Relaxed);
    let breaks = by_chance(100_000, &faults.broken);
    if breaks && fastrand::bool() {
        faults.cut.fetch_add(1, Ordering::Relaxed);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let is_settlement = contains(said, b"EVALSHA\r\n") && contains(said, b"\r\nq:{s");
    let is_doubled = is_settlement && by_chance(100, &faults.doubled_percent);
    {
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.push_back(true);
        if is_doubled {
            awaited.push_back(false);
        }
    }
    to.write_all(said).await?;
    faults.settlements.fetch_add(is_settlement.into(), Ordering::Relaxed);
    if is_doubled {
        to.write_all(said).await?;
        faults.doubled.fetch_add(1, Ordering::Relaxed);
    }
    if breaks {
        faults.cut.fetch_add(1, Ordering::Relaxed);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

/// Among the first bytes, where the name of a command and the first key stand.
fn contains(said: &[u8], word: &[u8]) -> bool {
    said[..said.len().min(160)].windows(word.len()).any(|it| it == word)
}

/// How long the command is that stands first; `None` while not all of it is there.
fn command(kept: &[u8]) -> Option<usize> {
    answer(kept)
}

/// The same of an answer.
fn answer(kept: &[u8]) -> Option<usize> {
    let end = kept.windows(2).position(|it| it == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&kept[1..end - 2]).ok()?.parse::<i64>().ok();
    match kept[0] {
        b'$' | b'=' | b'!' => {
            let length = number()?;
            let whole = usize::try_from(length).map_or(end, |it| end + it + 2);
            (kept.len() >= whole).then_some(whole)
        }
        b'*' | b'~' | b'>' | b'%' => {
            let each = if kept[0] == b'%' { 2 } else { 1 };
            let mut whole = end;
            for _ in 0..number()?.max(0) * each {
                whole += answer(kept.get(whole..).filter(|it| !it.is_empty())?)?;
            }
            Some(whole)
        }
        _ => Some(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_ends() {
        for whole in [
            "+OK\r\n",
            ":1\r\n",
            "$3\r\nabc\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
            "-NOSCRIPT No matching script.\r\n",
        ] {
            let longer = whole.to_owned() + "+next\r\n";
            assert_eq!(answer(longer.as_bytes()), Some(whole.len()), "{whole}");
            for cut in 1..whole.len() {
                assert_eq!(answer(&whole.as_bytes()[..cut]), None, "{whole} {cut}");
            }
        }
    }
}
