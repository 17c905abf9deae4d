//! `SendGrid`'s API.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use blocks::config::Secret;
use http::{HeaderMap, StatusCode};
use mail::{MailError, Mailer, SendGrid};
use parking_lot::Mutex;
use serde_json::Value;

use crate::contract::{Does, PATIENCE, Provider};
use crate::{mail, sender};

type Seen = Arc<Mutex<Vec<Value>>>;

#[derive(Default)]
pub struct SendGridApi(Seen);

async fn take(
    State((seen, status)): State<(Seen, StatusCode)>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    if headers["authorization"] != "Bearer SG.key" {
        return StatusCode::UNAUTHORIZED;
    }
    seen.lock().push(serde_json::from_str(&body).unwrap());
    if status == StatusCode::IM_A_TEAPOT {
        std::future::pending::<()>().await;
    }
    status
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
async fn api(seen: Seen, status: StatusCode) -> String {
    let app = Router::new()
        .route("/v3/mail/send", post(take))
        .with_state((seen, status));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

fn at(url: &str, key: &str) -> SendGrid {
    SendGrid::new(url, Secret::new(key), sender(), Some(PATIENCE)).unwrap()
}

#[async_trait]
impl Provider for SendGridApi {
    async fn doing(&mut self, does: Does) -> Arc<dyn Mailer> {
        let status = match does {
            Does::Takes => StatusCode::ACCEPTED,
            Does::Defers => StatusCode::TOO_MANY_REQUESTS,
            Does::Refuses => StatusCode::BAD_REQUEST,
            Does::IsSilent | Does::HangsUp => StatusCode::IM_A_TEAPOT,
            Does::IsAway => return Arc::new(at("http://127.0.0.1:1", "SG.key")),
        };
        let url = api(Arc::clone(&self.0), status).await;
        Arc::new(at(&url, "SG.key"))
    }

    fn seen(&self) -> Vec<(String, String)> {
        let seen = self.0.lock();
        let of = |body: &Value| {
            let id = body["headers"]["Message-ID"].as_str().unwrap();
            let contents = body["content"].as_array().unwrap();
            let texts = contents.iter().map(|part| part["value"].as_str().unwrap());
            let texts: Vec<&str> = texts.collect();
            (id.to_owned(), format!("{body}\n{}", texts.join("\n")))
        };
        seen.iter().map(of).collect()
    }

    /// Its connection breaks in the tests of the HTTP client.
    fn can(&self, does: Does) -> bool {
        does != Does::HangsUp
    }
}

#[tokio::test]
async fn each_status_leads_to_what_follows_from_it() {
    for (status, sorted) in [
        (200, None),
        (202, None),
        (302, Some("uncertain")),
        (400, Some("refused")),
        (403, Some("retry")),
        (413, Some("refused")),
        (429, Some("retry")),
        (500, Some("retry")),
        (502, Some("uncertain")),
        (503, Some("retry")),
        (504, Some("uncertain")),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let url = api(Seen::default(), status).await;
        let outcome = at(&url, "SG.key").send(&mail()).await;
        let kind = outcome.err().map(|error| match error {
            MailError::Retry(_) => "retry",
            MailError::Refused(_) => "refused",
            MailError::Uncertain(_) => "uncertain",
        });
        assert_eq!(kind, sorted, "{status}");
    }
    let url = api(Seen::default(), StatusCode::ACCEPTED).await;
    let wrong = at(&url, "another key").send(&mail()).await.unwrap_err();
    assert!(
        matches!(&wrong, MailError::Retry(why) if !why.contains("another")),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn no_link_is_led_past_a_counter() {
    let seen = Seen::default();
    let url = api(seen.clone(), StatusCode::ACCEPTED).await;
    at(&url, "SG.key").send(&mail()).await.unwrap();
    let body = seen.lock().remove(0);
    let tracking = &body["tracking_settings"];
    assert_eq!(tracking["click_tracking"]["enable"], false);
    assert_eq!(tracking["click_tracking"]["enable_text"], false);
    assert_eq!(tracking["open_tracking"]["enable"], false);
    assert_eq!(
        body["personalizations"][0]["to"].as_array().unwrap().len(),
        1
    );
}
