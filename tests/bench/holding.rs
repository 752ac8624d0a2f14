//! What memory the proxies take: idle, after much work, and under large bodies.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    Bench, KEYS, at_most, calls,
    figures::{Figure, Spread, Unit},
    grouped, megabytes, of_ours,
    process::Memory,
    streams::Streams,
    tell,
};

const BODIES: u32 = 1_500;
/// For so long no more of the bodies comes before they count as held.
const HELD: Duration = Duration::from_secs(1);
/// As long as sending them may take.
const SENDING: Duration = Duration::from_secs(30);

impl Bench {
    pub fn idle(&self) -> io::Result<Vec<Figure>> {
        let [pss, rss] = self.memory(&format!("memory, idle with {} keys", grouped(KEYS)))?;
        Ok(vec![Figure { target: at_most(60.0, 40.0), ..pss }, rss])
    }

    pub fn memory(&self, name: &str) -> io::Result<[Figure; 2]> {
        let [_, nginx, ours] = self.subjects.map(|it| it.process.memory());
        Ok(figures(name, nginx?, ours?))
    }

    /// What large bodies take that a slow upstream has not answered, and what is left of it
    /// when they are gone.
    pub fn large_bodies(&self) -> io::Result<Vec<Figure>> {
        tell("large bodies");
        let call = calls::held();
        self.behave(&call)?;
        let request = self.request(&call.body);
        let [_, nginx, ours] = self.subjects;
        let [nginx, ours] = [nginx, ours].map(|subject| {
            let bodies = Streams::open(subject.address, request.clone(), BODIES)?;
            let (mut peak, began) = (Memory::default(), Instant::now());
            // What was sent may still be on its way: wait until no more comes.
            loop {
                let before = peak.pss;
                peak = peak.or_more(subject.process.peak_memory(HELD)?);
                let is_sent = bodies.held()? == u64::from(BODIES);
                if is_sent && peak.pss < before + before / 50 {
                    break;
                }
                if began.elapsed() > SENDING {
                    return Err(io::Error::other("the bodies are not taken"));
                }
            }
            Ok(peak)
        });
        let name = format!("memory, {} × 150 KB bodies, at most", grouped(BODIES));
        let [pss, rss] = figures(&name, nginx?, ours?);
        let mut all = vec![Figure { target: at_most(600.0, 450.0), ..pss }, rss];

        let wait = (self.arguments.seconds * 6).min(60);
        thread::sleep(Duration::from_secs(wait));
        let [pss, rss] = self.memory(&format!("memory, {wait} s after them"))?;
        all.extend([Figure { target: at_most(150.0, 80.0), ..pss }, rss]);
        Ok(all)
    }
}

fn figures(name: &str, nginx: Memory, ours: Memory) -> [Figure; 2] {
    let figure = |kind: &str, nginx, ours| Figure {
        nginx: Spread::of([megabytes(nginx)]),
        ..of_ours(format!("{name}: {kind}"), Unit::Megabytes, [megabytes(ours)])
    };
    [figure("PSS", nginx.pss, ours.pss), figure("RSS", nginx.rss, ours.rss)]
}
