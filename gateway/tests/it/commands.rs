//! The command line, beside a server and without one.

use std::process::Stdio;

use testkit::http::eventually;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::world::{Folder, PASSWORD, Said};

pub(crate) async fn create_admin(folder: &Folder, name: &str, how: &[&str]) -> Said {
    let email = format!("{name}@example.org");
    let args = ["admin", "create", "--email", &email, "--username", name];
    with_password(folder, &[&args, how].concat(), PASSWORD).await
}

/// Runs a command that reads a password.
async fn with_password(folder: &Folder, args: &[&str], password: &str) -> Said {
    let mut child = folder
        .command(&[args, &["--password-stdin"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{password}\n").as_bytes())
        .await
        .unwrap();
    drop(stdin);
    Said::of(child.wait_with_output().await.unwrap())
}

/// The commands that say the same with and without a server.
async fn looks_around(folder: &Folder, records: usize, how: &[&str]) {
    let run = async |args: &[&str]| folder.run(&[args, how].concat()).await;
    let topics = run(&["events", "topics"]).await.well();
    for part in [
        "posts-events",
        "user.events.dlq",
        "feed-generator (0)",
        "compacted after 7 days",
    ] {
        assert!(topics.contains(part), "{part} in {topics}");
    }
    let tail = run(&["events", "tail", "posts-events"]).await.well();
    assert_eq!(tail.lines().count(), 10, "{tail}");
    assert!(tail.lines().last().unwrap().contains("post 12"), "{tail}");
    let all = run(&["events", "tail", "posts-events", "--from-beginning"])
        .await
        .well();
    assert_eq!(all.lines().count(), records);
    let titles: Vec<String> = all
        .lines()
        .map(|line| {
            line.split("\"title\":\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let expected: Vec<String> = (1..=12).map(|number| format!("post {number}")).collect();
    // Events that were published once more lie behind newer ones in their partition.
    if records == 12 {
        assert_eq!(titles, expected, "by time over all partitions");
    }
    let some = run(&[
        "events",
        "tail",
        "posts-events",
        "--from-beginning",
        "-n",
        "2",
        "--json",
    ])
    .await
    .well();
    let first: serde_json::Value = serde_json::from_str(some.lines().next().unwrap()).unwrap();
    assert_eq!(some.lines().count(), 2);
    assert_eq!(first["value"]["data"]["title"], "post 1");
    assert_eq!(first["event_type"], "post.created");

    // Rows are marked together, a moment after they were published.
    eventually("rows are marked as published", async || {
        let outbox = run(&["outbox", "--list", "3"]).await.well();
        outbox.contains("published").then_some(())
    })
    .await;
    assert_eq!(run(&["dlq", "list"]).await.well(), "Nothing waits.\n");
    let rebuilt = run(&["feed", "rebuild"]).await.well();
    assert!(
        rebuilt.contains(&format!("of {records} events")),
        "{rebuilt}"
    );

    let unknown = run(&["events", "tail", "nope"]).await.badly(1);
    assert!(
        unknown.contains("nope") && unknown.contains("posts-events"),
        "{unknown}"
    );
    let unknown = run(&["dlq", "list", "--group", "nope"]).await.badly(1);
    assert!(unknown.contains("feed-generator"), "{unknown}");
    let unknown = run(&["dlq", "replay", "feed-generator:9"]).await.badly(1);
    assert!(unknown.contains("no") && unknown.contains('9'), "{unknown}");
    assert_eq!(run(&["dlq", "replay", "9"]).await.code, Some(2));
}

#[tokio::test]
async fn commands_say_the_same_beside_a_server_and_without_one() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    let mut titles = Vec::new();
    for number in 1..=12 {
        let title = format!("post {number}");
        rookery.publish(&token, &title).await;
        titles.insert(0, title);
    }
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    rookery.shows(&titles).await;
    looks_around(&folder, 12, &[]).await;
    assert_eq!(rookery.titles().await, titles);

    let republished = folder.run(&["outbox", "republish", "--since", "1h", "--service", "posts"]);
    assert!(republished.await.well().contains("posts: 12 events"));
    let published = async || {
        let outbox = folder.run(&["outbox", "--json"]).await.well();
        let outbox: serde_json::Value = serde_json::from_str(&outbox).unwrap();
        let waits = |of: &serde_json::Value| of["pending"] != 0;
        (!outbox.as_array().unwrap().iter().any(waits)).then_some(())
    };
    eventually("the sweep publishes them", published).await;
    let all = folder
        .run(&["events", "tail", "posts-events", "--from-beginning"])
        .await
        .well();
    assert_eq!(all.lines().count(), 24);
    // Readers skip what they have.
    eventually("the feed has taken them in", async || {
        let topics = folder.run(&["events", "topics"]).await.well();
        topics.contains("feed-generator (0)").then_some(())
    })
    .await;
    assert_eq!(rookery.titles().await, titles);

    create_admin(&folder, "root", &[]).await.well();
    let root = rookery.login("root").await;
    let me = rookery.get("/api/auth/me", Some(&root)).await.expect(200);
    assert_eq!(me["role"], "admin");
    rookery.stop().await;

    looks_around(&folder, 24, &["--offline"]).await;
    create_admin(&folder, "chief", &["--offline"]).await.well();
    let again = create_admin(&folder, "chief", &["--offline"])
        .await
        .badly(1);
    assert!(
        again.contains("taken") && !again.contains(PASSWORD),
        "{again}"
    );

    let rookery = folder.serve().await;
    rookery.shows(&titles).await;
    rookery.login("chief").await;
}

#[tokio::test]
async fn a_socket_that_a_killed_server_left_is_no_obstacle() {
    let folder = Folder::new();
    folder.serve().await.kill().await;
    assert!(folder.data().join("rookery.sock").exists());
    let error = folder.run(&["events", "topics"]).await.badly(1);
    assert!(
        error.contains("no server runs") && error.contains("--offline"),
        "{error}"
    );
    folder.run_offline(&["events", "topics"]).await.well();
    let rookery = folder.serve().await;
    folder.run(&["events", "topics"]).await.well();
    rookery.stop().await;
    assert!(!folder.data().join("rookery.sock").exists());
}

#[tokio::test]
async fn following_shows_what_comes_also_after_a_restart_of_the_server() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    rookery.publish(&token, "before").await;
    rookery.shows(&["before"]).await;
    let mut tail = folder
        .command(&["events", "tail", "posts-events", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = async || {
        let patience = std::time::Duration::from_secs(20);
        let line = tokio::time::timeout(patience, lines.next_line()).await;
        line.expect("a line comes").unwrap().unwrap()
    };
    assert!(next().await.contains("before"));
    rookery.publish(&token, "while it runs").await;
    assert!(next().await.contains("while it runs"));
    rookery.stop().await;
    let rookery = folder.serve().await;
    rookery.publish(&token, "after the restart").await;
    assert!(next().await.contains("after the restart"));
    tail.kill().await.unwrap();
}

#[tokio::test]
async fn without_a_data_folder_commands_say_so_and_make_none() {
    let folder = Folder::new();
    for said in [
        folder.run(&["events", "topics"]).await,
        folder.run_offline(&["events", "topics"]).await,
    ] {
        let error = said.badly(1);
        assert!(error.contains("DATA_DIR"), "{error}");
        assert!(!folder.data().exists());
    }
}

#[tokio::test]
async fn offline_refuses_a_folder_that_is_served_and_changes_no_schema() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let error = folder.run_offline(&["dlq", "list"]).await.badly(1);
    assert!(error.contains("in use"), "{error}");
    rookery.stop().await;
    let file = folder.data().join("notification.db");
    std::fs::remove_file(&file).unwrap();
    let said = folder.run_offline(&["outbox"]).await;
    assert!(said.err.contains("could not open notification"), "{said:?}");
    assert!(
        said.code == Some(1) && said.out.contains("posts"),
        "{said:?}"
    );
    assert!(!file.exists());
    // The rest was printed, and the command failed: nothing may look empty that was not looked at.
    let listed = folder.run_offline(&["dlq", "list"]).await;
    assert!(
        listed.code == Some(1) && listed.out.is_empty(),
        "{listed:?}"
    );
}

#[tokio::test]
async fn a_fleet_is_asked_at_the_addresses_that_are_given() {
    let folder = Folder::new();
    let fleet = |more: &[(&str, &str)]| {
        let mut command = folder.command(&["dlq", "list"]);
        command.envs(more.iter().copied());
        command
    };
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9");
    let key = ("OPERATOR_KEY", "0123456789abcdef0123456789abcdef");
    let posts = ("OPERATOR_SERVICES", "posts=http://127.0.0.1:9");
    for (settings, named) in [
        (&[kafka][..], "OPERATOR_SERVICES"),
        (&[posts], "OPERATOR_KEY"),
        (
            &[("OPERATOR_SERVICES", "auth=http://127.0.0.1:9")],
            "SECRET_KEY",
        ),
        (&[posts, ("OPERATOR_KEY", "short")], "32 random bytes"),
        (
            &[
                posts,
                ("OPERATOR_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ],
            "32 random bytes",
        ),
        (&[("OPERATOR_SERVICES", " ")], "DATA_DIR"),
        (&[posts, key], "posts does not answer at 127.0.0.1:9"),
        (
            &[("OPERATOR_SERVICES", "pots=http://127.0.0.1:9")],
            "no service \"pots\"",
        ),
    ] {
        let said = Said::of(fleet(settings).output().await.unwrap());
        assert!(
            said.code != Some(0) && said.err.contains(named),
            "{named}: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_variable_that_is_nearly_a_setting_is_warned_of() {
    let folder = Folder::new();
    let mut command = folder.command(&["config"]);
    let said = Said::of(command.env("LOG_LEVLE", "debug").output().await.unwrap());
    assert!(said.err.contains("did you mean LOG_LEVEL?"), "{said:?}");
    said.well();
}

#[tokio::test]
async fn a_setting_of_a_fleet_is_warned_of_where_it_is_ignored() {
    let folder = Folder::new();
    let server = folder
        .serve_with(&[("REDIS_URL", "redis://127.0.0.1:9"), ("LOG_LEVEL", "warn")])
        .await;
    server.stop().await;
    let output = folder.output();
    assert!(output.contains("REDIS_URL is of a fleet"), "{output}");
    assert!(!output.contains("LOG_LEVEL"), "{output}");
}

#[tokio::test]
async fn help_teaches_with_examples() {
    let folder = Folder::new();
    for (args, example) in [
        (&["--help"][..], "rookery events tail posts-events --follow"),
        (&["events", "tail", "--help"], "--from-beginning"),
        (&["outbox", "--help"], "republish --since 2h"),
        (&["dlq", "replay", "--help"], "rookery dlq replay --all"),
        (&["admin", "create", "--help"], "--password-stdin"),
    ] {
        let help = folder.run(args).await.well();
        assert!(help.contains(example), "{example} in {help}");
    }
    let routes = folder.run(&["routes"]).await.well();
    assert!(routes.contains("/api/posts/{id}"), "{routes}");
}

#[cfg(not(feature = "fleet"))]
#[tokio::test]
async fn a_rookery_that_knows_no_server_says_how_to_get_one_that_moves() {
    let folder = Folder::new();
    let error = folder.run(&["migrate"]).await.badly(1);
    assert!(
        error.contains("cargo build") && error.contains("--features fleet"),
        "{error}"
    );
}

#[tokio::test]
async fn accounts_are_managed_beside_a_server_and_without_one() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    create_admin(&folder, "root", &[]).await.well();
    let (ada, token) = rookery.join("ada").await;
    let run = async |args: &[&str]| folder.run(args).await;
    let listed = run(&["users", "list", "--q", "AD"]).await.well();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("ada@example.org"), "{listed}");
    let json = run(&["users", "list", "--json", "-n", "1"]).await.well();
    let first: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(first["username"], "root");
    assert!(json.find("password").is_none());
    let id = ada.to_string();
    for user in [&*id, "Ada@example.org", "ADA"] {
        let shown = run(&["users", "show", user]).await.well();
        assert!(shown.contains("ada@example.org"), "{shown}");
    }
    // A number is an id as it is written, and a name otherwise; one that is both is refused.
    let new = |name: &str| {
        let email = format!("number-{name}@example.org");
        serde_json::json!({"email": email, "username": name, "password": PASSWORD})
    };
    for name in ["002", "001"] {
        let made = rookery.post("/api/auth/register", None, new(name)).await;
        made.expect(201);
        let shown = run(&["users", "show", name]).await.well();
        assert!(shown.contains(&format!("number-{name}@")), "{shown}");
    }
    let fifth = rookery.post("/api/auth/register", None, new("100")).await;
    fifth.expect(201);
    let shown = run(&["users", "show", "100"]).await.well();
    assert!(shown.contains("number-100@"), "{shown}");
    run(&["users", "set-role", "ada", "admin"]).await.well();
    rookery.get("/api/v1/users", Some(&token)).await.expect(200);
    run(&["users", "deactivate", "ada"]).await.well();
    rookery.get("/api/v1/users", Some(&token)).await.expect(401);
    let listed = run(&["users", "list", "--inactive"]).await.well();
    assert!(
        listed.contains("ada") && !listed.contains("root"),
        "{listed}"
    );
    let refused = run(&["users", "set-role", "root", "user"]).await.badly(1);
    assert!(refused.contains("last active admin"), "{refused}");
    run(&["users", "activate", "ada"]).await.well();
    let token = rookery.login("ada").await;
    let weak = with_password(&folder, &["users", "set-password", "ada"], "password").await;
    assert!(weak.badly(1).contains("password"));
    let set = with_password(
        &folder,
        &["users", "set-password", "ada"],
        "a new long password",
    );
    assert!(set.await.well().contains("ended: 1"));
    rookery.get("/api/auth/me", Some(&token)).await.expect(401);
    rookery.stop().await;

    let offline = async |args: &[&str]| folder.run(&[args, &["--offline"]].concat()).await;
    let only_said = offline(&["users", "delete", "ada"]).await.well();
    assert!(only_said.contains("--execute"), "{only_said}");
    offline(&["users", "delete", "ada", "--execute"])
        .await
        .well();
    let refused = offline(&["users", "show", "ada"]).await.badly(1);
    assert!(refused.contains("no such user"), "{refused}");
    let rookery = folder.serve().await;
    eventually("the services have erased what they held", async || {
        let status = run(&["erasure", "status", &id]).await.well();
        (status.contains("notification") && status.contains("user-profile")).then_some(())
    })
    .await;
    rookery.stop().await;
}

#[tokio::test]
async fn keys_are_rotated_beside_a_server_without_a_refusal_and_at_once_where_one_leaked() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    let asked = async || {
        for _ in 0..20 {
            let token = rookery.login("ada").await;
            rookery.get("/api/auth/me", Some(&token)).await.expect(200);
        }
    };
    let rotated = async || {
        for _ in 0..2 {
            folder.run(&["keys", "rotate"]).await.well();
        }
    };
    tokio::join!(asked(), rotated());
    rookery.get("/api/auth/me", Some(&token)).await.expect(200);
    let listed = folder.run(&["keys", "list"]).await.well();
    assert_eq!(listed.matches("verifies").count(), 2, "{listed}");
    let said = folder.run(&["keys", "rotate", "--now"]).await.well();
    assert!(said.contains("refused"), "{said}");
    rookery.get("/api/auth/me", Some(&token)).await.expect(401);
    let token = rookery.login("ada").await;
    rookery.get("/api/auth/me", Some(&token)).await.expect(200);
    rookery.stop().await;
    folder.run_offline(&["keys", "rotate"]).await.well();
    let json = folder.run_offline(&["keys", "list", "--json"]).await.well();
    let keys: serde_json::Value = serde_json::from_str(&json).unwrap();
    let states = keys.as_array().unwrap().iter().map(|key| &key["state"]);
    let retired = ["retired", "retired", "retired", "verifies", "signs"];
    assert_eq!(states.collect::<Vec<_>>(), retired);
    assert!(!json.contains("sealed"), "{json}");
}
