//! A broker that wants TLS, passwords and certificates, and clients that it must not let in.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::EventBus;
use blocks::config::Secret;
use kafka::{KafkaBus, Sasl, Security, Settings, Tls};
use testkit::broker::Broker;
use testkit::bus::{fresh_group, fresh_topic, member, messages, take};
use testkit::positions::MemoryPositions;

/// Shows a password, to brokers whose certificates come from `authority`.
fn password(broker: &Broker, mechanism: &'static str, authority: &str, password: &str) -> Security {
    Security {
        tls: Some(Tls {
            ca: Some(broker.own.certificate(authority)),
            ..Tls::default()
        }),
        sasl: Some(Sasl {
            mechanism,
            username: "rookery".to_owned(),
            password: Secret::new(password),
        }),
    }
}

/// Shows a certificate, if any.
fn certificate(broker: &Broker, name: Option<&str>) -> Security {
    let files = name.map(|name| {
        let file = |kind| broker.own.certificate(&format!("{name}.{kind}"));
        (file("pem"), file("key"))
    });
    let tls = Tls {
        ca: Some(broker.own.certificate("ca.pem")),
        certificate: files,
        ..Tls::default()
    };
    Security {
        tls: Some(tls),
        sasl: None,
    }
}

fn bus(address: String, security: Security, patience: Duration) -> KafkaBus {
    let settings = Settings {
        security,
        patience,
        ..Settings::new(address)
    };
    KafkaBus::new(settings).unwrap()
}

/// All clients of a bus do their work: of topics, the producer, a member and a reader.
async fn works(address: String, security: Security) {
    let bus = bus(address, security, Duration::from_secs(10));
    let topic = fresh_topic(&bus, 2).await;
    bus.publish(&messages(&topic, &["a", "b"], 3))
        .await
        .unwrap();
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = member(&bus, &fresh_group(), &topic, &positions).await;
    assert_eq!(take(&mut *reader, 6).await.len(), 6);
    drop(reader);
    bus.close().await;
}

async fn is_refused(address: String, security: Security) -> String {
    let bus = bus(address, security, Duration::from_secs(1));
    let refused = bus.topics().await.unwrap_err();
    let batch = messages("nowhere", &["a"], 1);
    bus.publish(&batch).await.unwrap_err();
    bus.close().await;
    blocks::error::chain(&refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts brokers with scripts/kafka"]
async fn whoever_has_the_password_or_the_certificate_gets_in_and_nobody_else() {
    let broker = Broker::start_secure();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let good = password(&broker, mechanism, "ca.pem", "secret");
        works(broker.with_password(), good).await;
        let wrong = password(&broker, mechanism, "ca.pem", "wrong");
        let said = is_refused(broker.with_password(), wrong).await;
        assert!(said.contains("uthentication"), "{mechanism}: {said}");
        assert!(!said.contains("wrong"), "{said}");
    }
    let good = certificate(&broker, Some("client"));
    works(broker.with_certificate(), good).await;

    let stranger = password(&broker, "PLAIN", "stranger.pem", "secret");
    let said = is_refused(broker.with_password(), stranger).await;
    assert!(said.contains("certificate"), "{said}");
    for name in [Some("stranger"), None] {
        let said = is_refused(broker.with_certificate(), certificate(&broker, name)).await;
        assert!(said.contains("SSL alert"), "{said}");
    }
    is_refused(broker.with_certificate(), Security::default()).await;
}
