//! Life with real servers: the fleet on this machine (`scripts/stack`), every server and service a process of
//! its own. The tests look at writes while any of them is stopped, killed or not there yet.
//!
//! One stack is made for all tests; they have it one after the other. `scripts/test-failures` builds
//! the services and runs this.
//!
//! | file | what |
//! |---|---|
//! | [`stack`] | the processes: started, stopped, killed, asked |
//! | [`load`] | people who write meanwhile, and the account of what they wrote |
//! | [`start`] | services before their servers, several of each at once, on empty databases |
//! | [`outages`] | servers that go away and come back |
//! | [`kills`] | services that are killed |
//! | [`stops`] | services that are asked to stop |
//! | [`replicas`] | several processes of one service |
//! | [`replays`] | whole topics delivered once more |
//!
//! The writers, and what must be true after them, are in [`testkit::community`].

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod kills;
mod load;
mod outages;
mod replays;
mod replicas;
mod stack;
mod start;
mod stops;
