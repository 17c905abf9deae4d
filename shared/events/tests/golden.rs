//! Every event as it stands on its topic. A change of the wire format shows as a change of a file
//! in `golden/`; `UPDATE_GOLDEN=1 cargo test -p events` writes them anew.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

use std::fmt::Write;
use std::path::Path;

use chrono::DateTime;
use events::posts::{PostCreated, PostDeleted, PostUpdated};
use events::profiles::{ProfileCreated, ProfileDeleted, ProfileUpdated};
use events::users::{UserAuthenticated, UserCreated, UserDeleted, UserSessionRevoked, UserUpdated};
use events::{Context, Envelope, Event, Traceparent};
use uuid::Uuid;

fn envelope<E: Event>(event: &E) -> Envelope {
    let time = DateTime::from_timestamp_millis(1_767_268_800_000).unwrap();
    let context = Context {
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        correlation_id: Some("a-request".into()),
        ..Context::default()
    };
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    Envelope::new(id, "a-service", time, 1, context, event).unwrap()
}

fn check<E: Event + PartialEq + std::fmt::Debug>(event: &E) {
    let envelope = envelope(event);
    let mut text = format!("topic: {}\nkey: {}\n", envelope.topic, envelope.subject);
    for (name, value) in envelope.headers() {
        writeln!(text, "{name}: {value}").unwrap();
    }
    writeln!(
        text,
        "\n{}",
        String::from_utf8(envelope.value.clone()).unwrap()
    )
    .unwrap();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{}.txt", E::TYPE));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, golden, "{} changed on the wire", E::TYPE);
    let back = Envelope::read(
        &envelope.topic,
        Some(&envelope.subject),
        &envelope.headers(),
        &envelope.value,
    )
    .unwrap();
    assert_eq!(&back.open::<E>().unwrap().unwrap(), event);
}

macro_rules! post {
    ($event:ident) => {
        $event {
            post_id: Uuid::from_u128(7),
            user_id: 3,
            username: "ada".to_owned(),
            title: "Hello".to_owned(),
            content: "Grüße <b>& more</b>\n".to_owned(),
            tags: vec!["rust".to_owned()],
            created_at: DateTime::from_timestamp_millis(1_767_268_799_999).unwrap(),
        }
    };
}

#[test]
fn posts_keep_their_wire_format() {
    check(&post!(PostCreated));
    check(&post!(PostUpdated));
    check(&PostDeleted {
        post_id: Uuid::from_u128(7),
        user_id: 3,
    });
}

#[test]
fn users_keep_their_wire_format() {
    let (username, role) = ("ada".to_owned(), "user".to_owned());
    let email = "ada@example.com".to_owned();
    let session_id = Uuid::from_u128(9);
    check(&UserCreated {
        user_id: 3,
        username: username.clone(),
        email,
        role: role.clone(),
    });
    check(&UserUpdated {
        user_id: 3,
        username,
        role,
    });
    check(&UserDeleted { user_id: 3 });
    check(&UserAuthenticated {
        user_id: 3,
        session_id,
    });
    check(&UserSessionRevoked {
        user_id: 3,
        session_id,
    });
}

#[test]
fn profiles_keep_their_wire_format() {
    check(&ProfileCreated {
        profile_id: 5,
        user_id: 3,
    });
    check(&ProfileUpdated {
        profile_id: 5,
        user_id: 3,
    });
    check(&ProfileDeleted {
        profile_id: 5,
        user_id: 3,
    });
}

#[test]
fn every_golden_file_belongs_to_an_event() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let count = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(count, 11, "an event that went, or one that no test writes");
}
