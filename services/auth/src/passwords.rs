//! Password hashes: argon2id, on a few threads of their own. A hash takes tens of milliseconds and
//! 19 MiB. A burst of logins must neither stop other requests nor eat the memory. So requests
//! beyond a bounded queue are told to come back, and passwords that nobody waits for are not
//! hashed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::hasher::Hasher;
use crate::strength::{Weak, judge};

/// Shortest time between two log lines about passwords turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The cost of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The memory in KiB.
    pub memory_kib: u32,
    /// The number of passes over the memory.
    pub passes: u32,
    /// The number of lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// OWASP's first choice for argon2id.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
        }
    }
}

/// A reason why a password was not hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many passwords wait already.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// A new password has fewer bytes than this.
    #[error("the password has under {0} bytes")]
    Short(usize),
    /// A new password is too easy to guess.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// The password can't be hashed, or the stored hash can't be read.
    #[error("could not hash a password: {0}")]
    Hash(String),
}

impl From<argon2::Error> for PasswordError {
    fn from(error: argon2::Error) -> Self {
        Self::Hash(error.to_string())
    }
}

impl From<argon2::password_hash::Error> for PasswordError {
    fn from(error: argon2::password_hash::Error) -> Self {
        Self::Hash(error.to_string())
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is another password.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and its hash came from elsewhere or from before: this one is to be stored in its place.
    Outdated(String),
}

/// Hashes and checks passwords.
pub struct Passwords {
    queue: SyncSender<Job>,
    /// A hash of no password: unknown accounts are checked against it, so that they take as long.
    nobodys: Arc<str>,
    /// The fewest bytes of a new password.
    min_bytes: usize,
    turned_away: Mutex<TurnedAway>,
}

/// Passwords turned away since the last log line.
#[derive(Default)]
struct TurnedAway {
    count: u64,
    told: Option<Instant>,
}

/// Hashes or checks a password, unless nobody waits for it any more.
type Job = Box<dyn FnOnce(&mut Hasher) + Send>;

impl Passwords {
    /// Starts `threads` threads with room for `waiting` passwords before them. New ones have `min_bytes` or more.
    ///
    /// # Errors
    /// When argon2 does not take `cost`, or the system gives no thread.
    pub fn start(
        cost: Cost,
        threads: usize,
        waiting: usize,
        min_bytes: usize,
    ) -> Result<Self, crate::OpenError> {
        let nobodys = Hasher::new(cost)?.nobodys()?.into();
        let (queue, jobs) = sync_channel(waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.max(1) {
            let (hasher, jobs) = (Hasher::new(cost)?, Arc::clone(&jobs));
            std::thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || serve(hasher, &jobs))
                .map_err(crate::OpenError::Thread)?;
        }
        Ok(Self {
            queue,
            nobodys,
            min_bytes,
            turned_away: Mutex::default(),
        })
    }

    /// The PHC string to store for a new `password`, for which `known` about its owner are bad guesses.
    ///
    /// # Errors
    /// [`PasswordError::Short`] or [`PasswordError::Weak`] when it is guessed early, [`PasswordError::Busy`] when
    /// too many wait.
    pub async fn hash(
        &self,
        password: String,
        known: Vec<String>,
    ) -> Result<String, PasswordError> {
        if password.len() < self.min_bytes {
            return Err(PasswordError::Short(self.min_bytes));
        }
        let work = move |hasher: &mut Hasher| {
            judge(&password, &known)?;
            hasher.hash(&password)
        };
        self.ask(work).await
    }

    /// Checks whether `password` is the one of `stored`; without a hash it is wrong after as much work.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when too many wait.
    pub async fn check(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<Checked, PasswordError> {
        let known = stored.is_some();
        let hash = stored.map_or_else(|| Arc::clone(&self.nobodys), Arc::from);
        let check = move |hasher: &mut Hasher| hasher.check(&password, &hash);
        let checked = self.ask(check).await?;
        Ok(if known { checked } else { Checked::Wrong })
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Hasher) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |hasher| {
            if reply.is_closed() {
                tracing::debug!("nobody waits for this password");
            } else {
                // The caller may stop waiting meanwhile.
                let _ = reply.send(work(hasher));
            }
        });
        if self.queue.try_send(job).is_err() {
            self.tell_turned_away();
            return Err(PasswordError::Busy);
        }
        answer.await.map_err(|_| PasswordError::Busy)?
    }

    /// Logs one line now and then for all: a flood of logins must not flood the log.
    fn tell_turned_away(&self) {
        let mut away = self.turned_away.lock();
        away.count += 1;
        if away.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let count = std::mem::take(&mut away.count);
            away.told = Some(Instant::now());
            tracing::warn!(count, "more passwords came than could be hashed; busy");
        }
    }
}

/// Hashes and checks until the last sender is gone.
fn serve(mut hasher: Hasher, jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is released before the work begins.
        let next = jobs.lock().recv();
        let Ok(job) = next else {
            return;
        };
        job(&mut hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    #[tokio::test]
    async fn a_hash_is_argon2id_at_owasp_parameters_and_salted() {
        let passwords = Passwords::start(Cost::default(), 1, 4, 8).unwrap();
        let hash = passwords
            .hash("correct horse".into(), Vec::new())
            .await
            .unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(
            passwords
                .hash("correct horse".into(), Vec::new())
                .await
                .unwrap(),
            hash
        );
        assert_eq!(
            passwords
                .check("correct horse".into(), Some(hash.clone()))
                .await
                .unwrap(),
            Checked::Right
        );
        assert_eq!(
            passwords
                .check("correct horse ".into(), Some(hash))
                .await
                .unwrap(),
            Checked::Wrong
        );
        // An unknown account is checked against a hash of the same cost.
        assert!(
            passwords
                .nobodys
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
    }

    #[tokio::test]
    async fn all_1024_bytes_count_and_an_unknown_account_never_matches() {
        let passwords = Passwords::start(CHEAP, 1, 4, 8).unwrap();
        let long = format!("{:x<1023}", "correct horse battery");
        let hash = passwords
            .hash(format!("{long}a"), Vec::new())
            .await
            .unwrap();
        assert_eq!(
            passwords
                .check(format!("{long}b"), Some(hash.clone()))
                .await
                .unwrap(),
            Checked::Wrong
        );
        assert_eq!(
            passwords
                .check(format!("{long}a"), Some(hash))
                .await
                .unwrap(),
            Checked::Right
        );
        assert_eq!(
            passwords
                .check("nobody has this password".into(), None)
                .await
                .unwrap(),
            Checked::Wrong
        );
        assert!(matches!(
            passwords
                .check("p".into(), Some("$argon2id$broken".into()))
                .await,
            Err(PasswordError::Hash(_))
        ));
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_a_cancelled_request_is_not_hashed() {
        // No thread takes from this queue until the test does.
        let (queue, jobs) = sync_channel(2);
        let passwords = Arc::new(Passwords {
            queue,
            nobodys: "".into(),
            min_bytes: 8,
            turned_away: Mutex::default(),
        });
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut request = Box::pin(passwords.hash("x7 Q!z 19".into(), Vec::new()));
            assert!(still_waits(&mut request).await, "it waits in the queue");
            waiting.push(request);
        }
        assert!(matches!(
            passwords.hash("x7 Q!z 19".into(), Vec::new()).await,
            Err(PasswordError::Busy)
        ));
        // An unknown account is work, too: it waits in the same queue.
        assert!(matches!(
            passwords.check("12345678".into(), None).await,
            Err(PasswordError::Busy)
        ));
        let second = waiting.pop().unwrap();
        drop(waiting); // the first client went away
        let hasher = Hasher::new(CHEAP).unwrap();
        let jobs = Mutex::new(jobs);
        let worker = std::thread::spawn(move || serve(hasher, &jobs));
        assert!(second.await.unwrap().starts_with("$argon2id$"));
        drop(passwords);
        worker.join().unwrap();
    }

    /// Polls once; true if it is still waiting.
    async fn still_waits<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
