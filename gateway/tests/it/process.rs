//! Starting and stopping.

use testkit::http::{Client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Folder, read};

#[tokio::test]
async fn a_server_says_where_it_listens_where_its_data_is_and_what_to_try() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let said = read(&folder.file("stderr"));
    let data = folder.data().canonicalize().unwrap();
    for part in [
        rookery.client.address(),
        data.to_str().unwrap(),
        "/api/auth/register",
        "/api/auth/login",
        "/api/posts",
        "rookery events tail posts-events --data-dir",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // The three commands work as they are written.
    let script: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("curl"))
        .map(str::trim)
        .collect();
    let script = script.join("\n");
    let done = tokio::process::Command::new("sh")
        .args(["-ec", &script])
        .output()
        .await;
    let done = String::from_utf8(done.unwrap().stdout).unwrap();
    assert!(done.contains("The first post"), "{done}");
    rookery.shows(&["Hello"]).await;
}

#[tokio::test]
async fn two_servers_do_not_share_a_folder() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let second = folder.run(&["--port", "0"]).await.badly(1);
    for part in [rookery.client.address(), "DATA_DIR", "in use"] {
        assert!(second.contains(part), "{part} in {second}");
    }
    rookery.get("/health", None).await.expect(200);
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = folder.run(&["serve", "--port", &port]).await.badly(1);
    assert!(error.contains("PORT") && error.contains(&port), "{error}");

    std::fs::write(folder.file("file"), "").unwrap();
    let path = folder.file("file");
    let error = folder
        .run(&["--data-dir", path.to_str().unwrap()])
        .await
        .badly(1);
    assert!(
        error.contains("DATA_DIR") && error.contains("/file"),
        "{error}"
    );

    std::fs::write(folder.file("rookery.toml"), "prot = 1").unwrap();
    let error = folder.run(&["--config", "rookery.toml"]).await.badly(1);
    assert!(error.contains("prot") && error.contains("PORT"), "{error}");

    let key = folder.data().join("secret.key");
    std::fs::write(&key, "").unwrap();
    let error = folder.run(&["--port", "0"]).await.badly(1);
    assert!(error.contains("secret.key"), "{error}");
    assert_eq!(folder.run(&["no-such-command"]).await.code, Some(2));
}

#[tokio::test]
async fn a_stop_finishes_the_request_that_is_under_way() {
    let folder = Folder::new();
    let mut rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    let address = rookery.client.address().to_owned();
    let body = r#"{"title":"late","content":"still in time"}"#;
    let head = format!(
        "POST /api/posts HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..10]).await.unwrap();
    // Another request on another connection: by its answer the first one has been taken up.
    rookery.get("/health", None).await.expect(200);
    rookery.signal("-TERM").await;
    eventually("no new connection is taken", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    stream.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(rookery.ended().await.code(), Some(0));

    let rookery = folder.serve().await;
    rookery.shows(&["late"]).await;
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_keep_the_server() {
    let folder = Folder::new();
    let mut rookery = folder.serve_with(&[("GRACE_SECONDS", "1")]).await;
    let mut stream = TcpStream::connect(rookery.client.address()).await.unwrap();
    stream
        .write_all(b"POST /api/auth/login HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    rookery.get("/health", None).await.expect(200);
    rookery.signal("-INT").await;
    assert_eq!(rookery.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let folder = Folder::new();
    let mut rookery = folder.serve_with(&[("GRACE_SECONDS", "600")]).await;
    let address = rookery.client.address().to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream
        .write_all(b"POST /api/auth/login HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    rookery.get("/health", None).await.expect(200);
    rookery.signal("-INT").await;
    eventually("it has begun to stop", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    rookery.signal("-INT").await;
    assert_eq!(rookery.ended().await.code(), Some(130));
}

#[tokio::test]
async fn settings_come_from_file_environment_and_command_line_in_this_order() {
    let folder = Folder::new();
    std::fs::write(
        folder.file("rookery.toml"),
        "port = 0\napp_name = \"birds\"\n",
    )
    .unwrap();
    let rookery = folder
        .serve_with(&[("ROOKERY_CONFIG", "rookery.toml"), ("APP_NAME", "crows")])
        .await;
    let index = rookery.get("/", None).await.expect(200);
    assert_eq!(index["name"], "crows");
    let shown = folder
        .command(&["config", "--config", "rookery.toml", "--port", "7"])
        .env("SECRET_KEY", "a secret of some length, at least")
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("birds") && shown.contains("rookery.toml"),
        "{shown}"
    );
    assert!(shown.contains("command line"), "{shown}");
    assert!(!shown.contains("a secret of"), "{shown}");
}

#[tokio::test]
async fn the_address_that_was_announced_answers() {
    let folder = Folder::new();
    // An empty variable counts as absent.
    let rookery = folder
        .serve_with(&[("HOST", "0.0.0.0"), ("ROOKERY_CONFIG", "")])
        .await;
    let port = rookery.client.address().rsplit(':').next().unwrap();
    let client = Client::new(format!("127.0.0.1:{port}"));
    client.send("GET", "/ready", None, None).await.expect(200);
}
