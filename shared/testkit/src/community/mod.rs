//! People who write while something breaks, and the checks after it: everything acknowledged is there and
//! arrived, once.
//!
//! | module | what |
//! |---|---|
//! | [`client`] | requests that may find nobody |
//! | [`people`] | what a client writes, and what it was told |
//! | [`truth`] | what the services say afterwards, held against that |
//! | [`events`] | what the topics say in the end, held against that |

pub mod client;
pub mod events;
pub mod people;
pub mod truth;
