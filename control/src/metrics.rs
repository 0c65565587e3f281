//! What control counts. Labels are of fixed wording: no name that somebody chose gets into one.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::{Control, ControlError};

/// The counters and gauges.
pub(crate) struct Counts {
    pub(crate) grants_live: IntGauge,
    pub(crate) requests_pending: IntGauge,
    pub(crate) requests: IntCounterVec,
    pub(crate) holds: IntGauge,
}

impl Counts {
    pub(crate) fn new() -> Result<Self, ControlError> {
        let broken = |error: prometheus::Error| ControlError::Invalid(error.to_string());
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).map_err(broken);
        let outcomes =
            Opts::new("postern_requests_total", "Access requests that came to an end, by outcome.");
        Ok(Self {
            grants_live: gauge("postern_grants_live", "Grants that aren't over.")?,
            requests_pending: gauge(
                "postern_requests_pending",
                "Access requests that wait for approval.",
            )?,
            requests: IntCounterVec::new(outcomes, &["outcome"]).map_err(broken)?,
            holds: gauge("postern_holds_waiting", "Connections that wait for a person's act.")?,
        })
    }
}

impl Control {
    /// Registers what control counts. A name that is taken already is logged, and not counted.
    pub fn metrics(&self, registry: &Registry) {
        let counts = &self.0.counts;
        let collectors: [Box<dyn Collector>; 4] = [
            Box::new(counts.grants_live.clone()),
            Box::new(counts.requests_pending.clone()),
            Box::new(counts.requests.clone()),
            Box::new(counts.holds.clone()),
        ];
        for collector in collectors {
            if let Err(error) = registry.register(collector) {
                tracing::warn!(%error, "a metric is not registered");
            }
        }
    }
}
