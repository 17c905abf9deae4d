//! Faults for [`sql::Db::inject`] and its like.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sql::{FaultPoint, Faults};

/// Fails some of the writes that come to one point.
#[derive(Debug)]
pub struct Fails {
    point: FaultPoint,
    /// The numbers of the writes that fail, from 0.
    these: Range<usize>,
    seen: AtomicUsize,
}

impl Fails {
    /// Lets the next write fail at `point`.
    pub fn once(point: FaultPoint) -> Arc<Self> {
        Self::first(1, point)
    }

    /// The next `count` writes.
    pub fn first(count: usize, point: FaultPoint) -> Arc<Self> {
        Self::these(0..count, point)
    }

    /// The one after `pass` others.
    pub fn after(pass: usize, point: FaultPoint) -> Arc<Self> {
        Self::these(pass..pass + 1, point)
    }

    /// Lets every write fail at `point`.
    pub fn always(point: FaultPoint) -> Arc<Self> {
        Self::these(0..usize::MAX, point)
    }

    /// None: all is well again.
    pub fn never() -> Arc<Self> {
        Self::these(0..0, FaultPoint::BeforeWrite)
    }

    fn these(these: Range<usize>, point: FaultPoint) -> Arc<Self> {
        let seen = AtomicUsize::new(0);
        Arc::new(Self { point, these, seen })
    }
}

impl Faults for Fails {
    fn fails(&self, point: FaultPoint) -> bool {
        point == self.point
            && self
                .these
                .contains(&self.seen.fetch_add(1, Ordering::SeqCst))
    }
}
