use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use axum::response::IntoResponse;
use futures::FutureExt;
use serde_json::json;

use crate::problem::Problem;
use crate::telemetry::tests::json_lines;

#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("no such task")]
    NotFound,
    #[error("only signed in")]
    Nobody,
    #[error("the task store failed")]
    Store(#[from] std::io::Error),
    #[error("the queue is full")]
    Busy,
}

impl AsProblem for TaskError {
    fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::not_found("task_not_found", "there is no such task"),
            Self::Nobody => Problem::unauthorized("unauthenticated", "sign in"),
            Self::Store(_) => Problem::unavailable("store_unavailable"),
            Self::Busy => Problem::unavailable("busy"),
        }
    }

    fn is_fault(&self) -> bool {
        !matches!(self, Self::Busy)
    }
}
crate::problem_response!(TaskError);

#[derive(Default)]
struct Tasks {
    ran: AtomicUsize,
}

impl Mediator for Tasks {
    fn service(&self) -> &'static str {
        "tasks"
    }
}

/// What the operations below do.
#[derive(Clone, Copy)]
enum Does {
    Succeeds,
    FindsNothing,
    LosesItsStore,
    IsBusy,
    Panics,
    Hangs,
}

impl Does {
    async fn it(self, on: &Tasks) -> Result<usize, TaskError> {
        on.ran.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Succeeds => {
                tracing::info!("at work");
                Ok(1)
            }
            Self::FindsNothing => Err(TaskError::NotFound),
            Self::LosesItsStore => Err(std::io::Error::other("connection refused").into()),
            Self::IsBusy => Err(TaskError::Busy),
            Self::Panics => panic!("a task that panics"),
            Self::Hangs => std::future::pending().await,
        }
    }
}

/// Makes a command and a query of its own for a test: metrics are the process's.
macro_rules! operations {
    ($command:literal, $query:literal) => {
        struct Do {
            by: Option<i64>,
            does: Does,
        }
        operation!(Do -> Result<usize, TaskError>, $command, |it| user.id = it.by);

        impl Command<Tasks> for Do {
            fn authorize(&self, _: &Tasks) -> Result<(), TaskError> {
                self.by.map(drop).ok_or(TaskError::Nobody)
            }
            async fn run(self, on: &Tasks) -> Result<usize, TaskError> {
                self.does.it(on).await
            }
        }

        struct Count;
        operation!(Count -> Result<usize, TaskError>, $query);

        impl Query<Tasks> for Count {
            async fn run(self, on: &Tasks) -> Result<usize, TaskError> {
                Does::Succeeds.it(on).await
            }
        }
    };
}

fn does(does: Does) -> (Option<i64>, Does) {
    (Some(7), does)
}

fn counted(kind: &str, name: &str, outcome: &str, times: usize) {
    let page = Metrics::new().encode();
    for metric in ["commands_total", "command_duration_seconds_count"] {
        let labels =
            format!(r#"service="tasks",kind="{kind}",command="{name}",outcome="{outcome}""#);
        let line = format!("{metric}{{{labels}}} {times}\n");
        let series = format!("{metric}{{{labels}}}");
        let found = page.contains(&line) || (times == 0 && !page.contains(&series));
        assert!(found, "{line} is not in\n{page}");
    }
}

fn block_on<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

#[tokio::test]
async fn every_outcome_is_counted_and_timed_under_its_name() {
    operations!("tasks.outcomes", "tasks.outcomes_asked");
    let tasks = Tasks::default();
    let send = async |(by, does)| tasks.send(Do { by, does }).await;
    assert_eq!(send(does(Does::Succeeds)).await.unwrap(), 1);
    assert_eq!(send(does(Does::Succeeds)).await.unwrap(), 1);
    send(does(Does::FindsNothing)).await.unwrap_err();
    send((None, Does::Succeeds)).await.unwrap_err();
    send(does(Does::LosesItsStore)).await.unwrap_err();
    send(does(Does::IsBusy)).await.unwrap_err();
    assert_eq!(tasks.ask(Count).await.unwrap(), 1);
    for (outcome, times) in [("ok", 2), ("refused", 2), ("failed", 2), ("cancelled", 0)] {
        counted("command", "tasks.outcomes", outcome, times);
    }
    counted("query", "tasks.outcomes_asked", "ok", 1);
    let ran = tasks.ran.load(Ordering::Relaxed);
    assert_eq!(ran, 6, "who may not is refused before anything runs");
}

#[tokio::test]
async fn one_that_nobody_waits_for_was_cancelled_and_a_panic_is_a_failure() {
    operations!("tasks.dropped", "tasks.dropped_asked");
    let tasks = Tasks::default();
    let (by, does) = does(Does::Hangs);
    drop(tasks.send(Do { by, does }));
    counted("command", "tasks.dropped", "cancelled", 0); // it never began
    {
        let mut hanging = std::pin::pin!(tasks.send(Do { by, does }));
        assert!(matches!(futures::poll!(&mut hanging), Poll::Pending));
    }
    counted("command", "tasks.dropped", "cancelled", 1);
    let does = Does::Panics;
    let panicking = std::panic::AssertUnwindSafe(tasks.send(Do { by, does }));
    panicking.catch_unwind().await.unwrap_err();
    counted("command", "tasks.dropped", "failed", 1);
    assert_eq!(tasks.ask(Count).await.unwrap(), 1);
}

#[test]
fn what_it_logs_names_it_and_has_the_attributes_of_its_span() {
    operations!("tasks.lines", "tasks.lines_asked");
    let lines = json_lines(|| {
        let tasks = Tasks::default();
        let (by, does) = does(Does::Succeeds);
        block_on(tasks.send(Do { by, does })).unwrap();
        block_on(tasks.ask(Count)).unwrap();
    });
    let said = lines
        .iter()
        .map(|line| json!([line["action"], line["user.id"]]));
    let said: Vec<_> = said.collect();
    assert_eq!(
        said,
        [
            json!(["tasks.lines", 7]),
            json!(["tasks.lines_asked", null])
        ]
    );
}

#[test]
fn a_failure_is_logged_once_with_its_causes_and_a_refusal_for_who_asks() {
    operations!("tasks.failures", "tasks.failures_asked");
    let answered = |failure| {
        json_lines(|| {
            let work = async {
                let tasks = Tasks::default();
                let (by, does) = does(failure);
                let sent = tasks.send(Do { by, does }).await;
                sent.unwrap_err().into_response()
            };
            let request = Arc::new(context::RequestContext::default());
            block_on(context::scope(request, work));
        })
    };
    let lines = answered(Does::LosesItsStore);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for (field, value) in [
        ("level", "error"),
        ("service", "tasks"),
        ("command", "tasks.failures"),
        ("error_code", "store_unavailable"),
        ("error", "the task store failed: connection refused"),
    ] {
        assert_eq!(lines[0][field], value, "{field} in {lines:?}");
    }
    let lines = answered(Does::FindsNothing);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "debug");
    assert_eq!(lines[0]["error"], "no such task");
    assert!(
        answered(Does::IsBusy).is_empty(),
        "its queue says so, once for all"
    );
    // An error that no command had is logged by its answer.
    let lines = json_lines(|| {
        drop(TaskError::from(std::io::Error::other("away")).into_response());
    });
    assert_eq!(lines[0]["error"], "the task store failed: away");
    assert_eq!(
        Tasks::default().ask(Count).now_or_never().unwrap().unwrap(),
        1
    );
}
