//! A server of its own for each test.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::http::{Client, eventually};
use tokio::process::{Child, Command};

const ROOKERY: &str = env!("CARGO_BIN_EXE_rookery");
pub const PASSWORD: &str = "correct horse battery";

/// A data folder, and where a server's output goes.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// `rookery` with the arguments, on this folder. Nothing of the developer's environment counts.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ROOKERY);
        command
            .env_clear()
            .env("DATA_DIR", self.data())
            .current_dir(self.0.path())
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command: its output, and how it ended.
    pub async fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().await.unwrap())
    }

    /// The same without a server.
    pub async fn run_offline(&self, args: &[&str]) -> Said {
        self.run(&[args, &["--offline"]].concat()).await
    }

    /// Starts a server on a free port.
    pub async fn serve(&self) -> Rookery {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, settings: &[(&str, &str)]) -> Rookery {
        let out = File::create(self.file("stdout")).unwrap();
        let err = File::create(self.file("stderr")).unwrap();
        let mut child = self
            .command(&["serve"])
            .env("PORT", "0")
            .envs(settings.iter().copied())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let address = eventually("the server says where it listens", async || {
            if let Some(ended) = child.try_wait().unwrap() {
                panic!("{ended}: {}", read(&self.file("stderr")));
            }
            // A new owner in the lock file means that the last server's address is gone.
            let owner = read(&self.data().join("rookery.lock"));
            let address = read(&self.data().join("rookery.addr"));
            let is_new = owner.trim() == format!("process {pid}");
            (is_new && !address.is_empty()).then(|| address.trim().to_owned())
        })
        .await;
        Rookery {
            child,
            client: Client::new(address),
        }
    }

    /// Starts a front for services: `posts=http://127.0.0.1:8000`, with commas.
    pub async fn front(&self, services: &str) -> Rookery {
        self.front_with(services, &[]).await
    }

    pub async fn front_with(&self, services: &str, settings: &[(&str, &str)]) -> Rookery {
        let log = self.file("front");
        let mut child = self
            .command(&["front", "--port", "0", "--service", services])
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address = eventually("the front says where it listens", async || {
            if let Some(ended) = child.try_wait().unwrap() {
                panic!("{ended}: {}", read(&log));
            }
            let log = read(&log);
            let said = log.lines().find(|line| line.contains("listening"))?;
            let said: Value = serde_json::from_str(said).ok()?;
            Some(said["address"].as_str().unwrap().to_owned())
        })
        .await;
        Rookery {
            child,
            client: Client::new(address),
        }
    }

    /// The output of the last server, both streams.
    pub fn output(&self) -> String {
        read(&self.file("stdout")) + &read(&self.file("stderr"))
    }
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The output of a command, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    #[track_caller]
    pub fn badly(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.err
    }
}

/// A running server.
pub struct Rookery {
    child: Child,
    pub client: Client,
}

impl Rookery {
    pub async fn get(&self, path: &str, token: Option<&str>) -> testkit::http::Answer {
        self.client.send("GET", path, token, None).await
    }

    pub async fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> testkit::http::Answer {
        self.client.send("POST", path, token, Some(body)).await
    }

    /// Opens an account and logs in: its id and token.
    pub async fn join(&self, name: &str) -> (i64, String) {
        let email = format!("{name}@example.org");
        let new = json!({"email": email, "username": name, "password": PASSWORD});
        let account = self.post("/api/auth/register", None, new).await.expect(201);
        (account["id"].as_i64().unwrap(), self.login(name).await)
    }

    pub async fn login(&self, name: &str) -> String {
        let who = json!({"username": name, "password": PASSWORD});
        let answer = self.post("/api/auth/login", None, who).await.expect(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Publishes a post: its id.
    pub async fn publish(&self, token: &str, title: &str) -> String {
        let post = json!({"title": title, "content": "content"});
        let made = self.post("/api/posts", Some(token), post).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// The titles of the global stream, newest first.
    pub async fn titles(&self) -> Vec<String> {
        let stream = self.get("/api/activity-stream", None).await.expect(200);
        let items = stream["items"].as_array().unwrap();
        let titles = items.iter().map(|item| item["title"].as_str().unwrap());
        titles.map(str::to_owned).collect()
    }

    pub async fn shows(&self, titles: &[&str]) {
        eventually(&format!("the stream shows {titles:?}"), async || {
            (self.titles().await == titles).then_some(())
        })
        .await;
    }

    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let done = Command::new("kill").args([name, &pid]).status().await;
        assert!(done.unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, self.child.wait())
            .await
            .expect("it ends")
            .unwrap()
    }

    /// Stops it as an operator does.
    pub async fn stop(mut self) {
        self.signal("-TERM").await;
        assert_eq!(self.ended().await.code(), Some(0));
    }

    /// Ends it as a power cut does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
