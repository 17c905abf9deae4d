//! A broker that wants TLS, passwords and certificates, and clients that it must not let in.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::EventBus;
use blocks::config::Secret;
use kafka::{KafkaBus, Sasl, Security, Settings, Tls};
use testkit::broker::Broker;
use testkit::bus::{fresh_group, fresh_topic, member, messages, take};
use testkit::positions::MemoryPositions;

fn sasl(mechanism: &'static str, password: &str) -> Option<Sasl> {
    Some(Sasl {
        mechanism,
        username: "rookery".to_owned(),
        password: Secret::new(password),
    })
}

fn trusting(broker: &Broker, authority: &str) -> Option<Tls> {
    Some(Tls {
        ca: Some(broker.own.certificate(authority)),
        ..Tls::default()
    })
}

fn shown(broker: &Broker, certificate: &str) -> Option<Tls> {
    Some(Tls {
        ca: Some(broker.own.certificate("ca.pem")),
        certificate: Some((
            broker.own.certificate(&format!("{certificate}.pem")),
            broker.own.certificate(&format!("{certificate}.key")),
        )),
        ..Tls::default()
    })
}

fn bus(address: String, security: Security) -> KafkaBus {
    let settings = Settings {
        security,
        patience: Duration::from_secs(3),
        ..Settings::new(address)
    };
    KafkaBus::new(settings).unwrap()
}

/// All clients of a bus do their work: of topics, the producer, a member and a reader.
async fn works(address: String, security: Security) {
    let bus = bus(address, security);
    let topic = fresh_topic(&bus, 2).await;
    bus.publish(&messages(&topic, &["a", "b"], 3)).await.unwrap();
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = member(&bus, &fresh_group(), &topic, &positions).await;
    assert_eq!(take(&mut *reader, 6).await.len(), 6);
    bus.close().await;
}

async fn is_refused(address: String, security: Security) -> String {
    let bus = bus(address, security);
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
        let tls = trusting(&broker, "ca.pem");
        let sasl = sasl(mechanism, "secret");
        works(broker.with_password(), Security { tls, sasl }).await;

        let tls = trusting(&broker, "ca.pem");
        let sasl = self::sasl(mechanism, "wrong");
        let said = is_refused(broker.with_password(), Security { tls, sasl }).await;
        assert!(said.contains("uthentication"), "{mechanism}: {said}");
        assert!(!said.contains("wrong"), "{said}");
    }
    let tls = shown(&broker, "client");
    works(broker.with_certificate(), Security { tls, sasl: None }).await;

    let tls = trusting(&broker, "stranger.pem");
    let sasl = sasl("PLAIN", "secret");
    let said = is_refused(broker.with_password(), Security { tls, sasl }).await;
    assert!(said.contains("certificate"), "{said}");
    for tls in [trusting(&broker, "ca.pem"), shown(&broker, "stranger"), None] {
        is_refused(broker.with_certificate(), Security { tls, sasl: None }).await;
    }
}
