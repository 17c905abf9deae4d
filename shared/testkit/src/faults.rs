//! Faults for [`sql::Db::inject`] and its like.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sql::{FaultPoint, Faults};

/// Fails one write at one point.
#[derive(Debug)]
pub struct Once {
    point: FaultPoint,
    /// How many writes pass before.
    pass: AtomicI64,
}

impl Once {
    /// The next write.
    pub fn at(point: FaultPoint) -> Arc<Self> {
        Self::after(0, point)
    }

    /// The one after `pass` others.
    pub fn after(pass: i64, point: FaultPoint) -> Arc<Self> {
        Arc::new(Self {
            point,
            pass: AtomicI64::new(pass),
        })
    }
}

impl Faults for Once {
    fn fails(&self, point: FaultPoint) -> bool {
        point == self.point && self.pass.fetch_sub(1, Ordering::SeqCst) == 0
    }
}
