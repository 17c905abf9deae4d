use super::*;

#[test]
fn places_are_counted_as_redis_does() {
    for (from, to, expected) in [
        (0, -1, 0..5),
        (1, 2, 1..3),
        (-2, -1, 3..5),
        (-9, 0, 0..1),
        (3, 1, 2..2),
        (7, 9, 5..5),
        (0, -9, 0..0),
        (i64::MIN, i64::MAX, 0..5),
    ] {
        assert_eq!(places(from, to, 5), expected, "{from} {to}");
    }
}

fn kept(keys: usize, kept_bytes: usize) -> Kept {
    Kept::new(Limits {
        keys,
        kept_bytes,
        ..Limits::default()
    })
}

fn value(bytes: usize) -> Shape {
    Shape::Value(vec![0; bytes].into())
}

fn gives_way() -> Shape {
    Shape::WhileRoom(Bytes::new())
}

fn ends(minute: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_mins(minute))
}

fn looked_long_ago(kept: &mut Kept) {
    kept.swept = Instant::now().checked_sub(SWEEP_PAUSE).unwrap();
}

fn is_full<T>(done: &Result<T, CacheError>) -> bool {
    matches!(done, Err(CacheError::Full))
}

impl Kept {
    fn push(&mut self, key: &str, bytes: usize) -> Result<(), CacheError> {
        let element = Bytes::from(vec![0; bytes]);
        let weights = (0, weight_of([&element]));
        self.put(key, weights, |list: &mut List| list.push_front(element))
    }

    fn pop(&mut self, key: &str) -> Option<Bytes> {
        let pop = |list: &mut List| {
            let gone = list.pop_back();
            let weight = gone.as_ref().map_or(0, |gone| weight_of([gone]));
            (gone, weight)
        };
        self.draw(key, pop).unwrap()
    }
}

#[test]
fn what_is_kept_is_bounded_and_what_ended_makes_room() {
    let mut kept = kept(2, usize::MAX);
    kept.insert("a", value(0), None).unwrap();
    kept.insert("b", value(0), Some(Instant::now())).unwrap();
    let full = kept.insert("c", value(0), None);
    assert!(is_full(&full), "it was looked a moment ago");
    looked_long_ago(&mut kept);
    kept.insert("c", value(0), None).unwrap();
    kept.insert("a", value(0), None).unwrap();
    looked_long_ago(&mut kept);
    assert!(is_full(&kept.push("d", 0)));
    assert_eq!(kept.pop("d"), None);
    assert_eq!(kept.held.len(), 2);
    assert_eq!(kept.weight, 2 * (1 + OVERHEAD));
}

#[test]
fn what_is_kept_is_bounded_by_its_bytes_and_what_goes_makes_room() {
    let mut kept = kept(100, 10_000);
    for _ in 0..9 {
        kept.push("list", 1000).unwrap();
    }
    let weight = kept.weight;
    assert!((9000..10_000).contains(&weight), "{weight}");
    assert!(is_full(&kept.push("list", 1000)), "one more element");
    assert!(is_full(&kept.insert("key", value(1000), None)));
    assert!(is_full(&kept.push("other", 1000)));
    assert_eq!(kept.weight, weight, "what is refused takes no room");
    kept.insert("n", value(1), None).unwrap();
    kept.insert("n", value(1), None).unwrap();
    assert_eq!(kept.weight, weight + 2 + OVERHEAD);

    assert!(kept.pop("list").is_some());
    kept.insert("key", value(800), Some(Instant::now()))
        .unwrap();
    assert!(is_full(&kept.push("list", 1000)));
    looked_long_ago(&mut kept);
    kept.push("list", 1000).expect("what ended is gone");
    assert!(kept.remove("n"));
    while kept.pop("list").is_some() {}
    assert_eq!((kept.weight, kept.held.len()), (0, 0));
}

#[test]
fn what_may_give_way_does_so_in_the_order_of_its_ends() {
    for mut kept in [kept(32, usize::MAX), kept(usize::MAX, 32 * (OVERHEAD + 7))] {
        kept.insert("lock", value(0), ends(1)).unwrap();
        kept.insert("last", gives_way(), ends(1000)).unwrap();
        for n in 0..500 {
            kept.insert(&n.to_string(), gives_way(), ends(2 + n))
                .unwrap();
            assert!(kept.held.len() <= 33, "{}", kept.held.len());
        }
        for stays in ["lock", "last", "499"] {
            assert!(kept.value(stays).unwrap().is_some(), "{stays}");
        }
        assert!(kept.value("0").unwrap().is_none());
        for n in 0..28 {
            kept.insert(&format!("lock {n}"), value(0), None).unwrap();
        }
        kept.push("list", 0).unwrap();
        kept.push("list", 100).unwrap();
        assert!(kept.value("lock").unwrap().is_some());
    }
}

#[test]
fn nothing_gives_way_without_need_or_where_it_would_not_be_enough() {
    let mut kept = kept(100, 10_000);
    kept.insert("rate", gives_way(), ends(1)).unwrap();
    kept.insert("lock", value(9000), None).unwrap();
    for _ in 0..20 {
        looked_long_ago(&mut kept);
        assert_eq!(kept.pop("absent"), None);
        kept.push("list", 0).unwrap();
        kept.pop("list").unwrap();
        assert!(is_full(&kept.insert("more", value(1000), None)));
        assert!(is_full(&kept.push("list", 1000)));
    }
    assert!(kept.value("rate").unwrap().is_some());
}
