use blocks::extract::Page;

use super::*;
use crate::domain::Entry;

fn entry(n: u128, user_id: i64) -> Arc<Rendered> {
    let created_at = Keyset {
        ms: 1,
        id: Uuid::nil(),
    }
    .at();
    Arc::new(Rendered::of(&Entry {
        post_id: Uuid::from_u128(n),
        user_id,
        username: "somebody".into(),
        created_at,
        event_type: "post.created".into(),
        happened_at: created_at,
        title: n.to_string(),
        content: String::new(),
        tags: vec![],
    }))
}

fn window(stream: Stream) -> Window {
    Window::of(stream, &Page::default()).unwrap()
}

fn slice(items: u128) -> Slice {
    let items: Vec<Named> = (1..=items).map(|n| (entry(n, 1), None)).collect();
    Slice {
        total: items.len(),
        items,
        more: false,
    }
}

fn seen(mirror: &Mirror, window: &Window) -> Seen {
    match mirror.look(window) {
        Look::Slice(_, seen) | Look::Beyond(seen) => seen,
        Look::Page(_) => panic!("nothing was kept yet"),
    }
}

#[test]
fn a_page_is_kept_until_something_on_it_changes() {
    let mirror = Mirror::new(Bounds::default());
    mirror.replace(vec![], true);
    let (global, hers, his) = (
        window(Stream::Global),
        window(Stream::User(1)),
        window(Stream::User(2)),
    );
    for window in [&global, &hers, &his] {
        let seen = seen(&mirror, window);
        mirror.keep(window, seen, &slice(1), &Bytes::from_static(b"page"));
        assert!(matches!(mirror.look(window), Look::Page(_)));
    }
    mirror.put(entry(1, 1), None);
    assert!(matches!(mirror.look(&global), Look::Slice(..)));
    assert!(matches!(mirror.look(&hers), Look::Slice(..)));
    assert!(
        matches!(mirror.look(&his), Look::Page(_)),
        "his page says nothing of her"
    );
}

#[test]
fn a_page_that_was_read_before_a_change_is_not_kept_after_it() {
    let mirror = Mirror::new(Bounds::default());
    let global = window(Stream::Global);
    let before = seen(&mirror, &global);
    mirror.put(entry(1, 1), None);
    mirror.keep(&global, before, &slice(1), &Bytes::from_static(b"old"));
    assert!(matches!(mirror.look(&global), Look::Beyond(_)));
}

#[test]
fn empty_and_later_pages_are_not_kept() {
    let mirror = Mirror::new(Bounds::default());
    mirror.replace(vec![], true);
    let later = Page {
        skip: 1,
        ..Page::default()
    };
    let cases = [
        (window(Stream::User(7)), slice(0)),
        (Window::of(Stream::Global, &later).unwrap(), slice(1)),
    ];
    for (window, slice) in cases {
        mirror.keep(
            &window,
            seen(&mirror, &window),
            &slice,
            &Bytes::from_static(b"page"),
        );
        assert!(!matches!(mirror.look(&window), Look::Page(_)));
    }
}

#[test]
fn kept_pages_are_bounded_by_number_and_by_bytes() {
    let (few, small) = (
        Bounds {
            pages: 10,
            ..Bounds::default()
        },
        Bounds {
            page_bytes: 10 * (PAGE_OVERHEAD + 4),
            ..Bounds::default()
        },
    );
    for bounds in [few, small] {
        let mirror = Mirror::new(bounds);
        mirror.replace(vec![], true);
        for user in 1..=100 {
            let window = window(Stream::User(user));
            let seen = seen(&mirror, &window);
            mirror.keep(&window, seen, &slice(1), &Bytes::from_static(b"page"));
            assert!(matches!(mirror.look(&window), Look::Page(_)));
            let state = mirror.state.lock();
            assert!(state.pages.len() <= 10);
            assert!(state.page_bytes() <= bounds.page_bytes);
        }
    }
}

#[test]
fn the_oldest_leave_when_there_are_too_many_or_they_are_too_large() {
    let size = entry(1, 1).size();
    for bounds in [
        Bounds {
            entries: 2,
            ..Bounds::default()
        },
        Bounds {
            bytes: 2 * size,
            ..Bounds::default()
        },
    ] {
        let mirror = Mirror::new(bounds);
        mirror.replace(vec![], true);
        for n in 1..=4 {
            mirror.put(entry(n, 1), None);
        }
        let (held, complete) = mirror.content();
        let places: Vec<u128> = held
            .iter()
            .map(|(entry, _)| entry.place().id.as_u128())
            .collect();
        assert_eq!((places, complete), (vec![4, 3], false));
        // What stands below them is not taken in: something between may be missing.
        mirror.put(entry(1, 1), None);
        assert_eq!(mirror.content().0.len(), 2);
    }
}
