//! Services that are asked to stop, while people write.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::load::Writers;
use crate::stack::{Fleet, eventually};

/// How long people write before a stop and after it.
const A_WHILE: Duration = Duration::from_millis(700);
/// The grace period of services, and what the system takes to end one.
const GRACE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_asked_to_stop_answers_what_is_under_way_and_exits_0() {
    let fleet = Fleet::whole().await;
    let caller = Caller::new(&fleet).await;
    let mut writers = Writers::of("stops");
    for service in fleet.services() {
        let mut process = Process::instead_of(&fleet, service).await;
        let stopped = async {
            tokio::time::sleep(A_WHILE).await;
            let under_way = caller.half_a_request(&fleet, service).await;
            process.ask_to_stop().await;
            if let Some(request) = under_way {
                request.finish().await;
            }
            process.exits_0().await;
            fleet.start(&[service]).await;
        };
        writers = writers.during(&fleet, stopped).await;
        println!("{service} stopped: {}", writers.count());
    }
    assert!(writers.count().cut_off > 0, "nobody noticed");
    let count = writers.account(&fleet).await;
    // A client that reached nobody may try again without a doubt: everything done was answered.
    assert_eq!(count.took_place, 0, "done and not answered: {count}");
}

/// A service as the stack starts it, whose end can be seen.
struct Process {
    service: String,
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Takes the place of the stack's own.
    async fn instead_of(fleet: &Fleet, service: &str) -> Self {
        let pid = fleet.pid(service).await;
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        let environment = fleet.environment(service).await;
        fleet.stop(&[service]).await;
        let log = fleet.folder(service).join("asked");
        let output = File::create(&log).unwrap();
        let child = Command::new(executable)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn();
        let process = Self {
            service: service.to_owned(),
            child: child.unwrap(),
            log,
        };
        let client = fleet.direct(service);
        eventually("it is ready", async || {
            let request = client.request("GET", "/ready").body("").unwrap();
            let answer = client.try_give(request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.text())
            }
        })
        .await;
        process
    }

    /// `SIGTERM`; returns when it was heard.
    async fn ask_to_stop(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
        eventually("it hears", async || {
            let log = fs::read_to_string(&self.log).unwrap();
            if log.contains("stopping: finishing") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    async fn exits_0(&mut self) {
        let ended = tokio::time::timeout(GRACE, self.child.wait()).await;
        let log = fs::read_to_string(&self.log).unwrap();
        let ended = ended.unwrap_or_else(|_| panic!("{} does not stop: {log}", self.service));
        assert_eq!(ended.unwrap().code(), Some(0), "{}: {log}", self.service);
        for cut in ["cut off", "grace period ended", "did not close in time"] {
            assert!(!log.contains(cut), "{}: {log}", self.service);
        }
    }
}

/// Somebody whose identity services take from auth's word.
struct Caller {
    identity: String,
}

impl Caller {
    async fn new(fleet: &Fleet) -> Self {
        let auth = fleet.direct("auth");
        let (name, password) = ("stopper", "correct horse battery staple");
        let new = json!({"email": "stopper@example.org", "username": name, "password": password});
        let register = auth
            .send("POST", "/api/auth/register", None, Some(new))
            .await;
        register.expect(201);
        let login = json!({"username": name, "password": password});
        let login = auth
            .send("POST", "/api/auth/login", None, Some(login))
            .await;
        let token = login.expect(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let validated = auth
            .send("GET", "/api/auth/validate", Some(&token), None)
            .await;
        assert_eq!(validated.status, 200);
        let identity = validated.headers["x-identity"].to_str().unwrap().to_owned();
        Self { identity }
    }

    /// A request whose body the service waits for; none for services that take none.
    async fn half_a_request(&self, fleet: &Fleet, service: &str) -> Option<UnderWay> {
        let (method, path, status, body) = match service {
            "auth" => (
                "PUT",
                "/api/auth/me",
                200,
                json!({"full_name": "Under Way"}),
            ),
            "user-profile" => ("POST", "/api/profile", 201, json!({"bio": "under way"})),
            "posts" => ("POST", "/api/posts", 201, post()),
            _ => return None,
        };
        let body = body.to_string();
        let mut connection = TcpStream::connect(("127.0.0.1", fleet.port(service)))
            .await
            .unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {service}\r\nX-Identity: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            self.identity,
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        // It says so when it begins to wait for the body.
        let mut said = [0; 12];
        connection.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100");
        Some(UnderWay {
            connection,
            status,
            body,
        })
    }
}

fn post() -> Value {
    json!({"title": "Under way", "content": "While the service is asked to stop.", "tags": ["stop"]})
}

/// A request that is not all there.
struct UnderWay {
    connection: TcpStream,
    status: u16,
    body: String,
}

impl UnderWay {
    async fn finish(mut self) {
        self.connection
            .write_all(self.body.as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        self.connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let expected = format!("HTTP/1.1 {} ", self.status);
        assert!(answer.contains(&expected), "{answer}");
    }
}
