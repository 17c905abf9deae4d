use super::names::is_email;
use super::*;

fn complaints(errors: &FieldErrors) -> Vec<&str> {
    errors.iter().map(|(field, _)| field).collect()
}

fn new(email: &str, username: &str, password: &str) -> Registration {
    Registration::new(email, username, password)
}

#[test]
fn addresses_that_mail_could_go_to_are_taken_and_others_are_not() {
    let local = "l".repeat(64);
    let label = "d".repeat(63);
    for good in [
        "ada@example.org",
        "Ada.Lovelace+tag@mail.example.co.uk",
        "o'neill@example.org",
        "1@2.de",
        &format!("{local}@{label}.org"),
    ] {
        assert!(is_email(good), "{good}");
    }
    let long = format!("a@{label}.{label}.{label}.{label}.org");
    for bad in [
        "",
        "@",
        "ada",
        "ada@",
        "@example.org",
        "ada@localhost",
        "ada@@example.org",
        "a b@example.org",
        "ada@exa mple.org",
        ".ada@example.org",
        "ada.@example.org",
        "a..b@example.org",
        "ada@.org",
        "ada@example.",
        "ada@-x.org",
        "ada@x-.org",
        "ada@example.org ",
        " ada@example.org",
        "ada@example.org\r\nBcc: x@y.z",
        "ädä@example.org",
        "ada@exämple.org",
        "\"ada\"@example.org",
        "ada@[127.0.0.1]",
        &format!("{local}l@example.org"),
        &format!("ada@{label}d.org"),
        &long,
    ] {
        assert!(!is_email(bad), "{bad:?}");
    }
}

#[test]
fn the_limits_of_an_account_are_inside_and_one_more_is_outside() {
    let email = "ada@example.org";
    for (name, good) in [
        ("ada", true),
        ("ad", false),
        (&*"a".repeat(32), true),
        (&"a".repeat(33), false),
        ("A_d.a-1", true),
        ("ada lovelace", false),
        ("ädä", false),
        ("ada\n", false),
        ("", false),
    ] {
        assert_eq!(
            new(email, name, "12345678").check().is_ok(),
            good,
            "{name:?}"
        );
    }
    for (password, good) in [
        ("1234567", false),
        ("12345678", true),
        (&*"ä".repeat(4), true),
        (&"p".repeat(1024), true),
        (&"p".repeat(1025), false),
    ] {
        assert_eq!(
            new(email, "ada", password).check().is_ok(),
            good,
            "{}",
            password.len()
        );
    }
    for (age, good) in [
        (0, true),
        (150, true),
        (-1, false),
        (151, false),
        (i64::MAX, false),
    ] {
        let account = Registration {
            age: Some(age),
            ..new(email, "ada", "12345678")
        };
        assert_eq!(account.check().is_ok(), good, "{age}");
    }
    for (name, good) in [
        (&*"ä".repeat(200), true),
        (&"ä".repeat(201), false),
        ("", true),
    ] {
        let account = Registration {
            full_name: Some(name.into()),
            ..new(email, "ada", "12345678")
        };
        assert_eq!(account.check().is_ok(), good, "{name:?}");
    }
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let account = Registration {
        full_name: Some("x".repeat(201)),
        age: Some(-1),
        ..new("nowhere", "a", "short")
    };
    let errors = account.check().err().unwrap();
    assert_eq!(
        complaints(&errors),
        ["age", "email", "full_name", "password", "username"]
    );
    let long = || Patch::Set("x".repeat(201));
    let wanted = WantedChange {
        email: Patch::Set("nowhere".into()),
        username: Patch::Null,
        first_name: long(),
        last_name: long(),
        full_name: long(),
        age: Patch::Set(151),
        role: Patch::Null,
        is_active: Patch::Null,
    };
    assert_eq!(
        complaints(&wanted.check().unwrap_err()),
        [
            "age",
            "email",
            "first_name",
            "full_name",
            "is_active",
            "last_name",
            "role",
            "username"
        ]
    );
    assert!(WantedChange::default().check().unwrap().is_empty());
    let clears = WantedChange {
        full_name: Patch::Null,
        ..WantedChange::default()
    };
    assert!(!clears.check().unwrap().is_empty());
}

#[test]
fn a_name_made_of_an_address_is_one_that_may_be_chosen() {
    for (address, number, name) in [
        ("ada@example.org", 0, "ada"),
        ("ada+news@example.org", 0, "ada-news"),
        ("a@example.org", 0, "a__"),
        ("a@example.org", 7, "a-7"),
        (
            "a.very.long.name.of.a.mail.box@example.org",
            0,
            "a.very.long.name.of.a.mail.box",
        ),
        (
            "a.very.long.name.of.a.mail.box.here@example.org",
            4711,
            "a.very.long.name.of.a.mail.-4711",
        ),
    ] {
        let address = EmailAddress::parse(address).unwrap();
        let made = Username::of_address(&address, number);
        assert_eq!(made.as_str(), name);
        assert_eq!(Username::parse(name).unwrap(), made);
    }
}

#[test]
fn blanks_around_an_address_are_dropped_and_a_blank_name_is_none() {
    let account = Registration {
        full_name: Some(" \t".into()),
        ..new(" ada@example.org\r\n", "ada", "12345678")
    };
    let account = account.check().unwrap();
    assert_eq!(
        (account.email.as_str(), account.full_name),
        ("ada@example.org", None)
    );
    let change = WantedChange {
        full_name: Patch::Set(" ".into()),
        ..WantedChange::default()
    };
    assert_eq!(change.check().unwrap().full_name, Patch::Null);
}

#[test]
fn a_login_names_exactly_one_account() {
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        Login::of(text("a"), None).unwrap(),
        Login::Email("a".into())
    );
    assert_eq!(
        Login::of(None, text("b")).unwrap(),
        Login::Username("b".into())
    );
    assert_eq!(
        Login::of(text("\ta "), text("")).unwrap(),
        Login::Email("a".into())
    );
    assert!(Login::of(text("a"), text("b")).is_err());
    assert!(Login::of(text(" "), text("")).is_err());
    assert!(Login::of(None, None).is_err());
    assert!(check_attempt("password", "").is_err());
    assert!(check_attempt("password", &"p".repeat(1025)).is_err());
    assert!(check_attempt("password", "p").is_ok());
}
