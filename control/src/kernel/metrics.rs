//! What control counts. Labels are of fixed wording: no name that somebody chose gets into one.

use policies::Timestamp;
use prometheus::{IntCounterVec, IntGauge, Opts};

use crate::model::error::{ControlError, Refusal};
use crate::store::outbox::Figures;

/// The counters and gauges.
pub(crate) struct Counts {
    pub(crate) grants_live: IntGauge,
    pub(crate) requests_pending: IntGauge,
    pub(crate) requests: IntCounterVec,
    pub(crate) holds: IntGauge,
    pub(crate) source_failures: IntCounterVec,
    pub(crate) notifications: NotificationCounts,
    pub(crate) store_writable: IntGauge,
    pub(super) cuts_pending: IntGauge,
}

/// What is counted of messages to people.
pub(crate) struct NotificationCounts {
    pub(super) total: IntCounterVec,
    pub(super) waiting: IntGauge,
    pub(super) dead: IntGauge,
    pub(super) oldest: IntGauge,
}

impl Counts {
    pub(crate) fn new() -> Result<Self, ControlError> {
        let broken = |error: prometheus::Error| Refusal::Invalid(error.to_string());
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).map_err(broken);
        let outcomes =
            Opts::new("postern_requests_total", "Access requests that came to an end, by outcome.");
        let failures = Opts::new(
            "postern_source_failures_total",
            "Times that a roster or the tracker of tickets said nothing that can be used.",
        );
        Ok(Self {
            grants_live: gauge("postern_grants_live", "Grants that aren't over.")?,
            requests_pending: gauge(
                "postern_requests_pending",
                "Access requests that wait for approval.",
            )?,
            requests: IntCounterVec::new(outcomes, &["outcome"]).map_err(broken)?,
            holds: gauge("postern_holds_waiting", "Connections that wait for a person's act.")?,
            source_failures: IntCounterVec::new(failures, &["source"]).map_err(broken)?,
            notifications: NotificationCounts::new()?,
            store_writable: gauge(
                "postern_store_writable",
                "Whether control can write to its store: 1 where it can, 0 where it can't.",
            )?,
            cuts_pending: gauge(
                "postern_cuts_pending",
                "Cuts that are in force and not yet written to the store.",
            )?,
        })
    }
}

impl NotificationCounts {
    fn new() -> Result<Self, ControlError> {
        let broken = |error: prometheus::Error| Refusal::Invalid(error.to_string());
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).map_err(broken);
        let tries = Opts::new(
            "postern_notifications_total",
            "Tries to tell people, by kind of channel and outcome; `dead` was the last try.",
        );
        Ok(Self {
            total: IntCounterVec::new(tries, &["channel", "outcome"]).map_err(broken)?,
            waiting: gauge("postern_notifications_waiting", "Messages that nobody took yet.")?,
            dead: gauge("postern_notifications_dead", "Messages that are tried no more.")?,
            oldest: gauge(
                "postern_notifications_oldest_seconds",
                "For how long the oldest message waits.",
            )?,
        })
    }

    pub(crate) fn count(&self, channel: &'static str, outcome: &'static str) {
        self.total.with_label_values(&[channel, outcome]).inc();
    }

    pub(crate) fn set(&self, figures: &Figures, now: Timestamp) {
        self.waiting.set(figures.waiting);
        self.dead.set(figures.dead);
        let age = figures.oldest.map_or(0, |oldest| oldest.until(now).millis() / 1_000);
        self.oldest.set(age);
    }
}
