//! What every connection of a proxy shares.

use std::sync::Arc;

use policies::{Denial, Knock};

use crate::clock::Clock;
use crate::credential::Credentials;
use crate::feed::LinkClient;
use crate::leases::{Leases, Pass};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::recorder::Spool;
use crate::report::{Denied, Reports};
use crate::session::Sessions;
use crate::settings::Settings;

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
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reports: Reports,
    /// What Postgres connections share.
    pub(crate) postgres: crate::postgres::Shared,
}

impl Plane {
    /// Decides on one connection, and measures how long that took.
    pub(crate) fn admit(&self, knock: &Knock<'_>) -> Result<Pass, Denial> {
        let began = self.clock.instant();
        let verdict = self.leases.admit(knock);
        let took = self.clock.instant().saturating_duration_since(began);
        self.metrics.admission.observe(took.as_secs_f64());
        verdict
    }

    /// Counts a denial and tells control of it.
    pub(crate) fn denied(&self, denied: Denied) {
        self.reports.denied(self.clock.now(), self.clock.instant(), denied);
    }
}
