//! Statements on sessions.

use blocks::{Caller, Role};
use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, rows_affected};
use uuid::Uuid;

use super::role;
use crate::client::Client;
use crate::refresh::Family;

/// Begins a session, and removes the account's expired ones, which are no longer needed to refuse
/// tokens.
pub async fn add_session(
    tx: &mut Tx,
    (session, user_id): (Uuid, i64),
    client: &Client,
    refresh_hash: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx, "delete from sessions where user_id = $1 and expires_at <= $2" => user_id, now)?;
    execute!(tx,
        "insert into sessions
            (id, user_id, user_agent, address, refresh_hash, created_at, last_used_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $6, $7)"
        => session, user_id, &client.user_agent, &client.address, refresh_hash, now, expires_at)
}

/// The family of refresh tokens that is this session, with its account as it is now.
pub async fn family(
    reader: &mut Reader,
    session: Uuid,
) -> Result<Option<(Caller, Family)>, StoreError> {
    #[derive(sqlx_macros::FromRow)]
    struct Row {
        user_id: i64,
        username: String,
        email: String,
        role: String,
        #[sqlx(flatten)]
        family: Family,
    }
    let row: Option<Row> = fetch_optional!(reader,
        "select u.id as user_id, u.username, u.email, u.role, u.is_active, u.not_before,
            s.created_at as began, s.revoked_at, s.expires_at, s.refresh_hash, s.previous_hash,
            s.rotated_at
         from sessions s join users u on u.id = s.user_id
         where s.id = $1" => session)?;
    Ok(row.map(|row| {
        let holder = Caller {
            id: row.user_id,
            name: row.username.into(),
            email: row.email.into(),
            role: role(&row.role),
            session,
        };
        (holder, row.family)
    }))
}

/// Puts the second hash of a refresh token in the place of the first; false if that does not hold any more.
pub async fn rotate(
    tx: &mut Tx,
    session: Uuid,
    (from, to): (&[u8], &[u8]),
    client: &Client,
    expires_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let now = tx.now();
    let rotated = rows_affected!(tx,
        "update sessions set previous_hash = refresh_hash, refresh_hash = $3, rotated_at = $4,
            last_used_at = $4, expires_at = $5,
            user_agent = coalesce($6, user_agent), address = coalesce($7, address)
         where id = $1 and refresh_hash = $2 and revoked_at is null and expires_at > $4"
        => session, from, to, now, expires_at, &client.user_agent, &client.address)?;
    Ok(rotated == 1)
}

/// The account behind a session.
#[derive(sqlx_macros::FromRow)]
pub struct LiveSession {
    /// The account's number.
    pub user_id: i64,
    /// The account's address.
    pub email: String,
    /// The account's name.
    pub username: String,
    role: String,
    pub version: i64,
    /// Sessions that began earlier have ended.
    pub not_before: Option<DateTime<Utc>>,
    /// When the session began.
    pub began: DateTime<Utc>,
    /// When the session was ended, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl LiveSession {
    pub fn role(&self) -> Role {
        role(&self.role)
    }
}

/// The session with this id, with its account as it is now.
pub async fn session(
    reader: &mut Reader,
    session: Uuid,
) -> Result<Option<LiveSession>, StoreError> {
    fetch_optional!(reader,
        "select u.id as user_id, u.email, u.username, u.role, u.version, u.not_before,
            s.created_at as began, s.revoked_at
         from sessions s join users u on u.id = s.user_id
         where s.id = $1" => session)
}

/// A session as its owner sees it.
#[derive(Debug, Clone, sqlx_macros::FromRow)]
pub struct SessionRow {
    /// The session's id.
    pub id: Uuid,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// When the session began.
    pub created_at: DateTime<Utc>,
    /// When it last got a token.
    pub last_used_at: DateTime<Utc>,
    /// When the session ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// The account's live sessions, newest first: up to `limit` of those after `cursor`, and the number
/// of all.
pub async fn newest_sessions(
    reader: &mut Reader,
    user_id: i64,
    now: DateTime<Utc>,
    (cursor, limit, skip): (Option<Uuid>, i64, i64),
) -> Result<(Vec<SessionRow>, i64), StoreError> {
    let rows = fetch_all!(reader,
        "select id, user_agent, address, created_at,
            coalesce(last_used_at, created_at) as last_used_at, expires_at
         from sessions
         where user_id = $1 and revoked_at is null and expires_at > $2
            and ($3 is null or id < $3)
         order by id desc limit $4 offset $5" => user_id, now, cursor, limit, skip)?;
    let total = fetch_one!(reader, scalar
        "select count(*) from sessions
         where user_id = $1 and revoked_at is null and expires_at > $2" => user_id, now)?;
    Ok((rows, total))
}

/// Ends one live session of an account, whose last token expires at `until` or before. Returns when it
/// does, or `None` without such a session.
pub async fn end_session(
    tx: &mut Tx,
    user_id: i64,
    session: Uuid,
    until: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let now = tx.now();
    fetch_optional!(tx, scalar
        "update sessions set revoked_at = $3,
            expires_at = case when expires_at < $4 then expires_at else $4 end
         where id = $1 and user_id = $2 and revoked_at is null and expires_at > $3
         returning expires_at" => session, user_id, now, until)
}

/// Ends the oldest live sessions of an account, so that `keep` stay. Returns the ended ones with the
/// expiry of their last tokens, which is `until` or before.
pub async fn end_oldest(
    tx: &mut Tx,
    user_id: i64,
    keep: i64,
    until: DateTime<Utc>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
    let now = tx.now();
    // SQLite has no offset without a limit.
    fetch_all!(tx,
        "update sessions set revoked_at = $2,
            expires_at = case when expires_at < $5 then expires_at else $5 end
         where id in (
            select id from sessions
            where user_id = $1 and revoked_at is null and expires_at > $2
            order by id desc limit $3 offset $4
         )
         returning id, expires_at" => user_id, now, i64::MAX, keep, until)
}

/// Ends all live sessions of an account but one, and those that codes would begin; their last tokens expire at
/// `until` or before. Without `but` any that began before now is refused, too.
pub async fn end_sessions(
    tx: &mut Tx,
    user_id: i64,
    but: Option<Uuid>,
    until: DateTime<Utc>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
    let now = tx.now();
    if but.is_none() {
        execute!(tx, "update users set not_before = $2 where id = $1" => user_id, now)?;
    }
    super::remove_codes(tx, user_id).await?;
    fetch_all!(tx,
        "update sessions set revoked_at = $2,
            expires_at = case when expires_at < $4 then expires_at else $4 end
         where user_id = $1 and revoked_at is null and expires_at > $2 and ($3 is null or id <> $3)
         returning id, expires_at" => user_id, now, but, until)
}

/// Ended sessions with tokens that have not expired, and the expiry of these.
pub async fn ended_sessions(
    reader: &mut Reader,
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
    fetch_all!(reader,
        "select id, expires_at from sessions where revoked_at is not null and expires_at > $1"
        => now)
}

/// Accounts whose earlier sessions were ended after `since`, and when that was.
pub async fn not_befores(
    reader: &mut Reader,
    since: DateTime<Utc>,
) -> Result<Vec<(i64, DateTime<Utc>)>, StoreError> {
    fetch_all!(reader,
        "select id, not_before from users where not_before is not null and not_before > $1"
        => since)
}
