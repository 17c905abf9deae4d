use std::io::Write;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use super::layer::{Format, Lines};
use super::writer::Writer;
use crate::context::{self, RequestContext, Trace};
use events::{Context, Traceparent};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where a thread's subscriber is the only one, tracing asks another thread, which has none, whether a line that it
/// meets first is wanted, and believes that for all.
static BESIDE: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

fn log(format: Format, redacts: bool, work: impl FnOnce()) -> String {
    let sink = Sink::default();
    let (writer, guard) = Writer::start(sink.clone()).unwrap();
    let lines = Lines {
        service: "rookery".into(),
        format,
        redacts,
        writer,
    };
    LazyLock::force(&BESIDE);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
    drop(guard);
    String::from_utf8(sink.0.lock().clone()).unwrap()
}

/// The lines that `work` logs.
pub(crate) fn json_lines(work: impl FnOnce()) -> Vec<serde_json::Value> {
    let text = log(Format::Json, true, work);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn traceparent() -> Traceparent {
    Traceparent::new(u128::MAX / 0xff * 0xab, u64::MAX / 0xff * 0xcd)
}

fn request() -> Arc<RequestContext> {
    let request = RequestContext {
        trace: Trace {
            own: Context {
                traceparent: Some(traceparent()),
                correlation_id: Some("c-1".into()),
                ..Context::default()
            },
            parent: Some(traceparent().with_span(0xef)),
        },
        path: "/api/posts".into(),
        ..Default::default()
    };
    request.user_id.set(7).unwrap();
    Arc::new(request)
}

fn in_a_request(work: impl FnOnce()) {
    let span = tracing::info_span!(
        "posts.create",
        service = "posts",
        post.id = "p1",
        attempt = tracing::field::Empty
    );
    span.record("attempt", 2);
    let work = context::scope(request(), async { work() }).instrument(span);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work);
}

#[test]
fn a_json_line_names_the_request_the_action_and_the_caller() {
    let text = log(Format::Json, true, || {
        in_a_request(|| tracing::warn!(duration_ms = 1.5, ok = true, count = 3, "said \"so\"\n"));
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text.lines().count(), 1);
    for (name, value) in [
        ("level", serde_json::json!("warn")),
        ("service", "posts".into()),
        ("trace_id", "ab".repeat(16).into()),
        ("span_id", "cd".repeat(8).into()),
        ("parent_span_id", "00000000000000ef".into()),
        ("correlation_id", "c-1".into()),
        ("action", "posts.create".into()),
        ("user_id", 7.into()),
        ("message", "said \"so\"\n".into()),
        ("duration_ms", 1.5.into()),
        ("ok", true.into()),
        ("count", 3.into()),
        ("post.id", "p1".into()),
        ("attempt", 2.into()),
    ] {
        assert_eq!(line[name], value, "{name} in {text}");
    }
    let time = line["timestamp"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 24, "{time}");
}

#[test]
fn a_line_about_an_event_names_its_trace_and_the_span_that_is_named_as_it_runs() {
    let event = request().trace.own.clone();
    let text = log(Format::Json, true, || {
        let span = tracing::info_span!("consume", otel.name = "consume.post.created", group = "g");
        context::about(&event, || span.in_scope(|| tracing::info!("of a trace")));
        context::about(&Context::default(), || tracing::info!("of none"));
    });
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (name, value) in [
        ("trace_id", serde_json::json!("ab".repeat(16))),
        ("correlation_id", "c-1".into()),
        ("action", "consume.post.created".into()),
        ("group", "g".into()),
        ("otel.name", serde_json::Value::Null),
        ("user_id", serde_json::Value::Null),
    ] {
        assert_eq!(lines[0][name], value, "{name} in {text}");
    }
    for name in ["trace_id", "span_id", "correlation_id"] {
        assert!(lines[1].get(name).is_none(), "{name} in {text}");
    }
}

#[test]
fn a_human_line_stays_one_line_and_has_no_colours_off_a_terminal() {
    let text = log(Format::Human { colour: false }, true, || {
        in_a_request(|| tracing::info!(reason = "a\nb\u{1b}[31m", "two\nlines"));
        tracing::error!("plain");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    for part in [
        "INFO",
        "posts posts.create",
        "two\\nlines",
        "user_id=7",
        "trace_id=abab",
        "post.id=p1",
    ] {
        assert!(lines[0].contains(part), "{part} in {text}");
    }
    assert!(
        lines[1].contains("ERROR rookery") && lines[1].ends_with("plain"),
        "{text}"
    );
}

#[test]
fn no_canary_gets_into_a_log_in_any_format_or_place() {
    let canaries = [
        "hunter2-canary",
        "eyJhbGciOiJFZERTQSJ9.canary.sig",
        "canary@example.com",
        "cookie-canary",
    ];
    let work = || {
        let [password, token, email, cookie] = canaries;
        let span = tracing::info_span!(
            "auth.login",
            password,
            user.email = email,
            note = format!("for {email}")
        );
        span.in_scope(|| {
            tracing::info!(token, set_cookie = cookie, "login of {email} with Bearer {token}");
            tracing::error!(error = %format!("bad body: {{\"password\":\"{password}\"}}"), "failed");
            tracing::warn!(error = &std::io::Error::other(format!("refused {email}")) as &dyn std::error::Error);
            tracing::debug!(authorization = ?Some(token), body = ?email, "password={password}");
        });
    };
    for format in [Format::Json, Format::Human { colour: true }] {
        let text = log(format, true, work);
        assert_eq!(text.lines().count(), 4);
        for canary in canaries {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
        assert!(text.contains("[masked]"));
        // With masking turned off they are there: the test looks in the right place.
        let bare = log(format, false, work);
        assert!(
            canaries.iter().all(|canary| bare.contains(canary)),
            "{bare}"
        );
    }
}

#[test]
fn what_is_asked_for_wins_over_what_dependencies_may_say() {
    assert!(
        super::filter("info")
            .unwrap()
            .to_string()
            .contains("sqlx=warn")
    );
    assert!(
        super::filter("debug,sqlx=trace")
            .unwrap()
            .to_string()
            .contains("sqlx=trace")
    );
    assert!(
        super::is_level("off") && super::is_level("warn,posts=debug") && !super::is_level("a=b=c")
    );
}
