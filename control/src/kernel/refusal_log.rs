//! Refusals of unauthenticated callers, as they reach the audit log.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::kernel::Kernel;
use crate::kernel::refusals::{CountedBy, LeftOut, Noted, Refused};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};

impl Kernel {
    /// The permission to write a refusal down; none where it is only counted.
    pub(crate) fn admit_refusal(&self, what: Refused, from: CountedBy) -> Option<Noted> {
        self.0.refusals.admit(what, from, self.now())
    }

    /// Writes a refusal of the gateway's own down, or counts it.
    pub(crate) async fn note_refusal(
        &self,
        what: Refused,
        address: Option<IpAddr>,
        subject: impl ToString,
        detail: Value,
    ) -> Result<(), ControlError> {
        let Some(noted) = self.admit_refusal(what, CountedBy::address(address)) else {
            return Ok(());
        };
        let (kernel, subject) = (self.clone(), subject.to_string());
        self.to_the_end(async move {
            let mut tx = kernel.begin().await?;
            tx.note_refusal(noted, By::Control, subject, detail).await?;
            tx.commit().await.map(drop)
        })
        .await
    }

    /// Writes down how many refusals were left out, where a window is over, or everywhere.
    pub(crate) async fn summarise_refusals(&self, all: bool) -> Result<(), ControlError> {
        let now = self.now();
        let due = self.0.refusals.due(now, all);
        if due.is_empty() {
            return Ok(());
        }
        let kernel = self.clone();
        self.to_the_end(async move {
            let mut tx = kernel.begin().await?;
            for LeftOut { what, from, count, since } in due {
                let detail = json!({
                    "kind": what.kind().name(), "count": count, "since": since.to_string(),
                    "until": now.to_string(),
                });
                let event = Event::new(By::Control, AuditKind::RefusalsLeftOut, from, detail);
                tx.record(event).await?;
            }
            tx.commit().await.map(drop)
        })
        .await
    }
}

impl Transaction {
    /// Writes a refusal down, in the transaction of what else is to be kept of it.
    pub(crate) async fn note_refusal(
        &mut self,
        Noted(what): Noted,
        by: By,
        subject: impl ToString,
        detail: Value,
    ) -> Result<(), ControlError> {
        self.record(Event::new(by, what.kind(), subject, detail)).await
    }
}
