//! Statements on accounts.

use blocks::{Caller, Role};
use chrono::{DateTime, Utc};
use sql::{
    Reader, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, idempotency,
    rows_affected,
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::role;
use crate::NAME;
use crate::domain::{Account, AccountChange, EmailAddress, Login, NewAccount, Username, key};

/// The name of opening an account for somebody, among requests that may be sent twice.
pub const OPENS: &str = "open_account";
/// In the place of a hash, for an account without a password.
pub(super) const NO_PASSWORD: &str = "";

/// The columns of an account, in whatever table they are selected from.
pub(super) const COLUMNS: &str = "id, email, username, first_name, last_name, full_name, age, role, \
    is_active, email_verified, created_at, updated_at, last_login_at";

#[derive(sqlx_macros::FromRow)]
pub(super) struct AccountRow {
    id: i64,
    email: String,
    username: String,
    first_name: Option<String>,
    last_name: Option<String>,
    full_name: Option<String>,
    age: Option<i64>,
    role: String,
    is_active: bool,
    email_verified: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            username: row.username,
            first_name: row.first_name,
            last_name: row.last_name,
            full_name: row.full_name,
            age: row.age,
            role: role(&row.role),
            is_active: row.is_active,
            email_verified: row.email_verified,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_login_at: row.last_login_at,
        }
    }
}

/// Adds an account under the name `username`, as version 1.
pub async fn add_account(
    tx: &mut Tx,
    new: &NewAccount,
    username: &Username,
    password_hash: Option<&str>,
) -> Result<Account, StoreError> {
    let now = tx.now();
    let (email, username) = (new.email.as_str(), username.as_str());
    let statement = format!(
        "insert into users (email, email_key, username, username_key, first_name, last_name, full_name,
            age, role, is_active, password_hash, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $12)
         returning {COLUMNS}"
    );
    let row: AccountRow = fetch_one!(tx, AssertSqlSafe(statement)
        => email, key(email), username, key(username), &new.first_name, &new.last_name,
            &new.full_name, new.age, new.role.as_str(), new.is_active,
            password_hash.unwrap_or(NO_PASSWORD), now)?;
    let account = row.into();
    add_terms(tx, &account).await?;
    Ok(account)
}

/// Makes an account found by its terms.
pub(super) async fn add_terms(tx: &mut Tx, account: &Account) -> Result<(), StoreError> {
    for term in account.terms() {
        execute!(tx, "insert into user_terms (term, user_id) values ($1, $2)"
            => &term, account.id)?;
    }
    Ok(())
}

/// The account with this id.
pub async fn account(reader: &mut Reader, id: i64) -> Result<Option<Account>, StoreError> {
    let statement = format!("select {COLUMNS} from users where id = $1");
    let row: Option<AccountRow> = fetch_optional!(reader, AssertSqlSafe(statement) => id)?;
    Ok(row.map(Account::from))
}

/// The account with this address.
pub async fn account_at(reader: &mut Reader, email: &str) -> Result<Option<Account>, StoreError> {
    let statement = format!("select {COLUMNS} from users where email_key = $1");
    let row: Option<AccountRow> = fetch_optional!(reader, AssertSqlSafe(statement) => key(email))?;
    Ok(row.map(Account::from))
}

/// The account with this name.
pub async fn account_named(
    reader: &mut Reader,
    username: &str,
) -> Result<Option<Account>, StoreError> {
    let statement = format!("select {COLUMNS} from users where username_key = $1");
    let row: Option<AccountRow> =
        fetch_optional!(reader, AssertSqlSafe(statement) => key(username))?;
    Ok(row.map(Account::from))
}

/// Changes an account; returns it with its new version, or `None` when it is gone. A new address is not
/// verified yet.
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
    let email = change.email.as_ref().map(EmailAddress::as_str);
    let username = change.username.as_ref().map(Username::as_str);
    let statement = format!(
        "update users set
            email = coalesce($2, email),
            email_verified = email_verified and ($3 is null or email_key = $3),
            email_key = coalesce($3, email_key),
            username = coalesce($4, username),
            username_key = coalesce($5, username_key),
            first_name = case when $6 then $7 else first_name end,
            last_name = case when $8 then $9 else last_name end,
            full_name = case when $10 then $11 else full_name end,
            age = case when $12 then $13 else age end,
            role = coalesce($14, role),
            is_active = coalesce($15, is_active),
            version = version + 1,
            updated_at = $16
         where id = $1
         returning {COLUMNS}, version"
    );
    let row: Option<Row> = fetch_optional!(tx, AssertSqlSafe(statement)
        => id, email, email.map(key), username, username.map(key),
            !change.first_name.is_absent(), change.first_name.clone().set(),
            !change.last_name.is_absent(), change.last_name.clone().set(),
            !change.full_name.is_absent(), change.full_name.clone().set(),
            !change.age.is_absent(), change.age.set(),
            change.role.map(Role::as_str), change.is_active, now)?;
    let Some(Row { account, version }) = row else {
        return Ok(None);
    };
    let account = account.into();
    execute!(tx, "delete from user_terms where user_id = $1" => id)?;
    add_terms(tx, &account).await?;
    Ok(Some((account, version)))
}

/// Counts a login, as the account's next version, and stores the `renewed` hash of its password; `None` if nobody can
/// log in to it any more, or it has got another password or hash.
pub async fn note_login(
    tx: &mut Tx,
    proven: &Credentials,
    renewed: Option<&str>,
) -> Result<Option<i64>, StoreError> {
    let now = tx.now();
    fetch_optional!(tx, scalar
        "update users set version = version + 1, last_login_at = $3,
            password_hash = coalesce($4, password_hash)
         where id = $1 and password_hash = $2 and is_active returning version"
        => proven.id, &proven.password_hash, now, renewed)
}

/// Stores the hash of a new password; false if the account is gone, or no longer has the password that was proven.
/// With it ends what somebody else may have prepared: links for a password, the address that waits, known places.
pub async fn set_password(
    tx: &mut Tx,
    id: i64,
    proven: Option<&Credentials>,
    hash: &str,
) -> Result<bool, StoreError> {
    let proven = proven.map(|proven| proven.password_hash.as_str());
    let set = rows_affected!(tx,
        "update users set password_hash = $3, pending_email = null
         where id = $1 and ($2 is null or (password_hash = $2 and is_active))"
        => id, proven, hash)?;
    super::end_resets(tx, id).await?;
    super::forget_places(tx, id).await?;
    Ok(set == 1)
}

/// True if this is the only active admin. Others stay admins until the end of the write.
pub async fn is_last_admin(tx: &mut Tx, id: i64) -> Result<bool, StoreError> {
    let lock = tx.dialect().for_update();
    let statement = format!(
        "select id from users where role = 'admin' and is_active order by id limit 2{lock}"
    );
    let admins: Vec<i64> = fetch_all!(tx, scalar AssertSqlSafe(statement))?;
    Ok(admins == [id])
}

/// Removes an account with all that auth holds of it, and notes that auth has. Returns its last version, or
/// `None` when it is gone, or no longer has the password that was proven.
pub async fn remove_account(
    tx: &mut Tx,
    id: i64,
    proven: Option<&Credentials>,
) -> Result<Option<i64>, StoreError> {
    let proven = proven.map(|proven| proven.password_hash.as_str());
    let records: i64 = fetch_one!(tx, scalar
        "select 1 + (select count(*) from sessions where user_id = $1)
            + (select count(*) from known_places where user_id = $1)
            + (select count(*) from mails where user_id = $1)
            + (select count(*) from oidc_identities where user_id = $1)" => id)?;
    let version: Option<i64> = fetch_optional!(tx, scalar
        "delete from users
         where id = $1 and ($2 is null or (password_hash = $2 and is_active))
         returning version + 1" => id, proven)?;
    if version.is_none() {
        return Ok(None);
    }
    idempotency::forget(tx, id).await?;
    // The answer to the admin who opened it begins with its id, and has its names.
    execute!(tx, "delete from idempotency_keys where operation = $1 and answer like $2"
        => OPENS, format!("{{\"id\":{id},%"))?;
    let now = tx.now();
    execute!(tx, "insert into closed_accounts (user_id, closed_at) values ($1, $2)" => id, now)?;
    super::note_erasure(tx, id, NAME, records).await?;
    Ok(version)
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
    /// False if nobody can log in to it.
    pub is_active: bool,
    /// True once its owner has shown that mail to the address arrives.
    pub email_verified: bool,
    password_hash: String,
}

impl Credentials {
    /// The account in its new session.
    pub fn caller(&self, session: Uuid) -> Caller {
        Caller {
            id: self.id,
            name: self.username.as_str().into(),
            email: self.email.as_str().into(),
            role: role(&self.role),
            session,
        }
    }

    /// The password's hash, a PHC string; `None` if the account has no password.
    pub fn password_hash(&self) -> Option<String> {
        let hash = Some(&self.password_hash).filter(|hash| *hash != NO_PASSWORD);
        hash.cloned()
    }
}

/// Finds the account that `login` names.
pub async fn credentials(
    reader: &mut Reader,
    login: &Login,
) -> Result<Option<Credentials>, StoreError> {
    let (statement, wanted) = match login {
        Login::Id(id) => {
            return fetch_optional!(reader,
                "select id, email, username, role, is_active, email_verified, password_hash from users where id = $1"
                => id);
        }
        Login::Email(email) => (
            "select id, email, username, role, is_active, email_verified, password_hash from users where email_key = $1",
            key(email),
        ),
        Login::Username(name) => (
            "select id, email, username, role, is_active, email_verified, password_hash from users where username_key = $1",
            key(name),
        ),
    };
    fetch_optional!(reader, statement => &wanted)
}
