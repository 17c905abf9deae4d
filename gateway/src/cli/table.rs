//! Columns for people.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

/// Rows under headings, as wide as they must be.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned)],
        }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
            let end = if number + 1 == self.rows.len() {
                ""
            } else {
                "\n"
            };
            write!(out, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A span as `850 ms`, `12 s`, `3 min`, `5 h`, `2 days`.
pub(super) fn span(ms: i64) -> String {
    match TimeDelta::milliseconds(ms) {
        span if span.num_seconds() < 1 => format!("{ms} ms"),
        span if span.num_minutes() < 1 => format!("{} s", span.num_seconds()),
        span if span.num_hours() < 1 => format!("{} min", span.num_minutes()),
        span if span.num_days() < 1 => format!("{} h", span.num_hours()),
        span => format!("{} days", span.num_days()),
    }
}

/// The text, or a dash.
pub(super) fn or_dash(text: Option<impl fmt::Display>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

/// The time that `text` names: a span back from `now`, or a moment.
pub(super) fn moment(text: &str, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let spelled =
        || anyhow::anyhow!("{text:?} is no time: write 90s, 15m, 2h, 3d or an RFC 3339 time");
    let unit = text.chars().last().ok_or_else(spelled)?;
    let number: i64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| spelled())?;
    let span = match unit {
        's' => TimeDelta::try_seconds(number),
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        _ => None,
    };
    span.and_then(|span| now.checked_sub_signed(span))
        .ok_or_else(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "B"]);
        table.row(["größer".into(), "1".into()]);
        table.row(["x".into(), "22".into()]);
        assert_eq!(table.to_string(), "A       B\ngrößer  1\nx       22");
    }

    #[test]
    fn a_moment_is_a_span_back_or_a_time() {
        let now = DateTime::parse_from_rfc3339("2026-01-02T12:00:00Z")
            .unwrap()
            .to_utc();
        let is = |text: &str| moment(text, now).unwrap().to_rfc3339();
        assert_eq!(is("90s"), "2026-01-02T11:58:30+00:00");
        assert_eq!(is("2h"), "2026-01-02T10:00:00+00:00");
        assert_eq!(is("1d"), "2026-01-01T12:00:00+00:00");
        assert_eq!(is("2026-01-01T01:00:00+01:00"), "2026-01-01T00:00:00+00:00");
        for bad in ["", "h", "2", "2w", "zwei", "9999999999999d", "é"] {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(850), "850 ms");
        assert_eq!(span(12_999), "12 s");
        assert_eq!(span(3 * 60_000), "3 min");
        assert_eq!(span(5 * 3_600_000), "5 h");
        assert_eq!(span(49 * 3_600_000), "2 days");
    }
}
