//! A person looks at a waiting connection, says what it is for, and lets it go on.

use policies::{Digest, StepUpId};
use serde_json::json;

use crate::access::input::REASON_MAX;
use crate::access::step_up;
use crate::gateway::Gateway;
use crate::gateway::pending_connections::{ANOTHER, Answer, Hold, Said};
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::event::Event;
use crate::model::text::check_text;
use crate::model::waiting_connection::HoldView;
use crate::platform::ids;

impl Gateway {
    /// Whether a connection of this public name waits. It says nothing about the connection.
    #[must_use]
    pub fn hold_waits(&self, id: &str) -> bool {
        self.own.pending.waits(id, self.kernel.now())
    }

    /// The waiting connection of a code that somebody typed.
    ///
    /// # Errors
    /// Where there is none, or the actor looks too often.
    pub async fn hold_by_code(&self, actor: &Actor, code: &str) -> Result<HoldView, ControlError> {
        Ok(self.held(actor, code).await?.1)
    }

    /// What waits under a code that somebody gave, and the code as it is kept. A code under which nothing
    /// waits for them is a wrong guess, and recorded.
    async fn held(&self, actor: &Actor, code: &str) -> Result<(String, HoldView), ControlError> {
        self.identity.limits().code(&actor.principal.id)?;
        let held = ids::read_code(code).and_then(|code| {
            let view = self.own.pending.view(&code, actor, self.kernel.now()).ok()?;
            Some((code, view))
        });
        match held {
            Some(held) => Ok(held),
            None => self.identity.mistyped(actor, "code of a waiting connection").await,
        }
    }

    /// Confirms that a waiting connection is the actor's own. It goes on in their name.
    ///
    /// # Errors
    /// Where it is gone or another's, reads otherwise than the digest says, takes a step-up that
    /// wasn't given, or the actor is locked.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn confirm(
        &self,
        actor: &Actor,
        code: &str,
        digest: Digest,
        step_up: Option<StepUpId>,
    ) -> Result<HoldView, ControlError> {
        let (code, _) = self.held(actor, code).await?;
        let (gateway, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let confirmed = gateway.confirmed(&actor, &code, &digest, step_up.as_ref()).await;
                gateway.access.audited(&actor, confirmed).await
            })
            .await
    }

    async fn confirmed(
        &self,
        actor: &Actor,
        code: &str,
        digest: &Digest,
        step_up: Option<&StepUpId>,
    ) -> Result<HoldView, ControlError> {
        let shown = self.own.pending.view(code, actor, self.kernel.now())?;
        if let Some(unsaid) = self.access.lacks(actor, &shown).await? {
            return Err(Rejection::MissingInput(unsaid).into());
        }
        let mut tx = self.kernel.begin().await?;
        tx.acting(actor)?;
        let looked_at = self.own.pending.view(code, actor, tx.now)?;
        if looked_at.digest != *digest {
            return Err(Refusal::Conflict(ANOTHER.to_owned()).into());
        }
        let step_up = crate::access::step_up::for_hold(&mut tx, actor, &looked_at, step_up).await?;
        let Hold { view, answer, .. } = self.own.pending.take(code, &looked_at)?;
        let detail = json!({
            "resource": view.resource.to_string(), "client": view.client,
            "application": view.application, "digest": digest, "reason": view.reason,
            "ticket": view.ticket,
            "step_up": step_up.as_ref().map(step_up::to_json),
        });
        tx.record(Event::new(actor, AuditKind::HoldConfirmed, &view.id, detail)).await?;
        tx.commit().await?;
        let answered = Answer { actor: actor.clone(), touch: step_up, view: view.clone() };
        answer.send(answered).map_err(|_| Refusal::NotFound("code of a waiting connection"))?;
        Ok(view)
    }

    /// Says what a waiting connection is for, as its client had no way to: it reads otherwise from
    /// then on, and is confirmed as it reads.
    ///
    /// # Errors
    /// Where it is gone or another's, or reads otherwise than the digest says by now, or the actor tries too
    /// often.
    pub async fn say(
        &self,
        actor: &Actor,
        code: &str,
        digest: &Digest,
        said: Said,
    ) -> Result<HoldView, ControlError> {
        check_text("a reason", &said.reason, REASON_MAX)?;
        let (code, looked_at) = self.held(actor, code).await?;
        if looked_at.digest != *digest {
            return Err(Refusal::Conflict(ANOTHER.to_owned()).into());
        }
        Ok(self.own.pending.say(&code, &looked_at, said)?)
    }
}
