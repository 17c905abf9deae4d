//! Importing accounts.

use blocks::Command;
use blocks::extract::KeyedRequest;
use sql::Tx;

use super::accounts::{MADE_NAMES, made_name};
use crate::domain::{AccountEvent, Username, key};
use crate::error::AuthError;
use crate::import::{Batch, Imported, ImportedAccount, Refusal};
use crate::integration::publish;
use crate::store::Taken;
use crate::{Auth, store};

/// Whoever imports has no account.
const OPERATOR: i64 = 0;

/// Opens an account a line, in one write: all that nothing speaks against. Sent again within a day, it is answered as
/// before and opens none.
pub struct ImportAccounts {
    pub batch: Batch,
}
blocks::operation!(ImportAccounts -> Result<Imported, AuthError>, "users.import");

impl Command<Auth> for ImportAccounts {
    async fn run(self, on: &Auth) -> Result<Imported, AuthError> {
        let Self { batch } = self;
        let (accounts, mut refused) = batch.read(on.clock.now())?;
        let parts = (&batch.after, batch.first_line, &batch.lines);
        let key = KeyedRequest::new(String::new(), &parts).fingerprint;
        let request = KeyedRequest {
            key: key.clone(),
            fingerprint: key.clone(),
        };
        let request = Some(request).filter(|_| !batch.dry_run);
        let operation = (store::IMPORTS, OPERATOR);
        let write = on.db.write_once(operation, request, move |tx| {
            Box::pin(async move {
                let all = accounts.len();
                let not_opened = if batch.dry_run {
                    would_not_open(tx, &accounts).await?
                } else {
                    open(tx, accounts).await?
                };
                let added = u64::try_from(all - not_opened.len()).unwrap_or(u64::MAX);
                refused.extend(not_opened);
                refused.sort_by_key(|refusal| refusal.line);
                Ok(Imported {
                    next: key,
                    added,
                    refused,
                })
            })
        });
        write.await
    }
}

/// Opens the accounts; answers those that could not be.
async fn open(tx: &mut Tx, mut waiting: Vec<ImportedAccount>) -> Result<Vec<Refusal>, AuthError> {
    let mut refused = Vec::new();
    for at in 0..MADE_NAMES {
        if waiting.is_empty() {
            break;
        }
        let choose = |account: &ImportedAccount| {
            let given = account.new.username.clone();
            given.unwrap_or_else(|| made_name(&account.new.email, at, tx.id()))
        };
        let names: Vec<Username> = waiting.iter().map(choose).collect();
        let rows: Vec<_> = waiting.iter().zip(names.iter().cloned()).collect();
        let opened = store::add_accounts(tx, &rows).await?;
        for account in opened.iter().flatten() {
            publish(tx, AccountEvent::Imported(account), 1).await?;
        }
        let rest = waiting.into_iter().zip(names).zip(opened);
        let rest = rest.filter(|(_, opened)| opened.is_none());
        let rest: Vec<_> = rest.map(|(left, _)| left).collect();
        waiting = Vec::new();
        if rest.is_empty() {
            break;
        }
        let keys = |(account, name): &(ImportedAccount, Username)| {
            (key(account.new.email.as_str()), key(name.as_str()))
        };
        let (emails, usernames): (Vec<String>, Vec<String>) = rest.iter().map(keys).unzip();
        let taken = store::taken(tx, &emails, &usernames).await?;
        for (account, _) in rest {
            match account.refused_for(&taken) {
                Some(refusal) => refused.push(refusal),
                // Its name was made, or whoever had it is gone by now.
                None => waiting.push(account),
            }
        }
    }
    let left = waiting.iter();
    refused.extend(left.map(|account| Refusal::taken(account.line, "username")));
    Ok(refused)
}

/// The accounts that could not be opened beside those that there are.
async fn would_not_open(
    tx: &mut Tx,
    accounts: &[ImportedAccount],
) -> Result<Vec<Refusal>, AuthError> {
    let emails = accounts
        .iter()
        .map(|account| key(account.new.email.as_str()));
    let emails: Vec<String> = emails.collect();
    let usernames = accounts.iter().filter_map(ImportedAccount::username_key);
    let usernames: Vec<String> = usernames.collect();
    let taken = store::taken(tx, &emails, &usernames).await?;
    let refused = accounts
        .iter()
        .filter_map(|account| account.refused_for(&taken));
    Ok(refused.collect())
}

impl ImportedAccount {
    /// The form in which its name is unique, if it has one.
    fn username_key(&self) -> Option<String> {
        self.new.username.as_ref().map(|name| key(name.as_str()))
    }

    /// Its name first: one that was refused for that may have lost its address to a later line.
    fn refused_for(&self, taken: &Taken) -> Option<Refusal> {
        let name = self.username_key();
        if name.is_some_and(|name| taken.usernames.contains(&name)) {
            return Some(Refusal::taken(self.line, "username"));
        }
        let is_taken = taken.emails.contains(&key(self.new.email.as_str()));
        is_taken.then(|| Refusal::taken(self.line, "email"))
    }
}
