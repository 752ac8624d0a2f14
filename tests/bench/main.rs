//! What the gateway costs, beside nginx and beside no proxy at all.
//!
//! The three are measured in turn, again and again, since a machine's speed changes from minute to
//! minute: what holds is how they compare. `infra/bench.sh` starts what is measured here. A figure
//! that misses its target is told and is no failure; a call that fails is one.

mod calls;
mod figures;
mod load;
mod open_loop;
mod process;
mod report;

use std::{
    fs, io, io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, thread, time::Duration,
};

use clap::{Parser, value_parser};
use secrecy::{ExposeSecret, SecretString};
use shared::keys::{Brand, NewKey};

use calls::{Call, STREAM_CHUNKS};
use figures::{Figure, Measure, Spread, Target, Unit, percentile};
use load::Load;
use open_loop::{Connection, Delays, call_at_rate, request};
use process::Process;
use report::{Line, Machine, Report};

/// Measures direct calls, nginx and our proxy side by side; `make bench` runs it.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[arg(long)]
    simulator: SocketAddr,
    #[arg(long)]
    simulator_pid: u32,
    #[arg(long)]
    nginx: SocketAddr,
    #[arg(long)]
    nginx_pid: u32,
    #[arg(long)]
    ours: SocketAddr,
    #[arg(long)]
    ours_pid: u32,
    #[arg(long, env = "TURNPIKE_API_KEY", hide_env_values = true)]
    key: SecretString,
    /// How long each run lasts.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many runs a figure is the median of.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    repeats: u32,
    /// How many API keys the proxy knows.
    #[arg(long)]
    keys: u32,
    /// Which commit is measured.
    #[arg(long, default_value = "an unknown commit")]
    commit: String,
    /// What wrk sends, in Lua.
    #[arg(long)]
    script: PathBuf,
    /// Where bench.json and bench.md go.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Bench::new(arguments).and_then(|it| it.run()) {
        Ok(report) => {
            // There is nobody to tell that standard output is closed.
            let _ = io::stdout().write_all(report.table().as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// nginx's CPU time for a small request on the machine that the targets were set on.
const REFERENCE: f64 = 9.1;
const CONNECTIONS: u32 = 64;
const OPEN_STREAMS: u32 = 1_000;
/// In seconds, before anything counts: connections, caches and processor clocks settle.
const WARM_UP: u64 = 1;

/// The three that are compared, in the order they are run.
#[derive(Clone, Copy)]
struct Subject {
    name: &'static str,
    address: SocketAddr,
    process: Process,
}

struct Bench {
    arguments: Arguments,
    subjects: [Subject; 3],
}

/// One figure of each subject for each repeat: direct, nginx, ours.
type Runs = Vec<[f64; 3]>;

impl Bench {
    fn new(arguments: Arguments) -> io::Result<Self> {
        let of = |name, address, pid| Subject { name, address, process: Process(pid) };
        let subjects = [
            of("direct", arguments.simulator, arguments.simulator_pid),
            of("nginx", arguments.nginx, arguments.nginx_pid),
            of("ours", arguments.ours, arguments.ours_pid),
        ];
        fs::create_dir_all(arguments.out.join("calls"))?;
        let mut simulator = Connection::open(arguments.simulator)?;
        for behaviour in calls::BEHAVIOURS {
            let profile = behaviour.profile().to_string();
            simulator.call(&request("/__control/profiles", "", &profile))?.check(false)?;
        }
        Ok(Self { arguments, subjects })
    }

    fn run(&self) -> io::Result<Report> {
        let mut machine = Machine::describe();
        let mut figures = self.idle()?;
        let small = self.saturate("small", &[calls::small()], CONNECTIONS)?;
        let slowness = median(&small.cpu, 1) / REFERENCE;
        figures.extend(small.figures(
            "small request",
            target(Measure::TimesNginxAtLeast, 0.4, 0.65),
            target(Measure::TimesNginxAtMost, 4.0, 2.4),
        ));
        figures.extend(self.small_latency()?);
        let long = self.saturate("100 KB", &[calls::long()], CONNECTIONS)?;
        let cpu = target(Measure::AtMost { of_cpu: true }, 250.0, 120.0);
        figures.extend(long.figures("100 KB prompt", None, cpu));
        figures.push(self.refusal()?);
        figures.extend(self.streams()?);
        let mixed = self.saturate("mixed", &calls::mixed(), CONNECTIONS)?;
        figures.extend(mixed.figures("mixed calls", None, None));
        figures.extend(self.memory("memory, after all that")?);
        machine.note_load_after();

        let Arguments { commit, seconds, repeats, out, .. } = &self.arguments;
        let judged = |figure: Figure| Line { verdict: figure.verdict(slowness), figure };
        let report = Report {
            commit: commit.clone(),
            machine,
            seconds: *seconds,
            repeats: *repeats,
            slowness,
            figures: figures.into_iter().map(judged).collect(),
        };
        report.write(out)?;
        Ok(report)
    }

    // ---- What is measured -----------------------------------------------------------

    fn small_latency(&self) -> io::Result<Vec<Figure>> {
        let delays = self.delays("small, one at a time", &calls::small(), 500)?;
        let percentile_of = |percent| {
            let of = move |it: &Delays| percentile(&it.whole, percent);
            added(&format!("small request, p{percent}"), &delays, of)
        };
        Ok(vec![
            Figure { target: of_time(350.0, 180.0), ..percentile_of(50)? },
            Figure { target: of_time(900.0, 350.0), ..percentile_of(99)? },
        ])
    }

    /// What a call costs that ends at the key, which is well-formed and nobody's.
    fn refusal(&self) -> io::Result<Figure> {
        let key = NewKey::generate(Brand::Live);
        let calls = self.write(&[calls::small()])?;
        let load = Load {
            key: key.secret.expose_secret(),
            refused: true,
            ..self.load(&calls, CONNECTIONS)
        };
        let ours = self.subjects[2];
        let mut runs = Vec::new();
        tell("refusal of a key");
        Load { seconds: WARM_UP, ..load }.run(ours.address)?;
        for _ in 0..self.arguments.repeats {
            runs.push(self.measured(ours, &load)?.1);
        }
        Ok(Figure {
            name: "refusal of a key: CPU".to_owned(),
            unit: Unit::Microseconds,
            direct: None,
            nginx: None,
            ours: spread(runs),
            times_nginx: None,
            target: target(Measure::AtMost { of_cpu: true }, 15.0, 10.0),
        })
    }

    fn streams(&self) -> io::Result<Vec<Figure>> {
        let paced = self.saturate("paced streams", &[calls::paced_stream()], CONNECTIONS)?;
        let fast = self.saturate("streams", &[calls::fast_stream()], CONNECTIONS)?;
        let name = |pace| format!("{STREAM_CHUNKS}-chunk stream, {pace}");
        let most = |asked, goal| target(Measure::TimesNginxAtMost, asked, goal);
        let mut figures = paced.figures(&name("paced"), None, most(1.4, 1.15));
        figures.extend(fast.figures(&name("saturated"), None, most(3.0, 2.2)));

        let first = self.delays("first tokens", &calls::prompt_stream(), 50)?;
        let first = added("first token, p50", &first, |it| percentile(&it.first_byte, 50))?;
        figures.push(Figure { target: of_time(500.0, 250.0), ..first });
        let gaps = self.delays("gaps in a stream", &calls::paced_stream(), 1)?;
        let gaps = added("gap between chunks, p99", &gaps, |it| percentile(&it.gaps, 99))?;
        figures.push(Figure { target: of_time(3_000.0, 1_000.0), ..gaps });
        figures.push(self.open_streams()?);
        Ok(figures)
    }

    /// What a proxy holds while many streams are open and say little.
    fn open_streams(&self) -> io::Result<Figure> {
        tell("open streams");
        let calls = self.write(&[calls::lasting_stream()])?;
        let load = Load { seconds: 60, ..self.load(&calls, OPEN_STREAMS) };
        let held = |subject: Subject| {
            let mut client = load.start(subject.address)?;
            // All of them are open long before this, and none ends before it.
            thread::sleep(Duration::from_secs(4));
            let memory = subject.process.memory();
            client.kill()?;
            client.wait()?;
            Ok::<_, io::Error>(megabytes(memory?.pss))
        };
        let [_, nginx, ours] = self.subjects;
        let (nginx, ours) = (held(nginx)?, held(ours)?);
        Ok(Figure {
            name: format!("memory, {OPEN_STREAMS} streams open"),
            unit: Unit::Megabytes,
            direct: None,
            nginx: Spread::of([nginx]),
            ours: spread([ours]),
            times_nginx: None,
            target: target(Measure::AtMost { of_cpu: false }, 200.0, 120.0),
        })
    }

    fn idle(&self) -> io::Result<Vec<Figure>> {
        let [pss, rss] = self.memory(&format!("memory, idle with {} keys", self.arguments.keys))?;
        let most = target(Measure::AtMost { of_cpu: false }, 60.0, 40.0);
        Ok(vec![Figure { target: most, ..pss }, rss])
    }

    fn memory(&self, name: &str) -> io::Result<[Figure; 2]> {
        let [_, nginx, ours] = self.subjects.map(|it| it.process.memory());
        let (nginx, ours) = (nginx?, ours?);
        let figure = |kind: &str, nginx, ours| Figure {
            name: format!("{name}: {kind}"),
            unit: Unit::Megabytes,
            direct: None,
            nginx: Spread::of([megabytes(nginx)]),
            ours: spread([megabytes(ours)]),
            times_nginx: None,
            target: None,
        };
        Ok([figure("PSS", nginx.pss, ours.pss), figure("RSS", nginx.rss, ours.rss)])
    }

    // ---- How it is measured ---------------------------------------------------------

    /// As many calls as each subject can take.
    fn saturate(&self, name: &str, calls: &[Call], connections: u32) -> io::Result<Saturated> {
        tell(name);
        let files = self.write(calls)?;
        let load = self.load(&files, connections);
        for subject in self.subjects {
            for call in calls {
                self.ask_once(subject, call)?;
            }
            Load { seconds: WARM_UP, ..load }.run(subject.address)?;
        }
        let mut saturated = Saturated { per_second: Vec::new(), cpu: Vec::new() };
        for _ in 0..self.arguments.repeats {
            let mut runs = [(0.0, 0.0); 3];
            for (run, subject) in runs.iter_mut().zip(self.subjects) {
                *run = self.measured(subject, &load)?;
            }
            saturated.per_second.push(runs.map(|it| it.0));
            saturated.cpu.push(runs.map(|it| it.1));
        }
        Ok(saturated)
    }

    /// Calls a second, and microseconds of CPU for each.
    fn measured(&self, subject: Subject, load: &Load) -> io::Result<(f64, f64)> {
        let before = subject.process.cpu()?;
        let counted = load.run(subject.address)?;
        let cpu = subject.process.cpu()? - before;
        Ok((counted.per_second, cpu.as_secs_f64() * 1e6 / counted.requests as f64))
    }

    /// Calls at a fixed rate on one connection.
    fn delays(&self, name: &str, call: &Call, per_second: u32) -> io::Result<Vec<[Delays; 3]>> {
        let Arguments { seconds, repeats, key, .. } = &self.arguments;
        let run = |subject: Subject, seconds| {
            let length = Duration::from_secs(seconds);
            call_at_rate(subject.address, key.expose_secret(), call, per_second, length)
                .map_err(|error| failed(subject, error))
        };
        tell(name);
        for subject in self.subjects {
            run(subject, WARM_UP)?;
        }
        let [direct, nginx, ours] = self.subjects;
        (0..*repeats)
            .map(|_| Ok([run(direct, *seconds)?, run(nginx, *seconds)?, run(ours, *seconds)?]))
            .collect()
    }

    /// wrk tells how many calls failed, but not how.
    fn ask_once(&self, subject: Subject, call: &Call) -> io::Result<()> {
        let key = self.arguments.key.expose_secret();
        let request = request("/v1/chat/completions", key, &call.body);
        let answer = Connection::open(subject.address)?.call(&request);
        answer.and_then(|it| it.check(call.streams)).map_err(|error| failed(subject, error))
    }

    fn load<'a>(&'a self, calls: &'a [PathBuf], connections: u32) -> Load<'a> {
        let Arguments { script, key, seconds, .. } = &self.arguments;
        let key = key.expose_secret();
        Load { script, calls, key, connections, seconds: *seconds, refused: false }
    }

    /// The files that wrk takes the bodies from.
    fn write(&self, calls: &[Call]) -> io::Result<Vec<PathBuf>> {
        let write = |call: &Call| {
            let path = self.arguments.out.join("calls").join(call.name);
            fs::write(&path, &call.body).map(|()| path)
        };
        calls.iter().map(write).collect()
    }
}

fn tell(name: &str) {
    eprintln!("bench: {name}");
}

struct Saturated {
    per_second: Runs,
    cpu: Runs,
}

impl Saturated {
    fn figures(&self, name: &str, rate: Option<Target>, cpu: Option<Target>) -> Vec<Figure> {
        vec![
            figure(format!("{name}: rate"), Unit::PerSecond, &self.per_second, rate),
            figure(format!("{name}: CPU"), Unit::Microseconds, &self.cpu, cpu),
        ]
    }
}

fn figure(name: String, unit: Unit, runs: &Runs, target: Option<Target>) -> Figure {
    Figure {
        name,
        unit,
        direct: Spread::of(runs.iter().map(|it| it[0])),
        nginx: Spread::of(runs.iter().map(|it| it[1])),
        ours: spread(runs.iter().map(|it| it[2])),
        times_nginx: Spread::of(runs.iter().map(|it| it[2] / it[1])),
        target,
    }
}

/// What each proxy adds to what a direct call takes, run by run.
fn added(
    name: &str,
    delays: &[[Delays; 3]],
    of: impl Fn(&Delays) -> Option<f64>,
) -> io::Result<Figure> {
    let figures = delays.iter().map(|it| Some([of(&it[0])?, of(&it[1])?, of(&it[2])?]));
    let runs: Option<Runs> = figures.collect();
    let runs = runs.ok_or_else(|| io::Error::other(format!("too few calls for {name}")))?;
    Ok(Figure {
        name: format!("{name}: added to direct"),
        unit: Unit::Microseconds,
        direct: Spread::of(runs.iter().map(|it| it[0])),
        nginx: Spread::of(runs.iter().map(|it| it[1] - it[0])),
        ours: spread(runs.iter().map(|it| it[2] - it[0])),
        times_nginx: None,
        target: None,
    })
}

fn target(measure: Measure, asked: f64, goal: f64) -> Option<Target> {
    Some(Target { measure, asked, goal })
}

/// Microseconds that pass, which is not the same as CPU time.
fn of_time(asked: f64, goal: f64) -> Option<Target> {
    target(Measure::AtMost { of_cpu: false }, asked, goal)
}

fn median(runs: &Runs, subject: usize) -> f64 {
    spread(runs.iter().map(|it| it[subject])).median
}

fn spread(runs: impl IntoIterator<Item = f64>) -> Spread {
    Spread::of(runs).expect("every figure is measured at least once")
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}

fn failed(subject: Subject, error: io::Error) -> io::Error {
    io::Error::other(format!("a call to {} failed: {error}", subject.name))
}
