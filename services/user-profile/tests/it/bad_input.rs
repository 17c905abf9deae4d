//! Whatever comes in, the answer is a problem that names the field, and never a 5xx.

use testkit::db::TestDb;
use testkit::service::NOBODY;
use user_profile::{MIGRATIONS, NAME};

use crate::{PROFILE, app};

testkit::on_each_database!(
    a_bad_body_is_refused_by_name,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        app.post(1, PROFILE, r#"{"city":"Ulm"}"#).await;
        let long = "x".repeat(3000);
        let cases = [
            (r#"{"first_name":1}"#.to_owned(), "first_name"),
            (r#"{"bio":["x"]}"#.to_owned(), "bio"),
            (r#"{"dob":"yesterday"}"#.to_owned(), "dob"),
            (r#"{"dob":20000101}"#.to_owned(), "dob"),
            (r#"{"dob":"2999-01-01"}"#.to_owned(), "dob"),
            (format!(r#"{{"bio":"{long}"}}"#), "bio"),
            (format!(r#"{{"phone":"{long}"}}"#), "phone"),
            (
                format!(r#"{{"preferences":"{}"}}"#, "x".repeat(17_000)),
                "preferences",
            ),
            (r#"{"city":"a\u0000b"}"#.to_owned(), "city"),
            (
                format!(
                    r#"{{"preferences":{}{}}}"#,
                    "[".repeat(8000),
                    "]".repeat(8000)
                ),
                "preferences",
            ),
            (r#"{"preferences":["\ud800"]}"#.to_owned(), "preferences"),
            (
                r#"{"preferences":{"a":["\u0000"]}}"#.to_owned(),
                "preferences.a[0]",
            ),
            (r#"{"city":"a","city":"b"}"#.to_owned(), "city"),
            (
                r#"{"date_of_birth":"2000-01-01"}"#.to_owned(),
                "date_of_birth",
            ),
            ("[]".to_owned(), "body"),
            ("null".to_owned(), "body"),
        ];
        for (body, field) in &cases {
            for user in [1, 2] {
                let answer = if user == 1 {
                    app.put(user, PROFILE, body).await
                } else {
                    app.post(user, PROFILE, body).await
                };
                assert_eq!(answer.problem(400, "validation_failed"), [*field], "{body}");
            }
        }
        for body in [
            "",
            "{",
            "{\"preferences\":}",
            "{\"preferences\":[1,}",
            "{\"city\":\"\u{1}\"}",
        ] {
            app.put(1, PROFILE, body)
                .await
                .problem(400, "malformed_json");
            app.post(2, PROFILE, body)
                .await
                .problem(400, "malformed_json");
        }
        // Two fields at once are both named.
        let both = app
            .put(
                1,
                PROFILE,
                r#"{"dob":"x","zip_code":"123456789012345678901"}"#,
            )
            .await;
        assert_eq!(both.problem(400, "validation_failed"), ["dob", "zip_code"]);
        assert_eq!(app.get(1, PROFILE).await.json()["city"], "Ulm");
        assert_eq!(app.outbox().await.len(), 1);
    }
);

testkit::on_each_database!(
    what_is_no_account_has_no_profile,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        app.post(1, PROFILE, "{}").await;
        for id in [
            "2",
            "0",
            "-1",
            "+1",
            "01",
            "1.0",
            "x",
            "99999999999999999999",
            "%00",
            "%FF",
            "1%20",
            "٣",
        ] {
            let path = format!("/api/profile/{}", id.replace('٣', "%D9%A3"));
            app.get(1, &path).await.problem(404, "profile_not_found");
        }
    }
);

testkit::on_each_database!(
    nobody_reads_or_writes_without_an_identity,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        for method in ["GET", "POST", "PUT", "DELETE"] {
            app.send(method, PROFILE, NOBODY, "{}")
                .await
                .problem(401, "unauthenticated");
        }
        app.get(NOBODY, "/api/profile/1")
            .await
            .problem(401, "unauthenticated");
        let text = axum::http::Request::post(PROFILE).body("{}").unwrap();
        assert_eq!(app.give(text, 1).await.status, 415);
    }
);
