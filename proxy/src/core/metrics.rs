//! What the data plane counts. Labels come from fixed sets or from configured targets, never from a
//! client, so that no client can grow the set of series.

use policies::TargetName;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets,
};

/// A name, and what it means.
type Named = (&'static str, &'static str);

const CONNECTIONS: Named = ("postern_connections_total", "Connections, by what became of them.");
const DENIALS: Named = ("postern_denials_total", "Connections that were denied, by reason.");
const ACCEPT_REFUSED: Named =
    ("postern_accept_refused_total", "Connections dropped before authentication, by reason.");
const UPSTREAM_FAILURES: Named =
    ("postern_upstream_failures_total", "Failures to connect or sign in upstream.");
const SESSIONS_LIVE: Named = ("postern_sessions_live", "Sessions that are live.");
const BYTES: Named = ("postern_bytes_total", "Bytes from (in) and to (out) clients.");
const ADMISSION: Named = ("postern_admission_seconds", "Time of one admission decision.");
const PENDING: Named = ("postern_hold_seconds", "How long connections waited for people.");
const REVOKE_TO_CUT: Named = (
    "postern_revoke_to_cut_seconds",
    "From the end of a grant, as the feed reported it, to the cut of a session.",
);
/// In seconds, with 10 and 50 ms among them, which are what is promised.
const REVOKE_TO_CUT_BOUNDS: [f64; 17] = [
    1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];
const UPSTREAM_CONNECT: Named =
    ("postern_upstream_connect_seconds", "Time to connect and sign in upstream.");
const RECORDER_LAG: Named =
    ("postern_recorder_lag_bytes", "Bytes pushed to recordings and not yet written.");
const RECORDER_FAILURES: Named =
    ("postern_recorder_failures_total", "Recordings that could not be written.");
const RECORDER_UNSETTLED: Named = (
    "postern_recorder_unsettled_total",
    "Finished recordings that were left to the kernel to make durable.",
);
const SPOOL_BYTES: Named = ("postern_spool_bytes", "Bytes that all recordings take.");
const SPOOL_QUOTA: Named = ("postern_spool_quota_bytes", "The quota of all recordings.");
const SPOOL_FREE: Named =
    ("postern_spool_free_bytes", "Bytes that are free on the disk of the recordings.");
const SPOOL_RESERVE: Named = (
    "postern_spool_reserve_bytes",
    "Free bytes below which no session begins; below half of them, live ones end.",
);
const SPOOL_LARGEST: Named = (
    "postern_spool_largest_principal_bytes",
    "Bytes of recordings of the principal who has the most.",
);
const SPOOL_PRINCIPAL_QUOTA: Named =
    ("postern_spool_principal_quota_bytes", "The quota of one principal's recordings.");
const SPOOL_REFUSED: Named = (
    "postern_spool_refused_total",
    "Sessions that were refused for want of room to record them, by reason.",
);
const SPOOL_ENDED: Named = (
    "postern_spool_ended_total",
    "Sessions that ended for want of room to record them, by reason.",
);
const FEED_REVISION: Named =
    ("postern_feed_revision", "The revision of the feed that was applied last.");
const FEED_LEASE: Named = (
    "postern_feed_lease_seconds",
    "For how much longer new sessions are admitted without news from control.",
);
const REPORTS_DROPPED: Named = (
    "postern_reports_dropped_total",
    "Reports of denials that were left out because there were too many.",
);

/// The series of one proxy.
#[derive(Debug)]
pub(crate) struct Metrics {
    connections: IntCounterVec,
    denials: IntCounterVec,
    accept_refused: IntCounterVec,
    upstream_failures: IntCounterVec,
    sessions_live: IntGaugeVec,
    bytes: IntCounterVec,
    /// Time of one admission decision.
    pub(crate) admission: Histogram,
    /// How long connections waited for people.
    pub(crate) pending: Histogram,
    /// From the end of a grant, as the feed has it, to the cut of a session.
    pub(crate) revoke_to_cut: Histogram,
    /// Time to connect and sign in upstream.
    pub(crate) upstream_connect: Histogram,
    /// Bytes that are being written to recordings.
    pub(crate) recorder_lag: IntGauge,
    /// Recordings that could not be written on.
    pub(crate) recorder_failures: IntCounter,
    /// Finished recordings that were left to the kernel to make durable.
    pub(crate) recorder_unsettled: IntCounter,
    spool: SpoolGauges,
    spool_refused: IntCounterVec,
    spool_ended: IntCounterVec,
    /// The revision of the feed that was applied last.
    pub(crate) feed_revision: IntGauge,
    /// For how much longer the feed is fresh.
    pub(crate) feed_lease: Gauge,
    /// Reports of denials that were left out because there were too many.
    pub(crate) reports_dropped: IntCounter,
}

/// The room that recordings take and have, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpoolFigures {
    /// All recordings.
    pub(crate) used: u64,
    /// What they may take.
    pub(crate) quota: u64,
    /// What is free on their disk.
    pub(crate) free: u64,
    /// What stays free.
    pub(crate) reserve: u64,
    /// The recordings of the principal who has the most.
    pub(crate) largest: u64,
    /// What those of one principal may take.
    pub(crate) principal_quota: u64,
}

#[derive(Debug)]
struct SpoolGauges {
    used: IntGauge,
    quota: IntGauge,
    free: IntGauge,
    reserve: IntGauge,
    largest: IntGauge,
    principal_quota: IntGauge,
}

impl Metrics {
    /// Makes the series and registers them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let registrar = Registrar(registry);
        Ok(Self {
            connections: registrar.counters(&CONNECTIONS, &["protocol", "outcome"])?,
            denials: registrar.counters(&DENIALS, &["reason"])?,
            accept_refused: registrar.register(accept_refused()?)?,
            upstream_failures: registrar.counters(&UPSTREAM_FAILURES, &["target"])?,
            sessions_live: registrar.gauges(&SESSIONS_LIVE, &["protocol"])?,
            bytes: registrar.counters(&BYTES, &["direction"])?,
            admission: registrar.histogram(&ADMISSION, exponential_buckets(1e-7, 2.0, 16)?)?,
            pending: registrar.histogram(&PENDING, exponential_buckets(0.25, 2.0, 14)?)?,
            revoke_to_cut: registrar.histogram(&REVOKE_TO_CUT, REVOKE_TO_CUT_BOUNDS.to_vec())?,
            upstream_connect: registrar
                .histogram(&UPSTREAM_CONNECT, exponential_buckets(1e-3, 2.0, 15)?)?,
            recorder_lag: registrar.gauge(&RECORDER_LAG)?,
            recorder_failures: registrar.counter(&RECORDER_FAILURES)?,
            recorder_unsettled: registrar.counter(&RECORDER_UNSETTLED)?,
            spool: SpoolGauges {
                used: registrar.gauge(&SPOOL_BYTES)?,
                quota: registrar.gauge(&SPOOL_QUOTA)?,
                free: registrar.gauge(&SPOOL_FREE)?,
                reserve: registrar.gauge(&SPOOL_RESERVE)?,
                largest: registrar.gauge(&SPOOL_LARGEST)?,
                principal_quota: registrar.gauge(&SPOOL_PRINCIPAL_QUOTA)?,
            },
            spool_refused: registrar.counters(&SPOOL_REFUSED, &["reason"])?,
            spool_ended: registrar.counters(&SPOOL_ENDED, &["reason"])?,
            feed_revision: registrar.gauge(&FEED_REVISION)?,
            feed_lease: registrar.register(Gauge::new(FEED_LEASE.0, FEED_LEASE.1)?)?,
            reports_dropped: registrar.counter(&REPORTS_DROPPED)?,
        })
    }

    /// Counts a connection.
    pub(crate) fn connection(&self, protocol: &'static str, outcome: &'static str) {
        self.connections.with_label_values(&[protocol, outcome]).inc();
    }

    /// Counts a denial.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.denials.with_label_values(&[reason]).inc();
    }

    /// How many connections ended like this.
    #[cfg(test)]
    pub(crate) fn connections(&self, protocol: &'static str, outcome: &'static str) -> u64 {
        self.connections.with_label_values(&[protocol, outcome]).get()
    }

    /// How many were denied for this reason.
    #[cfg(test)]
    pub(crate) fn denials(&self, reason: &'static str) -> u64 {
        self.denials.with_label_values(&[reason]).get()
    }

    /// How many bytes were counted from and to clients.
    #[cfg(test)]
    pub(crate) fn bytes_counted(&self) -> (u64, u64) {
        let of = |direction| self.bytes.with_label_values(&[direction]).get();
        (of("in"), of("out"))
    }

    /// Counts a connection that was dropped before authentication.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.accept_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a failure to reach this target.
    pub(crate) fn upstream_failed(&self, target: &TargetName) {
        self.upstream_failures.with_label_values(&[target.as_str()]).inc();
    }

    /// Sets what is known of the room for recordings.
    pub(crate) fn spool(&self, figures: &SpoolFigures) {
        let gauges = &self.spool;
        for (gauge, bytes) in [
            (&gauges.used, figures.used),
            (&gauges.quota, figures.quota),
            (&gauges.free, figures.free),
            (&gauges.reserve, figures.reserve),
            (&gauges.largest, figures.largest),
            (&gauges.principal_quota, figures.principal_quota),
        ] {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Counts a session that was refused for want of room to record it.
    pub(crate) fn spool_refused(&self, reason: &'static str) {
        self.spool_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a session that ended for want of room to record it.
    pub(crate) fn spool_ended(&self, reason: &'static str) {
        self.spool_ended.with_label_values(&[reason]).inc();
    }

    /// The number of live sessions.
    pub(crate) fn live(&self, protocol: &'static str) -> IntGauge {
        self.sessions_live.with_label_values(&[protocol])
    }

    /// Adds bytes from and to clients: at intervals or at the end, not per message.
    pub(crate) fn bytes(&self, from_client: u64, to_client: u64) {
        self.bytes.with_label_values(&["in"]).inc_by(from_client);
        self.bytes.with_label_values(&["out"]).inc_by(to_client);
    }
}

/// The API and the metrics have the same series, as listeners of their own.
fn accept_refused() -> prometheus::Result<IntCounterVec> {
    let (name, help) = ACCEPT_REFUSED;
    IntCounterVec::new(Opts::new(name, help).const_label("listener", "proxy"), &["reason"])
}

/// Where series are registered.
struct Registrar<'r>(&'r Registry);

impl Registrar<'_> {
    fn register<C: Collector + Clone + 'static>(&self, series: C) -> prometheus::Result<C> {
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    fn counter(&self, (name, help): &Named) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(*name, *help)?)
    }

    fn counters(&self, (name, help): &Named, by: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(*name, *help), by)?)
    }

    fn gauge(&self, (name, help): &Named) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(*name, *help)?)
    }

    fn gauges(&self, (name, help): &Named, by: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(*name, *help), by)?)
    }

    fn histogram(&self, (name, help): &Named, buckets: Vec<f64>) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(*name, *help).buckets(buckets);
        self.register(Histogram::with_opts(options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_names_that_dashboards_and_alerts_know() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.connection("postgres", "session");
        metrics.denied("no-grant");
        metrics.refused("address");
        metrics.upstream_failed(&"orders".parse().unwrap());
        metrics.live("postgres").inc();
        metrics.spool_refused("reserve");
        metrics.spool_ended("session-quota");
        metrics.bytes(1, 2);
        let names: Vec<String> =
            registry.gather().iter().map(|family| family.name().to_owned()).collect();
        let expected = [
            "postern_accept_refused_total",
            "postern_admission_seconds",
            "postern_bytes_total",
            "postern_connections_total",
            "postern_denials_total",
            "postern_feed_lease_seconds",
            "postern_feed_revision",
            "postern_hold_seconds",
            "postern_recorder_failures_total",
            "postern_recorder_lag_bytes",
            "postern_recorder_unsettled_total",
            "postern_reports_dropped_total",
            "postern_revoke_to_cut_seconds",
            "postern_sessions_live",
            "postern_spool_bytes",
            "postern_spool_ended_total",
            "postern_spool_free_bytes",
            "postern_spool_largest_principal_bytes",
            "postern_spool_principal_quota_bytes",
            "postern_spool_quota_bytes",
            "postern_spool_refused_total",
            "postern_spool_reserve_bytes",
            "postern_upstream_connect_seconds",
            "postern_upstream_failures_total",
        ];
        assert_eq!(names, expected);
        assert!(Metrics::new(&registry).is_err(), "one proxy to a registry");
    }
}
