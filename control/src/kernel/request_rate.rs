//! How often one person may ask: counted in memory, and written to the audit log when it is too often.

use std::sync::atomic::Ordering;

use policies::PrincipalId;
use serde_json::json;

use crate::kernel::Kernel;
use crate::kernel::rate_limit::A_MINUTE;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, TooMany};
use crate::model::event::{By, Event};

impl Kernel {
    /// Counts one access request of somebody's.
    ///
    /// # Errors
    /// Where they have had too many.
    pub(crate) async fn limit_requests(&self, who: &PrincipalId) -> Result<(), ControlError> {
        let limits = &self.0.request_limits;
        if limits.each.check_key(who).is_ok() {
            return Ok(());
        }
        let refused = limits.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if limits.recorded.check_key(who).is_ok() {
            limits.refused.fetch_sub(refused, Ordering::Relaxed);
            self.record_excess(who.clone(), refused).await?;
        }
        Err(Refusal::TooMany(TooMany::Requests(A_MINUTE)).into())
    }

    async fn record_excess(&self, who: PrincipalId, refused: u64) -> Result<(), ControlError> {
        let kernel = self.clone();
        self.to_the_end(async move {
            let mut tx = kernel.begin().await?;
            let detail = json!({ "a_minute": A_MINUTE, "refused_of_all_since": refused });
            let by = By::Principal(who.clone());
            tx.record(Event::new(by, AuditKind::RequestThrottled, &who, detail)).await?;
            tx.commit().await.map(drop)
        })
        .await
    }
}
