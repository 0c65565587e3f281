//! What the data plane counts. Labels come from fixed sets or from configured targets, never from a
//! client, so that nobody can grow the set of series.

use policies::TargetName;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets,
};

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
    pub(crate) hold: Histogram,
    /// From the end of a grant as the feed told it, to the cut of a session.
    pub(crate) revoke_to_cut: Histogram,
    /// Time to connect and sign in upstream.
    pub(crate) upstream_connect: Histogram,
    /// Bytes that are being written to recordings.
    pub(crate) recorder_lag: IntGauge,
    /// Recordings that could not be written on.
    pub(crate) recorder_failures: IntCounter,
    /// The revision of the feed that was applied last.
    pub(crate) feed_revision: IntGauge,
    /// For how much longer the feed is fresh.
    pub(crate) feed_lease: Gauge,
    /// Reports of denials that were dropped because too many waited.
    pub(crate) reports_dropped: IntCounter,
}

impl Metrics {
    /// Makes the series and registers them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let place = Place(registry);
        Ok(Self {
            connections: place.counters(
                "postern_connections_total",
                "Connections, by what became of them.",
                &["protocol", "outcome"],
            )?,
            denials: place.counters(
                "postern_denials_total",
                "Connections that were denied, by reason.",
                &["reason"],
            )?,
            accept_refused: place.counters(
                "postern_accept_refused_total",
                "Connections dropped before authentication, by reason.",
                &["reason"],
            )?,
            upstream_failures: place.counters(
                "postern_upstream_failures_total",
                "Failures to connect or sign in upstream.",
                &["target"],
            )?,
            sessions_live: place.gauges(
                "postern_sessions_live",
                "Sessions that are live.",
                &["protocol"],
            )?,
            bytes: place.counters(
                "postern_bytes_total",
                "Bytes from (in) and to (out) clients.",
                &["direction"],
            )?,
            admission: place.histogram(
                "postern_admission_seconds",
                "Time of one admission decision.",
                (1e-7, 2.0, 16),
            )?,
            hold: place.histogram(
                "postern_hold_seconds",
                "How long connections waited for people.",
                (0.25, 2.0, 14),
            )?,
            revoke_to_cut: place.histogram(
                "postern_revoke_to_cut_seconds",
                "From the end of a grant, as the feed told it, to the cut of a session.",
                (1e-4, 2.0, 16),
            )?,
            upstream_connect: place.histogram(
                "postern_upstream_connect_seconds",
                "Time to connect and sign in upstream.",
                (1e-3, 2.0, 15),
            )?,
            recorder_lag: place.gauge(
                "postern_recorder_lag_bytes",
                "Bytes pushed to recordings and not yet written.",
            )?,
            recorder_failures: place.counter(
                "postern_recorder_failures_total",
                "Recordings that could not be written.",
            )?,
            feed_revision: place.gauge(
                "postern_feed_revision",
                "The revision of the feed that was applied last.",
            )?,
            feed_lease: place.register(Gauge::new(
                "postern_feed_lease_seconds",
                "For how much longer new sessions are admitted without news from control.",
            )?)?,
            reports_dropped: place.counter(
                "postern_reports_dropped_total",
                "Reports of denials that were dropped because too many waited.",
            )?,
        })
    }

    /// Counts a connection.
    pub(crate) fn connection(&self, protocol: &'static str, outcome: &'static str) {
        self.connections
            .with_label_values(&[protocol, outcome])
            .inc();
    }

    /// Counts a denial.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.denials.with_label_values(&[reason]).inc();
    }

    /// Counts a connection that was dropped before authentication.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.accept_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a failure to reach this target.
    pub(crate) fn upstream_failed(&self, target: &TargetName) {
        self.upstream_failures
            .with_label_values(&[target.as_str()])
            .inc();
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

/// Where series are registered.
struct Place<'r>(&'r Registry);

impl Place<'_> {
    fn register<C: Collector + Clone + 'static>(&self, series: C) -> prometheus::Result<C> {
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), by)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), by)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        (from, factor, count): (f64, f64, usize),
    ) -> prometheus::Result<Histogram> {
        let buckets = exponential_buckets(from, factor, count)?;
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        )?)
    }
}
