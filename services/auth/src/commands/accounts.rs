//! Opening, changing and closing accounts.

use blocks::extract::IdempotencyKey;
use blocks::{Caller, Command, Role};
use sql::StoreError;
use uuid::Uuid;

use super::prove_own;
use crate::domain::{Account, AccountChange, AccountEvent, EmailAddress, NewAccount, Username};
use crate::error::AuthError;
use crate::integration::publish;
use crate::{Auth, queries, store};

/// Most names that are made of an address, where others have them.
pub(super) const MADE_NAMES: usize = 8;

/// Opens an account. [`AuthError::Taken`] when another account has the address or the name, whatever its case.
pub struct OpenAccount {
    pub new: NewAccount,
    /// With a key of this caller only once, however often it is sent.
    pub once: Option<(Caller, IdempotencyKey)>,
}
blocks::operation!(OpenAccount -> Result<Account, AuthError>, "auth.register");

impl Command<Auth> for OpenAccount {
    async fn run(self, on: &Auth) -> Result<Account, AuthError> {
        let Self { new, once } = self;
        let hash = match &new.password {
            Some(password) => {
                let hash = on.passwords.hash(password.clone(), new.terms()).await;
                Some(hash.map_err(|error| AuthError::NewPassword("password", error))?)
            }
            None => None,
        };
        let once = once.map(|(by, key)| (by.id, key.request(&new.parts())));
        for name in names(on, &new) {
            let (new, hash) = (new.clone(), hash.clone());
            let (of, request) = once.clone().unwrap_or_default();
            let (is_made, auth) = (new.username.is_none(), on.clone());
            let write = on.db.write_once((store::OPENS, of), request, move |tx| {
                Box::pin(async move {
                    let account = store::add_account(tx, &new, &name, hash.as_deref())
                        .await
                        .map_err(taken)?;
                    publish(tx, AccountEvent::Opened(&account), 1).await?;
                    auth.mails
                        .welcome(tx, &account, hash.is_some(), new.language)
                        .await?;
                    Ok(account)
                })
            });
            match write.await {
                Err(AuthError::Taken("username")) if is_made => {}
                opened => return opened,
            }
        }
        Err(AuthError::Taken("username"))
    }
}

/// The name that `new` asks for; without one those that are made of its address, the bare one first.
pub(super) fn names(on: &Auth, new: &NewAccount) -> Vec<Username> {
    if let Some(name) = &new.username {
        return vec![name.clone()];
    }
    let made = (0..MADE_NAMES).map(|at| made_name(&new.email, at, on.clock.id()));
    made.collect()
}

/// The name made of `address`, alone or with a number, which is the longer the more were taken before it.
pub(super) fn made_name(address: &EmailAddress, at: usize, random: Uuid) -> Username {
    let least = match at {
        0 => return Username::of_address(address, 0),
        1..4 => 1_000,
        _ => 100_000_000,
    };
    let random = u32::try_from(random.as_u128() % (9 * u128::from(least))).unwrap_or_default();
    Username::of_address(address, least + random)
}

/// Changes an account: everything for an admin or an operator, all but role and state for its owner. Every token of the
/// account answers the new name and role: here from the answer on, on other replicas within a second. An account that is deactivated loses
/// its sessions.
pub struct ChangeAccount {
    /// `None` is an operator.
    pub by: Option<Caller>,
    pub id: i64,
    pub change: AccountChange,
}
blocks::operation!(ChangeAccount -> Result<Account, AuthError>, "auth.change_account", |it| user.id = it.id);

impl Command<Auth> for ChangeAccount {
    fn authorize(&self, _: &Auth) -> Result<(), AuthError> {
        let Some(by) = &self.by else {
            return Ok(());
        };
        if !by.may_act_for(self.id) {
            return Err(AuthError::NoUser);
        }
        match self.change.of_admins().next() {
            Some(field) if by.role != Role::Admin => Err(AuthError::OfAdmins(field)),
            _ => Ok(()),
        }
    }

    async fn run(self, on: &Auth) -> Result<Account, AuthError> {
        let Self { by, id, mut change } = self;
        let by_owner = by.as_ref().is_some_and(|by| by.id == id);
        if by_owner && change.email.is_some() && on.mails.deliver() {
            let counted = on.mails.limits.of_account(id).await?;
            counted.map_err(AuthError::MailsUsedUp)?;
        }
        let gone = move || match &by {
            Some(by) if by.id == id => AuthError::NoAccount,
            _ => AuthError::NoUser,
        };
        if change.is_empty() {
            return queries::account(on, id).await?.ok_or_else(gone);
        }
        let auth = on.clone();
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                let told = auth.mails.hold_back(tx, id, &mut change, by_owner).await?;
                if change.takes_admin() && store::is_last_admin(tx, id).await? {
                    return Err(AuthError::LastAdmin);
                }
                let changed = store::change_account(tx, id, &change).await;
                let (changed, version) = changed.map_err(taken)?.ok_or_else(gone)?;
                publish(tx, AccountEvent::Changed(&changed), version).await?;
                if let Some(before) = told {
                    auth.mails.tell_new_email(tx, &before, &changed).await?;
                }
                if changed.is_active {
                    let change = account.changed(version);
                    account.tell(tx, version, vec![change]).await?;
                } else {
                    account.end_all(tx, version, None).await?;
                }
                Ok(changed)
            })
        });
        write.await
    }
}

/// Closes an account for ever. Its tokens are refused as those of a deactivated one; the services erase what they hold of
/// it, and answer that ([`queries::ReadErasure`]).
pub struct CloseAccount {
    pub id: i64,
    /// The owner with the password; `None` for an admin or an operator.
    pub proof: Option<(Caller, String)>,
}
blocks::operation!(CloseAccount -> Result<(), AuthError>, "auth.close_account", |it| user.id = it.id);

impl Command<Auth> for CloseAccount {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        let Self { id, proof } = self;
        let proven = match proof {
            Some((owner, password)) => Some(prove_own(on, &owner, "password", password).await?),
            None => None,
        };
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                if store::is_last_admin(tx, id).await? {
                    return Err(AuthError::LastAdmin);
                }
                let closed = store::remove_account(tx, id, proven.as_ref()).await?;
                let version = closed.ok_or(match proven {
                    // Since it was checked, somebody may have set another one.
                    Some(_) => AuthError::WrongPassword("password"),
                    None => AuthError::NoUser,
                })?;
                publish(tx, AccountEvent::Closed { user_id: id }, version).await?;
                let change = account.changed(version);
                account.tell(tx, version, vec![change]).await
            })
        });
        write.await
    }
}

pub(super) fn taken(error: StoreError) -> AuthError {
    if error.is_unique("users", "email_key") {
        AuthError::Taken("email")
    } else if error.is_unique("users", "username_key") {
        AuthError::Taken("username")
    } else {
        AuthError::Store(error)
    }
}
