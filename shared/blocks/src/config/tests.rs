use std::time::Duration;

use super::*;

const SECRET_KEY: Setting<Option<Secret>> = Setting::key("SECRET_KEY", "encrypts");
const LIFETIME: Setting<Duration> = Setting::seconds("ACCESS_TOKEN_SECONDS", "86400", "lasts");
const DATABASE_URL: Setting<Option<Secret>> = Setting::secret("DATABASE_URL", "PostgreSQL");
const KAFKA: Setting<Option<String>> = Setting::text("KAFKA_BOOTSTRAP_SERVERS", "brokers");

const ISSUER: Setting<Option<String>> = Setting::text("OIDC_<NAME>_ISSUER", "who");
const CODE: Setting<Option<Secret>> = Setting::secret("OIDC_<NAME>_CODE", "what it gave");

/// As services have them.
const OTHERS: Settings = &[
    &SECRET_KEY,
    &LIFETIME,
    &DATABASE_URL,
    &KAFKA,
    &ISSUER,
    &CODE,
];

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = (!file.is_empty()).then(|| ("rookery.toml".to_owned(), file.to_owned()));
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::from_sources(file, environment, OTHERS);
    config
        .and_then(|config| config.judge().map(|()| config))
        .map_err(|error| error.to_string())
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let config = load("port = 9000\nhost = \"0.0.0.0\"\n", &[("PORT", "9001")]).unwrap();
    assert_eq!((config.port, config.host.as_str()), (9001, "0.0.0.0"));
    assert_eq!(config.body_limit_bytes, 1 << 20);
    let source = |name| {
        config
            .show()
            .find(|row| row.name == name)
            .unwrap()
            .source
            .clone()
    };
    assert_eq!(source("PORT"), "environment");
    assert_eq!(source("HOST"), "rookery.toml");
    assert_eq!(source("DATA_DIR"), "default");
}

fn with_dot_env(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = Some((
        "rookery.toml".to_owned(),
        "port = 9000\ngrace_seconds = 3".to_owned(),
    ));
    let dot_env = Some((".env".to_owned(), text.to_owned()));
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::merged(file, dot_env, environment, OTHERS).map_err(|error| error.to_string())
}

#[test]
fn a_file_of_variables_is_below_the_environment_and_above_the_toml_file() {
    let text = "# ours\nPORT=9001\nexport HOST='0.0.0.0' # all\nSECRET_KEY='a$b#c'\nAPP_NAME=\n\
        KAFKA_PORT=9094\nDATABSE_URL=x\n";
    let config = with_dot_env(text, &[("HOST", "127.0.0.2")]).unwrap();
    assert_eq!((config.port, &*config.host), (9001, "127.0.0.2"));
    assert_eq!((config.grace.as_secs(), &*config.app_name), (3, "rookery"));
    assert_eq!(config.get(&SECRET_KEY).unwrap().expose(), "a$b#c");
    let port = config.show().find(|row| row.name == "PORT").unwrap();
    assert_eq!(port.source, ".env");
    let unknown: Vec<&str> = config.unknown().iter().map(|of| &*of.name).collect();
    assert_eq!(
        unknown,
        ["DATABSE_URL"],
        "a compose file's own variables are not"
    );
}

#[test]
fn a_broken_file_of_variables_is_told_by_its_line_and_without_it() {
    for (text, reason) in [
        (
            "PORT=1\n# SECRET_KEY hunter2\nSECRET_KEY hunter2\n",
            "could not read .env: line 3 is not NAME=VALUE",
        ),
        (
            "\u{feff}PORT=no\n",
            "PORT is \"no\" (from .env), expected a port number, 0 to 65535",
        ),
        (
            "PORT=no\n",
            "PORT is \"no\" (from .env), expected a port number, 0 to 65535",
        ),
    ] {
        assert_eq!(with_dot_env(text, &[]).unwrap_err(), reason);
    }
}

#[test]
fn debug_sets_the_level_that_nobody_said() {
    let level = |said: &[(&str, &str)]| load("", said).unwrap().telemetry().level;
    assert_eq!(level(&[]), "info");
    for (yes, wanted) in [
        ("true", "debug"),
        ("1", "debug"),
        ("False", "info"),
        ("app:*", "info"),
    ] {
        assert_eq!(level(&[("DEBUG", yes)]), wanted, "{yes}");
    }
    assert_eq!(level(&[("DEBUG", "true"), ("LOG_LEVEL", "warn")]), "warn");
}

#[test]
fn the_defaults_are_valid_and_every_setting_is_shown() {
    let config = Config::default();
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8000));
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.get(&LIFETIME).as_secs(), 86_400);
    assert!(config.get(&SECRET_KEY).is_none() && config.cors_allow_origins.is_empty());
    assert_eq!(config.show().count(), PROCESS.len());
}

#[test]
fn an_empty_variable_is_an_absent_one() {
    assert_eq!(
        load("", &[("PORT", ""), ("SECRET_KEY", " ")]).unwrap().port,
        8000
    );
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_the_nearest_known_one() {
    let error = load("prot = 1\n", &[]).unwrap_err();
    assert_eq!(
        error,
        r#"rookery.toml has an unknown key "prot", did you mean "PORT"?"#
    );
    let error = load("[storage]\nurl = 1\n", &[]).unwrap_err();
    assert_eq!(error, r#"rookery.toml has an unknown key "storage""#);
    assert!(
        load("port = \n", &[])
            .unwrap_err()
            .starts_with("could not read rookery.toml")
    );
    assert!(load("[port]\nx = 1\n", &[]).unwrap_err().contains("port"));
}

#[test]
fn a_malformed_value_is_refused_by_name_with_what_was_expected() {
    for (name, value, expected) in [
        ("PORT", "abc", "0 to 65535"),
        ("PORT", "65536", "0 to 65535"),
        ("ENVIRONMENT", "prod", "development or production"),
        ("SQLITE_DURABILITY", "none", "full"),
        ("LOG_FORMAT", "xml", "human or json"),
        ("LOG_LEVEL", "loud=noise=x", "directives"),
        ("LOGGING_ENABLED", "maybe", "true or false"),
        ("ACCESS_TOKEN_SECONDS", "0", "seconds"),
        ("REQUEST_TIMEOUT_SECONDS", "-1", "seconds"),
        ("GRACE_SECONDS", "1e9", "seconds"),
        ("BODY_LIMIT_BYTES", "0", "bytes"),
        ("MAX_CONNECTIONS", "0", "connections"),
        ("METRICS_PUBLIC", "maybe", "true or false"),
        ("CORS_ALLOW_ORIGINS", "https://a.example/,b", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://a.example?x", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://a.example/x", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://a@a.example", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://A.example", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://a.example:443", "origins"),
        ("CORS_ALLOW_ORIGINS", "https://a.example:", "origins"),
        ("CORS_ALLOW_ORIGINS", "ftp://q", "origins"),
        ("CORS_ALLOW_ORIGINS", "a.example", "origins"),
    ] {
        let error = load("", &[(name, value)]).unwrap_err();
        let start = format!("{name} is {value:?} (from environment), expected ");
        assert!(
            error.starts_with(&start) && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn production_refuses_to_lose_events() {
    let off = ("KAFKA_ENABLE_OUTBOX", "false");
    assert!(!load("", &[off]).unwrap().kafka_enable_outbox);
    let said = load("", &[off, ("ENVIRONMENT", "production")]).unwrap_err();
    assert!(said.starts_with("KAFKA_ENABLE_OUTBOX"), "{said}");
}

#[test]
fn production_refuses_a_weak_secret_and_no_secret_is_shown() {
    let production = |key: &str| load("", &[("ENVIRONMENT", "production"), ("SECRET_KEY", key)]);
    let blanks = format!("hunter2{}", " ".repeat(40));
    for weak in ["hunter2", &"a".repeat(40), &"abcdefg".repeat(6), &blanks] {
        let error = production(weak).unwrap_err();
        assert!(
            error.starts_with("SECRET_KEY is too weak") && !error.contains(weak.trim()),
            "{error}"
        );
    }
    for absent in ["", " \t "] {
        let error = production(absent).unwrap_err();
        assert!(
            error.starts_with("SECRET_KEY is not set") && error.contains("openssl rand"),
            "{error}"
        );
    }
    let blank = load("environment = \"production\"\nsecret_key = \" \"\n", &[]).unwrap_err();
    assert!(blank.starts_with("SECRET_KEY is not set"), "{blank}");
    let digits = "01234567".repeat(4);
    let config = production(&format!(" {digits}\n")).unwrap();
    assert_eq!(config.get(&SECRET_KEY).unwrap().expose(), digits);
    assert!(!format!("{config:?}").contains(&digits));
    let row = config.show().find(|row| row.name == "SECRET_KEY").unwrap();
    assert_eq!(row.value, source::MASK);
}

#[test]
fn a_broken_file_is_described_without_showing_what_stands_in_it() {
    for (line, broken) in [
        (1, "secret_key = hunter2\n"),
        (2, "port = 1\n  secret_key = \"hunter2\nhost = \"x\"\n"),
        (1, "secret_key = \"hunter2\" x\n"),
        (2, "secret_key = \"a\"\nsecret_key = \"hunter2\"\n"),
        (1, "secret_key = 'hunter2\\q\n"),
        (1, "secret_key = \"hunter2\\q\"\n"),
        (1, "secret_key \"hunter2\"\n"),
        (1, "secret_key = 12-hunter2\n"),
    ] {
        let error = load(broken, &[]).unwrap_err();
        let start = format!("could not read rookery.toml: line {line}, column ");
        assert!(error.starts_with(&start), "{broken}: {error}");
        assert!(!error.contains("hunter2"), "{broken}: {error}");
    }
}

#[test]
fn origins_are_a_list_in_both_sources() {
    for good in [
        "*",
        "http://[::1]:3000",
        "https://127.0.0.1",
        "http://a.example:443",
    ] {
        load("", &[("CORS_ALLOW_ORIGINS", good)]).unwrap();
    }
    let wanted = ["https://a.example", "http://localhost:3000"];
    let config = load(
        "",
        &[(
            "CORS_ALLOW_ORIGINS",
            "https://a.example, http://localhost:3000",
        )],
    )
    .unwrap();
    assert_eq!(config.cors_allow_origins, wanted);
    let file = "cors_allow_origins = [\"https://a.example\", \"http://localhost:3000\"]\n";
    assert_eq!(load(file, &[]).unwrap().cors_allow_origins, wanted);
}

#[test]
fn a_variable_that_is_nearly_a_setting_is_named_with_the_one_that_was_meant() {
    let config = load(
        "",
        &[
            ("DATABASE_URI", "postgres://db"),
            ("LOG_LEVLE", "debug"),
            ("KAFKA_BOOTSTRAP_SERVER", "kafka:9092"),
            ("KAFKA_BOOTSTRAP", "kafka:9092"),
            ("REQUEST_TIMEOUT", "5"),
            ("DATA_DIRECTORY", "/data"),
            ("ROOKERY_PORT", "8000"),
            ("ROOKERY_CONFIGS", "rookery.toml"),
            ("ROOKERY_COLOUR", "red"),
            ("KAFKA_GROUP", "mine"),
            // Of other programs, and of whoever starts this one.
            ("HOSTNAME", "here"),
            ("POST", "1"),
            ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
            ("AUTH_SERVICE_HOST", "10.0.0.1"),
            ("ROOKERY_TAG", "1.2"),
            ("ROOKERY_CONFIG", "rookery.toml"),
            ("XDG_DATA_HOME", "/home"),
        ],
    )
    .unwrap();
    let unknown = config.unknown().iter();
    let unknown: Vec<(&str, String)> = unknown.map(|of| (&*of.name, of.meant.join(" "))).collect();
    let unknown: Vec<(&str, &str)> = unknown
        .iter()
        .map(|(name, meant)| (*name, &**meant))
        .collect();
    assert_eq!(
        unknown,
        [
            ("DATABASE_URI", "DATABASE_URL"),
            ("LOG_LEVLE", "LOG_LEVEL"),
            ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BOOTSTRAP", "KAFKA_BOOTSTRAP_SERVERS"),
            ("REQUEST_TIMEOUT", "REQUEST_TIMEOUT_SECONDS"),
            ("DATA_DIRECTORY", "DATA_DIR"),
            ("ROOKERY_PORT", "PORT"),
            ("ROOKERY_CONFIGS", "ROOKERY_CONFIG"),
            ("ROOKERY_COLOUR", ""),
            (
                "KAFKA_GROUP",
                "KAFKA_BOOTSTRAP_SERVERS KAFKA_ENABLE_INBOX KAFKA_ENABLE_OUTBOX"
            ),
        ]
    );
}

#[test]
fn a_family_has_the_names_that_were_given() {
    let file = "oidc_file_issuer = \"of the file\"\n";
    let given = [
        ("OIDC_MY_COMPANY_ISSUER", "https://login.example.org"),
        ("OIDC_X_CODE", "hunter2"),
        ("OIDC_FILE_ISSUER", "of the environment"),
        ("OIDC__ISSUER", "no name"),
        ("OIDC_X_ISSER", "wrong"),
    ];
    let config = load(file, &given).unwrap();
    let said = |of: &str| Some(of.to_owned());
    let mut issuers = config.named(&ISSUER);
    issuers.sort();
    assert_eq!(
        issuers,
        [
            ("FILE".to_owned(), said("of the environment")),
            ("MY_COMPANY".to_owned(), said("https://login.example.org")),
        ]
    );
    assert_eq!(
        config.named(&CODE)[0].1.as_ref().unwrap().expose(),
        "hunter2"
    );
    let row = config.show().find(|row| row.name == "OIDC_X_CODE").unwrap();
    assert_eq!(
        (row.setting, &*row.value, &*row.source),
        (CODE.name, "********", "environment")
    );
    let unknown: Vec<_> = config
        .unknown()
        .iter()
        .map(|of| (&*of.name, &*of.meant))
        .collect();
    assert_eq!(unknown[1], ("OIDC_X_ISSER", &["OIDC_<NAME>_ISSUER"][..]));
    assert_eq!(unknown[0].0, "OIDC__ISSUER");
    assert!(load("oidc_x_isser = \"x\"", &[]).is_err());
    let beside = with_dot_env("OIDC_X_ISSUER=x\nOIDC_X_ISSER=x\nOIDC_PORT=1\n", &[]).unwrap();
    assert_eq!(beside.named(&ISSUER).len(), 1);
    assert_eq!(beside.unknown().len(), 1);
}
