//! The socket through which the command line talks to a running server.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use blocks::service::Background;
use tokio::net::{UnixListener, UnixStream};

use super::Listening;

/// The kernel's limit on a socket's path is 108 bytes.
const LONGEST_PATH: usize = 100;

/// Listens at `path` for `api`; only the owner of the file can open it.
///
/// # Errors
/// When the file can't be made.
pub fn listen(path: &Path, api: Router) -> anyhow::Result<Arc<dyn Background>> {
    let listener = bind(path).with_context(|| format!("could not listen at {}", path.display()))?;
    Ok(Listening::on(
        listener,
        "the socket of the command line",
        api,
    ))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("sock.new");
    match std::fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let within = Reach::to(&new)?;
    let listener = UnixListener::bind(&within.path)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    // In one step, also over the socket of a killed server.
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Connects to the server of a data folder.
///
/// # Errors
/// When none answers there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let within = Reach::to(path)?;
    UnixStream::connect(&within.path).await
}

/// A path that is short enough for a socket: through the open folder where it must be.
struct Reach {
    path: PathBuf,
    _folder: Option<File>,
}

impl Reach {
    fn to(path: &Path) -> io::Result<Self> {
        let too_long = path.as_os_str().len() > LONGEST_PATH;
        let (Some(folder), Some(name), true) = (path.parent(), path.file_name(), too_long) else {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        };
        let folder = File::open(folder)?;
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        Ok(Self {
            path: Path::new(&path).join(name),
            _folder: Some(folder),
        })
    }
}
