//! Statements on many accounts at once: their import and their export.

use std::collections::{BTreeMap, BTreeSet};

use sql::{Reader, StoreError, Tx, fetch_all, on};
use sqlx::{AssertSqlSafe, QueryBuilder};

use super::accounts::{AccountRow, COLUMNS, NO_PASSWORD};
use crate::domain::{Account, Username, key};
use crate::import::{ImportedAccount, PortableAccount};

/// The name of importing a batch, among requests that may be sent twice.
pub const IMPORTS: &str = "import_accounts";
/// Most rows of a statement, times 15 columns.
const ROWS: usize = 128;
/// Most terms of a statement, times 2 columns.
const TERMS: usize = 512;

/// Adds accounts under their names, each as version 1. One whose address or name is taken, also by an earlier one of
/// them, is left out: the answer has `None` in its place.
pub async fn add_accounts(
    tx: &mut Tx,
    accounts: &[(&ImportedAccount, Username)],
) -> Result<Vec<Option<Account>>, StoreError> {
    let now = tx.now();
    let mut ids = BTreeMap::new();
    for part in parts(accounts, ROWS) {
        let added: Vec<(i64, String, String)> = on!(tx, conn => {
            let mut insert = QueryBuilder::new(
                "insert into users (email, email_key, username, username_key, first_name, last_name, full_name,
                    age, role, is_active, email_verified, password_hash, version, created_at, updated_at) ",
            );
            insert.push_values(part, |mut row, (account, username)| {
                let (new, username) = (&account.new, username.as_str());
                let email = new.email.as_str();
                row.push_bind(email)
                    .push_bind(key(email))
                    .push_bind(username)
                    .push_bind(key(username))
                    .push_bind(new.first_name.as_deref())
                    .push_bind(new.last_name.as_deref())
                    .push_bind(new.full_name.as_deref())
                    .push_bind(new.age)
                    .push_bind(new.role.as_str())
                    .push_bind(new.is_active)
                    .push_bind(account.email_verified)
                    .push_bind(account.password_hash.as_deref().unwrap_or(NO_PASSWORD))
                    .push_bind(1_i64)
                    .push_bind(account.created_at)
                    .push_bind(now);
            });
            insert.push(" on conflict do nothing returning id, email_key, username_key");
            insert.build_query_as().fetch_all(&mut *conn).await
        })?;
        let added = added.into_iter();
        ids.extend(added.map(|(id, email, username)| ((email, username), id)));
    }
    let opened = accounts.iter().map(|(account, username)| {
        let new = &account.new;
        let keys = (key(new.email.as_str()), key(username.as_str()));
        Some(Account {
            id: ids.remove(&keys)?,
            email: new.email.as_str().to_owned(),
            username: username.as_str().to_owned(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            full_name: new.full_name.clone(),
            age: new.age,
            role: new.role,
            is_active: new.is_active,
            email_verified: account.email_verified,
            created_at: account.created_at,
            updated_at: now,
            last_login_at: None,
        })
    });
    let opened: Vec<Option<Account>> = opened.collect();
    let found_by = opened.iter().flatten().flat_map(|account| {
        let terms = account.terms().into_iter();
        terms.map(|term| (term, account.id))
    });
    let found_by: Vec<(String, i64)> = found_by.collect();
    for part in parts(&found_by, TERMS) {
        on!(tx, conn => {
            let mut insert = QueryBuilder::new("insert into user_terms (term, user_id) ");
            insert.push_values(part, |mut row, (term, id)| {
                row.push_bind(term).push_bind(id);
            });
            insert.build().execute(&mut *conn).await.map(|_| ())
        })?;
    }
    Ok(opened)
}

/// Parts of few different lengths, the longest first: so few statements are remembered.
fn parts<T>(mut rows: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let fits = std::iter::successors(Some(most), |length| Some(length / 2));
        let length = fits
            .take_while(|length| *length > 0)
            .find(|length| *length <= rows.len())?;
        let (part, rest) = rows.split_at(length);
        rows = rest;
        Some(part)
    })
}

/// What is taken of some addresses and names, in the form in which they are unique.
#[derive(Default)]
pub struct Taken {
    pub emails: BTreeSet<String>,
    pub usernames: BTreeSet<String>,
}

/// Which of the addresses and names other accounts have.
pub async fn taken(
    tx: &mut Tx,
    emails: &[String],
    usernames: &[String],
) -> Result<Taken, StoreError> {
    let of = tx.dialect();
    let statement = format!(
        "select true, email_key from users where email_key in {}
         union all select false, username_key from users where username_key in {}",
        of.json_texts("$1"),
        of.json_texts("$2")
    );
    let (emails, usernames) = (
        serde_json::to_string(emails)?,
        serde_json::to_string(usernames)?,
    );
    let rows: Vec<(bool, String)> = fetch_all!(tx, AssertSqlSafe(statement) => emails, usernames)?;
    let mut taken = Taken::default();
    for (is_email, key) in rows {
        let keys = if is_email {
            &mut taken.emails
        } else {
            &mut taken.usernames
        };
        keys.insert(key);
    }
    Ok(taken)
}

/// The next accounts after an id as lines, with their ids.
pub async fn portable_accounts(
    reader: &mut Reader,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, PortableAccount)>, StoreError> {
    #[derive(sqlx_macros::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        account: AccountRow,
        password_hash: String,
    }
    let statement =
        format!("select {COLUMNS}, password_hash from users where id > $1 order by id limit $2");
    let rows: Vec<Row> = fetch_all!(reader, AssertSqlSafe(statement) => after, limit)?;
    let accounts = rows.into_iter().map(|row| {
        let account = Account::from(row.account);
        let hash = Some(row.password_hash).filter(|hash| hash != NO_PASSWORD);
        (account.id, PortableAccount::of(account, hash))
    });
    Ok(accounts.collect())
}
