//! The settings of Kafka: where its brokers are, and how we and they prove who we are.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use blocks::config::{AnySetting, Config};
use kafka::{Sasl, Security, Settings, Tls};
use service::settings::{
    KAFKA_BOOTSTRAP_SERVERS, KAFKA_CONSUMER_GROUP, KAFKA_GROUP_INSTANCE_ID, KAFKA_SASL_MECHANISM,
    KAFKA_SASL_PASSWORD, KAFKA_SASL_USERNAME, KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CA_LOCATION,
    KAFKA_SSL_CERTIFICATE_LOCATION, KAFKA_SSL_KEY_LOCATION, KAFKA_SSL_KEY_PASSWORD,
};

/// Reads them.
///
/// # Errors
/// When one is absent, wrong, or of no use beside the others; the message names it.
pub(super) fn settings(config: &Config) -> anyhow::Result<Settings> {
    let servers = config.get(&KAFKA_BOOTSTRAP_SERVERS).context(
        "KAFKA_BOOTSTRAP_SERVERS is not set: it names the Kafka brokers, as 127.0.0.1:9092",
    )?;
    let settings = Settings {
        instance: config.get(&KAFKA_GROUP_INSTANCE_ID),
        group_prefix: config.get(&KAFKA_CONSUMER_GROUP),
        security: security(config)?,
        ..Settings::new(servers)
    };
    settings
        .check()
        .map_err(|why| anyhow::anyhow!("KAFKA_BOOTSTRAP_SERVERS {why}"))?;
    Ok(settings)
}

fn security(config: &Config) -> anyhow::Result<Security> {
    let protocol = config.get(&KAFKA_SECURITY_PROTOCOL);
    let with_tls = protocol.ends_with("SSL");
    let with_sasl = protocol.starts_with("SASL");
    let of_tls: [&dyn AnySetting; 4] = [
        &KAFKA_SSL_CA_LOCATION,
        &KAFKA_SSL_CERTIFICATE_LOCATION,
        &KAFKA_SSL_KEY_LOCATION,
        &KAFKA_SSL_KEY_PASSWORD,
    ];
    let of_sasl: [&dyn AnySetting; 2] = [&KAFKA_SASL_USERNAME, &KAFKA_SASL_PASSWORD];
    // Whoever sets one of them believes in it.
    for (used, settings) in [(with_tls, &of_tls[..]), (with_sasl, &of_sasl)] {
        let idle = settings.iter().find(|of| config.secret(**of).is_some());
        if let (false, Some(idle)) = (used, idle) {
            bail!(
                "{} is set, and KAFKA_SECURITY_PROTOCOL is {protocol}, which makes no use of it",
                idle.name()
            );
        }
    }
    Ok(Security {
        tls: with_tls.then(|| tls(config)).transpose()?,
        sasl: with_sasl.then(|| sasl(config)).transpose()?,
    })
}

fn sasl(config: &Config) -> anyhow::Result<Sasl> {
    let needs = |of: &dyn AnySetting| {
        let protocol = config.get(&KAFKA_SECURITY_PROTOCOL);
        format!(
            "{} is not set: KAFKA_SECURITY_PROTOCOL is {protocol}",
            of.name()
        )
    };
    Ok(Sasl {
        mechanism: config.get(&KAFKA_SASL_MECHANISM),
        username: config
            .get(&KAFKA_SASL_USERNAME)
            .with_context(|| needs(&KAFKA_SASL_USERNAME))?,
        password: config
            .get(&KAFKA_SASL_PASSWORD)
            .with_context(|| needs(&KAFKA_SASL_PASSWORD))?,
    })
}

fn tls(config: &Config) -> anyhow::Result<Tls> {
    let file = |of| readable(config, of);
    let certificate = file(&KAFKA_SSL_CERTIFICATE_LOCATION)?;
    let key = file(&KAFKA_SSL_KEY_LOCATION)?;
    ensure!(
        certificate.is_some() == key.is_some(),
        "KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION go together: one is not set"
    );
    Ok(Tls {
        ca: file(&KAFKA_SSL_CA_LOCATION)?,
        certificate: certificate.zip(key),
        key_password: config.get(&KAFKA_SSL_KEY_PASSWORD),
    })
}

/// The library's message names neither the setting nor the reason.
fn readable(
    config: &Config,
    of: &'static blocks::config::Setting<Option<String>>,
) -> anyhow::Result<Option<PathBuf>> {
    let path = config.get(of).map(PathBuf::from);
    if let Some(path) = &path {
        std::fs::File::open(path)
            .with_context(|| format!("{} is {}, which can't be read", of.name, path.display()))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let said = said
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let said = said.chain([(
            "KAFKA_BOOTSTRAP_SERVERS".to_owned(),
            "kafka:9093".to_owned(),
        )]);
        settings(&Config::from_sources(None, said, service::settings::FLEET)?)
    }

    #[test]
    fn a_password_and_a_certificate_go_with_the_protocols_that_show_them() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let plain = read(&[]).unwrap().security;
        assert!(plain.tls.is_none() && plain.sasl.is_none());
        let both = read(&[
            ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("KAFKA_SASL_USERNAME", "ada"),
            ("KAFKA_SASL_PASSWORD", "secret"),
            ("KAFKA_SSL_CA_LOCATION", file),
            ("KAFKA_SSL_CERTIFICATE_LOCATION", file),
            ("KAFKA_SSL_KEY_LOCATION", file),
        ]);
        let both = both.unwrap().security;
        assert_eq!(both.sasl.unwrap().mechanism, "SCRAM-SHA-512");
        let tls = both.tls.unwrap();
        assert!(tls.ca.is_some() && tls.certificate.is_some());
    }

    #[test]
    fn what_is_missing_or_of_no_use_is_named() {
        for (said, message) in [
            (
                &[("KAFKA_SASL_PASSWORD", "secret")][..],
                "KAFKA_SASL_PASSWORD is set, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
            ),
            (
                &[("KAFKA_SSL_CA_LOCATION", "/ca.pem")],
                "KAFKA_SSL_CA_LOCATION is set, and KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
            ),
            (
                &[
                    ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
                    ("KAFKA_SASL_USERNAME", "ada"),
                ],
                "KAFKA_SASL_PASSWORD is not set",
            ),
            (
                &[
                    ("KAFKA_SECURITY_PROTOCOL", "SSL"),
                    ("KAFKA_SSL_CA_LOCATION", "/no/file"),
                ],
                "KAFKA_SSL_CA_LOCATION is /no/file, which can't be read",
            ),
            (
                &[
                    ("KAFKA_SECURITY_PROTOCOL", "SSL"),
                    (
                        "KAFKA_SSL_KEY_LOCATION",
                        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                    ),
                ],
                "go together",
            ),
            (&[("KAFKA_SECURITY_PROTOCOL", "TLS")], "SASL_SSL"),
        ] {
            let said = format!("{:#}", read(said).err().unwrap());
            assert!(said.contains(message), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
