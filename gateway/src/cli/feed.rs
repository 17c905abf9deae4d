//! `rookery feed`.

use std::io::{self, IsTerminal};

use anyhow::bail;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Operators;
use super::say;
use feed_generator::operator::Progress;

/// The number of lines that show progress where nobody watches a bar.
const TENTHS: i64 = 10;

pub(super) async fn rebuild(operators: &Operators) -> anyhow::Result<()> {
    let way = operators.of_service(feed_generator::NAME)?;
    let path = format!("/{}/rebuild", feed_generator::NAME);
    let mut lines = way.lines(Method::POST, &path).await?;
    let mut shown = Shown::new()?;
    while let Some(progress) = lines.next::<Progress>().await? {
        shown.update(progress)?;
        if progress.finished {
            return shown.done(progress.total);
        }
    }
    bail!("the server stopped before the rebuild was through; it goes on when it starts again")
}

/// Progress as it is shown: a bar on a terminal, lines elsewhere.
enum Shown {
    Bar(ProgressBar),
    Lines { tenth: i64 },
}

impl Shown {
    fn new() -> anyhow::Result<Self> {
        if !io::stderr().is_terminal() {
            return Ok(Self::Lines { tenth: -1 });
        }
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} events, {eta} left")?;
        Ok(Self::Bar(ProgressBar::new(0).with_style(style)))
    }

    fn update(&mut self, progress: Progress) -> anyhow::Result<()> {
        match self {
            Self::Bar(bar) => {
                bar.set_length(progress.total.unsigned_abs());
                bar.set_position(progress.done.unsigned_abs());
                Ok(())
            }
            Self::Lines { tenth } => {
                let now = progress.done * TENTHS / progress.total.max(1);
                if now <= *tenth || progress.finished {
                    return Ok(());
                }
                *tenth = now;
                say(format!("{} of {} events", progress.done, progress.total))
            }
        }
    }

    fn done(self, total: i64) -> anyhow::Result<()> {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
        say(format!(
            "The activity streams are made anew of {total} events."
        ))
    }
}
