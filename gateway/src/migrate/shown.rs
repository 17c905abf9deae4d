//! Progress on standard error: a bar where somebody watches, otherwise a line a step.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The number of rows between two lines, where nobody watches a bar.
const EVERY: u64 = 10_000;

/// Prints a line on standard error.
pub(super) fn say(what: &str) {
    eprintln!("{what}");
}

/// Shows `walk` over a part, which has `total` rows where that is known.
pub(super) async fn walk<T>(
    what: &str,
    part: &str,
    total: Option<u64>,
    walk: impl AsyncFnOnce(&(dyn Fn() + Sync)) -> T,
) -> T {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let (form, rows) = match total {
        Some(total) => (
            "{msg} {bar:30} {pos} of {len}, {eta} left",
            format!(": {total}"),
        ),
        None => ("{msg} {spinner} {pos}", String::new()),
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.set_message(format!("{what} {part}"));
    let is_hidden = bar.is_hidden();
    if is_hidden {
        eprintln!("{what} {part}{rows}");
    }
    let step = || {
        bar.inc(1);
        let count = bar.position();
        if is_hidden && count.is_multiple_of(EVERY) {
            eprintln!("{what} {part}: {count} so far");
        }
    };
    let done = walk(&step).await;
    bar.finish_and_clear();
    done
}
