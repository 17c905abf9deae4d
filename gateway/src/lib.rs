//! `rookery`: all services in one process, behind the gateway, over files in one folder.
//!
//! ```text
//! client ─▶ kit ─▶ CORS, compression ─▶ gateway (route table, auth) ─▶ the services' routers
//! command line ─▶ admin API ─┬─ through `DATA_DIR/rookery.sock` while a server runs
//!                            ├─ in this process while none does
//!                            └─ in this process over the stores of a fleet
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`site`] | opens every service over its file |
//! | [`app`] | puts their routers behind one front |
//! | [`serve`] | runs that until it is stopped |
//! | `fleet` | reaches services that run each on its own (feature `fleet`) |
//! | [`front`] | answers for a fleet what belongs to no single service |
//! | [`traefik`] | the same rules for the Traefik in front of a fleet |
//! | `migrate` | moves a folder into the stores of a fleet (feature `fleet`) |
//! | [`admin`] | what an operator can see and do, as an HTTP API |
//! | [`cli`] | the command line, a client of that API |

pub mod admin;
pub mod app;
mod banner;
pub mod cli;
mod compress;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod front;
#[cfg(feature = "fleet")]
pub mod migrate;
pub mod serve;
pub mod site;
pub mod traefik;

/// The release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
