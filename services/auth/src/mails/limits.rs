//! Limits the mails that can be asked for, to one account and from one client. So nobody's inbox is flooded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use blocks::Clock;
use blocks::extract::ClientAddress;
use blocks::problem::RateLimit;
use cache::{CacheError, Limiter, Limits, MemoryStore, Rate, Store};
use ring::hmac;

use crate::attempts::{PREFIX, tag};
use crate::keyring;

/// Mails to one account.
const TO_ACCOUNT: Rate = Rate {
    name: "mails",
    limit: NonZeroU32::new(3).expect("three"),
    period: Duration::from_hours(1),
};
/// Mails that one client asks for.
const FROM_CLIENT: Rate = Rate {
    name: "mails_from",
    limit: NonZeroU32::new(10).expect("ten"),
    period: Duration::from_hours(1),
};
/// Most accounts, and most clients, that are remembered in memory.
const MOST_KEYS: usize = 16_384;

/// The mails that were asked for lately. The store knows no name and no address.
pub(crate) struct MailLimits {
    key: hmac::Key,
    to_account: Limiter,
    from_client: Limiter,
}

impl MailLimits {
    /// Counts in `shared` where there is one, and by `clock` in memory.
    pub fn new(secret_key: &str, clock: &Arc<dyn Clock>, shared: Option<&Store>) -> Self {
        let limiter = |rate| {
            let limits = Limits {
                bytes: 0,
                keys: MOST_KEYS,
                ..Limits::default()
            };
            let own = Store::new(MemoryStore::new(Arc::clone(clock), limits), PREFIX);
            Limiter::new(rate, own, shared.cloned())
        };
        Self {
            key: keyring::hmac_key(secret_key, b"mail limits"),
            to_account: limiter(TO_ACCOUNT),
            from_client: limiter(FROM_CLIENT),
        }
    }

    /// Counts a mail that `client` asks for; all whose address is unknown are one. `Err` is the limit that it is over.
    pub async fn of_client(
        &self,
        client: ClientAddress,
    ) -> Result<Result<(), RateLimit>, CacheError> {
        let client = client.network().map(|client| client.to_string());
        let client = tag(&self.key, "client", &client.unwrap_or_default());
        taken(&self.from_client, &client).await
    }

    /// Counts a mail to `email`, whoever has it.
    pub async fn to_email(&self, email: &str) -> Result<Result<(), RateLimit>, CacheError> {
        taken(&self.to_account, &tag(&self.key, "reset", email)).await
    }

    /// Counts a mail that an account asks for, wherever it goes.
    pub async fn of_account(&self, id: i64) -> Result<Result<(), RateLimit>, CacheError> {
        taken(&self.to_account, &tag(&self.key, "verify", &id.to_string())).await
    }
}

async fn taken(limiter: &Limiter, who: &str) -> Result<Result<(), RateLimit>, CacheError> {
    let taken = limiter.take(who, NonZeroU32::MIN).await?;
    Ok(if taken.allowed {
        Ok(())
    } else {
        Err(taken.into())
    })
}
