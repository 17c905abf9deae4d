//! Mail as providers see it, and what they can do to it.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

mod contract;
mod log;
mod sendgrid;
mod smtp;
mod smtp_server;
mod tls;

use mail::{Content, Mail, Sender};
use uuid::Uuid;

/// One mail, beyond ASCII in every part, with lines that SMTP must guard.
fn mail() -> Mail {
    Mail {
        id: Uuid::from_u128(7),
        to: "ada@example.org".into(),
        content: Content {
            subject: "Grüße aus dem Horst".into(),
            text: "Grüße\n.\n..und mehr\nhttps://example.org/reset#abc".into(),
            html: "<p>Gr&uuml;&szlig;e</p>".into(),
        },
    }
}

fn sender() -> Sender {
    Sender::parse("Rookery <noreply@rookery.example>").unwrap()
}
