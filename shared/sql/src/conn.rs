//! A connection to a SQLite file.
//!
//! The driver runs each statement on a thread of the connection's own. So every one costs two changes of
//! threads: more than most of them take. A statement that nobody waits for, as a `BEGIN` or a `SAVEPOINT`,
//! is therefore put ahead of the next one and runs together with it.

use std::future::ready;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnection, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo,
};
use sqlx::{AssertSqlSafe, Connection, Either, Error, Execute, Executor, SqlStr, Sqlite};

/// Statements without parameters and without rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) text: &'static str,
    pub(crate) statements: usize,
}

#[derive(Debug)]
enum Link {
    Own(SqliteConnection),
    Pooled(PoolConnection<Sqlite>),
}

/// A connection to a SQLite file.
#[derive(Debug)]
pub struct SqliteConn {
    link: Link,
    ahead: Option<Ahead>,
    refused: bool,
}

impl SqliteConn {
    pub(crate) fn own(connection: SqliteConnection) -> Self {
        Self::over(Link::Own(connection))
    }

    pub(crate) fn pooled(connection: PoolConnection<Sqlite>) -> Self {
        Self::over(Link::Pooled(connection))
    }

    fn over(link: Link) -> Self {
        Self {
            link,
            ahead: None,
            refused: false,
        }
    }

    /// The connection itself, unless it belongs to a pool.
    pub(crate) fn into_own(self) -> Option<SqliteConnection> {
        match self.link {
            Link::Own(connection) => Some(connection),
            Link::Pooled(_) => None,
        }
    }

    /// Puts `ahead` in front of the next statement, replacing an earlier one.
    pub(crate) fn put_ahead(&mut self, ahead: Option<Ahead>) {
        self.ahead = ahead;
    }

    /// True if something is still ahead: no statement was run since.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// True if the statement ahead failed since the last call. It is still ahead then, so that no later
    /// statement runs without it.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    pub(crate) async fn ping(&mut self) -> Result<(), Error> {
        match &mut self.link {
            Link::Own(connection) => connection.ping().await,
            Link::Pooled(connection) => connection.ping().await,
        }
    }
}

impl Link {
    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Pooled(connection) => connection,
        }
    }
}

/// Follows the statement ahead. Dropped before its outcome is known, it counts as refused: it may have run,
/// or not.
struct Watch<'a> {
    pending: &'a mut Option<Ahead>,
    refused: &'a mut bool,
    missing: usize,
}

impl Watch<'_> {
    fn follow(&mut self, step: Step) -> Option<Step> {
        if self.missing == 0 || !matches!(step, Ok(Either::Left(_))) {
            return Some(step);
        }
        self.missing -= 1;
        if self.missing == 0 {
            *self.pending = None;
        }
        None
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.refused |= self.missing > 0;
    }
}

type Step = Result<Either<SqliteQueryResult, SqliteRow>, Error>;

impl<'c> Executor<'c> for &'c mut SqliteConn {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, mut query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let connection = self.link.connection();
        let Some(ahead) = self.ahead else {
            return connection.fetch_many(query);
        };
        let arguments = match query.take_arguments() {
            Ok(arguments) => arguments.unwrap_or_default(),
            Err(error) => return stream::once(ready(Err(Error::Encode(error)))).boxed(),
        };
        let persistent = query.persistent();
        let text = format!("{}; {}", ahead.text, query.sql().as_str());
        let together = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(persistent);
        let mut watch = Watch {
            pending: &mut self.ahead,
            refused: &mut self.refused,
            missing: ahead.statements,
        };
        connection
            .fetch_many(together)
            .filter_map(move |step| ready(watch.follow(step)))
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        if self.ahead.is_none() {
            return self.link.connection().fetch_optional(query);
        }
        let mut steps = self.fetch_many(query);
        Box::pin(async move {
            while let Some(step) = steps.try_next().await? {
                if let Either::Right(row) = step {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        self.link.connection().prepare_with(sql, parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Ahead = Ahead {
        text: "begin immediate",
        statements: 1,
    };

    async fn memory() -> SqliteConn {
        let mut conn = SqliteConn::own(SqliteConnection::connect("sqlite::memory:").await.unwrap());
        sqlx::query("create table notes (id integer primary key)")
            .execute(&mut conn)
            .await
            .unwrap();
        conn
    }

    async fn note(conn: &mut SqliteConn, id: i64) -> Result<u64, Error> {
        let insert = sqlx::query("insert into notes (id) values ($1)").bind(id);
        insert.execute(conn).await.map(|done| done.rows_affected())
    }

    async fn notes(conn: &mut SqliteConn) -> Vec<i64> {
        let all = sqlx::query_scalar("select id from notes order by id");
        all.fetch_all(conn).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_ahead_runs_once_and_before_the_next_statement() {
        let mut conn = memory().await;
        conn.put_ahead(Some(BEGIN));
        assert!(conn.is_ahead());
        assert_eq!(note(&mut conn, 1).await.unwrap(), 1);
        assert!(!conn.is_ahead());
        note(&mut conn, 2).await.unwrap();
        sqlx::query("rollback").execute(&mut conn).await.unwrap();
        assert_eq!(notes(&mut conn).await, [0; 0]);
    }

    #[tokio::test]
    async fn only_the_rows_of_the_statement_itself_are_answered() {
        let mut conn = memory().await;
        for id in 1..=3 {
            note(&mut conn, id).await.unwrap();
        }
        conn.put_ahead(Some(BEGIN));
        assert_eq!(notes(&mut conn).await, [1, 2, 3]);
        conn.put_ahead(Some(Ahead {
            text: "savepoint a; release savepoint a",
            statements: 2,
        }));
        let first = sqlx::query_scalar::<_, i64>("select id from notes where id > $1").bind(1);
        assert_eq!(first.fetch_optional(&mut conn).await.unwrap(), Some(2));
        assert!(!conn.is_ahead());
        let none = sqlx::query_scalar::<_, i64>("select id from notes where id > $1").bind(9);
        conn.put_ahead(Some(Ahead {
            text: "savepoint b",
            statements: 1,
        }));
        assert_eq!(none.fetch_optional(&mut conn).await.unwrap(), None);
        let released = sqlx::query("release savepoint b").execute(&mut conn).await;
        released.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_fails_leaves_what_was_ahead_of_it_done() {
        let mut conn = memory().await;
        note(&mut conn, 1).await.unwrap();
        conn.put_ahead(Some(BEGIN));
        note(&mut conn, 1).await.unwrap_err();
        assert!(!conn.is_ahead());
        assert!(!conn.take_refused());
        note(&mut conn, 2).await.unwrap();
        sqlx::query("commit").execute(&mut conn).await.unwrap();
        assert_eq!(notes(&mut conn).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_statement_that_is_given_up_leaves_no_doubt_behind() {
        let mut conn = memory().await;
        // It takes longer than it takes to give it up.
        conn.put_ahead(Some(Ahead {
            text: "create table slow as with recursive n (i) as
                       (select 1 union all select i + 1 from n where i < 300000)
                   select i from n; begin immediate",
            statements: 2,
        }));
        let mut steps = conn.fetch_many(sqlx::query("insert into notes (id) values (1)"));
        assert!(futures::poll!(steps.next()).is_pending());
        drop(steps);
        assert!(conn.take_refused());
    }

    #[tokio::test]
    async fn nothing_runs_without_what_is_ahead_of_it() {
        let mut conn = memory().await;
        conn.put_ahead(Some(Ahead {
            text: "savepoint a; release savepoint absent",
            statements: 2,
        }));
        note(&mut conn, 1).await.unwrap_err();
        assert!(conn.take_refused());
        assert!(!conn.take_refused());
        assert!(conn.is_ahead());
        conn.put_ahead(None);
        assert_eq!(notes(&mut conn).await, [0; 0]);
    }
}
