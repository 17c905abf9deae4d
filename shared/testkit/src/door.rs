//! A door to a Redis server, which a test can shut, hold, and open again.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Takes connections and lets nothing through.
    Held,
}

/// Lets connections through to a server.
pub struct Door {
    server: String,
    port: u16,
    state: watch::Sender<State>,
    /// All that goes through it; gone when shut.
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Door {
    /// An open door to the server that a URL names.
    pub async fn to(url: &str) -> Self {
        let server = url.strip_prefix("redis://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Self {
            server,
            port: listener.local_addr().unwrap().port(),
            state: watch::Sender::new(State::Open),
            tasks: Mutex::default(),
        };
        door.let_through(listener);
        door
    }

    /// The URL of the door.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn let_through(&self, listener: TcpListener) {
        let (server, state) = (self.server.clone(), self.state.subscribe());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut inside = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                inside.spawn(pass(client, server.clone(), state.clone()));
            }
        });
        *self.tasks.lock() = Some(tasks);
    }

    /// Cuts all connections and refuses new ones.
    pub async fn shut(&self) {
        let tasks = self.tasks.lock().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Lets nothing through any more, and cuts nothing.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Opens the door again.
    pub async fn open(&self) {
        self.state.send_replace(State::Open);
        if self.tasks.lock().is_some() {
            return;
        }
        for _ in 0..100 {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", self.port)).await {
                return self.let_through(listener);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the port was taken meanwhile");
    }
}

/// Copies in both directions while the door is open. A held connection may have lost bytes, so it ends
/// when the door opens again.
async fn pass(mut client: TcpStream, server: String, mut state: watch::Receiver<State>) {
    if state.wait_for(|state| *state == State::Open).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&server).await else {
        return;
    };
    let mut holding = state.clone();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        held = holding.wait_for(|state| *state == State::Held) => drop(held),
    }
    drop(state.wait_for(|state| *state == State::Open).await);
}
