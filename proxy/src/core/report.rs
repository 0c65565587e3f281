//! What happened here, reported to control.
//!
//! Sessions and denials have a queue each, so that unauthenticated clients can't crowd out evidence; and of
//! denials only so many are reported as `denial_rate_limit.rs` lets pass. A session reserves the place
//! of its end before it starts: where control has been away for so long that there is none, no session
//! starts, and nothing about a session is ever dropped. A session that control has not written down is
//! not served (`report_and_watch`). Batches are sent again until they are
//! delivered; control knows repeated ids.

mod denial_rate_limit;

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use link::v1;
use link::v1::happening::Happening as What;
use policies::{Resource, Timestamp};
use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::feed::{Backoff, LinkClient};
use crate::core::identity::Identity;
use crate::core::limits::network;
use crate::core::metrics::Metrics;

use denial_rate_limit::DenialRateLimits;

/// How many denials may wait.
const DENIALS: usize = 1_024;
/// The most in one report.
const BATCH: usize = 256;
/// The longest text of an unauthenticated client that is reported, in characters. Control keeps no more; and a report that is
/// larger than it takes would be sent for ever, and all others wait behind it.
const TEXT_MAX: usize = 256;
/// The longest that control may take over one report.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Something about a session, and the token that is cancelled with its delivery.
#[derive(Debug)]
struct Queued {
    happening: v1::Happening,
    delivered: CancellationToken,
}

/// The queues. A copy leads to the same.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    sessions: Sender<Queued>,
    denials: Sender<v1::Happening>,
    rate_limits: Arc<DenialRateLimits>,
    metrics: Arc<Metrics>,
    queued: Arc<AtomicU64>,
    delivered: watch::Receiver<u64>,
}

/// The other end of the queues.
#[derive(Debug)]
pub(crate) struct Reporter {
    sessions: Receiver<Queued>,
    denials: Receiver<v1::Happening>,
    delivered: watch::Sender<u64>,
}

/// A place in the queue that can't be refused any more.
#[derive(Debug)]
pub(crate) struct ReservedReport {
    permit: OwnedPermit<Queued>,
    queued: Arc<AtomicU64>,
}

/// A connection that was turned away. What it sent about itself is shown as text only.
#[derive(Debug, Clone)]
pub(crate) struct Denied {
    pub(crate) identity: Option<Identity>,
    pub(crate) target: String,
    pub(crate) login: String,
    pub(crate) database: String,
    pub(crate) client: SocketAddr,
    /// Of fixed wording: also the label of a metric.
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl Denied {
    /// The denial of a client that asked for this, as far as it is known.
    pub(crate) fn new(
        client: SocketAddr,
        identity: Option<&Identity>,
        resource: Option<&Resource>,
        reason: &'static str,
        detail: String,
    ) -> Self {
        let name = |name: Option<&dyn Display>| name.map(ToString::to_string).unwrap_or_default();
        let database = resource.and_then(|resource| resource.database.as_ref());
        Self {
            identity: identity.cloned(),
            target: name(resource.map(|resource| &resource.target as &dyn Display)),
            login: name(resource.map(|resource| &resource.login as &dyn Display)),
            database: name(database.map(|database| database as &dyn Display)),
            client,
            reason,
            detail,
        }
    }
}

impl Reports {
    /// Queues for at most so many happenings of sessions.
    pub(crate) fn new(capacity: usize, metrics: Arc<Metrics>, now: Instant) -> (Self, Reporter) {
        let (sessions, session_queue) = mpsc::channel(capacity.max(2));
        let (denials, denial_queue) = mpsc::channel(DENIALS);
        let (done, delivered) = watch::channel(0);
        let (queued, rate_limits) = (Arc::default(), Arc::new(DenialRateLimits::new(now)));
        let reporter = Reporter { sessions: session_queue, denials: denial_queue, delivered: done };
        (Self { sessions, denials, rate_limits, metrics, queued, delivered }, reporter)
    }

    /// Reserves a place for something that may not be dropped.
    pub(crate) fn reserve(&self) -> Option<ReservedReport> {
        let permit = self.sessions.clone().try_reserve_owned().ok()?;
        Some(ReservedReport { permit, queued: Arc::clone(&self.queued) })
    }

    /// Counts a denial and reports it, where there were not too many and there is room.
    pub(crate) fn denied(&self, at: Timestamp, now: Instant, denied: Denied) {
        self.metrics.denied(denied.reason);
        let kind = (network(denied.client.ip()), denied.reason);
        let Some(left_out) = self.rate_limits.pass(kind, denied.identity.is_some(), now) else {
            self.metrics.reports_dropped.inc();
            return;
        };
        let what = What::Denied(v1::ConnectionDenied {
            identity: denied.identity.map(Into::into),
            target: clip(&denied.target),
            login: clip(&denied.login),
            database: clip(&denied.database),
            client: denied.client.to_string(),
            reason: denied.reason.to_owned(),
            detail: clip(&left_out.added_to(denied.detail)),
        });
        if self.denials.try_send(happening(at, what)).is_err() {
            self.metrics.reports_dropped.inc();
        }
    }

    /// Reports that the wall clock was set.
    pub(crate) fn clock_jumped(&self, at: Timestamp, jump_ms: i64) {
        let what = What::Clock(v1::ClockJumped { jump_ms });
        match self.reserve() {
            Some(place) => place.report(at, what),
            None => self.metrics.reports_dropped.inc(),
        }
    }

    /// Waits until everything about sessions that was reported so far has been delivered.
    pub(crate) async fn flush(&self) {
        let queued = self.queued.load(Ordering::Acquire);
        let mut delivered = self.delivered.clone();
        // Without a reporter nothing will ever be delivered, and there is nothing to wait for.
        let _ = delivered.wait_for(|count| *count >= queued).await;
    }
}

impl ReservedReport {
    /// Reports.
    pub(crate) fn report(self, at: Timestamp, what: What) {
        drop(self.report_and_watch(at, what));
    }

    /// Reports, and returns the token that is cancelled once control has written it.
    pub(crate) fn report_and_watch(self, at: Timestamp, what: What) -> CancellationToken {
        self.queued.fetch_add(1, Ordering::AcqRel);
        let delivered = CancellationToken::new();
        self.permit.send(Queued { happening: happening(at, what), delivered: delivered.clone() });
        delivered
    }
}

/// What an unauthenticated client chose, as far as it is reported.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

fn happening(at: Timestamp, what: What) -> v1::Happening {
    v1::Happening {
        id: uuid::Uuid::new_v4().to_string(),
        at_ms: at.millis(),
        happening: Some(what),
    }
}

impl Reporter {
    /// Delivers, until nothing can be reported any more.
    pub(crate) async fn run(mut self, proxy: String, link: LinkClient) {
        loop {
            tokio::select! {
                biased;
                first = self.sessions.recv() => {
                    let Some(first) = first else { return };
                    let (happenings, waiting): (Vec<_>, Vec<_>) = batch(first, &mut self.sessions)
                        .into_iter()
                        .map(|queued| (queued.happening, queued.delivered))
                        .unzip();
                    deliver(&link, v1::ReportRequest { proxy: proxy.clone(), happenings }).await;
                    waiting.iter().for_each(CancellationToken::cancel);
                    self.delivered.send_modify(|count| *count += waiting.len() as u64);
                }
                first = self.denials.recv() => {
                    let Some(first) = first else { return };
                    let happenings = batch(first, &mut self.denials);
                    deliver(&link, v1::ReportRequest { proxy: proxy.clone(), happenings }).await;
                }
            }
        }
    }
}

/// All that waits, up to the most of one report: one commit of control's serves them all.
fn batch<T>(first: T, queue: &mut Receiver<T>) -> Vec<T> {
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Ok(next) = queue.try_recv()
    {
        batch.push(next);
    }
    batch
}

/// Sends until it is delivered.
async fn deliver(link: &LinkClient, report: v1::ReportRequest) {
    let mut backoff = Backoff::default();
    loop {
        let mut link = link.clone();
        let sent = tokio::time::timeout(TIMEOUT, link.report(report.clone())).await;
        match sent {
            Ok(Ok(_)) => return,
            Ok(Err(status)) => tracing::warn!(code = ?status.code(), "report not delivered"),
            Err(_) => tracing::warn!("report not delivered in time"),
        }
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use policies::{End, Partition, Term};

    use super::*;
    use crate::core::session::{OpenError, Opening, Tally};
    use crate::core::settings::LimitSettings;
    use crate::core::testing::{Rig, alice, at, lease};

    fn rig(limits: LimitSettings) -> Rig {
        let rig = Rig::with(limits);
        rig.grant(vec![lease("gr-1", Term::Until(at(600)))], Partition::Cut);
        rig
    }

    #[tokio::test(start_paused = true)]
    async fn reports_are_sent_until_they_are_delivered_and_in_order() {
        let rig = rig(LimitSettings::default());
        rig.control.failing.store(3, Ordering::SeqCst);
        drop(rig.open());
        rig.plane.reports.flush().await;
        assert_eq!(rig.control.reports(), ["opened", "protocol internal error"]);
        assert_eq!(rig.control.failing.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_for_its_end_no_session_begins() {
        let rig = rig(LimitSettings { connections: 1, ..LimitSettings::default() });
        rig.control.failing.store(usize::MAX, Ordering::SeqCst);
        let first = rig.open();
        let pass = first.pass().clone();
        let open = || {
            let client = "192.0.2.7:5555".parse().unwrap();
            let (identity, application) = (alice(), String::new());
            rig.plane.sessions.open(Opening {
                kind: policies::Kind::Postgres,
                pass: pass.clone(),
                identity,
                client,
                application,
            })
        };
        assert!(matches!(open(), Err(OpenError::Backlogged)));
        rig.control.failing.store(0, Ordering::SeqCst);
        first.close(&End::Closed, &Tally::default());
        rig.plane.reports.flush().await;
        drop(open().unwrap());
        rig.plane.reports.flush().await;
        let expected = ["opened", "closed", "opened", "protocol internal error"];
        assert_eq!(rig.control.reports(), expected);
    }

    fn denied(client: &str) -> Denied {
        Denied {
            identity: None,
            target: "orders".into(),
            login: "app".into(),
            database: String::new(),
            client: client.parse().unwrap(),
            reason: "no-grant",
            detail: "no lease".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn denials_beyond_the_bound_are_counted_and_crowd_out_no_session() {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let now = Instant::now();
        let (reports, reporter) = Reports::new(2, Arc::clone(&metrics), now);
        let count = u32::try_from(DENIALS).unwrap() + 5;
        for second in 0..count {
            let now = now + Duration::from_secs(second.into());
            reports.denied(at(second.into()), now, denied("192.0.2.7:5555"));
        }
        assert_eq!(metrics.reports_dropped.get(), 5);
        assert_eq!(reporter.denials.len(), DENIALS);
        assert!(reports.reserve().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn long_texts_of_unauthenticated_clients_hold_up_no_report() {
        let rig = rig(LimitSettings::default());
        rig.control.failing.store(3, Ordering::SeqCst);
        // As much as fits into the first message of a client.
        let (long, now) = ("x".repeat(9_900), Instant::now());
        for second in 0..400 {
            let (database, detail) = (long.clone(), format!("there is no database {long}"));
            let denied = Denied { database, detail, ..denied("192.0.2.7:5555") };
            let later = now + Duration::from_secs(second);
            rig.plane.reports.denied(at(0), later, denied);
        }
        let all = async {
            while rig.control.reports().len() < 400 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(3_600), all).await.is_ok());
        drop(rig.open());
        rig.plane.reports.flush().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unauthenticated_clients_is_summarised_and_counted_in_full() {
        let rig = rig(LimitSettings::default());
        for host in 0..1_000 {
            rig.plane.denied(denied(&format!("[2001:db8::{host:x}]:5555")));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.plane.denied(denied("[2001:db8::1]:5555"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let reported = rig.control.reported.lock().unwrap();
        let details = reported.iter().filter_map(|report| match report.happening.as_ref()? {
            What::Denied(denied) => Some(denied.detail.as_str()),
            What::Opened(_) | What::Ended(_) | What::Clock(_) => None,
        });
        let details: Vec<&str> = details.collect();
        assert_eq!(details.len(), 11);
        assert!(details[..10].iter().all(|detail| *detail == "no lease"));
        assert_eq!(details[10], "no lease; and 990 more like it");
        assert_eq!(rig.plane.metrics.reports_dropped.get(), 990);
        assert_eq!(rig.plane.metrics.denials("no-grant"), 1_001);
    }
}
