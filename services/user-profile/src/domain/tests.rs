use super::*;

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap()
}

fn check(request: Request) -> Result<Changes, FieldErrors> {
    Changes::new(request, today())
}

fn dob(text: &str) -> Result<Changes, FieldErrors> {
    check(Request {
        dob: Patch::Set(text.to_owned()),
        ..Request::default()
    })
}

#[test]
fn each_limit_is_kept_to_the_character() {
    let filled = |more: usize| {
        let text = |most: usize| Patch::Set("ä".repeat(most + more));
        let json = format!("\"{}\"", "x".repeat(MAX_PREFERENCES_BYTES - 2 + more));
        Request {
            first_name: text(MAX_NAME),
            last_name: text(MAX_NAME),
            dob: Patch::Absent,
            address: text(MAX_ADDRESS),
            city: text(MAX_PLACE),
            state: text(MAX_PLACE),
            zip_code: text(MAX_ZIP_CODE),
            country: text(MAX_PLACE),
            phone: text(MAX_PHONE),
            bio: text(MAX_BIO),
            preferences: Patch::Set(RawValue::from_string(json).unwrap()),
        }
    };
    assert!(check(filled(0)).is_ok());
    let refused = check(filled(1)).unwrap_err();
    let fields: Vec<&str> = refused.iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        [
            "address",
            "bio",
            "city",
            "country",
            "first_name",
            "last_name",
            "phone",
            "preferences",
            "state",
            "zip_code",
        ]
    );
}

#[test]
fn a_date_of_birth_is_a_day_that_was() {
    for good in ["1900-01-01", "2000-02-29", "2026-01-01"] {
        assert!(dob(good).is_ok(), "{good}");
    }
    for bad in [
        "2000-1-1",
        " 2000-01-01",
        "2001-02-29",
        "2000-13-01",
        "01.01.2000",
        "1899-12-31",
        "2026-01-02",
        "9999-12-31",
        "+200-01-01",
        "2000-01-01T00:00:00Z",
        "２０００-01-01",
    ] {
        assert!(dob(bad).is_err(), "{bad}");
    }
}

#[test]
fn preferences_are_json_that_every_reader_takes() {
    let preferences = |json: &str| {
        check(Request {
            preferences: Patch::Set(serde_json::from_str(json).unwrap()),
            ..Request::default()
        })
    };
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let good = [
        deep(64),
        format!("[{},{}]", deep(63), deep(63)),
        r#"{"a\"[[[":"\\","b":[1e999,-0.0,"\ud83d\ude00","[{\\\"","ü"]}"#.to_owned(),
        "1".to_owned(),
    ];
    for json in &good {
        assert!(preferences(json).is_ok(), "{json}");
    }
    let bad = [
        deep(65),
        deep(8000),
        r#"{"a":"#.repeat(65) + "1" + &"}".repeat(65),
        r#""\ud83d""#.to_owned(),
        r#"["\ude00"]"#.to_owned(),
        r#"{"\ud83dx":1}"#.to_owned(),
    ];
    for json in &bad {
        let refused = preferences(json).unwrap_err();
        assert_eq!(refused.iter().next().unwrap().0, "preferences", "{json}");
    }
}

#[test]
fn what_is_not_mentioned_stays_and_null_or_a_blank_text_clears() {
    let mut fields = Fields {
        city: Some("Ulm".into()),
        bio: Some("b".into()),
        state: Some("s".into()),
        dob: Some(today()),
        ..Fields::default()
    };
    let changes = check(Request {
        bio: Patch::Null,
        state: Patch::Set(" ".into()),
        dob: Patch::Set(String::new()),
        phone: Patch::Set("112".into()),
        ..Request::default()
    })
    .unwrap();
    assert!(!changes.is_empty());
    changes.apply(&mut fields);
    assert_eq!(fields.city.as_deref(), Some("Ulm"));
    assert_eq!((fields.bio, fields.state, fields.dob), (None, None, None));
    assert_eq!(fields.phone.as_deref(), Some("112"));
    assert!(check(Request::default()).unwrap().is_empty());
}
