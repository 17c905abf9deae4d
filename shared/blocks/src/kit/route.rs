//! Facts about a route, so that a request has nothing to look up.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::RwLock;

use crate::metrics::{HttpMetrics, Metrics};

/// Routes that are asked every few seconds by machines: their access lines would drown the others.
const QUIET: [&str; 5] = [
    "/health",
    "/ready",
    "/health/db",
    "/health/events",
    super::METRICS,
];

/// A route with the metrics of its answers.
#[derive(Debug)]
pub(super) struct RouteStats {
    pub service: &'static str,
    pub route: Arc<str>,
    pub quiet: bool,
    answers: RwLock<Vec<(&'static str, u16, HttpMetrics)>>,
}

impl RouteStats {
    pub(super) fn new(service: &'static str, route: &str) -> Self {
        Self {
            service,
            route: route.into(),
            quiet: QUIET.contains(&route),
            answers: RwLock::default(),
        }
    }

    /// Counts an answer.
    pub(super) fn record(
        &self,
        metrics: &Metrics,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        let known = self.answers.read();
        let same = |(m, s, _): &&(&str, u16, HttpMetrics)| *m == method && *s == status;
        if let Some((_, _, answer)) = known.iter().find(same) {
            answer.record(took);
            return;
        }
        drop(known);
        // Two requests may both come here: the registry gives them the same metric.
        let answer = metrics.http(self.service, method, &self.route, status);
        answer.record(took);
        let mut known = self.answers.write();
        known.push((method, status, answer));
    }
}

/// A method's name for a label: what clients make up is all one.
pub(super) fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
