//! The store in memory.

use std::sync::Arc;

use blocks::metrics::Metrics;
use blocks::{ManualClock, SystemClock};
use cache::{Cache, CacheError, CacheSettings, Limits, LoadError, MemoryStore, Store, op};
use chrono::TimeDelta;
use tokio::time::{Duration, Instant};

fn memory(limits: Limits) -> Store {
    Store::new(MemoryStore::new(Arc::new(SystemClock), limits), "t:")
}

testkit::cache_contract!(async { memory(Limits::default()) });

#[tokio::test]
async fn values_give_way_to_others_and_what_is_kept_does_not() {
    let store = memory(Limits {
        bytes: 1 << 20,
        keys: 100,
        ..Limits::default()
    });
    store.run(op::increment("n", 1)).await.unwrap();
    for n in 0..5000 {
        let value = vec![0; 1024];
        store
            .run(op::set(&n.to_string(), value, None))
            .await
            .unwrap();
    }
    let mut left = 0;
    for n in 0..5000 {
        left += usize::from(store.run(op::get(&n.to_string())).await.unwrap().is_some());
    }
    assert!((1..1100).contains(&left), "{left}");
    assert_eq!(store.run(op::increment("n", 1)).await.unwrap(), 2);
}

#[tokio::test]
async fn fencing_tokens_rise_although_the_clock_is_set_back() {
    let clock = Arc::new(ManualClock::default());
    let memory = MemoryStore::new(Arc::<ManualClock>::clone(&clock), Limits::default());
    let store = Store::new(memory, "t:");
    let lease = std::time::Duration::from_mins(1);
    let mut last = 0;
    for step in [0, -1000, 500, 60_000, -60_000] {
        clock.advance(TimeDelta::milliseconds(step));
        let lock = store.lock("door", lease).await.unwrap().unwrap();
        assert!(lock.token() > last);
        last = lock.token();
        assert!(lock.release().await.unwrap());
    }
}

#[tokio::test]
async fn what_a_cache_was_asked_is_counted() {
    let (store, metrics) = (memory(Limits::default()), Metrics::new());
    let names: Cache<u8> = Cache::new(&store, "names", CacheSettings::default(), &metrics);
    let ok = |value| async move { Ok::<_, std::io::Error>(value) };
    for key in ["1", "1", "1", "2"] {
        names.get_or_load(key, || ok(Some(1))).await.unwrap();
    }
    for _ in 0..2 {
        names.get_or_load("3", || ok(None)).await.unwrap();
    }
    let fail = async || Err::<Option<u8>, _>(std::io::Error::other("away"));
    names.get_or_load("4", fail).await.unwrap_err();
    let page = metrics.encode();
    for (outcome, times) in [
        ("hit", 2),
        ("nothing", 1),
        ("loaded", 4),
        ("failed", 1),
        ("unlocked", 0),
    ] {
        let line = format!(r#"cache_requests_total{{cache="names",outcome="{outcome}"}} {times}"#);
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn what_is_kept_is_refused_when_its_bytes_are_taken_and_values_are_not() {
    let store = memory(Limits {
        kept_bytes: 100_000,
        ..Limits::default()
    });
    let mut pushed = 0;
    let push = || op::list_push("jobs", vec![0; 1000]);
    while store.run(push()).await.is_ok() {
        pushed += 1;
    }
    assert!((90..100).contains(&pushed), "{pushed}");
    let full = store.run(op::set_add("online", vec![0; 1000])).await;
    assert!(matches!(full, Err(CacheError::Full)), "{full:?}");
    store
        .run(op::set("motd", vec![0; 1000], None))
        .await
        .unwrap();
    store.run(op::list_pop("jobs")).await.unwrap();
    assert_eq!(store.run(push()).await.unwrap(), pushed);
}

#[tokio::test(start_paused = true)]
async fn patience_is_one_for_another_ones_load_and_for_a_place() {
    let settings = CacheSettings {
        unlocked_loads: 1,
        ..CacheSettings::default()
    };
    let store = memory(Limits::default());
    let names: Cache<u8> = Cache::new(&store, "names", settings, &Metrics::new());
    let long = Duration::from_hours(1);
    // Somebody loads both and never ends.
    let _first = store.lock("names:1", long).await.unwrap().unwrap();
    let _second = store.lock("names:2", long).await.unwrap().unwrap();
    let of = names.clone();
    let mut hangs = tokio::task::JoinSet::new();
    hangs.spawn(async move {
        let load = std::future::pending::<Result<Option<u8>, std::io::Error>>;
        of.get_or_load("1", load).await
    });
    tokio::time::sleep(settings.patience / 2).await;
    let began = Instant::now();
    let ok = async || Ok::<_, std::io::Error>(Some(1));
    let busy = names.get_or_load("2", ok).await;
    assert!(matches!(busy, Err(LoadError::Busy)), "{busy:?}");
    let waited = began.elapsed();
    assert!(
        (settings.patience..settings.patience * 11 / 10).contains(&waited),
        "{waited:?}"
    );
}
