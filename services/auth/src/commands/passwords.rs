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
        let but = proof.as_ref().map(|(owner, _)| owner.session);
        if let Some((owner, password)) = proof {
            prove_own(on, &owner, password).await?;
        }
        let account = queries::account(on, id).await?.ok_or(AuthError::NoUser)?;
        let known = account.terms().into_iter().collect();
        let hash = on.passwords.hash(new, known).await;
        let hash = hash.map_err(|error| AuthError::NewPassword("new_password", error))?;
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                let before = advance(tx, id, 0).await?;
                store::set_password(tx, id, &hash).await?;
                account.end_all(tx, before, but).await
            })
        });
        write.await
    }
}
