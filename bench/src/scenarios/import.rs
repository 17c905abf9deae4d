//! Accounts imported by the command beside a server, against the bare inserts of the same rows into the same tables.
//!
//! The server does more: it reads and checks the lines, and meanwhile tells of the accounts and has every group take
//! that in, on the same cores.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blocks::{Clock, SystemClock};
use events::users::UserCreated;
use events::{Context, Envelope, timestamp};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, QueryBuilder};
use tokio::process::Command;

use crate::Plan;
use crate::community::{caught_up, until};
use crate::machine;
use crate::measure::{Measure, Target};
use crate::server::Server;

/// Of a file, and of a quick run's.
const ACCOUNTS: [usize; 2] = [100_000, 2_000];
/// Accounts of a commit, as about a batch has.
const COMMIT: usize = 500;
/// Rows of a bare insert.
const ROWS: usize = 500;
/// The pause between two looks at the command's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$uV2nGZ5T0nKZ0wM0l8vT2gq1G3k4b3mJ6o0Q1b8c3dE";

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let accounts = ACCOUNTS[usize::from(plan.quick)];
    let folder = plan.temp()?;
    let file = folder.path().join("accounts.jsonl");
    write_lines(&file, accounts)?;
    let server = Server::rookery(plan, folder.path()).await?;
    let began = Instant::now();
    let most_of_command = import(plan, folder.path(), &file).await?;
    let imported = began.elapsed();
    all_told(plan, folder.path()).await?;
    caught_up(&mut server.connect().await?).await?;
    let told = began.elapsed();
    let most_of_server = server.memory().context("the server has no memory")?.most;
    server.kill().await?;
    let inserted = insert(plan, accounts).await?;

    let count = f64::from(u32::try_from(accounts)?);
    let rate = |time: Duration| count / time.as_secs_f64();
    let mib = |what, value| Measure::alone(what, "MiB", value, Target::Below(80.0));
    Ok(vec![
        Measure {
            what: "accounts imported / bare inserts of their rows".into(),
            unit: "/s",
            target: Target::Ratio(0.25),
            subject: rate(imported).into(),
            limit: Some(rate(inserted).into()),
        },
        Measure::alone(
            "accounts imported and told to all groups",
            "/s",
            rate(told),
            Target::Open,
        ),
        mib("memory of the command, at most", most_of_command),
        mib("memory of the server meanwhile, at most", most_of_server),
    ])
}

fn names(number: usize) -> (String, String) {
    (
        format!("rook{number}@example.org"),
        format!("rook-{number}"),
    )
}

fn write_lines(file: &Path, accounts: usize) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for number in 0..accounts {
        let (email, username) = names(number);
        let line = json!({
            "email": email, "username": username, "password_hash": HASH, "first_name": "Rook",
            "last_name": format!("Number {number}"), "created_at": "2020-01-31T12:00:00Z",
        });
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

fn rookery(plan: &Plan, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(&plan.rookery);
    command
        .args(arguments)
        .env("DATA_DIR", folder.join("data"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the command to its end; answers the most memory that it had, in MiB.
async fn import(plan: &Plan, folder: &Path, file: &Path) -> anyhow::Result<f64> {
    let file = file.to_str().context("the file's name is no text")?;
    let mut command = rookery(plan, folder, &["users", "import", file]);
    let mut command = command.stderr(Stdio::null()).spawn()?;
    let mut most = 0.0;
    loop {
        let memory = command.id().and_then(machine::memory);
        most = memory.map_or(most, |memory| memory.most.max(most));
        if let Ok(ended) = tokio::time::timeout(LOOK_EVERY, command.wait()).await {
            let ended = ended?;
            anyhow::ensure!(ended.success(), "the import failed: {ended}");
            return Ok(most);
        }
    }
}

/// Waits until every event is on its topic.
async fn all_told(plan: &Plan, folder: &Path) -> anyhow::Result<()> {
    until("the outboxes are empty", async || {
        let said = rookery(plan, folder, &["outbox", "--json"])
            .output()
            .await?;
        let outboxes: Vec<Value> = serde_json::from_slice(&said.stdout)?;
        Ok(outboxes.iter().all(|outbox| outbox["pending"] == 0))
    })
    .await
}

/// Inserts the rows of `accounts` into the file that a server has made, some with each statement, and nothing else.
async fn insert(plan: &Plan, accounts: usize) -> anyhow::Result<Duration> {
    let folder = plan.temp()?;
    Server::rookery(plan, folder.path()).await?.kill().await?;
    let file = folder.path().join("data/auth.db");
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    let numbers: Vec<usize> = (0..accounts).collect();
    let began = Instant::now();
    for part in numbers.chunks(COMMIT) {
        let mut commit = connection.begin().await?;
        insert_part(&mut commit, part).await?;
        commit.commit().await?;
    }
    let took = began.elapsed();
    connection.close().await?;
    Ok(took)
}

async fn insert_part(connection: &mut SqliteConnection, part: &[usize]) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let (mut terms, mut told) = (Vec::new(), Vec::new());
    for &number in part {
        let (email, username) = names(number);
        let (id, user_id) = (SystemClock.id(), i64::try_from(number)? + 1);
        let (name, first) = (format!("number {number}"), "rook".to_owned());
        terms.extend([email.clone(), username.clone(), first, name].map(|term| (term, user_id)));
        let created = UserCreated {
            user_id,
            username,
            email,
            role: "user".into(),
            imported: true,
        };
        let envelope = Envelope::new(id, "auth", now, 1, Context::default(), &created)?;
        told.push((id.to_string(), envelope.message()));
    }
    let mut users = QueryBuilder::new(
        "insert into users (email, email_key, username, username_key, first_name, last_name, role,
            password_hash, version, created_at, updated_at) ",
    );
    users.push_values(part, |mut row, &number| {
        let (email, username) = names(number);
        row.push_bind(email.clone())
            .push_bind(email)
            .push_bind(username.clone())
            .push_bind(username)
            .push_bind("Rook")
            .push_bind(format!("Number {number}"))
            .push_bind("user")
            .push_bind(HASH)
            .push_bind(1_i64)
            .push_bind(now)
            .push_bind(now);
    });
    users.build().execute(&mut *connection).await?;
    for terms in terms.chunks(ROWS) {
        let mut insert = QueryBuilder::new("insert into user_terms (term, user_id) ");
        insert.push_values(terms, |mut row, (term, id)| {
            row.push_bind(term).push_bind(id);
        });
        insert.build().execute(&mut *connection).await?;
    }
    let mut outbox = QueryBuilder::new(
        "insert into outbox_messages (event_id, event_type, topic, key, version, headers, payload,
            occurred_at, created_at, status) ",
    );
    let headers = told.iter();
    let headers = headers.map(|(_, message)| serde_json::to_string(&message.headers));
    let headers: Vec<String> = headers.collect::<Result<_, _>>()?;
    outbox.push_values(
        told.iter().zip(&headers),
        |mut row, ((id, message), headers)| {
            row.push_bind(id)
                .push_bind("user.created")
                .push_bind(&message.topic)
                .push_bind(&message.key)
                .push_bind(1_i64)
                .push_bind(headers)
                .push_bind(&message.value)
                .push_bind(timestamp(now))
                .push_bind(timestamp(now))
                .push_bind("pending");
        },
    );
    outbox.build().execute(connection).await?;
    Ok(())
}
