//! The spans of an event's way as a subscriber sees them; its trace goes on in the events that its effect
//! publishes.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::bus::{EventBus, TopicSpec};
use blocks::consumer::{ConsumerLoop, HandlerError};
use blocks::metrics::Metrics;
use blocks::relay::Relay;
use blocks::{Clock, SystemClock, context};
use events::{Context, Envelope, Traceparent};
use parking_lot::Mutex;
use sql::log::TopicLog;
use sql::{Durability, Handler, SqlConsumer, StoreError, Tx};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::ledger::{self, MIGRATIONS, STEPS, Stepped};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Passes the first step on, as the first one of another counter.
struct PassesOn;

#[async_trait]
impl Handler for PassesOn {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        let step = event.open::<Stepped>().unwrap()?;
        tracing::info!("handles {}", step.counter);
        if step.counter == "given" {
            let counter = "caused".to_owned();
            tx.publish(&Stepped { counter, value: 1 }, 1).await?;
        }
        Ok(())
    }
    async fn reset(&self, _: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn context_of(log: &TopicLog, counter: &str) -> Context {
    for _ in 0..1000 {
        for partition in 0..i32::from(STEPS.partitions) {
            let records = log.read(STEPS.name, partition, 0, 10).await.unwrap();
            let mut records = records.iter();
            if let Some(found) = records.find(|found| found.key.as_deref() == Some(counter)) {
                return Context::of(&found.headers);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no event of {counter}");
}

#[tokio::test]
async fn a_trace_goes_on_in_what_an_event_causes_and_each_step_of_its_way_is_a_span() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // Where there is one subscriber only, a span that another test reaches first is off for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());

    let counters = testkit::db::sqlite("counters", MIGRATIONS).await;
    let db = testkit::db::sqlite("ledger", MIGRATIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let (clock, metrics): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Metrics::new());
    let path = folder.path().join("log.db");
    let log = TopicLog::open(&path, Durability::Process, Arc::clone(&clock));
    let log = log.await.unwrap();
    log.ensure_topics(&[TopicSpec::from(&STEPS)]).await.unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(log.clone());
    let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
    for outbox in [&counters.db, &db.db] {
        let (outbox, bus, clock) = (Arc::new(outbox.clone()), bus.clone(), clock.clone());
        loops.spawn(Relay::new(outbox, bus, clock, Arc::clone(&metrics)).run(stop.clone()));
    }
    let consumer = SqlConsumer::new(db.db.clone(), "ledger", &[STEPS], Arc::new(PassesOn));
    let member = ConsumerLoop::new(consumer.consumer(), bus, clock, &metrics);
    loops.spawn(member.run(stop.clone()));

    let caller = Context {
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        tracestate: Some("rojo=1".into()),
        correlation_id: Some("c-1".into()),
    };
    let write = ledger::step(&counters.db, "given".into(), false);
    context::caused_by(&caller, write).await.unwrap();
    let given = context_of(&log, "given").await;
    let caused = context_of(&log, "caused").await;
    stop.cancel();
    while let Some(ended) = loops.join_next().await {
        ended.unwrap().unwrap();
    }
    log.close().await;

    let spans = [caller.traceparent, given.traceparent, caused.traceparent].map(Option::unwrap);
    for (before, after) in [(0, 1), (1, 2)] {
        let (before, after) = (spans[before], spans[after]);
        assert_eq!(before.trace_id(), after.trace_id());
        assert_ne!(before.span_id(), after.span_id());
        assert!(!after.is_sampled());
    }
    assert_eq!(
        (&given.tracestate, &caused.tracestate),
        (&caller.tracestate, &caller.tracestate)
    );
    assert_eq!(caused.correlation_id, caller.correlation_id);

    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let handled = text.lines().find(|line| line.ends_with("handles given"));
    for part in [
        "consume.batch{group=\"ledger\" records=1}:db.write{service=\"ledger\"}:consume{",
        &format!("otel.name=consume.{} ", <Stepped as events::Event>::TYPE),
        &format!("topic={} partition=", STEPS.name),
        "offset=0 event.id=",
    ] {
        assert!(handled.unwrap().contains(part), "{part} in {text}");
    }
    for span in [
        "relay.drain{service=\"counters\" events=1 outcome=\"published\"}:",
        "db.write{service=\"counters\"}:",
    ] {
        let ends = |line: &str| line.contains(span) && line.contains("close");
        assert!(text.lines().any(ends), "{span} in {text}");
    }
}
