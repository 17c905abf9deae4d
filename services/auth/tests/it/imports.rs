//! Accounts of other systems: their import, their first login, their export.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use auth::commands::ImportAccounts;
use auth::import::{BATCH_BYTES, BATCH_LINES, Batch, Exported, Imported, LINE_BYTES};
use auth::queries::ExportAccounts;
use auth::{AuthError, MIGRATIONS};
use blocks::{AsProblem, ManualClock, Mediator, Role};
use events::users::UserCreated;
use serde_json::{Value, json};
use testkit::service::texts;
use tokio::task::JoinSet;

use crate::on_both;
use crate::world::{PASSWORD, World};

const HASH: &str = "$2b$04$nRwEHKsFZCJ1zGcJ0FNaFuIi.N66H00un09oLkQC.kVCJ8UFFoIki";

async fn send(world: &World, batch: Batch) -> Imported {
    world.auth.send(ImportAccounts { batch }).await.unwrap()
}

fn batch(lines: &str) -> Batch {
    Batch {
        after: String::new(),
        first_line: 1,
        lines: lines.to_owned(),
        dry_run: false,
    }
}

/// Imports `lines` as a file of their own.
async fn import(world: &World, lines: &[Value]) -> Imported {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    send(world, batch(&lines.join("\n"))).await
}

/// Line, field and reason of each refusal.
fn refusals(of: &Imported) -> Vec<(u64, &str, &str)> {
    let refused = of.refused.iter();
    refused
        .map(|of| (of.line, of.field.as_deref().unwrap_or(""), &*of.reason))
        .collect()
}

async fn export(world: &World) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let part = world.auth.ask(ExportAccounts { after }).await.unwrap();
        let Exported { accounts, next } = part;
        let lines = accounts.iter().map(|of| serde_json::to_value(of).unwrap());
        all.extend(lines);
        match next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

async fn log_in(world: &World, name: &str, password: &str) -> u16 {
    let body = json!({"username": name, "password": password});
    let answer = world.send("POST", "/api/auth/login", None, &body).await;
    answer.status.as_u16()
}

async fn hash_of(world: &World, name: &str) -> String {
    let all = export(world).await;
    let of = all.iter().find(|of| of["username"] == name).unwrap();
    of["password_hash"].as_str().unwrap().to_owned()
}

on_both!(
    lines_become_accounts_but_those_that_something_speaks_against,
    |world: World| async move {
        world.register_as("Taken", "taken@example.org").await;
        let whole = json!({"email": " Ada@Example.org ", "username": "Ada_L", "password_hash": HASH,
            "first_name": "Ada", "last_name": "Lovelace", "full_name": "Ada Lovelace", "age": 36.0,
            "role": "admin", "is_active": false, "email_verified": true,
            "created_at": "2001-02-03T04:05:06.7891+02:00"});
        let lines = [
            whole.to_string(),
            String::new(),
            json!({"email": "bob@example.org", "username": null}).to_string(),
            json!({"email": "x@example.org", "username": "TAKEN"}).to_string(),
            json!({"email": "TAKEN@example.org"}).to_string(),
            // Has the address of a line that was refused for its name: it is free.
            json!({"email": "X@example.org", "username": "xaver"}).to_string(),
            json!({"email": "ada@example.ORG", "username": "other"}).to_string(),
            json!({"email": "ada.l@example.org", "username": "ada_l"}).to_string(),
            "{\"email\": \"a@example.org\"".to_owned(),
            "[\"a@example.org\"]".to_owned(),
            json!({"username": "nobody", "age": 151}).to_string(),
            json!({"email": "a@example.org", "age": 151, "first_name": "x".repeat(201), "role": "user",
                "username": "a", "created_at": "2999-01-01T00:00:00Z", "password_hash": "secret"}).to_string(),
            json!({"email": "a@example.org", "passwort": "secret"}).to_string(),
            json!({"email": "a@example.org", "created_at": "yesterday"}).to_string(),
            json!({"email": "a@example.org", "full_name": "x".repeat(LINE_BYTES)}).to_string(),
            json!({"email": "a@example.org", "full_name": "a\0b"}).to_string(),
            // Its name would be Bob's.
            json!({"email": "Bob@another.example.org"}).to_string(),
        ];
        let mut first = batch(&lines.join("\r\n"));
        first.first_line = 11;
        let done = send(&world, first).await;
        let known = "is unknown; known here: email, username, password_hash, first_name, last_name, full_name, \
             age, role, is_active, email_verified, created_at";
        let long = format!("is longer than {LINE_BYTES} bytes");
        let expected = [
            (14, "username", "is taken"),
            (15, "email", "is taken"),
            (17, "email", "is taken"),
            (18, "username", "is taken"),
            (
                19,
                "",
                "is not JSON: EOF while parsing an object at line 1 column 25",
            ),
            (20, "", "must be a JSON object"),
            (21, "email", "is required"),
            (22, "age", "must be between 0 and 150"),
            (22, "created_at", "must be between 1970 and now"),
            (22, "first_name", "must have at most 200 characters"),
            (
                22,
                "password_hash",
                "is neither a bcrypt hash ($2a$, $2b$, $2y$) nor one of argon2id",
            ),
            (
                22,
                "username",
                "must have 3 to 32 letters (a to z), digits, '_', '.' or '-'",
            ),
            (23, "passwort", known),
            (
                24,
                "created_at",
                "is no RFC 3339 time, as 2026-01-31T12:00:00Z",
            ),
            (25, "", &long),
            (26, "full_name", "must not contain a NUL character"),
        ];
        assert_eq!(refusals(&done), expected);
        assert_eq!(done.added, 4);

        let all = export(&world).await;
        let names: Vec<&str> = all
            .iter()
            .map(|of| of["username"].as_str().unwrap())
            .collect();
        assert_eq!(names[..4], ["Taken", "Ada_L", "bob", "xaver"]);
        assert!(
            names[4].starts_with("Bob-") && names.len() == 5,
            "{names:?}"
        );
        let mut ada = whole;
        ada["email"] = json!("Ada@Example.org");
        ada["age"] = json!(36);
        ada["created_at"] = json!("2001-02-03T02:05:06.789Z");
        assert_eq!(all[1], ada);
        assert_eq!(
            all[2],
            json!({"email": "bob@example.org", "username": "bob", "role": "user", "is_active": true,
                "email_verified": false, "created_at": events::timestamp(blocks::Clock::now(&*world.clock))})
        );

        // Each is told of as the first version, and found.
        let told = world.app.outbox().await;
        let told: Vec<UserCreated> = told
            .iter()
            .filter_map(|event| event.open().map(Result::unwrap))
            .collect();
        let imported: Vec<(&str, &str, bool)> = told
            .iter()
            .map(|of| (&*of.username, &*of.role, of.imported))
            .collect();
        assert_eq!(
            imported[..4],
            [
                ("Taken", "user", false),
                ("Ada_L", "admin", true),
                ("bob", "user", true),
                ("xaver", "user", true),
            ]
        );
        let root = world.with_role("root", Role::Admin).await;
        for (query, found) in [("lovel", "Ada_L"), ("ada@ex", "Ada_L"), ("xav", "xaver")] {
            let page = world.get(&format!("/api/v1/users?q={query}"), &root).await;
            assert_eq!(texts(&page.ok(), "username"), [found], "{query}");
        }
        assert_eq!(
            world.events(told[1].user_id).await,
            [("user.created".to_owned(), 1)]
        );
    }
);

on_both!(
    a_batch_is_done_once_however_often_it_comes,
    |world: World| async move {
        let lines = |from: usize, to: usize| {
            let line = |n| format!("{{\"email\":\"u{n}@example.org\",\"username\":\"user{n}\"}}\n");
            (from..to).map(line).collect::<String>()
        };
        // More than any statement has, and a line that is refused.
        let first = batch(&(lines(0, 700) + "no json\n"));
        let done = send(&world, first.clone()).await;
        assert_eq!((done.added, done.refused.len()), (700, 1));
        assert_eq!(send(&world, first.clone()).await, done, "as the first time");
        let second = Batch {
            after: done.next.clone(),
            first_line: 702,
            ..batch(&lines(600, 800))
        };
        let more = send(&world, second.clone()).await;
        assert_eq!((more.added, more.refused.len()), (100, 100));
        assert_eq!(more.refused[0].line, 702);
        // Several at once are one, too.
        let mut at_once = JoinSet::new();
        for _ in 0..4 {
            let (auth, batch) = (world.auth.clone(), second.clone());
            at_once.spawn(async move { auth.send(ImportAccounts { batch }).await });
        }
        for again in at_once.join_all().await {
            assert_eq!(again.unwrap(), more);
        }
        let all = export(&world).await;
        assert_eq!(all.len(), 800);
        let told = world.app.outbox().await;
        assert_eq!(told.len(), 800);
        // The same lines elsewhere in a file are other lines.
        let elsewhere = Batch {
            first_line: 1,
            ..second.clone()
        };
        assert_eq!(send(&world, elsewhere).await.refused.len(), 200);
    }
);

on_both!(a_dry_run_writes_nothing, |world: World| async move {
    world.register("ada").await;
    let text = [
        r#"{"email":"ADA@example.org"}"#,
        r#"{"email":"b@example.org","username":"Ada"}"#,
        r#"{"email":"bob@example.org"}"#,
        r#"{"email":"no address"}"#,
    ];
    let dry = Batch {
        dry_run: true,
        ..batch(&text.join("\n"))
    };
    for _ in 0..2 {
        let checked = send(&world, dry.clone()).await;
        assert_eq!(checked.added, 1);
        let expected = [
            (1, "email", "is taken"),
            (2, "username", "is taken"),
            (4, "email", "is not an e-mail address"),
        ];
        assert_eq!(refusals(&checked), expected);
    }
    assert_eq!(export(&world).await.len(), 1);
    assert_eq!(world.app.outbox().await.len(), 1);
    // It leaves no answer behind for the run that is meant.
    let done = send(&world, batch(&text.join("\n"))).await;
    assert_eq!((done.added, done.refused.len()), (1, 3));
    assert_eq!(export(&world).await.len(), 2);
});

#[tokio::test]
async fn a_batch_over_the_limits_is_refused_as_a_whole() {
    let world = World::fresh().await;
    for lines in ["\n".repeat(BATCH_LINES + 1), " ".repeat(BATCH_BYTES + 1)] {
        let batch = batch(&lines);
        let refused = world.auth.send(ImportAccounts { batch }).await.unwrap_err();
        assert!(matches!(refused, AuthError::Refused(_)), "{refused}");
        let problem = refused.problem();
        assert!(problem.errors().iter().any(|(field, _)| field == "lines"));
    }
    let most = "\n".repeat(BATCH_LINES);
    assert_eq!(send(&world, batch(&most)).await.added, 0);
}

#[tokio::test]
async fn many_with_the_same_local_part_get_names_of_their_own() {
    let world = World::fresh().await;
    let line = |n| json!({"email": format!("info@example-{n}.org")});
    let lines: Vec<Value> = (0..400).map(line).collect();
    let done = import(&world, &lines).await;
    assert_eq!((done.added, done.refused), (400, vec![]));
    let mut names: Vec<Value> = export(&world).await;
    names.sort_by_key(|of| of["username"].to_string());
    names.dedup_by_key(|of| of["username"].to_string());
    assert_eq!(names.len(), 400);
}

on_both!(
    an_imported_hash_is_checked_as_it_is_and_replaced_at_the_first_login,
    |world: World| async move {
        let params = Params::new(128, 3, 2, Some(16)).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let argon2 = argon2.hash_password(PASSWORD.as_bytes()).unwrap();
        let bcrypt = bcrypt::hash(PASSWORD, 4).unwrap();
        let hashes = [
            ("two-a", bcrypt.replace("$2b$", "$2a$")),
            ("two-b", bcrypt.clone()),
            ("two-y", bcrypt.replace("$2b$", "$2y$")),
            ("argon", argon2.to_string()),
        ];
        let line = |(name, hash): &(&str, String)| json!({"email": format!("{name}@example.org"), "username": name, "password_hash": hash});
        let lines: Vec<Value> = hashes.iter().map(line).collect();
        assert_eq!(import(&world, &lines).await.added, 4);
        for (name, hash) in &hashes {
            assert_eq!(log_in(&world, name, "wrong horse battery").await, 401);
            assert_eq!(&hash_of(&world, name).await, hash);
            assert_eq!(log_in(&world, name, PASSWORD).await, 200);
            let renewed = hash_of(&world, name).await;
            assert!(
                renewed.starts_with("$argon2id$v=19$m=64,t=1,p=1$"),
                "{renewed}"
            );
            assert_eq!(log_in(&world, name, PASSWORD).await, 200);
            assert_eq!(log_in(&world, name, "wrong horse battery").await, 401);
            assert_eq!(
                hash_of(&world, name).await,
                renewed,
                "nothing is left to do"
            );
        }
        // Without a hash nobody logs in.
        let line = json!({"email": "none@example.org", "username": "none"});
        assert_eq!(import(&world, &[line]).await.added, 1);
        assert_eq!(log_in(&world, "none", PASSWORD).await, 401);
    }
);

on_both!(
    of_several_first_logins_at_once_none_is_refused,
    |world: World| async move {
        let hash = bcrypt::hash(PASSWORD, 6).unwrap();
        let line = json!({"email": "ada@example.org", "username": "ada", "password_hash": hash});
        import(&world, &[line]).await;
        let logins = (0..8).map(|_| log_in(&world, "ada", PASSWORD));
        assert_eq!(futures::future::join_all(logins).await, [200; 8]);
    }
);

#[tokio::test]
async fn of_a_bcrypt_hash_72_bytes_count_until_the_first_login() {
    let world = World::fresh().await;
    let long = "correct horse ".repeat(6);
    assert_eq!(long.len(), 84);
    let line = json!({"email": "ada@example.org", "username": "ada",
        "password_hash": bcrypt::hash(&long, 4).unwrap()});
    import(&world, &[line]).await;
    assert_eq!(log_in(&world, "ada", &long[..71]).await, 401);
    assert_eq!(log_in(&world, "ada", &long[..80]).await, 200);
    // From then on all bytes count.
    assert_eq!(log_in(&world, "ada", &long).await, 401);
    assert_eq!(log_in(&world, "ada", &long[..80]).await, 200);
}

on_both!(
    what_was_exported_is_imported_as_it_was,
    |world: World| async move {
        world.register("ada").await;
        let roles = ["admin", "user", "guest"];
        let lines: Vec<Value> = (0..1_500)
            .map(|n| {
                json!({"email": format!("u{n}@example.org"), "password_hash": HASH, "age": n % 150,
                "first_name": format!("Ünï {n}"), "is_active": n % 2 == 0, "email_verified": n % 3 == 0,
                "role": roles[n % 3], "created_at": "2001-02-03T04:05:06.789Z"})
            })
            .collect();
        for part in lines.chunks(500) {
            import(&world, part).await;
        }
        let exported = export(&world).await;
        assert_eq!(exported.len(), 1_501);
        let clock = std::sync::Arc::new(ManualClock::default());
        let db = testkit::db::sqlite_at("auth", MIGRATIONS, clock.clone()).await;
        let other = World::open(db, clock).await;
        for part in exported.chunks(300) {
            let done = import(&other, part).await;
            assert_eq!(done.refused, []);
        }
        assert_eq!(export(&other).await, exported);
        other.login("ada").await;
    }
);
