//! What time makes worth telling: an access that ends soon, a review that nobody signs.
//!
//! Each is an event of the audit log like any other, and counted once for the end that it is about: an
//! extension makes another end, and another reminder.

use policies::{Grant, GrantState, Review, Timestamp, Ttl};
use serde_json::json;

use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::topic::Topic;
use crate::notify::Notifier;
use crate::store;
use crate::store::outbox;

/// How long before its end the holder hears of it, at most.
const BEFORE: Ttl = Ttl::from_secs(10 * 60);
/// How long a review may stay open before people are reminded of it, and how often from then on.
const REVIEW_EVERY: Ttl = Ttl::from_secs(24 * 3_600);
/// How many are looked at in one round.
const BATCH: i64 = 1_000;

impl Notifier {
    /// Tells the holders of accesses that end soon, and those who can sign reviews that stay open.
    pub(crate) async fn remind(&self) -> Result<(), ControlError> {
        let now = self.kernel.now();
        if self.kernel.inventory().channels.is_empty() {
            return Ok(());
        }
        let (ending, open) = self.to_remind_of(now).await?;
        if ending.is_empty() && open.is_empty() {
            return Ok(());
        }
        let notifier = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = notifier.kernel.begin().await?;
                for grant in ending {
                    let (id, Some(ends)) = (grant.id.as_str(), grant.deadline()) else { continue };
                    if outbox::remind(tx.db(), id, Topic::GrantEnding, ends).await? {
                        let detail = json!({ "ends": ends.to_string() });
                        tx.record(Event::new(By::Control, AuditKind::GrantEnding, id, detail))
                            .await?;
                    }
                }
                for (review, round) in open {
                    let id = review.id.as_str();
                    if outbox::remind(tx.db(), id, Topic::ReviewDue, round).await? {
                        let detail = json!({
                            "grant": review.grant, "groups": review.groups, "reason": review.reason,
                        });
                        tx.record(Event::new(By::Control, AuditKind::ReviewDue, id, detail))
                            .await?;
                    }
                }
                tx.commit().await.map(drop)
            })
            .await
    }

    async fn to_remind_of(
        &self,
        now: Timestamp,
    ) -> Result<(Vec<Grant>, Vec<(Review, Timestamp)>), ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let mut ending = outbox::ending_untold(db, now.after(BEFORE), BATCH).await?;
        ending.retain(|grant| is_soon(grant, now));
        let mut open = Vec::new();
        for stored in store::reviews::list(db, Some("open"), i64::MAX, BATCH).await? {
            let Some(round) = round_of(&stored.review, now) else { continue };
            let id = stored.review.id.as_str();
            if !outbox::was_reminded(db, id, Topic::ReviewDue, round).await? {
                open.push((stored.review, round));
            }
        }
        Ok((ending, open))
    }
}

/// The last day that a review has been open for, where it has been open for one.
fn round_of(review: &Review, now: Timestamp) -> Option<Timestamp> {
    let days = review.opened_at.until(now).millis() / REVIEW_EVERY.millis();
    let span = u64::try_from(days.checked_mul(REVIEW_EVERY.millis())?).ok()?;
    (days > 0).then(|| review.opened_at.after(Ttl::from_millis(span)))
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
