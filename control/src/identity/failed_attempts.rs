//! What was tried and is no good: one-time links and typed codes, recorded in the audit log.
//!
//! Links are tried by anybody, within the bounds of `refusals.rs`. Whoever is signed in and types codes
//! that nothing waits under is counted by their own name, and it counts as their failure.

use serde_json::json;

use crate::identity::Identity;
use crate::kernel::refusals::{CountedBy, Noted, Refused};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::login::{AGENT_MAX, Origin};
use crate::platform::ids;
use crate::platform::sanitize::clip;
use crate::policy::risk;
use crate::store;

impl Identity {
    /// Writes down that somebody typed a code under which nothing waits, for them.
    ///
    /// # Errors
    /// Always: there is no such thing.
    pub(crate) async fn mistyped<T>(
        &self,
        actor: &Actor,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let (identity, actor) = (self.clone(), actor.clone());
        let counted = self.own.failed_attempts.admit(&actor.principal.id);
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                risk::failed(&mut tx, &actor.principal.id, "code").await?;
                if let Some(left_out) = counted {
                    let detail = json!({ "login": actor.login, "left_out": left_out });
                    tx.record(Event::new(&actor, AuditKind::CodeRefused, what, detail)).await?;
                }
                tx.commit().await
            })
            .await?;
        Err(Refusal::NotFound(what).into())
    }

    /// Writes down that somebody tried a link that is no good, if it is one at all.
    pub(crate) async fn refuse_link(
        &self,
        code: Option<ids::Hash>,
        origin: Origin,
    ) -> Result<(), ControlError> {
        let from = CountedBy::address(origin.address);
        let Some(noted) = self.kernel.admit_refusal(Refused::Link, from) else {
            return Ok(());
        };
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                refuse_link(&mut tx, noted, code, &origin).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// A link that was good once is somebody's, and says whose; a guess is nobody's.
async fn refuse_link(
    tx: &mut Transaction,
    noted: Noted,
    code: Option<ids::Hash>,
    origin: &Origin,
) -> Result<(), ControlError> {
    let spent = match code {
        Some(code) => store::login::spent_invite(tx.db(), &code).await?,
        None => None,
    };
    let (subject, why) = match &spent {
        Some((whose, true)) => (whose.to_string(), "used"),
        Some((whose, false)) => (whose.to_string(), "expired"),
        None => ("link".to_owned(), "unknown"),
    };
    if let Some((whose, _)) = &spent {
        risk::failed(tx, whose, "link").await?;
    }
    let detail = json!({
        "why": why, "address": origin.address, "agent": clip(&origin.agent, AGENT_MAX),
    });
    tx.note_refusal(noted, By::Control, subject, detail).await
}
