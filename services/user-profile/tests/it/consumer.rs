//! What happens to the profile of a closed account.

use events::users::{UserCreated, UserDeleted};
use testkit::db::TestDb;
use user_profile::{MIGRATIONS, NAME};

use crate::harness::{app, record};

testkit::on_each_database!(
    a_closed_account_leaves_no_profile_behind,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(db);
        let id = app.post(1, "{}").await.json()["id"].to_string();
        app.post(2, "{}").await;
        let created = UserCreated {
            user_id: 1,
            username: "a".into(),
            email: "a@b".into(),
            role: "user".into(),
        };
        let records = [
            record(&app.db, 1, 0, &created),
            record(&app.db, 2, 1, &UserDeleted { user_id: 1 }),
        ];
        assert_eq!(app.consumer.apply(&records).await.unwrap().handled, 2);
        // Delivery is at least once.
        assert_eq!(app.consumer.apply(&records).await.unwrap().handled, 0);

        app.get(2, "/api/profile/1")
            .await
            .problem(404, "profile_not_found");
        assert_eq!(app.get(2, "/api/profile").await.status, 200);
        let outbox = app.outbox().await;
        assert_eq!(
            outbox.last().unwrap(),
            &(id, "profile.deleted".to_owned(), 2)
        );
        assert_eq!(outbox.len(), 3);
        // Its token may not have ended yet.
        app.post(1, "{}").await.problem(403, "account_deleted");
    }
);

testkit::on_each_database!(
    an_account_without_a_profile_may_be_closed,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(db);
        let closed = record(&app.db, 1, 0, &UserDeleted { user_id: 7 });
        assert_eq!(app.consumer.apply(&[closed]).await.unwrap().handled, 1);
        assert!(app.outbox().await.is_empty());
        app.post(7, "{}").await.problem(403, "account_deleted");
    }
);
