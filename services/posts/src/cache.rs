//! A cache of answers that are read again and again, as the bytes that are sent.
//!
//! A reader lays a claim before it reads, and puts its answer in only if the claim is still there.
//! A commit takes out entries and claims. So no order of commits and readers leaves an old answer
//! behind.
//!
//! It sees only its own process's commits. With several writing processes there is no cache.

use blocks::extract::Tagged;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;
use uuid::Uuid;

/// The cache's capacity, in bytes of answers.
pub const CAPACITY_BYTES: u64 = 16 << 20;
/// About the number of posts that fit: a hint for its tables.
const EXPECTED_POSTS: usize = 8192;
/// The cost of an entry besides its answer, in bytes.
const ENTRY_BYTES: u64 = 96;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Uuid, Tagged> for ByBytes {
    fn weight(&self, _: &Uuid, answer: &Tagged) -> u64 {
        ENTRY_BYTES + answer.body().len() as u64
    }
}

/// The first page of all posts, as of some number of commits.
#[derive(Default)]
struct Front {
    commits: u64,
    body: Option<Bytes>,
}

/// The answers of one process.
pub struct Cache {
    posts: Entries<Uuid, Tagged, ByBytes>,
    front: Mutex<Front>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            posts: Entries::with_weighter(EXPECTED_POSTS, CAPACITY_BYTES, ByBytes),
            front: Mutex::default(),
        }
    }
}

impl Cache {
    /// The answer about a post, read with `read` if it is missing. Callers who want the same one
    /// meanwhile wait for that reader.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn post<E>(
        &self,
        id: Uuid,
        read: impl Future<Output = Result<Tagged, E>>,
    ) -> Result<Tagged, E> {
        match self.posts.get_value_or_guard_async(&id).await {
            Ok(answer) => Ok(answer),
            Err(claim) => {
                let answer = read.await?;
                // Refused when a commit took the claim out: then the next caller reads.
                let _ = claim.insert(answer.clone());
                Ok(answer)
            }
        }
    }

    /// The first page of all posts, read with `read` if it is missing.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn front<E>(&self, read: impl Future<Output = Result<Bytes, E>>) -> Result<Bytes, E> {
        let commits = {
            let front = self.front.lock();
            if let Some(body) = &front.body {
                return Ok(body.clone());
            }
            front.commits
        };
        let body = read.await?;
        let mut front = self.front.lock();
        if front.commits == commits {
            front.body = Some(body.clone());
        }
        Ok(body)
    }

    /// Drops the answers with a post that was published, changed or deleted.
    pub fn forget_post(&self, id: Uuid) {
        self.posts.remove(&id);
        self.forget_front();
    }

    /// Drops all answers, since a name in them has changed.
    pub fn forget_all(&self) {
        self.posts.clear();
        self.forget_front();
    }

    fn forget_front(&self) {
        let mut front = self.front.lock();
        front.commits += 1;
        front.body = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const ID: Uuid = Uuid::from_u128(1);

    fn tagged(body: &'static [u8]) -> Tagged {
        Bytes::from_static(body).into()
    }

    async fn read(cache: &Cache, body: &'static str) -> Bytes {
        let answer = async { Ok::<_, Infallible>(tagged(body.as_bytes())) };
        cache.post(ID, answer).await.unwrap().body().clone()
    }

    #[tokio::test]
    async fn an_answer_is_read_once_until_a_commit() {
        let cache = Cache::default();
        assert_eq!(read(&cache, "old").await, "old");
        assert_eq!(read(&cache, "new").await, "old");
        cache.forget_post(ID);
        assert_eq!(read(&cache, "new").await, "new");
        cache.forget_all();
        assert_eq!(read(&cache, "newer").await, "newer");
    }

    #[tokio::test]
    async fn what_was_read_before_a_commit_is_not_kept_after_it() {
        for commit in [
            |cache: &Cache| cache.forget_post(ID),
            |cache: &Cache| cache.forget_all(),
        ] {
            let cache = Cache::default();
            let overtaken = async {
                commit(&cache);
                Ok::<_, Infallible>(tagged(b"old"))
            };
            assert_eq!(cache.post(ID, overtaken).await.unwrap().body(), "old");
            assert_eq!(read(&cache, "new").await, "new");
            let overtaken = async {
                commit(&cache);
                Ok::<_, Infallible>(Bytes::from_static(b"old"))
            };
            assert_eq!(cache.front(overtaken).await.unwrap(), "old");
            let fresh = async { Ok::<_, Infallible>(Bytes::from_static(b"new")) };
            assert_eq!(cache.front(fresh).await.unwrap(), "new");
        }
    }

    #[tokio::test]
    async fn a_failed_reader_leaves_its_place_to_the_next() {
        let cache = Cache::default();
        let failed = cache.post(ID, async { Err("away") }).await;
        assert_eq!(failed.unwrap_err(), "away");
        assert_eq!(read(&cache, "new").await, "new");
    }

    #[tokio::test]
    async fn it_holds_no_more_than_its_capacity() {
        let cache = Cache::default();
        let body = Tagged::from(Bytes::from(vec![b'x'; 64 << 10]));
        for id in 0..1000 {
            let read = async { Ok::<_, Infallible>(body.clone()) };
            cache.post(Uuid::from_u128(id), read).await.unwrap();
        }
        assert!(cache.posts.weight() <= CAPACITY_BYTES);
        assert!(!cache.posts.is_empty());
    }
}
