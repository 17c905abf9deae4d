//! `rookery feed`.

use anyhow::bail;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Operators;
use super::say;
use feed_generator::operator::Progress;

/// The number of lines that show progress where nobody watches a bar.
const TENTHS: i64 = 10;

pub(super) async fn rebuild(operators: &Operators) -> anyhow::Result<()> {
    let endpoint = operators.of_service(feed_generator::NAME)?;
    let path = format!("/{}/rebuild", feed_generator::NAME);
    let mut lines = endpoint.lines(Method::POST, &path).await?;
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} events, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style);
    let mut last = -1;
    while let Some(progress) = lines.next::<Progress>().await? {
        let (done, total) = (progress.done, progress.total);
        bar.set_length(total.unsigned_abs());
        bar.set_position(done.unsigned_abs());
        if progress.finished {
            bar.finish_and_clear();
            return say(format!(
                "The activity streams are made anew of {total} events."
            ));
        }
        let tenth = done * TENTHS / total.max(1);
        if bar.is_hidden() && tenth > last {
            last = tenth;
            say(format!("{done} of {total} events"))?;
        }
    }
    bail!("the server stopped before the rebuild was through; it goes on when it starts again")
}
