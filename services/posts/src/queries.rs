//! What posts can be asked.

use blocks::FieldErrors;
use blocks::extract::{Cursor, Listing, Page};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Posts;
use crate::domain::Post;
use crate::error::PostError;
use crate::store::{Begin, Filter, Place};

/// The end of the year 9999: databases know no time far beyond it.
const LAST_MILLIS: i64 = 253_402_300_799_999;

/// A [`Place`] as it stands in a cursor.
#[derive(Serialize, Deserialize)]
struct Position(i64, Uuid);

/// The post, unless it was deleted or never was.
///
/// # Errors
/// See [`PostError`].
pub async fn get(posts: &Posts, id: Uuid) -> Result<Post, PostError> {
    posts.store().get(id).await?.ok_or(PostError::NotFound)
}

/// A page of posts, newest first.
///
/// # Errors
/// See [`PostError`].
pub async fn newest(
    posts: &Posts,
    filter: &Filter,
    page: &Page,
) -> Result<Listing<Post>, PostError> {
    let begin = match &page.cursor {
        Some(cursor) => Begin::After(place(cursor)?),
        None => Begin::Skip(page.skip),
    };
    let total = posts.store().count(filter).await?;
    if matches!(begin, Begin::Skip(skip) if skip >= total) {
        // Walking over all of them would find nothing.
        return Ok(Listing::new(Vec::new(), total, page, None));
    }
    // One more than asked for tells whether there is a next page.
    let mut items = posts.store().newest(filter, begin, page.limit + 1).await?;
    let limit = usize::try_from(page.limit).unwrap_or_default();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor::encode(&Position(last.created_at.timestamp_millis(), last.id)));
    Ok(Listing::new(items, total, page, next))
}

fn place(cursor: &Cursor) -> Result<Place, FieldErrors> {
    let Position(millis, id) = cursor.decode()?;
    (0..=LAST_MILLIS)
        .contains(&millis)
        .then(|| DateTime::from_timestamp_millis(millis))
        .flatten()
        .map(|created_at| Place { created_at, id })
        .ok_or_else(|| FieldErrors::one("cursor", "is not a next_cursor of this list"))
}
