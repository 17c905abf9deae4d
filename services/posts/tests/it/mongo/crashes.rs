//! Processes and servers that die: acknowledged posts are stored, and stored posts are published.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use blocks::SystemClock;
use futures::TryStreamExt;
use futures::future::join_all;
use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use posts::store::PostStore;
use posts::store::mongo::{Mongo, MongoPosts};
use sql::StoreError;

use super::{Publishing, ada, create, draft, until};
use crate::stores::{connect, fresh_url};

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn what_a_process_left_behind_that_died_after_the_insert_is_swept_by_another() {
    let url = fresh_url();
    let dying = connect(&url, Arc::new(SystemClock)).await;
    let before = create(&dying, "before the other one starts").await;
    let living = connect(&url, Arc::new(SystemClock)).await;
    let folder = tempfile::tempdir().unwrap();
    let publishing = Publishing::start(&living, folder.path()).await;
    publishing.until_empty(&living).await;
    // Its relay was never there to be handed anything.
    let after = create(&dying, "while the other one runs").await;
    drop(dying);
    publishing.until_empty(&living).await;
    let published = publishing.published().await;
    let published: BTreeSet<String> = published.into_iter().map(|event| event.subject).collect();
    let expected = [before, after].map(|post| post.id.to_string());
    assert_eq!(published, expected.into());
    publishing.stop().await;
}

/// A MongoDB-wire server that can be killed.
struct Server {
    executable: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/mongo");
        let built = Command::new(scripts).arg("build").output().unwrap();
        assert!(built.status.success(), "scripts/mongo build failed");
        let executable = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = Self::spawn(&executable, folder.path(), port);
        Self {
            executable,
            folder,
            port,
            process,
        }
    }

    fn spawn(executable: &Path, folder: &Path, port: u16) -> Child {
        Command::new(executable)
            .args(["-listen", &format!("127.0.0.1:{port}"), "-data"])
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn mongo(&self) -> Mongo {
        let url = format!("mongodb://127.0.0.1:{}/posts", self.port);
        until("the server answers", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
        })
        .await;
        connect(&url, Arc::new(SystemClock)).await
    }

    /// Kills the server without a warning, and starts it again on its data.
    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(&self.executable, self.folder.path(), self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs scripts/mongo build"]
async fn a_server_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 4;
    const A_ROUND: usize = 60;
    let mut server = Server::start();
    let mongo = server.mongo().await;
    let folder = tempfile::tempdir().unwrap();
    let publishing = Publishing::start(&mongo, folder.path()).await;
    let acknowledged = Mutex::new(BTreeSet::new());
    let (count, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    let write = async || {
        let posts = MongoPosts::new(mongo.clone());
        while !stop.load(Ordering::Relaxed) {
            match posts.create(draft("t"), ada(), None).await {
                Ok(post) => {
                    acknowledged.lock().insert(post.id.to_string());
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let error = format!("{error:?}");
                    let away = error.contains("Unavailable");
                    assert!(away, "an outage is told from a refusal: {error}");
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    let kill = async {
        for round in 1..=ROUNDS {
            until("writes go on", async || {
                count.load(Ordering::Relaxed) >= round * A_ROUND
            })
            .await;
            server.restart();
        }
        until("writes go on", async || {
            count.load(Ordering::Relaxed) >= (ROUNDS + 1) * A_ROUND
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all((0..6).map(|_| write())), kill);
    assert!(
        refused.load(Ordering::Relaxed) > 0,
        "no write met a dead server"
    );

    publishing.until_empty(&mongo).await;
    let stored: Vec<Document> = mongo
        .database()
        .collection("posts")
        .find(doc! {})
        .projection(doc! {"_id": 1})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let stored = stored.iter().map(|post| post.get_str("_id").unwrap());
    let stored: BTreeSet<String> = stored.map(str::to_owned).collect();
    let published = publishing.published().await;
    let published: BTreeSet<String> = published.into_iter().map(|event| event.subject).collect();
    let acknowledged = acknowledged.into_inner();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    assert_eq!(stored, published);
    publishing.stop().await;
}

/// The answers of a store while its server is away.
#[tokio::test]
#[ignore = "needs scripts/mongo build"]
async fn a_server_that_is_away_is_an_outage_and_no_refusal() {
    let mut server = Server::start();
    let mongo = server.mongo().await;
    let post = create(&mongo, "1").await;
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let posts = MongoPosts::new(mongo);
    let read = posts.get(post.id).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    server.process = Server::spawn(&server.executable, server.folder.path(), server.port);
    until("the server is found again", async || {
        posts
            .get(post.id)
            .await
            .is_ok_and(|found| found.as_ref() == Some(&post))
    })
    .await;
}
