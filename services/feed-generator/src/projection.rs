//! Applies events to the tables inside the one write of their batch, and to the mirror after its
//! commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use blocks::bus::EventBus;
use chrono::{DateTime, Utc};
use events::Envelope;
use sql::{Db, Dialect, StoreError, Tx, execute, fetch_one, on, rows_affected};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{Change, Entry};
use crate::garbage::Garbage;
use crate::mirror::Mirror;
use crate::rebuild::Rebuild;
use crate::render::{self, Rendered};

/// The group's handler: it keeps tables and mirror up to date. See [`crate::consumer`] for what follows its
/// writes.
pub struct Projection {
    pub(crate) db: Db,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) rebuild: Rebuild,
    pub(crate) garbage: Arc<Garbage>,
    pub(crate) awaited: Arc<Awaited>,
}

/// True while changes of the mirror wait for the commit of their write. If that write fails meanwhile, nobody
/// knows whether the mirror matches the tables. The group writes one batch at a time, so one flag is enough.
#[derive(Debug, Default)]
pub struct Awaited(AtomicBool);

impl Awaited {
    fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Clears the flag; true if changes waited.
    pub fn end(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// The row that is read before a post is written.
#[derive(sqlx_macros::FromRow)]
struct Known {
    serving: i64,
    building: Option<i64>,
    started_at: Option<DateTime<Utc>>,
    name: Option<String>,
    deleted: Option<bool>,
}

impl Known {
    /// The generations for a post event from `time`, and whether the shown one is among them. During
    /// a rebuild, new events go into both.
    fn generations(&self, time: DateTime<Utc>) -> ([Option<i64>; 2], bool) {
        match (self.building, self.started_at) {
            (Some(building), Some(started)) => {
                let is_new = time >= started;
                ([Some(building), is_new.then_some(self.serving)], is_new)
            }
            _ => ([Some(self.serving), None], true),
        }
    }
}

impl Projection {
    /// Keeps `mirror` and the tables in `db`, for each generation of `rebuild`.
    pub fn new(
        db: Db,
        bus: Arc<dyn EventBus>,
        mirror: Arc<Mirror>,
        rebuild: Rebuild,
        garbage: Arc<Garbage>,
    ) -> Self {
        Self {
            db,
            bus,
            mirror,
            rebuild,
            garbage,
            awaited: Arc::default(),
        }
    }

    /// Changes the mirror once this write is committed.
    pub(crate) fn follow(&self, tx: &mut Tx, change: impl FnOnce(&Mirror) + Send + 'static) {
        self.awaited.begin();
        let (mirror, awaited) = (Arc::clone(&self.mirror), Arc::clone(&self.awaited));
        tx.after_commit(move || {
            change(&mirror);
            awaited.end();
        });
    }

    /// Writes distinct posts, each with the time of its event.
    async fn put(&self, tx: &mut Tx, posts: Vec<(Entry, DateTime<Utc>)>) -> Result<(), StoreError> {
        let mut shown = if self.rebuild.is_running() {
            HashMap::new()
        } else {
            write_shown(tx, &posts).await?
        };
        for (entry, time) in posts {
            match shown.remove(&entry.post_id) {
                Some(name) => self.show(tx, &entry, name.as_deref()),
                None => self.put_into_generations(tx, &entry, time).await?,
            }
        }
        Ok(())
    }

    async fn put_into_generations(
        &self,
        tx: &mut Tx,
        entry: &Entry,
        time: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let known: Known = fetch_one!(tx,
            "select s.serving, s.building, s.started_at, a.username as name, a.deleted
             from feed_state s left join authors a on a.user_id = $1" => entry.user_id)?;
        if known.deleted == Some(true) {
            return Ok(());
        }
        let (generations, is_shown) = known.generations(time);
        for generation in generations.into_iter().flatten() {
            write(tx, entry, generation).await?;
        }
        if is_shown {
            self.show(tx, entry, known.name.as_deref());
        }
        Ok(())
    }

    /// Makes changes in order; posts in a row are written together.
    pub(crate) async fn change(
        &self,
        tx: &mut Tx,
        changes: Vec<(Change, &Envelope)>,
    ) -> Result<(), StoreError> {
        let mut posts: Vec<(Entry, DateTime<Utc>)> = Vec::new();
        for (change, event) in changes {
            let joins = matches!(&change, Change::Put(entry)
                if posts.iter().all(|(other, _)| other.post_id != entry.post_id));
            if !joins {
                self.put(tx, std::mem::take(&mut posts)).await?;
            }
            match change {
                Change::Put(entry) => posts.push((entry, event.time)),
                Change::Remove { post_id, .. } => self.remove(tx, post_id).await?,
                Change::Name { user_id, username } => {
                    self.name(tx, user_id, &username, event.sequence).await?;
                }
                Change::Forget(user_id) => self.forget(tx, user_id, event.sequence).await?,
            }
        }
        self.put(tx, posts).await
    }

    fn show(&self, tx: &mut Tx, entry: &Entry, name: Option<&str>) {
        let rendered = Arc::new(Rendered::of(entry));
        let name = name.map(render::name);
        self.follow(tx, move |mirror| mirror.put(rendered, name));
    }

    /// Removes a post for good, from the shown entries and from those of a rebuild.
    async fn remove(&self, tx: &mut Tx, post_id: Uuid) -> Result<(), StoreError> {
        execute!(tx, "delete from entries where post_id = $1" => post_id)?;
        self.follow(tx, move |mirror| mirror.remove(post_id));
        Ok(())
    }

    async fn name(
        &self,
        tx: &mut Tx,
        user_id: i64,
        username: &str,
        version: i64,
    ) -> Result<(), StoreError> {
        if author(tx, user_id, Some(username), version).await? {
            let name = render::name(username);
            self.follow(tx, move |mirror| mirror.rename(user_id, name));
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, user_id: i64, version: i64) -> Result<(), StoreError> {
        let names: i64 = fetch_one!(tx, scalar
            "select count(username) from authors where user_id = $1" => user_id)?;
        if !author(tx, user_id, None, version).await? {
            return Ok(());
        }
        self.garbage.of_author(tx, user_id, names).await?;
        self.follow(tx, move |mirror| mirror.forget(user_id));
        Ok(())
    }
}

/// Writes an account's name as of `version` (`None`: closed); false when a later version came
/// before.
async fn author(
    tx: &mut Tx,
    user_id: i64,
    username: Option<&str>,
    version: i64,
) -> Result<bool, StoreError> {
    let written = rows_affected!(tx,
        "insert into authors (user_id, username, version, deleted) values ($1, $2, $3, $4)
         on conflict (user_id) do update set
            username = excluded.username, version = excluded.version, deleted = excluded.deleted
         where authors.version < excluded.version"
        => user_id, username, version, username.is_none())?;
    Ok(written > 0)
}

/// The update when an entry is written again.
const OVERWRITE: &str = "on conflict (post_id, generation) do update set
    user_id = excluded.user_id, created_at = excluded.created_at,
    event_type = excluded.event_type, happened_at = excluded.happened_at,
    username = excluded.username, title = excluded.title, content = excluded.content,
    tags = excluded.tags";

static SHOWN_SQLITE: LazyLock<Vec<(usize, String)>> =
    LazyLock::new(|| write_shown_statements(Dialect::Sqlite));
static SHOWN_POSTGRES: LazyLock<Vec<(usize, String)>> =
    LazyLock::new(|| write_shown_statements(Dialect::Postgres));

const SHOWN_COLUMNS: usize = 9;

/// Statements that write 32, 16 … 1 entries: few a batch, and few to keep prepared.
fn write_shown_statements(dialect: Dialect) -> Vec<(usize, String)> {
    let statement = |rows: usize| (rows, write_shown_statement(dialect, rows));
    [32, 16, 8, 4, 2, 1].map(statement).into()
}

fn write_shown_statement(dialect: Dialect, rows: usize) -> String {
    let row = |row: usize| {
        let columns = dialect.parameters(row * SHOWN_COLUMNS + 1, SHOWN_COLUMNS);
        format!("({columns})")
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "insert into entries (post_id, generation, user_id, created_at, event_type, happened_at,
            username, title, content, tags)
         select v.column1, s.serving, v.column2, v.column3, v.column4, v.column5, v.column6,
            v.column7, v.column8, v.column9
            from (values {}) v cross join feed_state s left join authors a on a.user_id = v.column2
            where s.building is null and coalesce(a.deleted, false) = false
         {OVERWRITE}
         returning post_id, (select a.username from authors a where a.user_id = entries.user_id)",
        rows.join(", ")
    )
}

/// Writes entries into the shown generation, many with a statement: the usual case. Returns their
/// authors' names. An entry is neither written nor returned during a rebuild, or when its account is
/// closed.
async fn write_shown(
    tx: &mut Tx,
    posts: &[(Entry, DateTime<Utc>)],
) -> Result<HashMap<Uuid, Option<String>>, StoreError> {
    let mut names = HashMap::with_capacity(posts.len());
    let mut rest = posts;
    let statements = match tx.dialect() {
        Dialect::Sqlite => &*SHOWN_SQLITE,
        Dialect::Postgres => &*SHOWN_POSTGRES,
    };
    for (rows, statement) in statements {
        while rest.len() >= *rows {
            let (part, after) = rest.split_at(*rows);
            let written: Vec<(Uuid, Option<String>)> = on!(tx, conn => {
                let mut query = sqlx::query_as(statement.as_str());
                for (entry, _) in part {
                    query = query
                        .bind(entry.post_id)
                        .bind(entry.user_id)
                        .bind(entry.created_at)
                        .bind(&entry.event_type)
                        .bind(entry.happened_at)
                        .bind(&entry.username)
                        .bind(&entry.title)
                        .bind(&entry.content)
                        .bind(Json(&entry.tags));
                }
                query.fetch_all(&mut *conn).await
            })?;
            names.extend(written);
            rest = after;
        }
    }
    Ok(names)
}

async fn write(tx: &mut Tx, entry: &Entry, generation: i64) -> Result<(), StoreError> {
    let statement = format!(
        "insert into entries (post_id, generation, user_id, created_at, event_type, happened_at,
            username, title, content, tags)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) {OVERWRITE}"
    );
    execute!(tx, AssertSqlSafe(statement)
        => entry.post_id, generation, entry.user_id, entry.created_at, &entry.event_type,
            entry.happened_at, &entry.username, &entry.title, &entry.content, Json(&entry.tags))
}
