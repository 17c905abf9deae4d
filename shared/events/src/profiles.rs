//! Events of profiles. Ids only: nobody needs an address or a phone number from a topic.

use crate::topic;

events! {
    on topic::PROFILES, by profile_id;

    /// A profile was written for the first time.
    pub struct ProfileCreated = "profile.created" version 1 {
        /// The profile: the key.
        pub profile_id: i64 = 5,
        /// The account that owns it.
        pub user_id: i64 = 3,
    }

    /// A profile was changed.
    pub struct ProfileUpdated = "profile.updated" version 1 {
        /// The profile: the key.
        pub profile_id: i64 = 5,
        /// The account that owns it.
        pub user_id: i64 = 3,
    }

    /// A profile was deleted.
    pub struct ProfileDeleted = "profile.deleted" version 1 {
        /// The profile: the key.
        pub profile_id: i64 = 5,
        /// The account that owned it.
        pub user_id: i64 = 3,
    }
}
