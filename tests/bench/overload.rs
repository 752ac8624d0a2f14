//! What is served when five times as many call as there is room for.
//!
//! What a gateway has room for is how many calls are under way, for models take their time:
//! so the calls here wait for their answers, and callers who were refused come again as soon
//! as an answer would have taken. Where it is the processor that there is not enough of, each
//! refusal takes from it what it costs: see `refusals`.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;

use super::{
    Bench, WARM_UP, at_most, calls,
    figures::{Figure, Measure, Unit, percentile},
    growth_in_percent, of_ours,
    open_loop::Connection,
    target, tell,
};

/// As many as an organization has seats for.
const CALLERS: u32 = 100;
const TIMES: u32 = 5;

/// What became of the calls of one run, and how long each took.
#[derive(Default)]
struct Outcome {
    served: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Bench {
    pub fn overload(&self) -> io::Result<Vec<Figure>> {
        tell("overload");
        let call = calls::unhurried();
        self.behave(&call)?;
        // An organization alone has half of them.
        let seats = 2 * CALLERS;
        let mut proxy = self.proxies.with_seats(self.few_keys.expose_secret(), seats)?;
        let request = self.free_request(&call.body);
        proxy.answers(&request)?;
        let run = |callers, seconds| {
            let seconds = Duration::from_secs(seconds);
            ask_all(proxy.subject.address, &request, callers, seconds)
        };
        run(CALLERS, WARM_UP)?;
        let (mut fitting, mut flooding) = (vec![], vec![]);
        for _ in 0..self.arguments.repeats {
            fitting.push(run(CALLERS, self.half())?);
            flooding.push(run(CALLERS * TIMES, self.half())?);
        }
        self.overload_figures(&fitting, &flooding)
    }

    fn overload_figures(
        &self,
        fitting: &[Outcome],
        flooding: &[Outcome],
    ) -> io::Result<Vec<Figure>> {
        let seconds = self.half() as f64;
        let per_second = |runs: &[Outcome], of: fn(&Outcome) -> usize| {
            runs.iter().map(|it| of(it) as f64 / seconds).collect::<Vec<_>>()
        };
        let tail = |runs: &[Outcome], of: fn(&Outcome) -> &[Duration]| {
            let tails: Option<Vec<_>> = runs.iter().map(|it| percentile(of(it), 99)).collect();
            tails.ok_or_else(|| io::Error::other("too few calls under overload"))
        };
        let goodput = [fitting, flooding].map(|it| per_second(it, |it| it.served.len()));
        let kept = goodput[0].iter().zip(&goodput[1]).map(|(usual, good)| good / usual * 100.0);
        let kept: Vec<_> = kept.collect();
        let [usual, slowest] = [tail(fitting, |it| &it.served)?, tail(flooding, |it| &it.served)?];
        let refusing = tail(flooding, |it| &it.refused)?;
        let refused = per_second(flooding, |it| it.refused.len());

        let what = |of: &str| format!("{TIMES} × as many callers as fit: {of}");
        let figure = |name: &str, unit, runs| of_ours(name.to_owned(), unit, runs);
        let [fits, good] = goodput;
        Ok(vec![
            figure("as many callers as fit: served", Unit::PerSecond, fits),
            figure("as many callers as fit: p99", Unit::Microseconds, usual.clone()),
            figure(&what("served"), Unit::PerSecond, good),
            figure(&what("refused"), Unit::PerSecond, refused),
            Figure {
                target: target(Measure::AtLeast, 90.0, 97.0),
                ..figure(&what("served, of that"), Unit::Percent, kept)
            },
            Figure {
                target: at_most(100.0, 20.0),
                ..of_ours(
                    what("added to p99 of who is served"),
                    Unit::Percent,
                    growth_in_percent(&usual, &slowest),
                )
            },
            Figure {
                target: at_most(10_000.0, 5_000.0),
                ..figure(&what("refusal, p99"), Unit::Microseconds, refusing)
            },
        ])
    }
}

/// So many callers, each on a connection of its own. They do not all come at one moment: how
/// long 400 threads of ours wait for two processors is not what a refusal takes.
fn ask_all(
    address: SocketAddr,
    request: &[u8],
    callers: u32,
    length: Duration,
) -> io::Result<Outcome> {
    let end = Instant::now() + length;
    let outcomes = thread::scope(|scope| {
        let ask = |number| {
            thread::sleep(calls::UNHURRIED_ANSWER * number / callers);
            ask_until(address, request, end)
        };
        let callers: Vec<_> = (0..callers).map(|it| scope.spawn(move || ask(it))).collect();
        callers.into_iter().map(|it| it.join().expect("no caller panics")).collect::<Vec<_>>()
    });
    let mut all = Outcome::default();
    for outcome in outcomes {
        let Outcome { served, refused } = outcome?;
        all.served.extend(served);
        all.refused.extend(refused);
    }
    Ok(all)
}

fn ask_until(address: SocketAddr, request: &[u8], end: Instant) -> io::Result<Outcome> {
    let (mut connection, mut outcome) = (Connection::open(address)?, Outcome::default());
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(outcome);
        }
        let answer = connection.call(request)?;
        let took = answer.end - begun;
        if answer.status == 503 {
            outcome.refused.push(took);
            thread::sleep(calls::UNHURRIED_ANSWER.saturating_sub(took));
        } else {
            answer.check(false)?;
            outcome.served.push(took);
        }
    }
}
