//! How cost grows with what an installation has: keys, and streams open at once.

use std::{io, slice, thread, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{
    Bench, Growth, at_most, calls,
    figures::{Figure, Unit},
    grouped, growth_in_percent,
    load::Load,
    of_ours,
    proxy::Proxy,
    running::Run,
    streams::Streams,
    tell,
};

pub const FEW_KEYS: u32 = 1_000;
const MANY_KEYS: u32 = 100_000;
const ALL_KEYS: u32 = 1_000_000;

const FEW_STREAMS: u32 = 10;
/// In all streams together, however many they are: what grows is their number alone.
const CHUNKS_PER_SECOND: u32 = 5_000;
/// Before anything counts: all streams are open, and past their first chunk.
const SETTLING: Duration = Duration::from_secs(3);

impl Bench {
    pub fn growth(&self) -> io::Result<Vec<Figure>> {
        let is_full = self.arguments.growth == Growth::Full;
        let mut figures = self.growth_with_streams(1_000)?;
        if is_full {
            figures.extend(self.growth_with_streams(10_000)?);
        }
        figures.extend(self.growth_with_keys(MANY_KEYS, 2)?);
        if is_full {
            figures.extend(self.growth_with_keys(ALL_KEYS, 3)?);
        }
        Ok(figures)
    }

    /// Two proxies beside each other, of which one knows few keys and one many.
    fn growth_with_keys(&self, many: u32, database: u8) -> io::Result<Vec<Figure>> {
        tell(&format!("{} keys", grouped(many)));
        self.stage.bring_to(many)?;
        self.stage.published()?;
        let many_keys = self.stage.freeze(database)?;
        let files = self.ready(&[calls::small()])?;
        // Where a snapshot was copied to, no counters are.
        let key = self.keys.free.expose_secret();
        let load = Load { key, seconds: self.half(), ..self.load(&files) };
        let (fewer, more) = (self.proxy_at(&self.few_keys)?, self.proxy_at(&many_keys)?);
        let memory = more.subject.process.memory()?;
        let costs = self.take_turns([&fewer, &more].map(|it| Run { subject: it.subject, load }))?;
        let [few, all] = costs.map(|it| it.iter().map(|it| it.cpu).collect::<Vec<_>>());
        let growth = growth_in_percent(&few, &all);
        let what = |keys| format!("small request, {} keys: CPU", grouped(keys));
        let name = format!("memory, idle with {} keys: PSS", grouped(many));
        let idle = of_ours(name, Unit::Megabytes, [super::megabytes(memory.pss)]);
        let most = if many == MANY_KEYS { at_most(150.0, 90.0) } else { None };
        Ok(vec![
            Figure { target: most, ..idle },
            of_ours(what(FEW_KEYS), Unit::Microseconds, few),
            of_ours(what(many), Unit::Microseconds, all),
            grown(&format!("{} → {} keys", grouped(FEW_KEYS), grouped(many)), growth),
        ])
    }

    fn proxy_at(&self, redis: &SecretString) -> io::Result<Proxy> {
        let mut proxy = self.proxies.start(redis.expose_secret(), None)?;
        proxy.answers(&self.free_request(&calls::small().body))?;
        Ok(proxy)
    }

    fn growth_with_streams(&self, many: u32) -> io::Result<Vec<Figure>> {
        tell(&format!("{} streams", grouped(many)));
        let (mut few, mut all) = (Vec::new(), Vec::new());
        for _ in 0..self.arguments.repeats {
            few.push(self.chunk_cost(FEW_STREAMS)?);
            all.push(self.chunk_cost(many)?);
        }
        let growth = growth_in_percent(&few, &all);
        let what = |streams| format!("chunk, {} streams open: CPU", grouped(streams));
        Ok(vec![
            of_ours(what(FEW_STREAMS), Unit::Microseconds, few),
            of_ours(what(many), Unit::Microseconds, all),
            grown(&format!("{} → {} streams", grouped(FEW_STREAMS), grouped(many)), growth),
        ])
    }

    /// Microseconds of CPU for each chunk while so many streams are open.
    fn chunk_cost(&self, streams: u32) -> io::Result<f64> {
        let ours = self.subjects[2];
        let every_ms = streams * 1_000 / CHUNKS_PER_SECOND;
        // Some more than are waited for, so that no stream ends before that.
        let length = Duration::from_secs(self.half()) + SETTLING * 2;
        let tokens = length.as_millis() / u128::from(every_ms) + 2;
        let tokens = u32::try_from(tokens).map_err(io::Error::other)?;
        let call = calls::steady_stream(tokens, every_ms);
        self.ready(slice::from_ref(&call))?;
        let open = Streams::open(ours.address, self.request(&call.body), streams)?;
        thread::sleep(SETTLING);
        let (cpu, chunks) = (ours.process.cpu()?, open.chunks()?);
        thread::sleep(Duration::from_secs(self.half()));
        let (cpu, chunks) = (ours.process.cpu()? - cpu, open.chunks()? - chunks);
        if chunks == 0 {
            return Err(io::Error::other("the streams bring nothing"));
        }
        Ok(cpu.as_secs_f64() * 1e6 / chunks as f64)
    }
}

pub fn grown(what: &str, growth: Vec<f64>) -> Figure {
    let name = format!("growth of that, {what}");
    Figure { target: at_most(25.0, 10.0), ..of_ours(name, Unit::Percent, growth) }
}
