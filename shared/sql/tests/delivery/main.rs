//! The promises of delivery, tested with failures at every point: nothing lost, nothing twice, every key in
//! order, and poison stays alone.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod documents;
mod end_to_end;
mod ledger;
mod marks;
mod members;
mod relay;
mod spans;
mod store;
