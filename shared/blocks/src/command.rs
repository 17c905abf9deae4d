//! Commands and queries as types: what a service can be told, and what it can be asked.
//!
//! A service's state is their [`Mediator`]. What is sent through it gets a span, a log line where it fails, and
//! metrics; the guide docs/guides/commands.md shows it by example.
//!
//! | outcome | when |
//! |---|---|
//! | `ok` | it was done |
//! | `refused` | its error is a 4xx; a log line of level `debug` |
//! | `failed` | its error is a 5xx, or it panicked; an error in the log with its causes, once |
//! | `cancelled` | nobody waited for it any more: the client has gone, or the request took too long |

use std::sync::OnceLock;
use std::time::Instant;

use tracing::{Instrument, Span};

use crate::context;
use crate::error::chain;
use crate::metrics::{Metrics, OperationLabels, OperationMetrics};
use crate::problem::AsProblem;

/// The declaration of a command or a query. [`operation!`](crate::operation) implements it.
pub trait Operation: Send + Sized {
    /// What its sender gets.
    type Output: Send;
    /// Why it was not done; the problem in it decides over outcome and log level.
    type Error: AsProblem + Send + 'static;
    /// Its name in spans, log lines and metrics: the `operation_id` of its endpoint, such as `posts.create`.
    const NAME: &'static str;
    /// The span around it, with its attributes.
    fn span(&self) -> Span;
    /// Its metrics.
    fn meter() -> &'static Meter;
}

/// Declares a command or a query: `operation!(Type -> Result<Output, Error>, "name", |it| attributes of the span)`.
///
/// ```
/// # use blocks::{AsProblem, Problem};
/// # #[derive(Debug, thiserror::Error)]
/// # #[error("no task")]
/// # struct TaskError;
/// # impl AsProblem for TaskError { fn problem(&self) -> Problem { Problem::not_found("task_not_found", "no task") } }
/// struct CompleteTask {
///     by: i64,
///     id: u64,
/// }
/// blocks::operation!(CompleteTask -> Result<(), TaskError>, "tasks.complete", |it| user.id = it.by, task.id = it.id);
/// ```
#[macro_export]
macro_rules! operation {
    ($of:ident -> Result<$output:ty, $error:ty>, $name:literal $(, |$it:ident| $($fields:tt)+)?) => {
        impl $crate::command::Operation for $of {
            type Output = $output;
            type Error = $error;
            const NAME: &'static str = $name;

            fn span(&self) -> $crate::tracing::Span {
                $(let $it = self;)?
                $crate::tracing::debug_span!($name $(, $($fields)+)?)
            }

            fn meter() -> &'static $crate::command::Meter {
                static METER: $crate::command::Meter = $crate::command::Meter::new();
                &METER
            }
        }
    };
}

/// Changes something in the state `On`.
pub trait Command<On>: Operation {
    /// Whether its sender may, as far as that needs nothing stored. Asked before [`run`](Self::run).
    ///
    /// # Errors
    /// The refusal.
    fn authorize(&self, _on: &On) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Does it. Called by [`Mediator::send`].
    ///
    /// # Errors
    /// The reason why it was not done.
    fn run(self, on: &On) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;
}

/// Asks something of the state `On`, and changes nothing.
pub trait Query<On>: Operation {
    /// Whether its sender may, as far as that needs nothing stored. Asked before [`run`](Self::run).
    ///
    /// # Errors
    /// The refusal.
    fn authorize(&self, _on: &On) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Answers it. Called by [`Mediator::ask`].
    ///
    /// # Errors
    /// The reason why it was not answered.
    fn run(self, on: &On) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;
}

/// A service's state: takes the service's commands and queries.
pub trait Mediator: Sync + Sized {
    /// The service's name.
    fn service(&self) -> &'static str;

    /// Does `command`.
    fn send<C: Command<Self>>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<C::Output, C::Error>> + Send {
        let span = command.span();
        let may = span.in_scope(|| command.authorize(self));
        let work = may.map(|()| command.run(self));
        observed::<C, _>("command", self.service(), span, work)
    }

    /// Answers `query`.
    fn ask<Q: Query<Self>>(
        &self,
        query: Q,
    ) -> impl Future<Output = Result<Q::Output, Q::Error>> + Send {
        let span = query.span();
        let may = span.in_scope(|| query.authorize(self));
        let work = may.map(|()| query.run(self));
        observed::<Q, _>("query", self.service(), span, work)
    }
}

/// Runs what was not refused already, with everything around it.
fn observed<O, F>(
    kind: &'static str,
    service: &'static str,
    span: Span,
    work: Result<F, O::Error>,
) -> impl Future<Output = Result<O::Output, O::Error>> + Send
where
    O: Operation,
    F: Future<Output = Result<O::Output, O::Error>> + Send,
{
    let observed = async move {
        let mut running = Running {
            meter: O::meter(),
            labels: (service, kind, O::NAME),
            began: Instant::now(),
            outcome: Outcome::Cancelled,
        };
        let done = match work {
            Ok(work) => work.await,
            Err(refused) => Err(refused),
        };
        running.outcome = match &done {
            Ok(_) => Outcome::Ok,
            Err(error) => tell::<O>(service, error),
        };
        done
    };
    observed.instrument(span)
}

/// Logs why an operation was not done.
fn tell<O: Operation>(service: &'static str, error: &O::Error) -> Outcome {
    let (command, problem) = (O::NAME, error.problem());
    let error_code = problem.error_code();
    if !problem.status().is_server_error() {
        tracing::debug!(service, command, error_code, %error, "refused");
        return Outcome::Refused;
    }
    if error.is_fault() {
        let error = chain(error);
        tracing::error!(service, command, error_code, error, "{command} failed");
        context::failure_logged();
    }
    Outcome::Failed
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Refused,
    Failed,
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::Cancelled];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The metrics of one type of command or query by outcome, each looked up when it first occurs. Nothing lists the
/// types, so a counter begins with the first use; with one outcome the others begin, too, at 0.
#[derive(Debug, Default)]
pub struct Meter([OnceLock<OperationMetrics>; 4]);

impl Meter {
    /// Nothing measured yet.
    pub const fn new() -> Self {
        Self([const { OnceLock::new() }; 4])
    }
}

/// An operation under way; counted when it is dropped, however it ends.
struct Running {
    meter: &'static Meter,
    /// Service, kind and name.
    labels: (&'static str, &'static str, &'static str),
    began: Instant,
    outcome: Outcome,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.outcome = Outcome::Failed;
        }
        let (service, kind, command) = self.labels;
        let metrics = self.meter.0[self.outcome as usize].get_or_init(|| {
            let labels = |outcome: Outcome| OperationLabels {
                service,
                kind,
                command,
                outcome: outcome.name(),
            };
            for outcome in Outcome::ALL {
                Metrics::operation_counts(&labels(outcome));
            }
            Metrics::operation(&labels(self.outcome))
        });
        metrics.record(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests;
