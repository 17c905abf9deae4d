//! Progress on standard error: a bar where somebody watches, otherwise a line a step.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The number of rows between two lines, where nobody watches a bar.
const EVERY: u64 = 10_000;

/// Prints a line on standard error.
pub(super) fn say(what: &str) {
    eprintln!("{what}");
}

/// Shows how far it is.
pub enum Shown {
    /// To somebody at a terminal.
    Bar,
    /// To a file or a pipe.
    Lines,
}

impl Shown {
    /// As standard error wants it.
    pub fn new() -> Self {
        if io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }

    /// Shows `walk` over a part, which has `total` rows where that is known.
    pub(super) async fn walk<T>(
        &self,
        what: &str,
        part: &str,
        total: Option<u64>,
        walk: impl AsyncFnOnce(&(dyn Fn() + Sync)) -> T,
    ) -> T {
        match self {
            Self::Bar => {
                let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
                let form = match total {
                    Some(_) => "{msg} {bar:30} {pos} of {len}, {eta} left",
                    None => "{msg} {spinner} {pos}",
                };
                if let Ok(style) = ProgressStyle::with_template(form) {
                    bar.set_style(style);
                }
                bar.set_message(format!("{what} {part}"));
                let done = walk(&|| bar.inc(1)).await;
                bar.finish_and_clear();
                done
            }
            Self::Lines => {
                match total {
                    Some(total) => eprintln!("{what} {part}: {total}"),
                    None => eprintln!("{what} {part}"),
                }
                let count = AtomicU64::new(0);
                walk(&|| {
                    let count = count.fetch_add(1, Ordering::Relaxed) + 1;
                    if count.is_multiple_of(EVERY) {
                        eprintln!("{what} {part}: {count} so far");
                    }
                })
                .await
            }
        }
    }
}

impl Default for Shown {
    fn default() -> Self {
        Self::new()
    }
}
