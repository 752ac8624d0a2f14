//! How it is measured: what is compared runs in turn, after a warm-up that does not count.

use std::{fs, io, path::PathBuf, time::Duration};

use secrecy::ExposeSecret;

use super::{
    Arguments, Bench, CONNECTIONS, Subject, WARM_UP,
    calls::Call,
    failed,
    figures::{Figure, Spread, Target, Unit},
    load::{Load, Meant},
    of_ours,
    open_loop::{Connection, Delays, call_at_rate, request},
    process::all_cpu,
    tell,
};

/// One subject under one load.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub subject: Subject,
    pub load: Load<'a>,
}

/// What a run came to, each figure but the first for each call.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub per_second: f64,
    /// Microseconds of the subject's CPU,
    pub cpu: f64,
    /// of Redis's,
    pub redis: f64,
    /// and of all that is done on the machine: the caller, the provider, and the books too.
    pub all: f64,
}

/// As many calls as each subject can take.
pub struct Saturated {
    /// Without a proxy. Only to be seen beside the others, so once is enough.
    pub direct: Cost,
    pub nginx: Vec<Cost>,
    pub ours: Vec<Cost>,
}

impl Bench {
    pub fn saturate(&self, name: &str, calls: &[Call]) -> io::Result<Saturated> {
        self.saturate_for(self.arguments.seconds, name, calls)
    }

    pub fn saturate_for(&self, seconds: u64, name: &str, calls: &[Call]) -> io::Result<Saturated> {
        tell(name);
        let files = self.ready(calls)?;
        let load = Load { seconds, ..self.load(&files) };
        for subject in self.subjects {
            for call in calls {
                self.ask_once(subject, &call.body, call.streams)?;
            }
        }
        let [direct, nginx, ours] = self.subjects.map(|subject| Run { subject, load });
        let [nginx, ours] = self.take_turns([nginx, ours])?;
        Ok(Saturated { direct: self.once(&direct)?, nginx, ours })
    }

    /// Runs each, again and again: what each cost, every time.
    pub fn take_turns<const N: usize>(&self, runs: [Run; N]) -> io::Result<[Vec<Cost>; N]> {
        for run in &runs {
            Load { seconds: WARM_UP, ..run.load }.run(run.subject.address)?;
        }
        let mut costs = [const { Vec::new() }; N];
        for _ in 0..self.arguments.repeats {
            for (run, costs) in runs.iter().zip(&mut costs) {
                costs.push(self.once(run)?);
            }
        }
        Ok(costs)
    }

    pub fn once(&self, run: &Run) -> io::Result<Cost> {
        let Run { subject: Subject { process, address, .. }, load } = run;
        let (before, redis_before, all_before) = (process.cpu()?, self.redis.cpu()?, all_cpu()?);
        let counted = load.run(*address)?;
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / counted.requests as f64;
        Ok(Cost {
            per_second: counted.per_second,
            cpu: each(process.cpu()? - before),
            redis: each(self.redis.cpu()? - redis_before),
            all: each(all_cpu()? - all_before),
        })
    }

    /// Calls at a fixed rate on one connection.
    pub fn delays(
        &self,
        name: &str,
        call: &Call,
        per_second: u32,
        seconds: u64,
    ) -> io::Result<Vec<[Delays; 3]>> {
        let repeats = self.arguments.repeats;
        let run = |subject: Subject, seconds| {
            let length = Duration::from_secs(seconds);
            call_at_rate(subject.address, self.keys.usual(), call, per_second, length)
                .map_err(|error| failed(subject, error))
        };
        tell(name);
        self.behave(call)?;
        for subject in self.subjects {
            run(subject, WARM_UP)?;
        }
        let [direct, nginx, ours] = self.subjects;
        (0..repeats)
            .map(|_| Ok([run(direct, seconds)?, run(nginx, seconds)?, run(ours, seconds)?]))
            .collect()
    }

    /// wrk tells how many calls failed, but not how.
    pub fn ask_once(&self, subject: Subject, body: &str, streams: bool) -> io::Result<()> {
        let request = self.request(body);
        let answer = Connection::open(subject.address).and_then(|mut it| it.call(&request));
        answer.and_then(|it| it.check(streams)).map_err(|error| failed(subject, error))
    }

    /// With the key of which everything is measured that says nothing else: it has limits on
    /// three levels and five hard budgets.
    pub fn request(&self, body: &str) -> Vec<u8> {
        request("/v1/chat/completions", self.keys.usual(), body)
    }

    /// With a key that nothing bears, for proxies that are cut off from counters.
    pub fn free_request(&self, body: &str) -> Vec<u8> {
        request("/v1/chat/completions", self.keys.free.expose_secret(), body)
    }

    pub fn load<'a>(&'a self, calls: &'a [PathBuf]) -> Load<'a> {
        let Arguments { script, seconds, .. } = &self.arguments;
        let (key, seconds, connections) = (self.keys.usual(), *seconds, CONNECTIONS);
        Load { script, calls, key, connections, seconds, meant: Meant::Answered }
    }

    /// How long runs last that nothing but ours is in.
    pub fn half(&self) -> u64 {
        self.arguments.seconds.div_ceil(2)
    }

    /// Has the simulator answer as the calls want it, and returns the files that wrk takes
    /// their bodies from.
    pub fn ready(&self, calls: &[Call]) -> io::Result<Vec<PathBuf>> {
        let write = |call: &Call| {
            self.behave(call)?;
            let path = self.arguments.out.join("calls").join(call.name);
            fs::write(&path, &call.body).map(|()| path)
        };
        calls.iter().map(write).collect()
    }

    pub fn behave(&self, call: &Call) -> io::Result<()> {
        let Some(behaviour) = &call.behaviour else { return Ok(()) };
        let mut simulator = Connection::open(self.arguments.simulator)?;
        let profile = behaviour.profile().to_string();
        simulator.call(&request("/__control/profiles", "", &profile))?.check(false)
    }
}

impl Saturated {
    pub fn figures(&self, name: &str, rate: Option<Target>, cpu: Option<Target>) -> Vec<Figure> {
        let rates = self.figure(format!("{name}: rate"), Unit::PerSecond, |it| it.per_second);
        let cpus = self.figure(format!("{name}: CPU"), Unit::Microseconds, |it| it.cpu);
        vec![Figure { target: rate, ..rates }, Figure { target: cpu, ..cpus }]
    }

    /// What a call costs all processes together, which says how many a machine can do.
    pub fn all(&self, name: &str) -> Figure {
        self.figure(format!("{name}, all processes: CPU"), Unit::Microseconds, |it| it.all)
    }

    fn figure(&self, name: String, unit: Unit, of: impl Fn(&Cost) -> f64 + Copy) -> Figure {
        Figure {
            direct: Spread::of([of(&self.direct)]),
            ..beside_nginx(name, unit, &self.nginx, &self.ours, of)
        }
    }
}

/// Ours, each run with nginx's beside it.
pub fn beside_nginx(
    name: String,
    unit: Unit,
    nginx: &[Cost],
    ours: &[Cost],
    of: impl Fn(&Cost) -> f64 + Copy,
) -> Figure {
    Figure {
        nginx: Spread::of(nginx.iter().map(of)),
        times_nginx: Spread::of(ours.iter().zip(nginx).map(|(ours, nginx)| of(ours) / of(nginx))),
        ..of_ours(name, unit, ours.iter().map(of))
    }
}
