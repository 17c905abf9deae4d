//! The list of all accounts.

use blocks::FieldErrors;
use blocks::Role;
use blocks::extract::{COUNTED_ROWS, Cursor, Page};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sql::{Reader, StoreError, fetch_all, fetch_one};
use sqlx::AssertSqlSafe;

use super::accounts::{AccountRow, COLUMNS};
use crate::domain::{Account, key};

/// Which accounts are listed.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// The beginning of the address, the username or a name, whatever the case.
    pub q: Option<String>,
    pub role: Option<Role>,
    pub is_active: Option<bool>,
}

/// The order of the list. Where two are equal, their ids decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The order in which they were opened.
    #[default]
    Id,
    #[serde(rename = "-id")]
    IdDown,
    Username,
    CreatedAt,
    #[serde(rename = "-created_at")]
    CreatedAtDown,
}

/// The place of an account in the list: where the next page begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserPlace {
    sort: Sort,
    id: i64,
    /// The username as it is sorted by, where it is.
    username: Option<String>,
    /// Milliseconds since 1970, where that is sorted by.
    created_at: Option<i64>,
}

impl UserPlace {
    /// That of `account` in a list in the order of `sort`.
    pub fn of(account: &Account, sort: Sort) -> Self {
        let username = matches!(sort, Sort::Username).then(|| key(&account.username));
        let at = matches!(sort, Sort::CreatedAt | Sort::CreatedAtDown);
        Self {
            sort,
            id: account.id,
            username,
            created_at: at.then(|| account.created_at.timestamp_millis()),
        }
    }

    /// The place after which `page` begins.
    ///
    /// # Errors
    /// Names the parameter `cursor` when it is not one of this list in this order.
    pub fn after(page: &Page, sort: Sort) -> Result<Option<Self>, FieldErrors> {
        let Some(place): Option<Self> = page.after()? else {
            return Ok(None);
        };
        let is_whole = match place.sort {
            Sort::Id | Sort::IdDown => true,
            Sort::Username => place.username.is_some(),
            Sort::CreatedAt | Sort::CreatedAtDown => place.created_at().is_some(),
        };
        if place.sort == sort && is_whole {
            Ok(Some(place))
        } else {
            Err(Cursor::unknown())
        }
    }

    fn created_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.created_at?)
    }
}

/// The accounts of a part of the list, in its order: after `after`, without `skip` of them, up to `limit`.
pub async fn users(
    reader: &mut Reader,
    filter: &UserFilter,
    sort: Sort,
    (after, skip, limit): (Option<UserPlace>, i64, i64),
) -> Result<Vec<Account>, StoreError> {
    let binary = reader.dialect().binary();
    let (sorted_by, first) = match sort {
        Sort::Id | Sort::IdDown => ("id".to_owned(), "$5"),
        Sort::Username => (format!("username_key{binary}, id"), "$6, $5"),
        Sort::CreatedAt | Sort::CreatedAtDown => ("created_at, id".to_owned(), "$7, $5"),
    };
    let is_down = matches!(sort, Sort::IdDown | Sort::CreatedAtDown);
    let comes_after = match (&after, is_down) {
        (None, _) => String::new(),
        (Some(_), false) => format!(" and ({sorted_by}) > ({first})"),
        (Some(_), true) => format!(" and ({sorted_by}) < ({first})"),
    };
    let order = if is_down {
        sorted_by.replace(',', " desc,") + " desc"
    } else {
        sorted_by
    };
    let statement = format!(
        "select {COLUMNS} from users where {}{comes_after} order by {order} limit $8 offset $9",
        condition(filter)
    );
    let (begins, ends) = range(filter);
    let id = after.as_ref().map(|after| after.id);
    let username = after.as_ref().and_then(|after| after.username.as_deref());
    let created_at = after.as_ref().and_then(UserPlace::created_at);
    let rows: Vec<AccountRow> = fetch_all!(reader, AssertSqlSafe(statement)
        => &begins, &ends, filter.role.map(Role::as_str), filter.is_active,
            id, username, created_at, limit, skip)?;
    Ok(rows.into_iter().map(Account::from).collect())
}

/// The number of accounts, counted up to [`COUNTED_ROWS`].
pub async fn count_users(reader: &mut Reader, filter: &UserFilter) -> Result<i64, StoreError> {
    let statement = format!(
        "select count(*) from (select 1 as one from users where {} limit $5) counted",
        condition(filter)
    );
    let (begins, ends) = range(filter);
    fetch_one!(reader, scalar AssertSqlSafe(statement)
        => &begins, &ends, filter.role.map(Role::as_str), filter.is_active, COUNTED_ROWS)
}

/// Parameters 1 and 2 are the range of terms, 3 the role, 4 the state.
fn condition(filter: &UserFilter) -> String {
    let conditions = [
        filter
            .q
            .as_ref()
            .map(|_| "id in (select user_id from user_terms where term >= $1 and term < $2)"),
        filter.role.map(|_| "role = $3"),
        filter.is_active.map(|_| "is_active = $4"),
    ];
    let conditions: Vec<&str> = conditions.into_iter().flatten().collect();
    if conditions.is_empty() {
        "true".to_owned()
    } else {
        conditions.join(" and ")
    }
}

/// The terms that begin with the wanted text: from the first to before the second.
fn range(filter: &UserFilter) -> (Option<String>, Option<String>) {
    let begins = filter.q.as_ref().map(|q| q.to_lowercase());
    let ends = begins
        .as_ref()
        .map(|begins| format!("{begins}{}", char::MAX));
    (begins, ends)
}
