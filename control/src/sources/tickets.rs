//! How tickets stand: asked of their tracker when somebody names one, and while something hangs on it.
//!
//! A tracker's last word holds for a while after it fell silent, and then nobody knows. The name of a
//! ticket is put into the configured address as one part of its path, whatever it is made of.

use policies::Ttl;
use tokio_util::sync::CancellationToken;

use crate::model::error::ControlError;
use crate::sources::Sources;
use crate::store;

/// How many are asked about in one round.
const MOST_A_ROUND: usize = 200;

impl Sources {
    /// Follows the tickets that something hangs on until `stop`.
    pub(crate) async fn keep_following_tickets(&self, stop: CancellationToken) {
        loop {
            let source = self.kernel.inventory().context.tickets.clone();
            let pause = source.as_ref().map_or(Ttl::from_secs(60), |source| source.refresh);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.duration()) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.follow_tickets() => {}
            }
        }
    }

    /// Asks about all tickets that something hangs on.
    pub(crate) async fn follow_tickets(&self) {
        if let Err(error) = self.try_follow_tickets().await {
            tracing::error!(error = &error as &dyn std::error::Error, "tickets can't be followed");
        }
    }

    async fn try_follow_tickets(&self) -> Result<(), ControlError> {
        let Some(source) = self.access.asked_source() else { return Ok(()) };
        let used = {
            let db = &mut *self.kernel.store().read().await?;
            store::requests::tickets_in_use(db).await?
        };
        for ticket in used.into_iter().take(MOST_A_ROUND) {
            self.access.ask_tracker(&source, &ticket).await?;
        }
        Ok(())
    }
}
