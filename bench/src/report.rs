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
#[derive(Serialize)]
pub struct Report {
    /// The heading of the subjects' column.
    #[serde(skip)]
    subject: &'static str,
    date: String,
    machine: String,
    file_system: String,
    #[serde(skip)]
    runs: u32,
    turn_seconds: f64,
    measures: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    what: Cow<'static, str>,
    unit: &'static str,
    target: Target,
    met: Option<bool>,
    /// The ratio is the median of the runs' ratios, not a ratio of medians: only what was measured in one run
    /// is compared.
    medians: Run,
    runs: Vec<Run>,
}

/// One run of one row.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    subject: Side,
    limit: Option<Side>,
    ratio: Option<f64>,
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
            turn_seconds: turn.as_secs_f64(),
            measures: Vec::new(),
        }
    }

    /// Adds the measurements of a run.
    pub fn add(&mut self, measures: Vec<Measure>) {
        for measure in measures {
            let limit = measure.limit;
            let run = Run {
                subject: measure.subject,
                limit,
                ratio: limit.map(|limit| measure.subject.value / limit.value),
            };
            let mut known = self.measures.iter_mut();
            match known.find(|row| row.what == measure.what) {
                Some(row) => row.add(run),
                None => self.measures.push(Row {
                    what: measure.what,
                    unit: measure.unit,
                    target: measure.target,
                    met: measure.target.is_met(run.subject.value, run.ratio),
                    medians: run,
                    runs: vec![run],
                }),
            }
        }
    }

    /// The heading: date, machine, file system and runs.
    pub fn heading(&self) -> String {
        let mut text = format!(
            "{}, {}, files on {}; {} run(s), turns of {} s",
            self.date, self.machine, self.file_system, self.runs, self.turn_seconds,
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
        let subject = self.subject;
        let head = [
            "what", subject, "limit", "ratio", "target", "met", "p50 ms", "p99 ms", "cpu µs",
        ];
        let mut cells = vec![head.map(String::from)];
        cells.extend(self.measures.iter().map(Row::cells));
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
    fn add(&mut self, run: Run) {
        self.runs.push(run);
        let subjects: Vec<Side> = self.runs.iter().map(|run| run.subject).collect();
        let limits: Option<Vec<Side>> = self.runs.iter().map(|run| run.limit).collect();
        self.medians = Run {
            subject: middle(&subjects),
            limit: limits.map(|limits| middle(&limits)),
            ratio: median(self.runs.iter().filter_map(|run| run.ratio)),
        };
        let Run { subject, ratio, .. } = self.medians;
        self.met = self.target.is_met(subject.value, ratio);
    }

    fn cells(&self) -> [String; 9] {
        let Run {
            subject,
            limit,
            ratio,
        } = self.medians;
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
            match self.met {
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
        let json = serde_json::to_value(&report).unwrap();
        let row = &json["measures"][0];
        assert_eq!(row["medians"]["ratio"], 0.7);
        assert_eq!(row["medians"]["subject"]["value"], 50.0);
        assert_eq!(row["met"], true);
        assert_eq!(row["runs"].as_array().unwrap().len(), 3);
        assert!(report.table().contains("| 0.70  | ≥ 0.60 | yes |"));
    }
}
