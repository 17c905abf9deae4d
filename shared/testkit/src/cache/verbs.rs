//! Values, numbers, hashes, lists, sets, scripts.

use std::collections::{BTreeMap, BTreeSet};

use cache::{CacheError, Reply, Script, op};

use super::{LONG, SHORT, Store, bytes, until};

/// It may be replaced; a new time replaces the old one.
pub async fn a_value_is_there_until_it_is_removed_or_ends(store: &Store) {
    assert_eq!(store.run(op::get("a")).await.unwrap(), None);
    store.run(op::set("a", "1", None)).await.unwrap();
    store.run(op::set("b", "x", Some(SHORT))).await.unwrap();
    store.run(op::set("b", "2", Some(LONG))).await.unwrap();
    store.run(op::set("c", "3", Some(SHORT))).await.unwrap();
    store.run(op::set("d", "4", Some(LONG))).await.unwrap();
    assert!(store.run(op::expire("d", SHORT)).await.unwrap());
    for ends in ["c", "d"] {
        until(async || store.run(op::get(ends)).await.unwrap().is_none()).await;
    }
    assert_eq!(store.run(op::get("a")).await.unwrap(), Some(bytes("1")));
    assert_eq!(store.run(op::get("b")).await.unwrap(), Some(bytes("2")));
    assert!(store.run(op::remove("a")).await.unwrap());
    assert!(!store.run(op::remove("a")).await.unwrap());
    assert!(!store.run(op::expire("a", LONG)).await.unwrap());
    assert_eq!(store.run(op::get("a")).await.unwrap(), None);
}

/// It begins at nothing, and is the text of the number.
pub async fn a_number_is_counted_on_and_ends_when_it_did(store: &Store) {
    assert_eq!(store.run(op::increment("n", 5)).await.unwrap(), 5);
    assert_eq!(store.run(op::increment("n", -7)).await.unwrap(), -2);
    assert_eq!(store.run(op::get("n")).await.unwrap(), Some(bytes("-2")));
    store.run(op::set("e", "40", Some(SHORT))).await.unwrap();
    store.run(op::increment("e", 2)).await.unwrap();
    until(async || store.run(op::get("e")).await.unwrap().is_none()).await;
    store.run(op::set("n", "many", None)).await.unwrap();
    let refused = store.run(op::increment("n", 1)).await;
    assert!(
        matches!(refused, Err(CacheError::Refused(_))),
        "{refused:?}"
    );
    let most = i64::MAX.to_string();
    store.run(op::set("n", most.clone(), None)).await.unwrap();
    let refused = store.run(op::increment("n", 1)).await;
    assert!(
        matches!(refused, Err(CacheError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(store.run(op::get("n")).await.unwrap(), Some(most.into()));
}

/// Fields are written one by one.
pub async fn a_hash_has_fields_and_is_gone_with_the_last(store: &Store) {
    assert_eq!(store.run(op::hash_get("h", "a")).await.unwrap(), None);
    assert!(store.run(op::hash_set("h", "a", "1")).await.unwrap());
    assert!(!store.run(op::hash_set("h", "a", "2")).await.unwrap());
    assert!(store.run(op::hash_set("h", "b", "3")).await.unwrap());
    assert_eq!(
        store.run(op::hash_get("h", "a")).await.unwrap(),
        Some(bytes("2"))
    );
    let all = BTreeMap::from([(bytes("a"), bytes("2")), (bytes("b"), bytes("3"))]);
    assert_eq!(store.run(op::hash_all("h")).await.unwrap(), all);
    assert!(store.run(op::hash_remove("h", "a")).await.unwrap());
    assert!(!store.run(op::hash_remove("h", "a")).await.unwrap());
    assert!(store.run(op::hash_remove("h", "b")).await.unwrap());
    assert!(!store.run(op::remove("h")).await.unwrap());
    assert!(store.run(op::hash_set("h", "a", "1")).await.unwrap());
    assert!(store.run(op::expire("h", SHORT)).await.unwrap());
    until(async || store.run(op::hash_all("h")).await.unwrap().is_empty()).await;
}

/// Places are counted from its head, or back from its end.
pub async fn a_list_takes_at_its_head_and_gives_from_its_end(store: &Store) {
    for (length, element) in (1..).zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(
            store.run(op::list_push("l", element)).await.unwrap(),
            length
        );
    }
    let range = async |from, to| {
        let range = store.run(op::list_range("l", from, to)).await.unwrap();
        String::from_utf8(range.concat()).unwrap()
    };
    assert_eq!(range(0, -1).await, "edcba");
    assert_eq!(range(1, 2).await, "dc");
    assert_eq!(range(-2, 9).await, "ba");
    assert_eq!(range(3, 2).await, "");
    assert_eq!(
        store.run(op::list_pop("l")).await.unwrap(),
        Some(bytes("a"))
    );
    store.run(op::list_trim("l", 1, -1)).await.unwrap();
    assert_eq!(range(0, -1).await, "dcb");
    store.run(op::list_trim("l", 0, -3)).await.unwrap();
    assert_eq!(
        store.run(op::list_pop("l")).await.unwrap(),
        Some(bytes("d"))
    );
    assert_eq!(store.run(op::list_pop("l")).await.unwrap(), None);
    assert!(!store.run(op::remove("l")).await.unwrap());
}

/// Adding tells what is new.
pub async fn a_set_has_each_member_once(store: &Store) {
    for (member, is_new) in [("a", true), ("b", true), ("a", false)] {
        assert_eq!(store.run(op::set_add("s", member)).await.unwrap(), is_new);
    }
    let all = BTreeSet::from([bytes("a"), bytes("b")]);
    assert_eq!(store.run(op::set_all("s")).await.unwrap(), all);
    assert!(store.run(op::set_remove("s", "a")).await.unwrap());
    assert!(!store.run(op::set_remove("s", "a")).await.unwrap());
    assert!(!store.run(op::set_has("s", "a")).await.unwrap());
    assert!(store.run(op::set_has("s", "b")).await.unwrap());
    assert!(store.run(op::set_remove("s", "b")).await.unwrap());
    assert!(!store.run(op::remove("s")).await.unwrap());
}

/// In a pipeline, too: each command has an outcome of its own.
pub async fn what_is_of_another_kind_is_refused_and_the_rest_runs(store: &Store) {
    store.run(op::set_add("s", "a")).await.unwrap();
    store.run(op::set("v", "1", None)).await.unwrap();
    let mut pipeline = store.pipeline();
    let first = pipeline.add(op::increment("n", 1));
    let wrong = [
        pipeline.add(op::get("s")),
        pipeline.add(op::hash_get("s", "a")),
        pipeline.add(op::list_pop("v")),
    ];
    let number = pipeline.add(op::increment("s", 1));
    let last = pipeline.add(op::increment("n", 1));
    let mut answers = pipeline.run().await.unwrap();
    assert_eq!(answers.take(first).unwrap(), 1);
    for wrong in wrong {
        let refused = answers.take(wrong);
        assert!(
            matches!(refused, Err(CacheError::Refused(_))),
            "{refused:?}"
        );
    }
    let refused = answers.take(number);
    assert!(
        matches!(refused, Err(CacheError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(answers.take(last).unwrap(), 2);
    // A value replaces whatever is there.
    store.run(op::set("s", "1", None)).await.unwrap();
    assert_eq!(store.run(op::get("s")).await.unwrap(), Some(bytes("1")));
}

/// Raises a number to another, if that is higher; answers it.
static RAISE: Script = Script {
    name: "testkit.raise",
    lua: "local before = tonumber(redis.call('GET', KEYS[1]) or 0)
          local now = math.max(before, tonumber(ARGV[1]))
          redis.call('SET', KEYS[1], now)
          return now",
    rust: |atomic, keys, args| {
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<i64>().unwrap();
        let before = atomic.get(&keys[0])?.map_or(0, |text| number(&text));
        let now = before.max(number(&args[0]));
        atomic.keep(&keys[0], now.to_string(), None)?;
        Ok(Reply::Number(now))
    },
};

/// In a pipeline it takes place between the commands before it and after it.
pub async fn a_script_runs_alone_by_name_and_among_others(store: &Store) {
    let raise = |to: &'static str| op::call::<i64>(&RAISE, &["n"], vec![bytes(to)]);
    assert_eq!(store.run(raise("3")).await.unwrap(), 3);
    assert_eq!(store.run(raise("2")).await.unwrap(), 3);
    let mut pipeline = store.pipeline();
    let first = pipeline.add(op::increment("n", 1));
    let second = pipeline.add(raise("10"));
    let third = pipeline.add(op::increment("n", 1));
    let fourth = pipeline.add(raise("9"));
    let mut answers = pipeline.run().await.unwrap();
    let answers = [first, second, third, fourth].map(|slot| answers.take(slot).unwrap());
    assert_eq!(answers, [4, 10, 11, 11]);
}
