//! The folder of everything that a server must not lose, and the lock on it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a secret key that is made here.
const SECRET_BYTES: usize = 32;
/// Permissions of a file for its owner only.
const PRIVATE: u32 = 0o600;
/// Permission bits of others than the owner.
const OTHERS: u32 = 0o077;
/// A file that holds less was cut short.
const LEAST_SECRET_CHARS: usize = 32;

/// The reason why a folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refuses an action.
    #[error("could not {what} {path}: {source}; DATA_DIR names the folder to use", path = path.display())]
    Unusable {
        /// The action, as a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the folder {path} is in use by {holder}; stop that first (commands ask it without --offline), or set DATA_DIR to another folder",
        path = path.display()
    )]
    InUse {
        /// The folder's path.
        path: PathBuf,
        /// The process that has it, as far as it says.
        holder: String,
    },
    /// The key in the file is not one.
    #[error(
        "{path} holds no key: it was cut short or emptied; put the right one back, without it the stored signing keys can't be read",
        path = path.display()
    )]
    NoKey {
        /// The key's file.
        path: PathBuf,
    },
}

/// A data folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is missing (for its owner only) and takes it for this process.
    ///
    /// The lock goes with the process, however that ends. A folder that existed before keeps its
    /// permissions: its content is private all the same, and a warning names it.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn lock(path: &Path) -> Result<Self, FolderError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unusable("make the folder", path))?;
        let path = path
            .canonicalize()
            .map_err(unusable("use the folder", path))?;
        let file = path.join("rookery.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(&file)
            .map_err(unusable("open", &file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(unusable("lock", &file)(error)),
        }
        // The address left by a killed server is void.
        remove(&path.join(ADDRESS));
        note(&mut lock).map_err(unusable("write", &file))?;
        warn_if_open(&path).map_err(unusable("use the folder", &path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a database, made empty and private where it is missing. SQLite would let everybody read
    /// it. The files that it keeps beside it get the same permissions.
    ///
    /// # Errors
    /// When it can't be made, or made private.
    pub fn database(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.path.join(format!("{name}.db"));
        // Never opens one that is there: closing it again would drop SQLite's own locks on it.
        let made = match create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop),
        };
        let files = ["db", "db-wal", "db-shm"].map(|kind| path.with_extension(kind));
        made.and_then(|()| files.iter().try_for_each(|file| tighten(file)))
            .map_err(unusable("use", &path))?;
        Ok(path)
    }

    /// A running server's socket for the command line.
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }

    /// The file with the address that a running server listens on.
    pub fn address_file(&self) -> PathBuf {
        self.path.join(ADDRESS)
    }

    /// Writes the address that this process listens on, in one step: a reader finds all of it or nothing.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn announce(&self, address: &str) -> io::Result<()> {
        self.keep(&self.address_file(), address)
    }

    /// Removes the address that [`DataDir::announce`] wrote.
    pub fn retract(&self) {
        remove(&self.address_file());
        remove(&self.socket());
    }

    /// The key in `secret.key`, made at the first start.
    ///
    /// # Errors
    /// When the file can't be read or written, or holds no key.
    pub fn secret_key(&self) -> Result<String, FolderError> {
        let path = self.path.join("secret.key");
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= LEAST_SECRET_CHARS => {
                tighten(&path).map_err(unusable("protect", &path))?;
                Ok(text.trim().to_owned())
            }
            Ok(_) => Err(FolderError::NoKey { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = hex::encode(rand::random::<[u8; SECRET_BYTES]>());
                self.keep(&path, &key).map_err(unusable("write", &path))?;
                Ok(key)
            }
            Err(error) => Err(unusable("read", &path)(error)),
        }
    }

    /// Writes a file that is complete after a power cut, or not there: data encrypted with a lost key is
    /// lost.
    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        // A start that was killed may have left one.
        remove(&new);
        let mut file = create_private(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(&self.path)?.sync_all()
    }
}

/// The error of an action, a verb, on `path`.
fn unusable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Unusable { what, path, source }
}

const ADDRESS: &str = "rookery.addr";

/// The socket of `folder`'s server for the command line.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("rookery.sock")
}

/// Notes the owner of the folder, for the message to another process that wants it.
fn note(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "process {}", std::process::id())
}

/// Makes a file that did not exist: another writer of the folder may have put theirs there.
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
}

/// Takes a file's permissions from everybody but its owner, where somebody has some.
fn tighten(path: &Path) -> io::Result<()> {
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OTHERS != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
        tracing::warn!(
            path = %path.display(),
            "others than its owner could use this file; now they can't"
        );
    }
    Ok(())
}

fn warn_if_open(folder: &Path) -> io::Result<()> {
    if std::fs::metadata(folder)?.permissions().mode() & OTHERS != 0 {
        tracing::warn!(
            path = %folder.display(),
            "others than its owner can use the data folder: chmod 700 closes it"
        );
    }
    Ok(())
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, path = %path.display(), "could not remove a file"),
    }
}

fn in_use(path: PathBuf, lock: &mut File) -> FolderError {
    let mut who = String::new();
    if lock.read_to_string(&mut who).is_err() || who.trim().is_empty() {
        "another process".clone_into(&mut who);
    }
    let address = std::fs::read_to_string(path.join(ADDRESS)).ok();
    let holder = match address {
        Some(address) => format!("a server on http://{} ({})", address.trim(), who.trim()),
        None => who.trim().to_owned(),
    };
    FolderError::InUse { path, holder }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blocks::SystemClock;
    use blocks::config::Config;

    use service::{Definition, Place, Role};

    use super::*;
    use crate::{Embedded, Stores};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/data");
        let first = DataDir::lock(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let error = DataDir::lock(&path).unwrap_err();
        assert!(matches!(error, FolderError::InUse { .. }));
        assert!(!error.to_string().contains("a server"), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id()))
        );

        first.announce("127.0.0.1:8000").unwrap();
        let error = DataDir::lock(&path).unwrap_err();
        for part in ["http://127.0.0.1:8000", "DATA_DIR", "deep/data"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        drop(first);
        let next = DataDir::lock(&path).unwrap();
        assert!(!next.address_file().exists());
    }

    #[test]
    fn the_secret_key_is_made_once_for_its_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataDir::lock(temp.path()).unwrap();
        let key = folder.secret_key().unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(folder.secret_key().unwrap(), key);
        let file = folder.path().join("secret.key");
        assert_eq!(mode(&file), 0o600);
        std::fs::write(&file, "").unwrap();
        let error = folder.secret_key().unwrap_err();
        assert!(error.to_string().contains("secret.key"), "{error}");
    }

    /// The files of `folder` that others than their owner can use.
    fn open_files(folder: &Path) -> Vec<PathBuf> {
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files.filter(|file| mode(file) & OTHERS != 0).collect()
    }

    #[tokio::test]
    async fn all_files_are_private_in_a_folder_that_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        open(temp.path(), 0o755);
        std::fs::write(temp.path().join("secret.new"), "left by a killed start").unwrap();
        std::fs::write(temp.path().join("secret.key"), "0123456789".repeat(4)).unwrap();
        let config = Config::default();
        let test = Definition {
            name: "test",
            ..Definition::new(|_| unreachable!("only its file is opened"))
        };
        for _ in 0..2 {
            let folder = DataDir::lock(temp.path()).unwrap();
            let secret = folder.secret_key().unwrap();
            assert_eq!(secret.len(), 40);
            folder.announce("127.0.0.1:8000").unwrap();
            let embedded = Embedded::open(&config, folder, Arc::new(SystemClock), Role::Serves)
                .await
                .unwrap();
            let db = embedded.database(&test).await.unwrap();
            let read = db.read().await.unwrap();
            for file in ["test.db", "test.db-wal", "test.db-shm", "log.db"] {
                assert!(temp.path().join(file).exists(), "{file}");
            }
            let left = open_files(temp.path());
            assert_eq!(left, [temp.path().join("secret.new")], "{left:?}");
            drop(read);
            embedded.close().await;
            // As an older release left it.
            open(&temp.path().join("test.db"), 0o644);
        }
        std::fs::remove_file(temp.path().join("secret.key")).unwrap();
        let folder = DataDir::lock(temp.path()).unwrap();
        folder.secret_key().unwrap();
        folder.database("test").unwrap();
        assert!(open_files(temp.path()).is_empty());
        assert_eq!(mode(temp.path()), 0o755, "it is not ours to close");
    }

    #[test]
    fn a_path_that_can_not_be_a_folder_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::lock(&file).unwrap_err().to_string();
        assert!(
            error.contains("/file") && error.contains("DATA_DIR"),
            "{error}"
        );
    }
}
