//! Statements on accounts.

use blocks::Role;
use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, fetch_one, fetch_optional};

use super::role;
use crate::domain::{Account, AccountChange, Login, NewAccount, Username, key};

#[derive(sqlx_macros::FromRow)]
struct AccountRow {
    id: i64,
    email: String,
    username: String,
    full_name: Option<String>,
    age: Option<i64>,
    role: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            username: row.username,
            full_name: row.full_name,
            age: row.age,
            role: role(&row.role),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Adds an account, as version 1.
pub async fn add_account(
    tx: &mut Tx,
    new: &NewAccount,
    password_hash: &str,
    role: Role,
) -> Result<Account, StoreError> {
    let now = tx.now();
    let (email, username) = (new.email.as_str(), new.username.as_str());
    let row: AccountRow = fetch_one!(tx,
        "insert into users (email, email_key, username, username_key, full_name, age, role,
            password_hash, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)
         returning id, email, username, full_name, age, role, created_at, updated_at"
        => email, key(email), username, key(username), &new.full_name,
            new.age, role.as_str(), password_hash, now)?;
    Ok(row.into())
}

/// The account with this id.
pub async fn account(reader: &mut Reader, id: i64) -> Result<Option<Account>, StoreError> {
    let row: Option<AccountRow> = fetch_optional!(reader,
        "select id, email, username, full_name, age, role, created_at, updated_at
         from users where id = $1" => id)?;
    Ok(row.map(Account::from))
}

/// Changes an account; returns it with its new version, or `None` when it is gone.
pub async fn change_account(
    tx: &mut Tx,
    id: i64,
    change: &AccountChange,
) -> Result<Option<(Account, i64)>, StoreError> {
    #[derive(sqlx_macros::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        account: AccountRow,
        version: i64,
    }
    let now = tx.now();
    let username = change.username.as_ref().map(Username::as_str);
    let row: Option<Row> = fetch_optional!(tx,
        "update users set
            username = coalesce($2, username),
            username_key = coalesce($3, username_key),
            full_name = case when $4 then $5 else full_name end,
            age = case when $6 then $7 else age end,
            version = version + 1,
            updated_at = $8
         where id = $1
         returning id, email, username, full_name, age, role, created_at, updated_at, version"
        => id, username, username.map(key),
            !change.full_name.is_absent(), change.full_name.clone().set(),
            !change.age.is_absent(), change.age.set(), now)?;
    Ok(row.map(|row| (row.account.into(), row.version)))
}

/// Adds `events` to an account's version, under its row lock. Returns the new version, or `None`
/// when the account is gone.
pub async fn advance(tx: &mut Tx, id: i64, events: i64) -> Result<Option<i64>, StoreError> {
    fetch_optional!(tx, scalar
        "update users set version = version + $2 where id = $1 returning version" => id, events)
}

/// The account that a login is checked against.
#[derive(sqlx_macros::FromRow)]
pub struct Credentials {
    /// The account's number.
    pub id: i64,
    /// The account's address.
    pub email: String,
    /// The account's name.
    pub username: String,
    role: String,
    /// The password's hash, a PHC string.
    pub password_hash: String,
}

impl Credentials {
    pub fn role(&self) -> Role {
        role(&self.role)
    }
}

/// Finds the account that `login` names.
pub async fn credentials(
    reader: &mut Reader,
    login: &Login,
) -> Result<Option<Credentials>, StoreError> {
    let (statement, wanted) = match login {
        Login::Email(email) => (
            "select id, email, username, role, password_hash from users where email_key = $1",
            key(email),
        ),
        Login::Username(name) => (
            "select id, email, username, role, password_hash from users where username_key = $1",
            key(name),
        ),
    };
    fetch_optional!(reader, statement => &wanted)
}
