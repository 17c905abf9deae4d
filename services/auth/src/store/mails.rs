//! Statements on mails to accounts, and on the links in them.

use chrono::{DateTime, TimeDelta, Utc};
use mail::Language;
use sql::{Reader, StoreError, Tx, execute, fetch_all, fetch_optional, rows_affected};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::accounts::{AccountRow, COLUMNS, add_terms};
use crate::domain::{Account, key};
use crate::mails::Template;

/// Most mails that are looked at in a round: the next one begins when all of them went out.
const AT_ONCE: i64 = 8;

/// The language of a request, and that of the site. Between them comes the account's own.
#[derive(Debug, Clone, Copy)]
pub struct Languages {
    pub asked: Option<Language>,
    pub usual: Language,
}

/// Queues a mail to an account at `address`.
pub async fn add_mail(
    tx: &mut Tx,
    user_id: i64,
    template: Template,
    address: &str,
    languages: Languages,
) -> Result<(), StoreError> {
    let (id, now) = (tx.id(), tx.now());
    execute!(tx,
        "insert into mails (id, user_id, template, address, language, state, attempts, due_at, created_at)
         values ($1, $2, $3, $4,
            coalesce($5, (select language from users where id = $2), $6), 'queued', 0, $7, $7)"
        => id, user_id, template.name(), address, languages.asked.map(Language::code),
            languages.usual.code(), now)
}

/// Queues a mail with a link for a new password to whoever has `email`. The work is the same if nobody has.
pub async fn add_reset(tx: &mut Tx, email: &str, languages: Languages) -> Result<(), StoreError> {
    let (id, now) = (tx.id(), tx.now());
    execute!(tx,
        "insert into mails (id, user_id, template, address, language, state, attempts, due_at, created_at)
         values ($1, (select id from users where email_key = $2 and is_active), $3,
            coalesce((select email from users where email_key = $2), $4),
            coalesce($5, (select language from users where email_key = $2), $6), 'queued', 0, $7, $7)"
        => id, key(email), Template::ResetPassword.name(), email, languages.asked.map(Language::code),
            languages.usual.code(), now)
}

/// A mail that is due.
#[derive(sqlx_macros::FromRow)]
pub struct DueMail {
    pub id: Uuid,
    pub user_id: Option<i64>,
    pub template: String,
    /// True if its claim has ended without an outcome.
    pub is_claimed: bool,
}

/// Some of the mails that are due, the oldest first.
pub async fn due_mails(
    reader: &mut Reader,
    now: DateTime<Utc>,
) -> Result<Vec<DueMail>, StoreError> {
    fetch_all!(reader,
        "select id, user_id, template, state = 'claimed' as is_claimed from mails
         where state in ('queued', 'claimed') and due_at <= $1 order by due_at limit $2"
        => now, AT_ONCE)
}

/// A mail that nobody else sends.
#[derive(Debug, sqlx_macros::FromRow)]
pub struct ClaimedMail {
    pub id: Uuid,
    pub address: String,
    pub language: String,
    /// 1 for the first attempt.
    pub attempts: i64,
    pub username: String,
}

/// Claims a mail that is due, for as long as `lease`, with the hash of its link and the link's end. `None` if somebody
/// else was first. A link of an attempt that failed ends with it.
pub async fn claim_mail(
    tx: &mut Tx,
    id: Uuid,
    lease: TimeDelta,
    link: Option<(Vec<u8>, DateTime<Utc>)>,
) -> Result<Option<ClaimedMail>, StoreError> {
    let now = tx.now();
    let (hash, until) = link.unzip();
    fetch_optional!(tx,
        "update mails set state = 'claimed', attempts = attempts + 1, due_at = $3, link_hash = $4,
            link_until = $5
         where id = $1 and state = 'queued' and due_at <= $2
         returning id, address, language, attempts,
            (select username from users where users.id = mails.user_id) as username"
        => id, now, now + lease, hash, until)
}

/// Stores the outcome of an attempt; false when it is known already, or the account is gone.
pub async fn settle_mail(
    tx: &mut Tx,
    (id, attempts): (Uuid, i64),
    state: &str,
    due_at: Option<DateTime<Utc>>,
    error: Option<&str>,
) -> Result<bool, StoreError> {
    let settled = rows_affected!(tx,
        "update mails set state = $3, due_at = coalesce($4, due_at), error = $5
         where id = $1 and attempts = $2 and state in ('claimed', 'uncertain')"
        => id, attempts, state, due_at, error)?;
    Ok(settled == 1)
}

/// Makes a mail uncertain whose claim ended without an outcome; false if one came after all.
pub async fn lose_mail(tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
    let now = tx.now();
    let lost = rows_affected!(tx,
        "update mails set state = 'uncertain', error = 'whoever sent it did not say how it went'
         where id = $1 and state = 'claimed' and due_at <= $2" => id, now)?;
    Ok(lost == 1)
}

/// Drops a mail to nobody.
pub async fn drop_mail(tx: &mut Tx, id: Uuid) -> Result<(), StoreError> {
    execute!(tx, "delete from mails where id = $1 and user_id is null" => id)
}

/// Removes mails older than `before` that are settled.
pub async fn forget_mails(tx: &mut Tx, before: DateTime<Utc>) -> Result<(), StoreError> {
    execute!(tx,
        "delete from mails where created_at <= $1 and state in ('sent', 'failed', 'uncertain')" => before)
}

/// A link that was mailed, with the account's address as it is now.
#[derive(sqlx_macros::FromRow)]
pub struct MailedLink {
    pub id: Uuid,
    pub user_id: i64,
    pub template: String,
    /// The address that it was mailed to.
    pub address: String,
    pub link_until: DateTime<Utc>,
    pub link_used_at: Option<DateTime<Utc>>,
    pub email: String,
    pub pending_email: Option<String>,
}

/// The link with a token of this hash.
pub async fn link(reader: &mut Reader, hash: &[u8]) -> Result<Option<MailedLink>, StoreError> {
    fetch_optional!(reader,
        "select m.id, m.user_id, m.template, m.address, m.link_until, m.link_used_at, u.email, u.pending_email
         from mails m join users u on u.id = m.user_id where m.link_hash = $1" => hash)
}

/// Uses a link up; false if it was, or has ended.
pub async fn use_link(tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
    let now = tx.now();
    let used = rows_affected!(tx,
        "update mails set link_used_at = $2
         where id = $1 and link_used_at is null and link_until > $2" => id, now)?;
    Ok(used == 1)
}

/// Ends all links of an account for a new password, and takes back those that were not mailed yet.
pub async fn end_resets(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    let now = tx.now();
    let [one, other] = Template::RESETS.map(Template::name);
    execute!(tx,
        "delete from mails where user_id = $1 and template in ($2, $3) and state = 'queued'"
        => user_id, one, other)?;
    execute!(tx,
        "update mails set link_used_at = $4
         where user_id = $1 and template in ($2, $3) and link_used_at is null"
        => user_id, one, other, now)
}

/// The address of an account as it is now, under its row lock.
pub async fn email_of(tx: &mut Tx, id: i64) -> Result<Option<String>, StoreError> {
    let lock = tx.dialect().for_update();
    let statement = format!("select email from users where id = $1{lock}");
    fetch_optional!(tx, scalar AssertSqlSafe(statement) => id)
}

/// True if an account has this address, whatever its case.
pub async fn is_taken(tx: &mut Tx, email: &str) -> Result<bool, StoreError> {
    let taken: Option<i64> =
        fetch_optional!(tx, scalar "select id from users where email_key = $1" => key(email))?;
    Ok(taken.is_some())
}

/// Keeps the address that an account is to have once it is verified; none with `None`.
pub async fn set_pending(tx: &mut Tx, id: i64, email: Option<&str>) -> Result<(), StoreError> {
    execute!(tx, "update users set pending_email = $2 where id = $1" => id, email)
}

/// Keeps the language of an account's mails.
pub async fn set_language(tx: &mut Tx, id: i64, language: Language) -> Result<(), StoreError> {
    execute!(tx, "update users set language = $2 where id = $1" => id, language.code())
}

/// Notes that mail to an account's address arrives, if it still has that one.
pub async fn note_verified(tx: &mut Tx, id: i64, email: &str) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx,
        "update users set email_verified = true, updated_at = $3
         where id = $1 and email_key = $2 and not email_verified" => id, key(email), now)
}

/// Gives an account the address that was verified, if it has it or waits for it; returns it with its new version.
pub async fn verify_email(
    tx: &mut Tx,
    id: i64,
    email: &str,
) -> Result<Option<(Account, i64)>, StoreError> {
    #[derive(sqlx_macros::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        account: AccountRow,
        version: i64,
    }
    let now = tx.now();
    let statement = format!(
        "update users set
            email = case when pending_email = $2 then $2 else email end,
            email_key = $3,
            email_verified = true,
            pending_email = case when pending_email = $2 then null else pending_email end,
            version = version + 1,
            updated_at = $4
         where id = $1 and (email_key = $3 or pending_email = $2)
         returning {COLUMNS}, version"
    );
    let row: Option<Row> =
        fetch_optional!(tx, AssertSqlSafe(statement) => id, email, key(email), now)?;
    let Some(Row { account, version }) = row else {
        return Ok(None);
    };
    let account = account.into();
    execute!(tx, "delete from user_terms where user_id = $1" => id)?;
    add_terms(tx, &account).await?;
    Ok(Some((account, version)))
}

/// The address that an account has to verify: the one that waits, else its own.
pub async fn unverified(tx: &mut Tx, id: i64) -> Result<Option<String>, StoreError> {
    fetch_optional!(tx, scalar
        "select coalesce(pending_email, email) from users
         where id = $1 and (pending_email is not null or not email_verified)" => id)
}
