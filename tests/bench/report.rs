//! The figures as a table for people and as JSON for programs.

use std::{fs, io, path::Path};

use serde::Serialize;

use super::figures::{Figure, Measure, Spread, Target, Unit, Verdict};

/// Everything one run found out, and what it ran on.
#[derive(Serialize)]
pub struct Report {
    pub commit: String,
    pub machine: Machine,
    pub seconds: u64,
    pub repeats: u32,
    /// nginx's CPU time for a small request, divided by what it was where the targets were set.
    pub slowness: f64,
    pub figures: Vec<Line>,
}

#[derive(Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub figure: Figure,
    pub verdict: Option<Verdict>,
}

/// What else may have had a part in the figures.
#[derive(Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    /// The load average of the last minute, before and after.
    pub load: [String; 2],
}

impl Machine {
    pub fn describe() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find_map(|it| it.strip_prefix("model name"));
        Self {
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            processor: model.unwrap_or("unknown").trim_matches([' ', '\t', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: [load(), String::new()],
        }
    }

    pub fn note_load_after(&mut self) {
        self.load[1] = load();
    }
}

fn load() -> String {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}

impl Report {
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join("bench.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(directory.join("bench.md"), self.table())
    }

    pub fn table(&self) -> String {
        let Machine { cores, processor, kernel, load } = &self.machine;
        let header =
            ["figure", "direct", "nginx", "ours", "ours ÷ nginx", "asked", "goal", "verdict"];
        let rows: Vec<_> = self.figures.iter().map(Line::cells).collect();
        let [before, after] = load;
        format!(
            "{}\nMedians of {} × {} s, [least–most]. {cores} × {processor}, Linux {kernel}, load \
             {before} before and {after} after. At {}. nginx costs {:.2} × what it did where the \
             targets in µs of CPU were set.\n",
            aligned(&header.map(str::to_owned), &rows),
            self.repeats,
            self.seconds,
            self.commit,
            self.slowness,
        )
    }
}

impl Line {
    fn cells(&self) -> [String; 8] {
        let Figure { name, unit, direct, nginx, ours, times_nginx, target } = &self.figure;
        let told = |it: &Option<Spread>| it.map_or(String::new(), |it| spread(it, *unit));
        [
            name.clone(),
            told(direct),
            told(nginx),
            spread(*ours, *unit),
            times_nginx.map_or(String::new(), |it| format!("{:.2} ×", it.median)),
            target.map_or(String::new(), |it| limit(it, it.asked, *unit)),
            target.map_or(String::new(), |it| limit(it, it.goal, *unit)),
            self.verdict.map_or(String::new(), |it| verdict(it).to_owned()),
        ]
    }
}

fn spread(spread: Spread, unit: Unit) -> String {
    let Spread { median, least, most } = spread;
    if least == most {
        return amount(median, unit);
    }
    format!("{} [{}–{}]", amount(median, unit), number(least), number(most))
}

fn amount(value: f64, unit: Unit) -> String {
    let unit = match unit {
        Unit::PerSecond => "/s",
        Unit::Microseconds => " µs",
        Unit::Seconds => " s",
        Unit::Megabytes => " MB",
        Unit::Percent => " %",
    };
    number(value) + unit
}

/// Three digits or more: beyond them runs differ.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

fn limit(target: Target, limit: f64, unit: Unit) -> String {
    match target.measure {
        Measure::TimesNginxAtMost => format!("≤ {limit} ×"),
        Measure::TimesNginxAtLeast => format!("≥ {limit} ×"),
        Measure::AtLeast => format!("≥ {}", amount(limit, unit)),
        Measure::AtMost { .. } => format!("≤ {}", amount(limit, unit)),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::GoalMet => "goal met",
        Verdict::Met => "met",
        Verdict::MetAtReferenceSpeed => "met at reference speed",
        Verdict::Missed => "MISSED",
        Verdict::Unclear => "unclear: noise",
    }
}

/// A Markdown table that can also be read as it is.
fn aligned(header: &[String; 8], rows: &[[String; 8]]) -> String {
    let mut widths = header.each_ref().map(|it| it.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: &[String; 8]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|it| format!("{}|", "-".repeat(it + 2))).collect();
    let rows: String = rows.iter().map(line).collect();
    format!("{}|{rule}\n{rows}", line(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_with_as_many_digits_as_they_deserve() {
        assert_eq!(number(0.4567), "0.46");
        assert_eq!(number(17.25), "17.2");
        assert_eq!(number(58_900.4), "58900");
        let spread = |least| spread(Spread { median: 17.25, least, most: 17.25 }, Unit::Megabytes);
        assert_eq!([spread(17.25), spread(3.0)], ["17.2 MB", "17.2 MB [3.00–17.2]"]);
    }

    #[test]
    fn a_table_lines_up() {
        let cells = |text: &str| [const { String::new() }; 8].map(|_| text.to_owned());
        let table = aligned(&cells("µs"), &[cells("longer")]);
        let widths: Vec<_> = table.lines().map(|it| it.chars().count()).collect();
        assert_eq!(widths, [73, 73, 73]);
        assert!(table.starts_with("| µs     |"));
    }
}
