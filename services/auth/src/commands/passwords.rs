//! Changing passwords.

use blocks::{Caller, Command};

use super::prove_own;
use crate::domain::check_new_password;
use crate::error::AuthError;
use crate::memory::advance;
use crate::{Auth, queries, store};

/// Gives an account another password, and ends its sessions, but the caller's.
pub struct ChangePassword {
    pub id: i64,
    /// The owner with the old password; `None` for an operator.
    pub proof: Option<(Caller, String)>,
    pub new: String,
}
blocks::operation!(ChangePassword -> Result<usize, AuthError>, "auth.change_password", |it| user.id = it.id);

impl Command<Auth> for ChangePassword {
    /// The number of sessions that ended.
    async fn run(self, on: &Auth) -> Result<usize, AuthError> {
        let Self { id, proof, new } = self;
        check_new_password(&new)?;
        // Whoever guessed keeps nobody out who was given a new one.
        let forgives = proof.is_none();
        let but = proof.as_ref().map(|(owner, _)| owner.session);
        let proven = match proof {
            Some((owner, password)) => {
                Some(prove_own(on, &owner, "current_password", password).await?)
            }
            None => None,
        };
        let account = queries::account(on, id).await?.ok_or(AuthError::NoUser)?;
        let known = account.terms().into_iter().collect();
        let hash = on.passwords.hash(new, known).await;
        let hash = hash.map_err(|error| AuthError::NewPassword("new_password", error))?;
        let auth = on.clone();
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                let before = advance(tx, id, 0).await?;
                // Since it was checked, somebody may have set another one.
                if !store::set_password(tx, id, proven.as_ref(), &hash).await? {
                    return Err(AuthError::WrongPassword("current_password"));
                }
                auth.mails.tell_new_password(tx, id).await?;
                account.end_all(tx, before, but).await
            })
        });
        let ended = write.await?;
        if forgives {
            on.attempts.forget(&account).await?;
        }
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blocks::{Mediator, SystemClock};

    use super::*;
    use crate::commands::OpenAccount;
    use crate::domain::{Login, Registration};
    use crate::{MIGRATIONS, NAME, Settings};

    /// Its holder is between the check of the password and the write.
    #[tokio::test]
    async fn a_proof_holds_no_longer_than_the_password() {
        let clock = Arc::new(SystemClock);
        let db = testkit::db::sqlite_at(NAME, MIGRATIONS, clock.clone()).await;
        let settings = Settings::new("a secret key for tests only");
        let auth = Auth::open(db.db.clone(), settings, clock).await.unwrap();
        let new = Registration::new("ada@example.org", "ada", "correct horse battery");
        let (new, once) = (new.check().unwrap(), None);
        let id = auth.send(OpenAccount { new, once }).await.unwrap().id;
        let mut reader = db.db.read().await.unwrap();
        let proven = store::credentials(&mut reader, &Login::Id(id)).await;
        let proven = proven.unwrap().unwrap();
        let late = auth.db.write(move |tx| {
            Box::pin(async move {
                assert!(store::set_password(tx, id, Some(&proven), "one").await?);
                let set = store::set_password(tx, id, Some(&proven), "two").await?;
                let removed = store::remove_account(tx, id, Some(&proven)).await?;
                let by_operator = store::set_password(tx, id, None, "three").await?;
                Ok::<_, AuthError>((set, removed, by_operator))
            })
        });
        assert_eq!(late.await.unwrap(), (false, None, true));
    }
}
