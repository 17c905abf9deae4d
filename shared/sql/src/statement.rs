//! Statements with their parameters, the same for both databases.
//!
//! Each macro takes a [`Tx`](crate::Tx) or a [`Reader`](crate::Reader), the text, and behind `=>` the
//! parameters in their order. It waits for the database; its error is a
//! [`StoreError`](crate::StoreError). In front of the text, `scalar` asks for the first column alone.
//!
//! ```
//! use sql::{Reader, StoreError, Tx, execute, fetch_all, fetch_one};
//!
//! async fn rename(tx: &mut Tx, id: i64, name: &str) -> Result<(), StoreError> {
//!     execute!(tx, "update names set name = $2 where user_id = $1" => id, name)
//! }
//!
//! async fn all(reader: &mut Reader) -> Result<(i64, Vec<(i64, String)>), StoreError> {
//!     let count = fetch_one!(reader, scalar "select count(*) from names")?;
//!     Ok((count, fetch_all!(reader, "select user_id, name from names")?))
//! }
//! ```

/// Runs a statement that answers nothing.
#[macro_export]
macro_rules! execute {
    ($($statement:tt)+) => { $crate::rows_affected!($($statement)+).map(|_| ()) };
}

/// Runs a statement; the answer is the number of rows that it changed.
#[macro_export]
macro_rules! rows_affected {
    ($on:expr, $text:expr $(=> $($value:expr),+)?) => {{
        let statement = $text;
        $crate::on!($on, conn => ::sqlx::query(statement)$($(.bind($value))+)?
            .execute(&mut *conn).await.map(|done| done.rows_affected()))
    }};
}

/// All rows of a query, each read by `FromRow`.
#[macro_export]
macro_rules! fetch_all {
    ($($query:tt)+) => { $crate::fetch!(fetch_all $($query)+) };
}

/// The one row of a query; none is an error.
#[macro_export]
macro_rules! fetch_one {
    ($($query:tt)+) => { $crate::fetch!(fetch_one $($query)+) };
}

/// The first row of a query, if there is one.
#[macro_export]
macro_rules! fetch_optional {
    ($($query:tt)+) => { $crate::fetch!(fetch_optional $($query)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! fetch {
    ($rows:ident $on:expr, scalar $text:expr $(=> $($value:expr),+)?) => {
        $crate::fetch!(query_scalar, $rows, $on, $text, $($($value),+)?)
    };
    ($rows:ident $on:expr, $text:expr $(=> $($value:expr),+)?) => {
        $crate::fetch!(query_as, $rows, $on, $text, $($($value),+)?)
    };
    ($query:ident, $rows:ident, $on:expr, $text:expr, $($value:expr),*) => {{
        let statement = $text;
        $crate::on!($on, conn => ::sqlx::$query(statement)$(.bind($value))*.$rows(&mut *conn).await)
    }};
}
