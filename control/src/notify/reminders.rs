//! What time makes worth telling: an access that ends soon.
//!
//! Each is an event of the audit log like any other, and counted once for the end that it is about: an
//! extension makes another end, and another reminder.

use policies::{Grant, GrantState, Timestamp, Ttl};
use serde_json::json;

use super::topic::Topic;
use crate::audit::{By, Event};
use crate::store::{self, outbox};
use crate::{Control, ControlError};

/// How long before its end the holder hears of it, at most.
const BEFORE: Ttl = Ttl::from_secs(10 * 60);
/// How many are told in one transaction.
const BATCH: i64 = 200;

impl Control {
    /// Tells the holders of accesses that end soon.
    pub(crate) async fn remind(&self) -> Result<(), ControlError> {
        let now = self.now();
        if self.0.inventory.load().channels.is_empty() {
            return Ok(());
        }
        let soon = {
            let db = &mut *self.0.store.read().await?;
            store::grants::ending(db, now.after(BEFORE), BATCH).await?
        };
        let soon: Vec<Grant> = soon.into_iter().filter(|grant| is_soon(grant, now)).collect();
        let new = self.not_yet_told(soon).await?;
        if new.is_empty() {
            return Ok(());
        }
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            for (grant, ends) in new {
                let id = grant.id.as_str();
                if outbox::remind(change.db(), id, Topic::GrantEnding, ends).await? {
                    let detail = json!({ "ends": ends.to_string() });
                    change.record(Event::new(By::Control, "grant.ending", id, detail)).await?;
                }
            }
            change.commit().await.map(drop)
        })
        .await
    }

    async fn not_yet_told(
        &self,
        soon: Vec<Grant>,
    ) -> Result<Vec<(Grant, Timestamp)>, ControlError> {
        let db = &mut *self.0.store.read().await?;
        let mut new = Vec::new();
        for grant in soon {
            let Some(ends) = grant.deadline() else { continue };
            if !outbox::was_reminded(db, grant.id.as_str(), Topic::GrantEnding, ends).await? {
                new.push((grant, ends));
            }
        }
        Ok(new)
    }
}

/// Whether an access in use ends soon: within ten minutes, or a quarter of what it lasts where that is
/// less.
fn is_soon(grant: &Grant, now: Timestamp) -> bool {
    let before = BEFORE.min(Ttl::from_millis(u64::try_from(grant.ttl.millis() / 4).unwrap_or(0)));
    match grant.state {
        GrantState::Active { ends, .. } => now < ends && now.until(ends) <= before,
        GrantState::Scheduled { .. } | GrantState::Granted { .. } | GrantState::Ended { .. } => {
            false
        }
    }
}
