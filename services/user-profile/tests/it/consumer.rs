//! The profile of a closed account.

use events::users::{UserCreated, UserDeleted, UserErased};
use testkit::db::TestDb;
use user_profile::{MIGRATIONS, NAME};

use crate::{PROFILE, app, published};

fn created() -> UserCreated {
    UserCreated {
        user_id: 1,
        username: "a".into(),
        email: "a@b".into(),
        role: "user".into(),
        imported: false,
    }
}

testkit::on_each_database!(
    a_closed_account_leaves_no_profile_behind,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let id = app.post(1, PROFILE, "{}").await.json()["id"].to_string();
        app.post(2, PROFILE, "{}").await;
        let records = [
            app.record(1, &created()),
            app.record(2, &UserDeleted { user_id: 1 }),
        ];
        assert_eq!(app.deliver_twice(&records).await, 2);

        app.get(2, "/api/profile/1")
            .await
            .problem(404, "profile_not_found");
        assert_eq!(app.get(2, PROFILE).await.status, 200);
        let outbox = published(&app).await;
        let erased = ("1/user-profile".to_owned(), "user.erased".to_owned(), 1);
        assert_eq!(outbox[2..], [(id, "profile.deleted".to_owned(), 2), erased]);
        // Its token may not have ended yet.
        app.post(1, PROFILE, "{}")
            .await
            .problem(403, "account_deleted");
    }
);

testkit::on_each_database!(
    an_account_without_a_profile_may_be_closed,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let closed = app.record(1, &UserDeleted { user_id: 7 });
        assert_eq!(app.deliver(&[closed]).await, 1);
        let answer: UserErased = app.outbox().await[0].open().unwrap().unwrap();
        assert_eq!((answer.user_id, answer.records), (7, 0));
        app.post(7, PROFILE, "{}")
            .await
            .problem(403, "account_deleted");
    }
);

testkit::on_each_database!(
    an_account_whose_name_cant_be_read_is_closed_all_the_same,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let mut broken = app.record(1, &created());
        let mut value: serde_json::Value = serde_json::from_slice(&broken.value).unwrap();
        value["data"] = "nonsense".into();
        broken.value = serde_json::to_vec(&value).unwrap();
        let closed = app.record(2, &UserDeleted { user_id: 1 });
        assert_eq!(app.deliver(&[broken, closed]).await, 2);
        app.post(1, PROFILE, "{}")
            .await
            .problem(403, "account_deleted");
    }
);
