//! What every connection of a proxy shares, whatever it speaks.

use std::sync::Arc;

use policies::{AdmissionQuery, Denial, TargetName};

use crate::core::clock::Clock;
use crate::core::credential::Credentials;
use crate::core::feed::LinkClient;
use crate::core::handshakes::Handshakes;
use crate::core::leases::{Leases, Pass};
use crate::core::limits::Limits;
use crate::core::metrics::Metrics;
use crate::core::report::{Denied, Reports};
use crate::core::session::Sessions;
use crate::core::settings::Settings;
use crate::core::spool::Spool;

/// The data plane around the protocols.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) leases: Arc<Leases>,
    pub(crate) link: LinkClient,
    pub(crate) sessions: Sessions,
    pub(crate) credentials: Credentials,
    pub(crate) spool: Spool,
    pub(crate) limits: Limits,
    pub(crate) handshakes: Handshakes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reports: Reports,
}

impl Plane {
    /// Decides on one connection, and measures how long that took.
    pub(crate) fn admit(&self, query: &AdmissionQuery<'_>) -> Result<Pass, Denial> {
        let began = self.clock.instant();
        let decision = self.leases.admit(query);
        let took = self.clock.instant().saturating_duration_since(began);
        self.metrics.admission.observe(took.as_secs_f64());
        decision
    }

    /// Connects to a target, measures how long that took, and counts it where it fails.
    pub(crate) async fn dial<T, E>(
        &self,
        target: &TargetName,
        dialling: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timer = self.metrics.upstream_connect.start_timer();
        let dialled = dialling.await;
        timer.observe_duration();
        dialled.inspect_err(|_| self.metrics.upstream_failed(target))
    }

    /// Counts a denial and reports it to control.
    pub(crate) fn denied(&self, denied: Denied) {
        self.reports.denied(self.clock.now(), self.clock.instant(), denied);
    }
}
