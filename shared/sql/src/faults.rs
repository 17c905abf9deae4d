//! Failures on demand: the effect of a crash or an outage on a write, without a crash.

/// The point at which a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// Before anything was done.
    BeforeWrite,
    /// After all was done: it is rolled back.
    BeforeCommit,
    /// It is durable, but nobody is told: no answer, no hooks, no hand-over.
    AfterCommit,
}

/// Decides which writes fail.
pub trait Faults: Send + Sync {
    /// True if this write fails at `point`.
    fn fails(&self, point: FaultPoint) -> bool;
}
