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

fn looked_long_ago(kept: &mut Kept) {
    kept.swept = Instant::now().checked_sub(SWEEP_PAUSE).unwrap();
}

fn push(bytes: usize) -> impl FnOnce(&mut List, &mut Room<'_>) -> Result<(), CacheError> {
    move |list, room| {
        let element = Bytes::from(vec![0; bytes]);
        room.swap(0, weight_of(&[&element]))?;
        list.push_front(element);
        Ok(())
    }
}

fn is_full(done: &Result<(), CacheError>) -> bool {
    matches!(done, Err(CacheError::Full))
}

#[test]
fn what_is_kept_is_bounded_and_what_ended_makes_room() {
    let mut kept = kept(2, usize::MAX);
    let ended = Some(Instant::now());
    kept.insert("a", value(0), None).unwrap();
    kept.insert("b", value(0), ended).unwrap();
    let full = kept.insert("c", value(0), None);
    assert!(is_full(&full), "it was looked a moment ago");
    looked_long_ago(&mut kept);
    kept.insert("c", value(0), None).unwrap();
    kept.insert("a", value(0), None).unwrap();
    looked_long_ago(&mut kept);
    assert!(is_full(&kept.with("d", push(0))));
    assert_eq!(
        kept.with("d", |list: &mut List, _| Ok(list.len())).unwrap(),
        0
    );
    assert_eq!(kept.held.len(), 2);
    assert_eq!(kept.weight, 2 * (1 + OVERHEAD));
}

#[test]
fn what_is_kept_is_bounded_by_its_bytes_and_what_goes_makes_room() {
    let mut kept = kept(100, 10_000);
    for _ in 0..9 {
        kept.with("list", push(1000)).unwrap();
    }
    let weight = kept.weight;
    assert!((9000..10_000).contains(&weight), "{weight}");
    assert!(is_full(&kept.with("list", push(1000))), "one more element");
    assert!(is_full(&kept.insert("key", value(1000), None)));
    assert!(is_full(&kept.with("other", push(1000))));
    assert_eq!(kept.weight, weight, "what is refused takes no room");
    kept.insert("n", value(1), None).unwrap();
    kept.insert("n", value(1), None).unwrap();
    assert_eq!(kept.weight, weight + 2 + OVERHEAD);

    let pop = |list: &mut List, room: &mut Room<'_>| {
        room.free(&list.pop_back());
        Ok(())
    };
    kept.with("list", pop).unwrap();
    kept.insert("key", value(800), Some(Instant::now()))
        .unwrap();
    assert!(is_full(&kept.with("list", push(1000))));
    looked_long_ago(&mut kept);
    kept.with("list", push(1000)).expect("what ended is gone");
    assert!(kept.remove("n") && kept.remove("list"));
    assert_eq!(kept.weight, 0);
}

#[test]
fn what_may_give_way_does_so_in_the_order_of_its_ends() {
    let ends = |minute: u64| Instant::now().checked_add(Duration::from_mins(minute));
    let gives_way = || Shape::WhileRoom(Bytes::new());
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
        for n in 0..25 {
            kept.insert(&format!("lock {n}"), value(0), None).unwrap();
        }
        let gave_way = (0..3).any(|_| {
            looked_long_ago(&mut kept);
            kept.with("list", push(0)).is_ok()
        });
        assert!(gave_way);
        for n in 25..31 {
            let full = kept.insert(&format!("lock {n}"), value(0), None);
            assert!(full.is_ok() || kept.value("last").unwrap().is_none());
        }
        assert!(is_full(&kept.insert("x", value(100), ends(5000))));
    }
}
