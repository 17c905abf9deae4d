//! Decides how a consumer group treats a version of a key; nothing else decides it.

use super::Reason;

/// A key's state in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyState {
    /// The last version that took effect.
    pub known: Option<i64>,
    /// Why the key is blocked, if it is.
    pub blocked: Option<Reason>,
}

/// The treatment of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is the next one.
    Apply,
    /// It had its effect before.
    Skip,
    /// It waits behind the block of its key.
    Park,
    /// A version before it is missing: it waits, and the key with it.
    Gap,
}

/// The treatment of a key whose first version seen is not 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Accepted at once: every event of the topic carries the whole state, also that of earlier ones
    /// (compacted topics).
    Any,
    /// Waits for the earlier versions: another relay may still publish them. Only when they must have left
    /// the topic with age, the first one that waits is the base; see
    /// [`super::ConsumerStore::give_up_gaps`].
    First,
}

/// Decides on version `version` of a key.
///
/// ```
/// use blocks::consumer::decide::{Base, Decision, KeyState, decide};
///
/// let key = KeyState { known: Some(4), blocked: None };
/// assert_eq!(decide(key, Base::First, 5), Decision::Apply);
/// assert_eq!(decide(key, Base::First, 4), Decision::Skip);
/// assert_eq!(decide(key, Base::First, 6), Decision::Gap);
/// ```
pub fn decide(key: KeyState, base: Base, version: i64) -> Decision {
    match (key.known, key.blocked) {
        (Some(known), _) if version <= known => Decision::Skip,
        (Some(known), None | Some(Reason::Gap)) if version == known + 1 => Decision::Apply,
        (None, None | Some(Reason::Gap)) if version == 1 => Decision::Apply,
        (_, Some(_)) => Decision::Park,
        (None, None) if base == Base::Any => Decision::Apply,
        (_, None) => Decision::Gap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(known: Option<i64>, blocked: Option<Reason>) -> KeyState {
        KeyState { known, blocked }
    }

    #[test]
    fn the_next_version_applies_older_ones_are_skipped_later_ones_wait() {
        let key = state(Some(4), None);
        assert_eq!(decide(key, Base::First, 5), Decision::Apply);
        assert_eq!(decide(key, Base::First, 4), Decision::Skip);
        assert_eq!(decide(key, Base::First, 1), Decision::Skip);
        assert_eq!(decide(key, Base::Any, 6), Decision::Gap);
    }

    #[test]
    fn a_key_seen_in_its_middle_starts_there_only_when_nothing_is_lost_by_it() {
        assert_eq!(decide(state(None, None), Base::Any, 7), Decision::Apply);
        assert_eq!(decide(state(None, None), Base::First, 7), Decision::Gap);
        assert_eq!(decide(state(None, None), Base::First, 1), Decision::Apply);
    }

    #[test]
    fn a_blocked_key_holds_everything_back_but_a_gap_takes_the_missing_version() {
        for reason in [Reason::Retrying, Reason::Rejected, Reason::Poison] {
            assert_eq!(
                decide(state(Some(4), Some(reason)), Base::Any, 5),
                Decision::Park
            );
            assert_eq!(
                decide(state(None, Some(reason)), Base::Any, 1),
                Decision::Park
            );
            assert_eq!(
                decide(state(Some(4), Some(reason)), Base::Any, 3),
                Decision::Skip
            );
        }
        let gap = state(Some(4), Some(Reason::Gap));
        assert_eq!(decide(gap, Base::First, 5), Decision::Apply);
        assert_eq!(decide(gap, Base::First, 7), Decision::Park);
        assert_eq!(
            decide(state(None, Some(Reason::Gap)), Base::First, 1),
            Decision::Apply
        );
        assert_eq!(
            decide(state(None, Some(Reason::Gap)), Base::First, 2),
            Decision::Park
        );
    }
}
