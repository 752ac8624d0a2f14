//! What the gateway costs, beside nginx and beside no proxy at all.
//!
//! The three are measured in turn, again and again, since a machine's speed changes from minute to
//! minute: what holds is how they compare. `infra/bench.sh` starts what is measured here. A figure
//! that misses its target is told and is no failure; a call that fails is one.

mod alone;
mod calls;
mod figures;
mod governing;
mod growth;
mod holding;
mod load;
mod open_loop;
mod overload;
mod process;
mod proxy;
mod report;
mod running;
mod stage;
mod starting;
mod streaming;
mod streams;

use std::{
    fs, io,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum, value_parser};
use secrecy::SecretString;

use figures::{Figure, Measure, Spread, Target, Unit, percentile};
use open_loop::{Connection, Delays, request, revision};
use process::Process;
use proxy::Proxies;
use report::{Line, Machine, Report};
use stage::{GovernedKeys, Stage};

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
    #[arg(long)]
    redis_pid: u32,
    #[arg(long)]
    control_pid: u32,
    /// How long each run lasts. Runs of ours that nothing else is compared with last half of it.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many runs a figure is the median of.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    repeats: u32,
    /// How far growth is followed.
    #[arg(long, default_value = "usual")]
    growth: Growth,
    /// What is measured beside small requests, which tell how fast the machine is; all of it
    /// where nothing is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Which commit is measured.
    #[arg(long, default_value = "an unknown commit")]
    commit: String,
    /// What wrk sends, in Lua.
    #[arg(long)]
    script: PathBuf,
    /// Where bench.json and bench.md go.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    stage: stage::Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Growth {
    /// To 100,000 keys and 1,000 streams.
    Usual,
    /// To 1,000,000 keys and 10,000 streams.
    Full,
}

/// In the order they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Idle,
    Latency,
    Long,
    Refusals,
    Limits,
    Budgets,
    Overload,
    Streams,
    Mixed,
    Starts,
    Memory,
    Bodies,
    Growth,
    Alone,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Bench::new(arguments).and_then(|it| it.run()) {
        Ok((report, failed)) => {
            // There is nobody to tell that standard output is closed.
            let _ = io::stdout().write_all(report.table().as_bytes());
            failed.map_or(ExitCode::SUCCESS, |error| fail(&error))
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &io::Error) -> ExitCode {
    eprintln!("bench: {error}");
    ExitCode::FAILURE
}

/// nginx's CPU time for a small request on the machine that the targets were set on.
const REFERENCE: f64 = 9.1;
const CONNECTIONS: u32 = 64;
/// How many keys the proxies know, but where growth is measured.
const KEYS: u32 = 10_000;
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
    /// Direct, nginx, ours.
    subjects: [Subject; 3],
    redis: Process,
    control: Process,
    stage: Stage,
    proxies: Proxies,
    keys: GovernedKeys,
    /// An address of Redis where what is published stays as it was with few keys.
    few_keys: SecretString,
}

impl Bench {
    fn new(arguments: Arguments) -> io::Result<Self> {
        tell("setting the stage");
        let of = |name, address, pid| Subject { name, address, process: Process(pid) };
        let subjects = [
            of("direct", arguments.simulator, arguments.simulator_pid),
            of("nginx", arguments.nginx, arguments.nginx_pid),
            of("ours", arguments.ours, arguments.ours_pid),
        ];
        fs::create_dir_all(arguments.out.join("calls"))?;
        let stage = Stage::new(&arguments.stage)?;
        stage.add_dialects(arguments.simulator)?;
        let keys = stage.add_governed_keys()?;
        stage.bring_to(growth::FEW_KEYS)?;
        stage.published()?;
        let few_keys = stage.freeze(1)?;
        stage.bring_to(KEYS)?;
        let newest = stage.published()?;
        serves(arguments.ours, newest)?;
        keys.with_budgets().try_for_each(|key| counts(arguments.ours, key))?;
        let [redis, control] = [arguments.redis_pid, arguments.control_pid].map(Process);
        let proxies = Proxies::found()?;
        Ok(Self { arguments, subjects, redis, control, stage, proxies, keys, few_keys })
    }

    /// What was measured, and why not all of it was.
    fn run(&self) -> io::Result<(Report, Option<io::Error>)> {
        let mut machine = Machine::describe();
        // What a proxy keeps before any call has to be seen first, and what a call that comes alone
        // takes before a burst has left the books work for a minute.
        let mut figures = self.measure(Part::Idle)?;
        let alone = self.measure(Part::Latency)?;
        let small = self.saturate("small", &[calls::small()])?;
        let slowness = median(&small.nginx, |it| it.cpu) / REFERENCE;
        figures.extend(small.figures(
            "small request",
            target(Measure::TimesNginxAtLeast, 0.4, 0.65),
            target(Measure::TimesNginxAtMost, 4.0, 2.4),
        ));
        figures.push(small.all("small request"));
        figures.extend(alone);
        // What was measured before a run failed is told all the same.
        let failed = Part::value_variants()[2..]
            .iter()
            .find_map(|part| self.measure(*part).map(|it| figures.extend(it)).err());
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
        Ok((report, failed))
    }

    fn measure(&self, part: Part) -> io::Result<Vec<Figure>> {
        let only = &self.arguments.only;
        if !only.is_empty() && !only.contains(&part) {
            return Ok(vec![]);
        }
        match part {
            Part::Idle => self.idle(),
            Part::Latency => self.small_latency(),
            Part::Long => {
                let long = self.saturate("100 KB", &[calls::long()])?;
                Ok(long.figures("100 KB prompt", None, of_cpu(250.0, 120.0)))
            }
            Part::Refusals => self.refusals(),
            Part::Limits => self.limits(),
            Part::Budgets => self.budgets(),
            Part::Overload => self.overload(),
            Part::Streams => self.streams(),
            Part::Mixed => {
                Ok(self.saturate("mixed", &calls::mixed())?.figures("mixed calls", None, None))
            }
            Part::Starts => self.starts(),
            Part::Memory => Ok(self.memory("memory, after all that")?.into()),
            Part::Bodies => self.large_bodies(),
            Part::Growth => self.growth(),
            Part::Alone => self.alone(),
        }
    }

    fn small_latency(&self) -> io::Result<Vec<Figure>> {
        let [half, most] = self.small_delays("small request")?;
        Ok(vec![
            Figure { target: of_time(350.0, 180.0), ..half },
            Figure { target: of_time(900.0, 350.0), ..most },
        ])
    }

    /// What half of the calls exceed, and one in a hundred.
    fn small_delays(&self, name: &str) -> io::Result<[Figure; 2]> {
        let seconds = self.arguments.seconds;
        let delays = self.delays("small, one at a time", &calls::small(), 500, seconds)?;
        let percentile_of = |percent| {
            let of = move |it: &Delays| percentile(&it.whole, percent);
            added(&format!("{name}, p{percent}"), &delays, of)
        };
        Ok([percentile_of(50)?, percentile_of(99)?])
    }
}

/// Waits until a proxy serves that revision.
fn serves(address: SocketAddr, newest: i64) -> io::Result<()> {
    let began = Instant::now();
    while revision(address)? < newest {
        if began.elapsed() > Duration::from_secs(60) {
            return Err(io::Error::other("the proxy does not hear of what is published"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until the budgets on a key's calls are counted: the control plane finds them by looking.
fn counts(address: SocketAddr, key: &str) -> io::Result<()> {
    let began = Instant::now();
    let call = request("/v1/chat/completions", key, &calls::small().body);
    while Connection::open(address)?.call(&call)?.status == 503 {
        if began.elapsed() > Duration::from_secs(60) {
            return Err(io::Error::other("nobody counts what is spent of the budgets"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn tell(name: &str) {
    eprintln!("bench: {name}");
}

/// A figure that nothing else is compared with.
fn of_ours(name: String, unit: Unit, ours: impl IntoIterator<Item = f64>) -> Figure {
    let ours = spread(ours);
    Figure { name, unit, direct: None, nginx: None, ours, times_nginx: None, target: None }
}

/// What each proxy adds to what a direct call takes, run by run.
fn added(
    name: &str,
    delays: &[[Delays; 3]],
    of: impl Fn(&Delays) -> Option<f64>,
) -> io::Result<Figure> {
    let figures = delays.iter().map(|it| Some([of(&it[0])?, of(&it[1])?, of(&it[2])?]));
    let runs: Option<Vec<[f64; 3]>> = figures.collect();
    let runs = runs.ok_or_else(|| io::Error::other(format!("too few calls for {name}")))?;
    let ours = runs.iter().map(|it| it[2] - it[0]);
    Ok(Figure {
        direct: Spread::of(runs.iter().map(|it| it[0])),
        nginx: Spread::of(runs.iter().map(|it| it[1] - it[0])),
        ..of_ours(format!("{name}: added to direct"), Unit::Microseconds, ours)
    })
}

fn target(measure: Measure, asked: f64, goal: f64) -> Option<Target> {
    Some(Target { measure, asked, goal })
}

/// Seconds that pass, memory, or how much more something is.
fn at_most(asked: f64, goal: f64) -> Option<Target> {
    target(Measure::AtMost { of_cpu: false }, asked, goal)
}

/// Microseconds that pass, which is not the same as CPU time.
fn of_time(asked: f64, goal: f64) -> Option<Target> {
    at_most(asked, goal)
}

fn of_cpu(asked: f64, goal: f64) -> Option<Target> {
    target(Measure::AtMost { of_cpu: true }, asked, goal)
}

fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    spread(runs.iter().map(of)).median
}

fn spread(runs: impl IntoIterator<Item = f64>) -> Spread {
    Spread::of(runs).expect("every figure is measured at least once")
}

/// How much more `more` is than `less`, run by run, in percent.
fn growth_in_percent(less: &[f64], more: &[f64]) -> Vec<f64> {
    less.iter().zip(more).map(|(less, more)| (more / less - 1.0) * 100.0).collect()
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}

/// `1000000` as `1,000,000`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|it| String::from_utf8_lossy(it)).collect::<Vec<_>>().join(",")
}

fn failed(subject: Subject, error: io::Error) -> io::Error {
    io::Error::other(format!("a call to {} failed: {error}", subject.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_read_in_groups() {
        let told = [7, 999, 1_000, 100_000, 1_000_000].map(grouped);
        assert_eq!(told, ["7", "999", "1,000", "100,000", "1,000,000"]);
    }

    #[test]
    fn growth_is_told_run_by_run() {
        assert_eq!(growth_in_percent(&[10.0, 20.0], &[15.0, 20.0]), [50.0, 0.0]);
    }
}
