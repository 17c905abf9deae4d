//! Rotating the keys that sign.

use blocks::{Command, Mediator};

use crate::error::AuthError;
use crate::keyring::KeyState;
use crate::queries::ListKeys;
use crate::{Auth, store};

/// Makes a key that will sign in place of the one that does. It is published at once, and signs when every verifier
/// has it: no token is refused.
pub struct RotateKeys {
    /// Signs at once, and takes all others out of use: every token that they signed is refused. For a key that leaked.
    pub now: bool,
}
blocks::operation!(RotateKeys -> Result<Vec<KeyState>, AuthError>, "auth.rotate_keys");

impl Command<Auth> for RotateKeys {
    async fn run(self, on: &Auth) -> Result<Vec<KeyState>, AuthError> {
        let Self { now: at_once } = self;
        let stored = store::signing_keys(&mut on.db.read().await?).await?;
        let now = on.clock.now();
        let signs_from = if at_once { now } else { now + on.key_grace };
        let key = on.keyring.make(&stored, now, signs_from)?;
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                if !store::add_signing_key(tx, &key).await? {
                    return Err(AuthError::Rotated);
                }
                if at_once {
                    store::retire_others(tx, &key.kid).await?;
                }
                Ok(())
            })
        });
        let written = write.await;
        // Also where the answer to the commit was lost.
        on.keyring.reload(&on.db).await?;
        written?;
        on.ask(ListKeys).await
    }
}
