//! The address that a process listens on.

use std::io;

use blocks::config::Config;
use tokio::net::TcpListener;

/// Listens at `HOST` and `PORT`.
///
/// # Errors
/// When it can't, with what to do about it.
pub async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    at(config, config.port, "PORT").await
}

/// Listens at `HOST` and `port`, which `setting` names.
pub(crate) async fn at(config: &Config, port: u16, setting: &str) -> anyhow::Result<TcpListener> {
    let host = config.host.as_str();
    TcpListener::bind((host, port)).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program listens there: set {setting} to a free one, 0 lets the system choose"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 are for root: set {setting} to another")
            }
            io::ErrorKind::AddrNotAvailable => "HOST must be an address of this machine".into(),
            _ => format!("HOST and {setting} say where to listen"),
        };
        anyhow::anyhow!("could not listen on {host} port {port}: {error}; {hint}")
    })
}
