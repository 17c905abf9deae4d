//! Medians over runs, as a table for people and as JSON for machines.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use blocks::{Clock, SystemClock};
use serde::Serialize;

use crate::machine;
use crate::measure::{Measure, Side, Target, median};

/// All measurements so far.
pub struct Report {
    /// The heading of the subjects' column.
    subject: &'static str,
    date: String,
    machine: String,
    file_system: String,
    runs: u32,
    turn: Duration,
    rows: Vec<Row>,
}

struct Row {
    what: Cow<'static, str>,
    unit: &'static str,
    target: Target,
    runs: Vec<Run>,
}

/// One run of one row.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    subject: Side,
    limit: Option<Side>,
    ratio: Option<f64>,
}

/// A row's medians. The ratio is the median of the runs' ratios, not a ratio of medians: only what
/// was measured in one run is compared.
#[derive(Debug, Clone, Copy, Serialize)]
struct Medians {
    subject: Side,
    limit: Option<Side>,
    ratio: Option<f64>,
}

#[derive(Serialize)]
pub struct Json<'a> {
    date: &'a str,
    machine: &'a str,
    file_system: &'a str,
    turn_seconds: f64,
    measures: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    what: &'a str,
    unit: &'a str,
    target: Target,
    met: Option<bool>,
    medians: Medians,
    runs: &'a [Run],
}

impl Report {
    /// An empty report about `subject`.
    pub fn new(subject: &'static str, folder: &Path, runs: u32, turn: Duration) -> Self {
        Self {
            subject,
            date: events::timestamp(SystemClock.now()),
            machine: machine::processor(),
            file_system: machine::file_system(folder).unwrap_or_else(|| "unknown".into()),
            runs,
            turn,
            rows: Vec::new(),
        }
    }

    /// Adds what a run gave.
    pub fn add(&mut self, measures: Vec<Measure>) {
        for measure in measures {
            let limit = measure.limit;
            let run = Run {
                subject: measure.subject,
                limit,
                ratio: limit.map(|limit| measure.subject.value / limit.value),
            };
            match self.rows.iter_mut().find(|row| row.what == measure.what) {
                Some(row) => row.runs.push(run),
                None => self.rows.push(Row {
                    what: measure.what,
                    unit: measure.unit,
                    target: measure.target,
                    runs: vec![run],
                }),
            }
        }
    }

    /// The heading: date, machine, file system and runs.
    pub fn heading(&self) -> String {
        let mut text = format!(
            "{}, {}, files on {}; {} run(s), turns of {} s",
            self.date,
            self.machine,
            self.file_system,
            self.runs,
            self.turn.as_secs_f64(),
        );
        if self.file_system == "tmpfs" {
            text.push_str(
                "\nWarning: nothing is durable on tmpfs, so writes cost nothing here. Use --folder.",
            );
        }
        text
    }

    /// Everything, as Markdown: a table to read here and to paste elsewhere.
    pub fn table(&self) -> String {
        let mut cells = vec![
            [
                "what",
                self.subject,
                "limit",
                "ratio",
                "target",
                "met",
                "p50 ms",
                "p99 ms",
                "cpu µs",
            ]
            .map(String::from),
        ];
        cells.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0; 9];
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for (at, row) in cells.iter().enumerate() {
            line(&mut text, row, widths, ' ');
            if at == 0 {
                line(&mut text, &[const { String::new() }; 9], widths, '-');
            }
        }
        text.push_str("\np50, p99 and processor time for one request: rookery / limit\n");
        text
    }

    /// Everything, with each run.
    pub fn json(&self) -> Json<'_> {
        let measures = self.rows.iter().map(|row| {
            let medians = row.medians();
            JsonRow {
                what: &row.what,
                unit: row.unit,
                target: row.target,
                met: row.target.is_met(medians.subject.value, medians.ratio),
                medians,
                runs: &row.runs,
            }
        });
        Json {
            date: &self.date,
            machine: &self.machine,
            file_system: &self.file_system,
            turn_seconds: self.turn.as_secs_f64(),
            measures: measures.collect(),
        }
    }
}

fn line(text: &mut String, cells: &[String; 9], widths: [usize; 9], fill: char) {
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str("| ");
        text.push_str(cell);
        text.extend(std::iter::repeat_n(fill, width - cell.chars().count()));
        text.push(' ');
    }
    text.push_str("|\n");
}

impl Row {
    fn medians(&self) -> Medians {
        let subjects: Vec<Side> = self.runs.iter().map(|run| run.subject).collect();
        let limits: Option<Vec<Side>> = self.runs.iter().map(|run| run.limit).collect();
        Medians {
            subject: middle(&subjects),
            limit: limits.map(|limits| middle(&limits)),
            ratio: median(self.runs.iter().filter_map(|run| run.ratio)),
        }
    }

    fn cells(&self) -> [String; 9] {
        let Medians {
            subject,
            limit,
            ratio,
        } = self.medians();
        let value = |value: f64| match self.unit {
            "/s" => format!("{value:.0} /s"),
            "" => format!("{value:.0}"),
            unit => format!("{value:.1} {unit}"),
        };
        let both = |field: fn(&Side) -> Option<f64>| {
            let mut text = String::new();
            if let Some(own) = field(&subject) {
                let _ = write!(text, "{own:.2}");
            }
            if let Some(others) = limit.as_ref().and_then(field) {
                let _ = write!(text, " / {others:.2}");
            }
            text
        };
        [
            self.what.to_string(),
            value(subject.value),
            limit.map_or_else(String::new, |limit| value(limit.value)),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            match self.target {
                Target::Ratio(least) => format!("≥ {least:.2}"),
                Target::Below(bound) => format!("< {bound} {}", self.unit),
                #[cfg(feature = "fleet")]
                Target::AtLeast(least) => format!("≥ {least} {}", self.unit),
                Target::Open => String::new(),
            },
            match self.target.is_met(subject.value, ratio) {
                Some(true) => "yes".into(),
                Some(false) => "no".into(),
                None => String::new(),
            },
            both(|side| side.p50_ms),
            both(|side| side.p99_ms),
            both(|side| side.cpu_us),
        ]
    }
}

fn middle(sides: &[Side]) -> Side {
    let of = |field: fn(&Side) -> Option<f64>| median(sides.iter().filter_map(field));
    Side {
        value: of(|side| Some(side.value)).unwrap_or(f64::NAN),
        p50_ms: of(|side| side.p50_ms),
        p99_ms: of(|side| side.p99_ms),
        cpu_us: of(|side| side.cpu_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(subject: f64, limit: f64) -> Vec<Measure> {
        vec![Measure {
            what: "a thing".into(),
            unit: "/s",
            target: Target::Ratio(0.6),
            subject: subject.into(),
            limit: Some(limit.into()),
        }]
    }

    #[test]
    fn ratios_are_made_within_a_run_and_the_middle_one_counts() {
        let mut report = Report::new("it", Path::new("/"), 3, Duration::from_secs(1));
        for (subject, limit) in [(50.0, 100.0), (90.0, 100.0), (21.0, 30.0)] {
            report.add(run(subject, limit));
        }
        let json = serde_json::to_value(report.json()).unwrap();
        let row = &json["measures"][0];
        assert_eq!(row["medians"]["ratio"], 0.7);
        assert_eq!(row["medians"]["subject"]["value"], 50.0);
        assert_eq!(row["met"], true);
        assert_eq!(row["runs"].as_array().unwrap().len(), 3);
        assert!(report.table().contains("| 0.70  | ≥ 0.60 | yes |"));
    }
}
