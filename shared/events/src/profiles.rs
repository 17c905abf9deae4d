//! What became of profiles, on `profile.events`, keyed by the profile's id. Ids only: nobody needs
//! an address or a phone number from a topic.

use serde::{Deserialize, Serialize};

use crate::{Event, Topic, topic};

macro_rules! profile_event {
    ($(#[$doc:meta])* $name:ident, $type:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The profile: the key.
            pub profile_id: i64,
            /// Whose it is.
            pub user_id: i64,
        }

        impl Event for $name {
            const TOPIC: &'static Topic = &topic::PROFILES;
            const TYPE: &'static str = $type;
            const VERSION: u16 = 1;
            fn subject(&self) -> String {
                self.profile_id.to_string()
            }
        }
    };
}

profile_event!(
    /// A profile was written for the first time.
    ProfileCreated,
    "profile.created"
);
profile_event!(
    /// A profile was changed.
    ProfileUpdated,
    "profile.updated"
);
profile_event!(
    /// A profile was deleted.
    ProfileDeleted,
    "profile.deleted"
);
