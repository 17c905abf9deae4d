//! Get-or-load.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blocks::metrics::Metrics;
use cache::{Cache, CacheSettings, Found, LoadError, op};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{LONG, PATIENCE, SHORT, Store, until};

fn names(store: &Store, settings: CacheSettings) -> Cache<String> {
    Cache::new(store, "names", settings, &Metrics::new())
}

fn usual(store: &Store) -> Cache<String> {
    names(store, CacheSettings::default())
}

fn ok(text: &str) -> Ready<Result<Option<String>, std::io::Error>> {
    ready(Ok(Some(text.to_owned())))
}

fn value(text: &str) -> Found<String> {
    Found::Value(text.to_owned())
}

/// A load that counts how often it runs, and takes a moment.
#[derive(Debug, Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    async fn load(&self, takes: Duration) -> Result<Option<String>, std::io::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        sleep(takes).await;
        ok("ada").await
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Each for its time.
pub async fn what_was_loaded_is_remembered_and_that_there_is_nothing_too(store: &Store) {
    let settings = CacheSettings {
        nothing_ttl: SHORT,
        ..CacheSettings::default()
    };
    let names = names(store, settings);
    let never = async || -> Result<_, std::io::Error> { panic!("it is remembered") };
    assert_eq!(names.get("7").await.unwrap(), Found::Unknown);
    let loaded = names.get_or_load("7", || ok("ada")).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("ada"));
    assert_eq!(names.get_or_load("7", never).await.unwrap(), loaded);
    assert_eq!(names.get("7").await.unwrap(), value("ada"));
    names.remove("7").await.unwrap();
    assert_eq!(names.get("7").await.unwrap(), Found::Unknown);
    names.set("7", Some(&"eve".into())).await.unwrap();
    assert_eq!(names.get("7").await.unwrap(), value("eve"));
    let nothing = names.get_or_load("8", async || Ok::<_, std::io::Error>(None));
    assert_eq!(nothing.await.unwrap(), None);
    until(async || names.get("8").await.unwrap() == Found::Unknown).await;
    names.set("7", None).await.unwrap();
    assert_ne!(names.get("7").await.unwrap(), value("eve"));
}

/// All get what one of them loads.
pub async fn a_thousand_callers_load_once(store: &Store) {
    let (names, load) = (usual(store), Counted::default());
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (names, load) = (names.clone(), load.clone());
        callers.spawn(async move { names.get_or_load("7", || load.load(SHORT)).await.unwrap() });
    }
    for name in callers.join_all().await {
        assert_eq!(name.as_deref(), Some("ada"));
    }
    assert_eq!(load.times(), 1);
}

/// The next one to ask loads again.
pub async fn a_failed_load_is_everybodys_and_is_forgotten(store: &Store) {
    let names = usual(store);
    let (times, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (names, times, go) = (names.clone(), Arc::clone(&times), Arc::clone(&go));
        callers.spawn(async move {
            let load = async || {
                times.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Err::<Option<String>, _>(std::io::Error::other("the database is away"))
            };
            names.get_or_load("7", load).await
        });
    }
    until(async || times.load(Ordering::SeqCst) == 1).await;
    // Whoever comes after the failure loads again, so each gets its word.
    let answers = async {
        let mut answers = Vec::new();
        while answers.len() < 20 {
            go.notify_one();
            let more = timeout(SHORT, callers.join_next()).await;
            answers.extend(more.ok().flatten());
        }
        answers
    };
    for answer in timeout(PATIENCE, answers).await.unwrap() {
        let Err(LoadError::Failed(why)) = answer.unwrap() else {
            panic!("the load failed");
        };
        assert_eq!(why.to_string(), "the database is away");
    }
    assert!(times.load(Ordering::SeqCst) < 20, "nobody shared a failure");
    let loaded = names.get_or_load("7", || ok("ada")).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("ada"));
}

/// Neither the lock of the store nor the turn in the process stays with it.
pub async fn a_caller_who_goes_away_in_the_middle_leaves_the_load_to_the_next(store: &Store) {
    let settings = CacheSettings {
        lease: LONG,
        patience: LONG,
        ..CacheSettings::default()
    };
    let (here, elsewhere) = (names(store, settings), names(store, settings));
    let began = Arc::new(Notify::new());
    let mut first = JoinSet::new();
    let (cache, begins) = (here.clone(), Arc::clone(&began));
    first.spawn(async move {
        let load = async || {
            begins.notify_one();
            std::future::pending::<Result<Option<String>, std::io::Error>>().await
        };
        cache.get_or_load("7", load).await
    });
    began.notified().await;
    let mut others = JoinSet::new();
    for cache in [here.clone(), here, elsewhere] {
        others.spawn(async move { cache.get_or_load("7", || ok("ada")).await.unwrap() });
    }
    sleep(SHORT).await;
    assert!(others.try_join_next().is_none(), "the first one is at it");
    first.shutdown().await;
    let others = timeout(PATIENCE, others.join_all()).await;
    for name in others.expect("nobody waits for one who is gone") {
        assert_eq!(name.as_deref(), Some("ada"));
    }
}

/// What a load read before a change would stay for its whole time.
pub async fn what_changed_under_a_load_is_not_remembered(store: &Store) {
    let names = usual(store);
    let load = async || {
        names.remove("7").await.unwrap();
        ok("from before").await
    };
    let loaded = names.get_or_load("7", load).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("from before"));
    assert_eq!(names.get("7").await.unwrap(), Found::Unknown);
    let load = async || {
        names.set("7", Some(&"new".into())).await.unwrap();
        ok("from before").await
    };
    names.get_or_load("7", load).await.unwrap();
    assert_eq!(names.get("7").await.unwrap(), value("new"));
}

/// A type that changed under the same name.
pub async fn what_cant_be_read_is_loaded_again(store: &Store) {
    let names = usual(store);
    store
        .run(op::set("names:7", "{\"name\":1}", Some(LONG)))
        .await
        .unwrap();
    let loaded = names.get_or_load("7", || ok("ada")).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("ada"));
    assert_eq!(names.get("7").await.unwrap(), value("ada"));
}

/// Who loads holds on to its right. Two caches are two processes: they share the store alone.
pub async fn a_load_that_takes_longer_than_its_lease_runs_once(store: &Store) {
    let settings = CacheSettings {
        lease: Duration::from_millis(1500),
        patience: LONG,
        ..CacheSettings::default()
    };
    let load = Counted::default();
    let mut callers = JoinSet::new();
    for _ in 0..2 {
        let (names, load) = (names(store, settings), load.clone());
        let takes = settings.lease * 2;
        callers.spawn(async move { names.get_or_load("7", || load.load(takes)).await.unwrap() });
    }
    for name in callers.join_all().await {
        assert_eq!(name.as_deref(), Some("ada"));
    }
    assert_eq!(load.times(), 1);
}

/// The one who waited loads, and leaves it to the other to remember.
pub async fn a_load_that_takes_longer_than_patience_is_not_waited_for(store: &Store) {
    let settings = CacheSettings {
        patience: SHORT,
        ..CacheSettings::default()
    };
    let (here, elsewhere) = (names(store, settings), names(store, settings));
    let began = Arc::new(Notify::new());
    let mut first = JoinSet::new();
    let begins = Arc::clone(&began);
    first.spawn(async move {
        let load = async || {
            begins.notify_one();
            std::future::pending::<Result<Option<String>, std::io::Error>>().await
        };
        here.get_or_load("7", load).await
    });
    began.notified().await;
    let loaded = elsewhere.get_or_load("7", || ok("ada")).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("ada"));
    assert_eq!(elsewhere.get("7").await.unwrap(), Found::Unknown);
    first.shutdown().await;
}
