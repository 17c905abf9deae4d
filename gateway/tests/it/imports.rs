//! Accounts that come from elsewhere, and go there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::http::eventually;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

use crate::world::{Folder, PASSWORD, Said, read};

/// Of [`PASSWORD`], as PHP makes it.
const HASH: &str = "$2y$04$nRwEHKsFZCJ1zGcJ0FNaFuIi.N66H00un09oLkQC.kVCJ8UFFoIki";

fn lines(path: &Path) -> Vec<Value> {
    let text = read(path);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// The events of accounts, by key.
async fn told(folder: &Folder) -> Vec<(String, i64, bool)> {
    let tail = [
        "events",
        "tail",
        "user.events",
        "--from-beginning",
        "--json",
    ];
    let said = folder.run(&tail).await.well();
    let events = said.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let key = event["key"].as_str().unwrap().to_owned();
        let imported = event["value"]["data"]["imported"] == true;
        (key, event["sequence"].as_i64().unwrap(), imported)
    });
    events.collect()
}

/// Waits until all events are published and applied by every group.
async fn settled(folder: &Folder) {
    eventually("every group has caught up", async || {
        let outbox = folder.run(&["outbox", "--json"]).await.well();
        let outbox: Value = serde_json::from_str(&outbox).unwrap();
        let topics = folder.run(&["events", "topics", "--json"]).await.well();
        let pending = |of: &Value| of["pending"] != 0;
        let waits = outbox.as_array().unwrap().iter().any(pending);
        let topics: Value = serde_json::from_str(&topics).unwrap();
        let readers = topics.as_array().unwrap().iter();
        let mut readers = readers.flat_map(|topic| topic["groups"].as_array().unwrap());
        (!waits && readers.all(|group| group["lag"] == 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn accounts_are_imported_with_their_passwords_and_no_welcome() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    rookery.join("taken").await;
    let file = folder.file("accounts.jsonl");
    let text = [
        json!({"email": "ada@example.org", "username": "ada", "password_hash": HASH}).to_string(),
        "no json".to_owned(),
        json!({"email": "TAKEN@example.org", "username": "other"}).to_string(),
        json!({"email": "bob@example.org", "username": "bob", "password_hash": "secret"})
            .to_string(),
        json!({"email": "carl@example.org", "username": "ADA"}).to_string(),
        json!({"email": "dora@example.org", "is_active": false}).to_string(),
    ];
    std::fs::write(
        &file,
        [&*text.join("\n").into_bytes(), b"\n\xff\n"].concat(),
    )
    .unwrap();
    let reasons = [
        (2, Value::Null),
        (3, json!("email")),
        (4, json!("password_hash")),
        (5, json!("username")),
        (7, Value::Null),
    ];
    let refused_by = |report: &Path| {
        let report = lines(report).into_iter();
        report
            .map(|of| (of["line"].as_i64().unwrap(), of["field"].clone()))
            .collect::<Vec<_>>()
    };

    let path = file.to_str().unwrap();
    let dry = ["users", "import", path, "--dry-run"];
    let checked = folder.run(&dry).await.badly(1);
    assert!(checked.contains("2 accounts would be opened"), "{checked}");
    let report = folder.file("accounts.jsonl.report");
    assert_eq!(refused_by(&report), reasons);
    let listed = folder.run(&["users", "list", "--json"]).await.well();
    assert_eq!(listed.lines().count(), 1, "{listed}");

    let elsewhere = folder.file("elsewhere");
    let import = [
        "users",
        "import",
        path,
        "--report",
        elsewhere.to_str().unwrap(),
    ];
    for _ in 0..2 {
        // The second time is answered as the first.
        let done = folder.run(&import).await.badly(1);
        assert!(done.contains("2 accounts are open"), "{done}");
        assert!(done.contains("5 lines were refused"), "{done}");
        assert_eq!(refused_by(&elsewhere), reasons);
        assert!(!read(&elsewhere).contains("secret"));
    }
    let itself = ["users", "import", path, "--report", path];
    let refused = folder.run(&itself).await.badly(1);
    assert!(refused.contains("its own report"), "{refused}");
    assert!(read(&report).contains("\"line\":2"), "what is there stays");

    let token = rookery.login("ada").await;
    rookery.publish(&token, "hello").await;
    settled(&folder).await;
    let stream = rookery.get("/api/activity-stream", None).await.expect(200);
    assert_eq!(stream["items"][0]["username"], "ada");
    let inbox = rookery.get("/api/notifications", Some(&token)).await;
    assert_eq!(inbox.expect(200)["total"], 0);
    let inactive = json!({"email": "dora@example.org", "password": PASSWORD});
    let refused = rookery.post("/api/auth/login", None, inactive).await;
    refused.expect_problem(401, "bad_credentials");
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let account = json!({"email": "ada@example.org", "username": "ada", "password_hash": HASH,
        "full_name": "Ada Lovelace", "created_at": "2001-02-03T04:05:06.789Z"});
    let again = json!({"email": "ADA@example.org", "username": "other"});
    // By standard input, where nothing says how long it is.
    let piped = async |text: String, more: &[&str]| {
        let import = [&["users", "import", "-"], more].concat();
        let mut child = folder
            .command(&import)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read that.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes()).await;
        Said::of(child.wait_with_output().await.unwrap())
    };
    let refused = piped(account.to_string(), &[]).await.badly(1);
    assert!(refused.contains("--report"), "{refused}");
    let report = folder.file("report");
    let report = ["--report", report.to_str().unwrap()];
    // Twice in a file is found without writing, too.
    for dry_run in [&["--dry-run"][..], &[]] {
        let more = [&report, dry_run].concat();
        let said = piped(format!("{account}\n{again}\n"), &more).await.badly(1);
        assert!(said.contains("1 accounts"), "{said}");
        assert!(said.contains("lines refused: 1"), "{said}");
    }
    rookery.join("bob").await;

    let file = folder.file("exported.jsonl");
    let export = ["users", "export", file.to_str().unwrap()];
    folder.run(&export).await.well();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let exists = folder.run(&export).await.badly(1);
    assert!(exists.contains("exported.jsonl"), "{exists}");
    let exported = lines(&file);
    assert_eq!(exported[0]["created_at"], "2001-02-03T04:05:06.789Z");
    assert_eq!(exported[0]["password_hash"], HASH);
    let printed = folder.run(&["users", "export"]).await.well();
    assert_eq!(printed, read(&file));

    let other = Folder::new();
    let another = other.serve().await;
    let import = ["users", "import", file.to_str().unwrap()];
    other.run(&import).await.well();
    assert_eq!(other.run(&["users", "export"]).await.well(), printed);
    another.login("ada").await;
    another.login("bob").await;
}

const MANY: usize = 12_000;

fn name(number: usize) -> String {
    format!("user-{number}")
}

/// Starts the import, and waits until `number` is there.
async fn begun(folder: &Folder, file: &str, number: usize) -> Child {
    let mut command = folder
        .command(&["users", "import", file])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the import has begun", async || {
        let ended = command.try_wait().unwrap();
        assert!(ended.is_none(), "it is too quick for this test");
        let shown = folder.run(&["users", "show", &name(number)]).await;
        (shown.code == Some(0)).then_some(())
    })
    .await;
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_after_its_server_was_killed_and_after_itself_was() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let file = folder.file("accounts.jsonl");
    let line = |number| json!({"email": format!("{number}@example.org"), "username": name(number)});
    let mut text: Vec<String> = (0..MANY).map(|number| line(number).to_string()).collect();
    text.insert(500, "no json".to_owned());
    std::fs::write(&file, text.join("\n")).unwrap();
    let path = file.to_str().unwrap();

    let import = begun(&folder, path, 0).await;
    rookery.kill().await;
    let broken = Said::of(import.wait_with_output().await.unwrap()).badly(1);
    assert!(broken.contains("the same command goes on"), "{broken}");

    let rookery = folder.serve().await;
    let mut import = begun(&folder, path, MANY / 2).await;
    import.kill().await.unwrap();

    let done = folder.run(&["users", "import", path]).await.badly(1);
    assert!(
        done.contains(&format!("{MANY} accounts are open")),
        "{done}"
    );
    assert!(done.contains("1 lines were refused"), "{done}");
    let report = lines(&folder.file("accounts.jsonl.report"));
    assert_eq!((report.len(), &report[0]["line"]), (1, &json!(501)));
    let exported = folder.run(&["users", "export"]).await.well();
    assert_eq!(exported.lines().count(), MANY);
    settled(&folder).await;
    let mut events = told(&folder).await;
    // A kill may have one published twice.
    events.sort();
    events.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(events.len(), MANY);
    assert!(
        events
            .iter()
            .all(|(_, version, imported)| *version == 1 && *imported)
    );
    rookery.stop().await;
}
