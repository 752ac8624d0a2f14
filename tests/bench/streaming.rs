//! Streams: what each costs, how late their parts are, what many of them hold.

use std::{io, thread, time::Duration};

use super::{
    Bench, added, at_most,
    calls::{self, STREAM_CHUNKS},
    figures::{Figure, Measure, Spread, Unit, percentile},
    load::Load,
    megabytes, of_ours, of_time,
    running::{Run, beside_nginx},
    target, tell,
};

const OPEN_STREAMS: u32 = 1_000;

impl Bench {
    pub fn streams(&self) -> io::Result<Vec<Figure>> {
        let paced = self.saturate("paced streams", &[calls::paced_stream()])?;
        let name = format!("{STREAM_CHUNKS}-chunk stream, paced");
        let cpu = target(Measure::TimesNginxAtMost, 1.4, 1.15);
        let mut figures = paced.figures(&name, None, cpu);
        figures.extend(self.saturated_streams()?);

        let first = self.delays("first tokens", &calls::prompt_stream(), 50, self.half())?;
        let first = added("first token, p50", &first, |it| percentile(&it.first_byte, 50))?;
        figures.push(Figure { target: of_time(500.0, 250.0), ..first });
        let seconds = self.arguments.seconds;
        let gaps = self.delays("gaps in a stream", &calls::paced_stream(), 1, seconds)?;
        let gaps = added("gap between chunks, p99", &gaps, |it| percentile(&it.gaps, 99))?;
        figures.push(Figure { target: of_time(3_000.0, 1_000.0), ..gaps });
        figures.push(self.open_streams()?);
        Ok(figures)
    }

    /// Streams in the client's own dialect and translated ones, all beside nginx's, which
    /// translates nothing.
    fn saturated_streams(&self) -> io::Result<Vec<Figure>> {
        let plain = self.saturate("streams", &[calls::fast_stream()])?;
        let name = format!("{STREAM_CHUNKS}-chunk stream, saturated");
        let cpu = target(Measure::TimesNginxAtMost, 3.0, 2.2);
        let mut figures = plain.figures(&name, None, cpu);

        tell("translated streams");
        let translated = calls::translated_streams();
        let [_, nginx, ours] = self.subjects;
        for call in &translated {
            self.ready(std::slice::from_ref(call))?;
            self.ask_once(ours, &call.body, true)?;
        }
        let files = [calls::fast_stream(), translated[0].clone(), translated[1].clone()];
        let files = self.ready(&files)?;
        let run = |subject, nth: usize| Run { subject, load: self.load(&files[nth..=nth]) };
        let [nginx, anthropic, gemini] =
            self.take_turns([run(nginx, 0), run(ours, 1), run(ours, 2)])?;
        for (dialect, costs) in [("Anthropic's", anthropic), ("Gemini's", gemini)] {
            let name = format!("{STREAM_CHUNKS}-chunk stream, translated from {dialect}: CPU");
            let figure = beside_nginx(name, Unit::Microseconds, &nginx, &costs, |it| it.cpu);
            let target = target(Measure::TimesNginxAtMost, 5.0, 3.0);
            figures.push(Figure { target, ..figure });
        }
        Ok(figures)
    }

    /// What a proxy holds while many streams are open and say little.
    fn open_streams(&self) -> io::Result<Figure> {
        tell("open streams");
        let calls = self.ready(&[calls::lasting_stream()])?;
        let load = Load { seconds: 60, connections: OPEN_STREAMS, ..self.load(&calls) };
        let [_, nginx, ours] = self.subjects.map(|subject| {
            let mut client = load.start(subject.address)?;
            // All of them are open long before this, and none ends before it.
            thread::sleep(Duration::from_secs(4));
            let memory = subject.process.memory();
            client.kill()?;
            client.wait()?;
            Ok::<_, io::Error>(megabytes(memory?.pss))
        });
        let name = format!("memory, {OPEN_STREAMS} streams open");
        Ok(Figure {
            nginx: Spread::of([nginx?]),
            target: at_most(200.0, 120.0),
            ..of_ours(name, Unit::Megabytes, [ours?])
        })
    }
}
