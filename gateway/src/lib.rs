//! `rookery`: all services in one process, behind the gateway, over files in one folder.
//!
//! ```text
//! client ─▶ kit ─▶ CORS, compression ─▶ gateway (route table, auth) ─▶ the services' routers
//! command line ─▶ operators' API ─┬─ through `DATA_DIR/rookery.sock` of a server
//!                                 ├─ at the private port of each service of a fleet
//!                                 └─ in this process, over what `--offline` opens
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`roster`] | every service |
//! | [`site`] | opens them at a place |
//! | [`app`] | puts their routers behind one front |
//! | [`serve`] | runs that until it is stopped |
//! | [`address`] | where a service of a fleet is |
//! | [`front`] | answers for a fleet what belongs to no single service |
//! | [`generate`] | makes every list of services outside of Rust |
//! | [`traefik`] | the same rules for the Traefik in front of a fleet |
//! | `migrate` | moves a folder into the stores of a fleet (feature `fleet`) |
//! | [`cli`] | the command line, a client of the operators' API |

pub mod address;
pub mod app;
mod banner;
pub mod cli;
mod compress;
pub mod front;
pub mod generate;
#[cfg(feature = "fleet")]
pub mod migrate;
pub mod roster;
pub mod serve;
pub mod site;
pub mod traefik;

/// The version of Rookery, for the banner, the log and the documentation of the API.
pub use runtime::front::VERSION;
