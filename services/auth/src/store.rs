//! What auth keeps: accounts, sessions and signing keys.

use blocks::Role;
use chrono::{DateTime, Utc};
use sql::{Db, StoreError, Tx, on};
use uuid::Uuid;

use crate::domain::{Account, AccountChange, Login, NewAccount, key};

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

fn role(text: &str) -> Role {
    text.parse().expect("the column has a check constraint")
}

/// Adds an account, as version 1.
pub async fn add_account(
    tx: &mut Tx,
    new: &NewAccount,
    password_hash: &str,
    role: Role,
) -> Result<Account, StoreError> {
    let now = tx.now();
    let row: AccountRow = on!(tx, conn => sqlx::query_as(
        "insert into users (email, email_key, username, username_key, full_name, age, role,
            password_hash, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)
         returning id, email, username, full_name, age, role, created_at, updated_at",
    )
    .bind(&new.email)
    .bind(key(&new.email))
    .bind(&new.username)
    .bind(key(&new.username))
    .bind(&new.full_name)
    .bind(new.age)
    .bind(role.as_str())
    .bind(password_hash)
    .bind(now)
    .fetch_one(&mut *conn)
    .await)?;
    Ok(row.into())
}

/// The account with this id.
pub async fn account(db: &Db, id: i64) -> Result<Option<Account>, StoreError> {
    let mut reader = db.read().await?;
    let row: Option<AccountRow> = on!(reader, conn => sqlx::query_as(
        "select id, email, username, full_name, age, role, created_at, updated_at
         from users where id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *conn)
    .await)?;
    Ok(row.map(Account::from))
}

/// Changes an account; answers it with its new version, or nothing when it is gone.
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
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(
        "update users set
            username = coalesce($2, username),
            username_key = coalesce($3, username_key),
            full_name = case when $4 then $5 else full_name end,
            age = case when $6 then $7 else age end,
            version = version + 1,
            updated_at = $8
         where id = $1
         returning id, email, username, full_name, age, role, created_at, updated_at, version",
    )
    .bind(id)
    .bind(&change.username)
    .bind(change.username.as_deref().map(key))
    .bind(!change.full_name.is_absent())
    .bind(change.full_name.clone().set())
    .bind(!change.age.is_absent())
    .bind(change.age.set())
    .bind(now)
    .fetch_optional(&mut *conn)
    .await)?;
    Ok(row.map(|row| (row.account.into(), row.version)))
}

/// Counts `events` more events of an account, under its row lock; answers its new version, or
/// nothing when the account is gone.
pub async fn advance(tx: &mut Tx, id: i64, events: i64) -> Result<Option<i64>, StoreError> {
    on!(tx, conn => sqlx::query_scalar(
        "update users set version = version + $2 where id = $1 returning version",
    )
    .bind(id)
    .bind(events)
    .fetch_optional(&mut *conn)
    .await)
}

/// What a login is checked against.
#[derive(sqlx_macros::FromRow)]
pub struct Credentials {
    /// The account.
    pub id: i64,
    /// Its address.
    pub email: String,
    /// Its name.
    pub username: String,
    role: String,
    /// A PHC string.
    pub password_hash: String,
}

impl Credentials {
    /// What it may do.
    pub fn role(&self) -> Role {
        role(&self.role)
    }
}

/// The account that somebody wants to log in to.
pub async fn credentials(db: &Db, login: &Login) -> Result<Option<Credentials>, StoreError> {
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
    let mut reader = db.read().await?;
    on!(reader, conn => sqlx::query_as(statement).bind(&wanted).fetch_optional(&mut *conn).await)
}

/// Begins a session and removes the account's expired ones: they refuse nothing any more.
pub async fn add_session(
    tx: &mut Tx,
    session: Uuid,
    user_id: i64,
    user_agent: Option<&str>,
    expires_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let now = tx.now();
    on!(tx, conn => sqlx::query("delete from sessions where user_id = $1 and expires_at <= $2")
        .bind(user_id)
        .bind(now)
        .execute(&mut *conn)
        .await
        .map(|_| ()))?;
    on!(tx, conn => sqlx::query(
        "insert into sessions (id, user_id, user_agent, created_at, expires_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(session)
    .bind(user_id)
    .bind(user_agent)
    .bind(now)
    .bind(expires_at)
    .execute(&mut *conn)
    .await
    .map(|_| ()))
}

/// The account behind a session.
#[derive(sqlx_macros::FromRow)]
pub struct LiveSession {
    /// The account.
    pub user_id: i64,
    /// Its address.
    pub email: String,
    /// Its name.
    pub username: String,
    role: String,
    /// The account's version.
    pub version: i64,
    /// Sessions that began earlier have ended.
    pub not_before: Option<DateTime<Utc>>,
    /// When the session began.
    pub began: DateTime<Utc>,
    /// When it was ended.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl LiveSession {
    /// What the account may do.
    pub fn role(&self) -> Role {
        role(&self.role)
    }
}

/// The session with this id, with its account as it is now.
pub async fn session(db: &Db, session: Uuid) -> Result<Option<LiveSession>, StoreError> {
    let mut reader = db.read().await?;
    on!(reader, conn => sqlx::query_as(
        "select u.id as user_id, u.email, u.username, u.role, u.version, u.not_before,
            s.created_at as began, s.revoked_at
         from sessions s join users u on u.id = s.user_id
         where s.id = $1",
    )
    .bind(session)
    .fetch_optional(&mut *conn)
    .await)
}

/// A session as its owner sees it.
#[derive(Debug, Clone, sqlx_macros::FromRow)]
pub struct SessionRow {
    /// Its id.
    pub id: Uuid,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// The account's live sessions, newest first: up to `limit` of those after `cursor`, and how many
/// there are in all.
pub async fn newest_sessions(
    db: &Db,
    user_id: i64,
    now: DateTime<Utc>,
    (cursor, limit, skip): (Option<Uuid>, i64, i64),
) -> Result<(Vec<SessionRow>, i64), StoreError> {
    let mut reader = db.read().await?;
    let rows = on!(reader, conn => sqlx::query_as(
        "select id, user_agent, created_at, expires_at from sessions
         where user_id = $1 and revoked_at is null and expires_at > $2
            and ($3 is null or id < $3)
         order by id desc limit $4 offset $5",
    )
    .bind(user_id)
    .bind(now)
    .bind(cursor)
    .bind(limit)
    .bind(skip)
    .fetch_all(&mut *conn)
    .await)?;
    let total = on!(reader, conn => sqlx::query_scalar(
        "select count(*) from sessions
         where user_id = $1 and revoked_at is null and expires_at > $2",
    )
    .bind(user_id)
    .bind(now)
    .fetch_one(&mut *conn)
    .await)?;
    Ok((rows, total))
}

/// Ends one live session of an account; answers when its last token expires, or nothing when there
/// is no such session.
pub async fn end_session(
    tx: &mut Tx,
    user_id: i64,
    session: Uuid,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let now = tx.now();
    on!(tx, conn => sqlx::query_scalar(
        "update sessions set revoked_at = $3
         where id = $1 and user_id = $2 and revoked_at is null and expires_at > $3
         returning expires_at",
    )
    .bind(session)
    .bind(user_id)
    .bind(now)
    .fetch_optional(&mut *conn)
    .await)
}

/// Ends all live sessions of an account and refuses whatever began before now.
pub async fn end_sessions(
    tx: &mut Tx,
    user_id: i64,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
    let now = tx.now();
    on!(tx, conn => sqlx::query("update users set not_before = $2 where id = $1")
        .bind(user_id)
        .bind(now)
        .execute(&mut *conn)
        .await
        .map(|_| ()))?;
    on!(tx, conn => sqlx::query_as(
        "update sessions set revoked_at = $2
         where user_id = $1 and revoked_at is null and expires_at > $2
         returning id, expires_at",
    )
    .bind(user_id)
    .bind(now)
    .fetch_all(&mut *conn)
    .await)
}

/// Sessions that were ended and whose tokens have not expired, with when they do.
pub async fn ended_sessions(
    db: &Db,
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
    let mut reader = db.read().await?;
    on!(reader, conn => sqlx::query_as(
        "select id, expires_at from sessions where revoked_at is not null and expires_at > $1",
    )
    .bind(now)
    .fetch_all(&mut *conn)
    .await)
}

/// Accounts whose earlier sessions were ended after `since`, with when.
pub async fn not_befores(
    db: &Db,
    since: DateTime<Utc>,
) -> Result<Vec<(i64, DateTime<Utc>)>, StoreError> {
    let mut reader = db.read().await?;
    on!(reader, conn => sqlx::query_as(
        "select id, not_before from users where not_before is not null and not_before > $1",
    )
    .bind(since)
    .fetch_all(&mut *conn)
    .await)
}

/// A signing key as it is stored.
pub struct StoredKey {
    /// Its id.
    pub kid: String,
    /// Encrypted.
    pub sealed: Vec<u8>,
    /// Whether its time to sign has come.
    pub signs: bool,
}

/// The keys that are not retired; of those that sign, the latest is the last.
pub async fn signing_keys(db: &Db) -> Result<Vec<StoredKey>, StoreError> {
    let now = db.settings().clock.now();
    let mut reader = db.read().await?;
    let rows: Vec<(String, Vec<u8>, DateTime<Utc>)> = on!(reader, conn => sqlx::query_as(
        "select kid, sealed, signs_from from signing_keys
         where retired_at is null order by signs_from, generation",
    )
    .fetch_all(&mut *conn)
    .await)?;
    let stored = |(kid, sealed, signs_from)| StoredKey {
        kid,
        sealed,
        signs: signs_from <= now,
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// Adds a key that signs from now on, unless another process adds one at the same moment.
pub async fn add_signing_key(db: &Db, kid: String, sealed: Vec<u8>) -> Result<(), StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            let now = tx.now();
            on!(tx, conn => sqlx::query(
                "insert into signing_keys (kid, generation, sealed, published_at, signs_from)
                 select $1, coalesce(max(generation), 0) + 1, $2, $3, $3 from signing_keys
                 where true
                 on conflict (generation) do nothing",
            )
            .bind(&kid)
            .bind(&sealed)
            .bind(now)
            .execute(&mut *conn)
            .await
            .map(|_| ()))
        })
    })
    .await
}
