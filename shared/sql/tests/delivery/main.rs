//! What delivery promises, held against failures at every point: nothing lost, nothing twice, every
//! key in order, and poison stays alone.

mod end_to_end;
mod ledger;
mod store;
