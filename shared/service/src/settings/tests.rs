use blocks::config::Config;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = (!file.is_empty()).then(|| ("rookery.toml".to_owned(), file.to_owned()));
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = [FLEET, POSTGRES, REDIS].concat();
    Config::from_sources(file, environment, &settings).map_err(|error| error.to_string())
}

fn exposed(secret: Option<&Secret>) -> Option<&str> {
    secret.map(Secret::expose)
}

#[test]
fn addresses_in_parts_are_taken_where_the_url_is_absent() {
    let config = load(
        "",
        &[
            ("KAFKA_HOST", "kafka:9092"),
            ("CONSUL_HOST", "consul-server"),
            ("REDIS_HOST", "read-db"),
            ("DB_HOST", "postgres-db"),
        ],
    )
    .unwrap();
    assert_eq!(
        config.get(&KAFKA_BOOTSTRAP_SERVERS).as_deref(),
        Some("kafka:9092")
    );
    assert_eq!(
        config.get(&CONSUL_HTTP_ADDR).as_deref(),
        Some("consul-server")
    );
    assert_eq!(
        exposed(config.get(&REDIS_URL).as_ref()),
        Some("redis://read-db:6379")
    );
    assert_eq!(
        exposed(config.get(&DATABASE_URL).as_ref()),
        Some("postgres://postgres@postgres-db:5432/rookery")
    );
    // The effective setting names its source, and hides the password.
    let row = |name| config.show().find(|row| row.name == name).unwrap();
    assert_eq!(row("KAFKA_BOOTSTRAP_SERVERS").source, "KAFKA_HOST");
    assert_eq!(row("REDIS_URL").source, "REDIS_HOST, REDIS_PORT");
    assert_eq!(row("DATABASE_URL").value, "********");

    let all = [
        ("DB_HOST", "::1"),
        ("DB_PORT", "6543"),
        ("DB_NAME", "fastapi_micro_db"),
        ("DB_USER", "ada@work"),
        ("DB_PASSWORD", "p/w:d#%é"),
        ("REDIS_HOST", "read-db"),
        ("REDIS_PORT", "6380"),
    ];
    let config = load("", &all).unwrap();
    assert_eq!(
        exposed(config.get(&DATABASE_URL).as_ref()),
        Some("postgres://ada%40work:p%2Fw%3Ad%23%25%C3%A9@[::1]:6543/fastapi_micro_db")
    );
    assert_eq!(
        exposed(config.get(&REDIS_URL).as_ref()),
        Some("redis://read-db:6380")
    );
    assert!(!format!("{config:?}").contains("p/w"));
}

#[test]
fn a_url_wins_over_its_parts_wherever_each_is_said() {
    let config = load(
        "redis_url = \"redis://file\"\nkafka_bootstrap_servers = \"file:9092\"\n",
        &[
            ("REDIS_HOST", "part"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("KAFKA_HOST", "part:9092"),
            ("CONSUL_HTTP_ADDR", "url:8500"),
            ("CONSUL_HOST", "part"),
            ("DATABASE_URL", "postgres://url/x"),
            ("DB_HOST", "part"),
            ("DB_PORT", "no number"),
        ],
    )
    .unwrap();
    assert_eq!(
        exposed(config.get(&REDIS_URL).as_ref()),
        Some("redis://file")
    );
    assert_eq!(
        config.get(&KAFKA_BOOTSTRAP_SERVERS).as_deref(),
        Some("file:9092")
    );
    assert_eq!(config.get(&CONSUL_HTTP_ADDR).as_deref(), Some("url:8500"));
    assert_eq!(
        exposed(config.get(&DATABASE_URL).as_ref()),
        Some("postgres://url/x")
    );
    // Parts without a host name no server.
    let config = load("", &[("DB_NAME", "x"), ("REDIS_PORT", "1")]).unwrap();
    assert!(config.get(&DATABASE_URL).is_none() && config.get(&REDIS_URL).is_none());
}

#[test]
fn a_part_that_is_malformed_is_refused_by_its_own_name() {
    for (host, name, value, expected) in [
        ("REDIS_HOST", "REDIS_PORT", "tcp://10.0.0.1:6379", "port"),
        ("DB_HOST", "DB_PORT", "0", "port"),
        ("DB_HOST", "DB_HOST", "postgres://db", "host"),
        ("REDIS_HOST", "REDIS_HOST", "read-db:6379", "host"),
    ] {
        let error = load("", &[(host, "db"), (name, value)]).unwrap_err();
        let start = format!("{name} is {value:?} (from environment), expected ");
        assert!(
            error.starts_with(&start) && error.contains(expected),
            "{error}"
        );
    }
}
