//! The list of all accounts.

use blocks::FieldErrors;
use blocks::Role;
use blocks::extract::{COUNTED_ROWS, Cursor, Keyset, Page};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sql::{Reader, StoreError, fetch_all, fetch_one};
use sqlx::AssertSqlSafe;

use super::accounts::{AccountRow, COLUMNS};
use crate::domain::{Account, fold, key};

/// So many accounts are many: in a list of them the next ones are never far.
const MANY: i64 = 2_000;

const EVERYBODY: &str = "true";

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
        let ms = self
            .created_at
            .filter(|ms| (0..=Keyset::TOP.ms).contains(ms))?;
        DateTime::from_timestamp_millis(ms)
    }
}

/// The accounts of a part of the list, in its order: after `after`, without `skip` of them, up to `limit`.
/// `counted` of the whole list are known.
pub async fn users(
    reader: &mut Reader,
    filter: &UserFilter,
    sort: Sort,
    (after, skip, limit): (Option<UserPlace>, i64, i64),
    counted: i64,
) -> Result<Vec<Account>, StoreError> {
    let binary = reader.dialect().binary();
    let (sorted_by, first) = match sort {
        Sort::Id | Sort::IdDown => ("id".to_owned(), "$4"),
        Sort::Username => (format!("username_key{binary}, id"), "$5, $4"),
        Sort::CreatedAt | Sort::CreatedAtDown => ("created_at, id".to_owned(), "$6, $4"),
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
    // Few are looked up and sorted. Of many a page is soon full, whoever is asked for their terms in its order.
    let found = match &filter.q {
        None => "",
        Some(_) if counted < MANY => {
            " and id in (select user_id from user_terms where term >= $1 and term < $2)"
        }
        Some(_) => {
            " and exists (select 1 from user_terms t
                where t.user_id = users.id and t.term >= $1 and t.term < $2)"
        }
    };
    let statement = format!(
        "select {COLUMNS} from users where {}{found}{comes_after}
         order by {order} limit $7 offset $8",
        condition(filter)
    );
    let (begins, ends) = range(filter);
    let id = after.as_ref().map(|after| after.id);
    let username = after.as_ref().and_then(|after| after.username.as_deref());
    let created_at = after.as_ref().and_then(UserPlace::created_at);
    let rows: Vec<AccountRow> = fetch_all!(reader, AssertSqlSafe(statement)
        => &begins, &ends, filter.role.map(Role::as_str), id, username, created_at, limit, skip)?;
    Ok(rows.into_iter().map(Account::from).collect())
}

/// The number of accounts, counted up to [`COUNTED_ROWS`].
pub async fn count_users(reader: &mut Reader, filter: &UserFilter) -> Result<i64, StoreError> {
    const FOUND: &str = "select distinct user_id from user_terms where term >= $1 and term < $2";
    let condition = condition(filter);
    let list = match &filter.q {
        None => format!("select 1 as one from users where {condition}"),
        // Without the join it stops where enough are counted.
        Some(_) if condition == EVERYBODY => FOUND.to_owned(),
        Some(_) => format!(
            "select 1 as one from ({FOUND}) found join users on users.id = found.user_id
             where {condition}"
        ),
    };
    let statement = format!("select count(*) from ({list} limit $4) counted");
    let (begins, ends) = range(filter);
    fetch_one!(reader, scalar AssertSqlSafe(statement)
        => &begins, &ends, filter.role.map(Role::as_str), COUNTED_ROWS)
}

/// Parameter 3 is the role.
fn condition(filter: &UserFilter) -> String {
    let role = filter.role.map(|_| "role = $3");
    let state = filter.is_active.map(|is_active| {
        // Said in full, for the index of those who are not.
        if is_active {
            "is_active"
        } else {
            "not is_active"
        }
    });
    let conditions: Vec<&str> = role.into_iter().chain(state).collect();
    if conditions.is_empty() {
        EVERYBODY.to_owned()
    } else {
        conditions.join(" and ")
    }
}

/// Parameters 1 and 2: the terms that begin with the wanted text are from the first to before the second.
fn range(filter: &UserFilter) -> (Option<String>, Option<String>) {
    let begins = filter.q.as_deref().map(fold);
    let ends = begins
        .as_ref()
        .map(|begins| format!("{begins}{}", char::MAX));
    (begins, ends)
}
