//! The profile as its owner and others see it.

use events::users::UserDeleted;
use serde_json::json;
use testkit::db::TestDb;
use testkit::http::Answer;
use testkit::service::App;
use user_profile::{MIGRATIONS, NAME};

use crate::{PROFILE, app, published};

const FULL: &str = r#"{"first_name":"Ada","last_name":"Lovelace","dob":"1815-12-10"}"#;
const EVERYTHING: &str = r#"{"first_name":"Ada","last_name":"L","dob":"1990-02-28","address":"Way 1",
    "city":"Ulm","state":"BW","zip_code":"89073","country":"DE","phone":"+49 731","bio":"Hi",
    "preferences":{"theme":"dark"}}"#;

async fn keyed(app: &App, user: i64, body: &str, key: &str) -> Answer {
    app.post_keyed(user, PROFILE, body, key).await
}

testkit::on_each_database!(
    the_same_first_profile_under_a_key_is_written_once,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let (a, b) = tokio::join!(
            keyed(&app, 1, EVERYTHING, "k"),
            keyed(&app, 1, EVERYTHING, "k")
        );
        assert_eq!((a.status.as_u16(), &a.body), (201, &b.body));
        app.put(1, PROFILE, r#"{"bio":"new"}"#).await.ok();
        assert_eq!(keyed(&app, 1, EVERYTHING, "k").await.body, a.body);
        assert_eq!(app.outbox().await.len(), 2);
        keyed(&app, 1, r#"{"bio":"other"}"#, "k")
            .await
            .problem(422, "idempotency_key_reused");
        keyed(&app, 1, EVERYTHING, "l")
            .await
            .problem(400, "profile_exists");
        assert_eq!(keyed(&app, 2, "{}", "k").await.status, 201);
        // The requests of a closed account are forgotten with it.
        let closed = app.record(1, &UserDeleted { user_id: 1 });
        app.deliver(&[closed]).await;
        keyed(&app, 1, EVERYTHING, "k")
            .await
            .problem(403, "account_deleted");
    }
);

testkit::on_each_database!(
    a_profile_is_written_read_changed_and_deleted,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        app.get(1, PROFILE).await.problem(404, "profile_not_found");

        let created = app.post(1, PROFILE, EVERYTHING).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let id = created.json()["id"].as_i64().unwrap();
        assert!(
            created
                .text()
                .starts_with(&format!("{{\"id\":{id},\"user_id\":1,")),
            "{}",
            created.text()
        );
        assert_eq!(created.json()["dob"], "1990-02-28");
        assert_eq!(app.get(1, PROFILE).await.text(), created.text());

        let changed = app.put(1, PROFILE, r#"{"bio":null,"city":"Bonn"}"#).await;
        assert_eq!(changed.status, 200);
        let mut expected = created.json();
        expected["bio"] = json!(null);
        expected["city"] = json!("Bonn");
        expected["updated_at"] = changed.json()["updated_at"].clone();
        assert_eq!(changed.json(), expected);
        assert_eq!(app.get(1, PROFILE).await.text(), changed.text());

        let deleted = app.delete(1, PROFILE).await;
        assert_eq!(
            (deleted.status.as_u16(), deleted.text().as_str()),
            (200, r#"{"message":"Profile deleted successfully"}"#)
        );
        app.get(1, PROFILE).await.problem(404, "profile_not_found");
        app.put(1, PROFILE, "{}")
            .await
            .problem(404, "profile_not_found");
        app.put(1, PROFILE, r#"{"bio":"x"}"#)
            .await
            .problem(404, "profile_not_found");
        app.delete(1, PROFILE)
            .await
            .problem(404, "profile_not_found");

        let again = app.post(1, PROFILE, "{}").await.json()["id"]
            .as_i64()
            .unwrap();
        assert_ne!(again, id);
        let event =
            |id: i64, what: &str, version| (id.to_string(), format!("profile.{what}"), version);
        assert_eq!(
            published(&app).await,
            [
                event(id, "created", 1),
                event(id, "updated", 2),
                event(id, "deleted", 3),
                event(again, "created", 1)
            ]
        );
    }
);

testkit::on_each_database!(
    a_second_profile_is_refused,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let answers = [
            app.post(1, PROFILE, "{}"),
            app.post(1, PROFILE, "{}"),
            app.post(1, PROFILE, "{}"),
            app.post(1, PROFILE, "{}"),
        ];
        let [a, b, c, d] = answers;
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        let mut won = 0;
        for answer in [a, b, c, d] {
            if answer.status == 201 {
                won += 1;
            } else {
                answer.problem(400, "profile_exists");
            }
        }
        assert_eq!(won, 1);
        assert_eq!(app.outbox().await.len(), 1);
    }
);

testkit::on_each_database!(
    others_do_not_see_what_is_private,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let own = app.post(1, PROFILE, EVERYTHING).await;
        assert_eq!(app.get(1, "/api/profile/1").await.text(), own.text());
        let seen = app.get(2, "/api/profile/1").await;
        assert_eq!(seen.status, 200);
        let body = seen.json();
        assert_eq!(
            (&body["user_id"], &body["first_name"]),
            (&json!(1), &json!("Ada"))
        );
        for private in ["dob", "address", "zip_code", "phone", "preferences"] {
            assert!(body.get(private).is_none(), "{private}: {}", seen.text());
        }
        assert!(seen.text().starts_with("{\"id\":"), "{}", seen.text());
    }
);

testkit::on_each_database!(
    preferences_come_back_as_they_came,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        for (user, json) in [
            r#"{"b":1,"a":2,"b":3}"#,
            "1.0",
            "1e400",
            "123456789012345678901234567890",
            "false",
            r#""\u00e9 \ud83d\ude00 ü""#,
            r#"[ 1,  {"x" : null} ]"#,
            "{}",
        ]
        .into_iter()
        .enumerate()
        {
            let user = i64::try_from(user).unwrap();
            let created = app
                .post(user, PROFILE, &format!(r#"{{"preferences":{json}}}"#))
                .await;
            assert_eq!(created.status, 201, "{json}: {}", created.text());
            let shown = format!("\"preferences\":{json},");
            assert!(created.text().contains(&shown), "{}", created.text());
            assert!(
                app.get(user, PROFILE).await.text().contains(&shown),
                "{json}"
            );
        }
        let cleared = app.put(0, PROFILE, r#"{"preferences":null}"#).await;
        assert!(
            cleared.text().contains("\"preferences\":null,"),
            "{}",
            cleared.text()
        );
    }
);

testkit::on_each_database!(
    nothing_asked_for_writes_nothing,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let created = app.post(1, PROFILE, "{}").await;
        assert_eq!(app.put(1, PROFILE, "{}").await.text(), created.text());
        assert_eq!(app.outbox().await.len(), 1);
    }
);

testkit::on_each_database!(
    changes_at_once_are_all_there_and_counted,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        app.post(1, PROFILE, "{}").await;
        let (a, b, c, d) = tokio::join!(
            app.put(1, PROFILE, r#"{"first_name":"a"}"#),
            app.put(1, PROFILE, r#"{"last_name":"b"}"#),
            app.put(1, PROFILE, r#"{"city":"c"}"#),
            app.put(1, PROFILE, r#"{"bio":"d"}"#),
        );
        for answer in [a, b, c, d] {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let body = app.get(1, PROFILE).await.json();
        assert_eq!(
            [
                &body["first_name"],
                &body["last_name"],
                &body["city"],
                &body["bio"]
            ],
            ["a", "b", "c", "d"]
        );
        let versions: Vec<i64> = app
            .outbox()
            .await
            .into_iter()
            .map(|event| event.sequence)
            .collect();
        assert_eq!(versions, [1, 2, 3, 4, 5]);
    }
);

testkit::on_each_database!(
    a_date_before_1900_is_refused_and_nothing_is_written,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        assert_eq!(
            app.post(1, PROFILE, FULL)
                .await
                .problem(400, "validation_failed"),
            ["dob"]
        );
        assert!(app.outbox().await.is_empty());
    }
);

#[tokio::test]
async fn a_reader_that_has_a_profile_is_told_so() {
    let db = testkit::db::sqlite(NAME, MIGRATIONS).await;
    let app = app(&db);
    app.post(1, PROFILE, r#"{"first_name":"Ada"}"#).await.ok();
    let known = [("If-None-Match", "*")];
    let same = app.send_with("GET", PROFILE, 1, "", &known).await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let another = [("If-None-Match", "\"x\"")];
    let other = app.send_with("GET", "/api/profile/1", 2, "", &another);
    assert_eq!(other.await.ok()["first_name"], "Ada");
}
