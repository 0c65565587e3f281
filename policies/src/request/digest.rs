//! What an approval is about: the digest of all that was asked.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Request;
use crate::{Act, Resource};

/// SHA-256 over what was asked, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Digest {
    /// Any text can be compared with a digest; only the right one is equal.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Request {
    /// The digest of what is asked. It doesn't move when people approve, and moves with every edit.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let always = [
            "postern request v1".to_owned(),
            self.id.to_string(),
            self.principal.to_string(),
            self.resource.to_string(),
            self.ttl.to_string(),
            self.reason.clone(),
            self.terms.approvals.to_string(),
            self.asked_at.millis().to_string(),
        ];
        let mut hash = Sha256::new();
        for part in always.into_iter().chain(self.given()) {
            // Lengths keep two different requests from running together into one text.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Digest(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What not every request says, each part with its name.
    fn given(&self) -> impl Iterator<Item = String> {
        let also: Vec<String> = self.also.iter().map(Resource::to_string).collect();
        let parts = [
            self.terms.step_up.map(|within| format!("step-up {within}")),
            self.ticket.as_ref().map(|ticket| format!("ticket {ticket}")),
            (self.act != Act::Connect).then(|| self.act.to_string()),
            (!also.is_empty()).then(|| format!("also {}", also.join("\n"))),
            self.starts_at.map(|at| format!("starts {}", at.millis())),
            self.extends.as_ref().map(|grant| format!("extends {grant}")),
            (self.edits > 0).then(|| format!("edit {}", self.edits)),
        ];
        parts.into_iter().flatten()
    }
}
