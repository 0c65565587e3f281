//! The guard of a session: it says when the session has to be cut, and why.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use policies::{AdmissionQuery, Authn, End, Partition};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::core::clock::Clock;
use crate::core::leases::{Held, Leases, Pass};

/// What the guard looks at.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) clock: Clock,
    pub(super) leases: Arc<Leases>,
    pub(super) pass: Pass,
    pub(super) authn: Authn,
    pub(super) drained: CancellationToken,
    /// When this proxy heard of the end that cuts this session.
    pub(super) heard: OnceLock<Instant>,
    pub(super) cut: OnceLock<()>,
}

impl Guard {
    pub(super) async fn watch(&self) -> End {
        let mut alarm = self.leases.alarm();
        loop {
            // Listens before it looks, so that nothing falls between.
            let mut changed = pin!(self.held().changed());
            changed.as_mut().enable();
            alarm.mark_unchanged();
            if let Some(end) = self.must_end() {
                return end;
            }
            tokio::select! {
                () = changed => {}
                _ = alarm.changed() => {}
                () = self.drained.cancelled() => {}
                () = sleep_until(self.wake_at()) => {}
            }
        }
    }

    /// Why the session has to end now, where it has to.
    pub(super) fn must_end(&self) -> Option<End> {
        let now = self.clock.now();
        if let Some(over) = self.held().over() {
            let _ = self.heard.set(over.at);
            return Some(over.end.clone());
        }
        let query = AdmissionQuery {
            key: self.pass.admission.key(),
            device: self.authn.device.as_ref(),
            credential: Some(&self.authn.evidence),
        };
        if let Some((end, since)) = self.leases.lock_on(&query, now) {
            let _ = self.heard.set(since);
            return Some(end);
        }
        if !self.held().is_live(now) {
            return Some(End::Expired);
        }
        if self.is_cut_off() {
            return Some(End::Partitioned);
        }
        self.drained.is_cancelled().then_some(End::Drained)
    }

    /// Whether control is away for longer than the target allows.
    fn is_cut_off(&self) -> bool {
        !self.leases.is_fresh() && self.needs_control()
    }

    fn needs_control(&self) -> bool {
        let target = self.leases.target(&self.pass.admission.key().resource.target);
        target.is_none_or(|target| target.partition == Partition::Cut)
    }

    fn wake_at(&self) -> Instant {
        let ends = self.clock.deadline(self.held().term().deadline());
        if self.needs_control() { ends.min(self.leases.fresh_until()) } else { ends }
    }

    pub(super) fn held(&self) -> &Held {
        &self.pass.held
    }
}
