//! `SendGrid`'s HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use blocks::config::Secret;
use blocks::error::chain;
use blocks::metrics::Metrics;
use http::StatusCode;
use http_client::{Auth, Client, Kind, Settings, SettingsError};
use serde_json::json;

use crate::{Mail, MailError, Mailer, Sender, check_address};

/// The longest time of a call.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends by `SendGrid`.
pub struct SendGrid {
    client: Client,
    from: Sender,
}

impl SendGrid {
    /// Sends as `from` by the API at `url`, with an API key.
    ///
    /// # Errors
    /// When the URL or the key can't be used.
    pub fn new(
        url: &str,
        key: Secret,
        from: Sender,
        timeout: Option<Duration>,
    ) -> Result<Self, SettingsError> {
        // A mail is tried again by its row, never here.
        let settings = Settings {
            auth: Auth::Bearer(key),
            ..Settings::once("sendgrid", url, timeout.unwrap_or(TIMEOUT))
        };
        let client = Client::new(settings, &Metrics::new())?;
        Ok(Self { client, from })
    }
}

#[async_trait]
impl Mailer for SendGrid {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        check_address(&mail.to)?;
        let (from, content) = (self.from.mailbox(), &mail.content);
        let mut sender = json!({"email": from.email.to_string()});
        if let Some(name) = &from.name {
            sender["name"] = json!(name);
        }
        let body = json!({
            "personalizations": [{"to": [{"email": mail.to}]}],
            "from": sender,
            "subject": content.subject,
            "content": [
                {"type": "text/plain", "value": content.text},
                {"type": "text/html", "value": content.html},
            ],
            "headers": {"Message-ID": self.from.message_id(mail.id), "Auto-Submitted": "auto-generated"},
            "custom_args": {"mail_id": mail.id},
            // A link that lets its reader in is not led past a counter.
            "tracking_settings": {
                "click_tracking": {"enable": false, "enable_text": false},
                "open_tracking": {"enable": false},
            },
        });
        match self.client.post("/v3/mail/send").json(&body).send().await {
            Ok(answer) => answered(answer.status),
            Err(error) => {
                let why = chain(&error);
                Err(match error.kind() {
                    Kind::Request(_) => MailError::Refused(why),
                    Kind::Open
                    | Kind::Connect(_)
                    | Kind::Certificate(_)
                    | Kind::Token(_)
                    | Kind::Refused(_) => MailError::Retry(why),
                    Kind::Timeout(_)
                    | Kind::Idle(_)
                    | Kind::Broken(_)
                    | Kind::TooLarge(_)
                    | Kind::Status(_)
                    | Kind::Body(_) => MailError::Uncertain(why),
                })
            }
        }
    }
}

/// What follows from a status. A wrong key is an operator's to set right, so the mail waits for that.
fn answered(status: StatusCode) -> Result<(), MailError> {
    let why = format!("the API answered {status}");
    match status {
        StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::SERVICE_UNAVAILABLE => Err(MailError::Retry(why)),
        status if status.is_client_error() => Err(MailError::Refused(why)),
        // Also of a proxy that did not hear the answer.
        _ => Err(MailError::Uncertain(why)),
    }
}
