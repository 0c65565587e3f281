//! What people are shown before they agree: to a waiting connection, or to a request.
//!
//! A page shows these lines and nothing else, so that what was proved is what was read.

use policies::{Act, Digest, Purpose, Request, Ticket};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::actor::Actor;
use crate::model::waiting_connection::HoldView;
use crate::platform::ids;

fn statement(purpose: Purpose, subject: String, lines: Vec<(&str, String)>) -> Statement {
    let lines = lines.into_iter().map(|(label, text)| (label.to_owned(), text)).collect();
    Statement { purpose, subject, lines }
}

/// A waiting connection, as its person is to let it go on. `elsewhere` says that it comes from
/// another address than the reader.
pub(crate) fn of_hold(view: &HoldView, actor: &Actor, elsewhere: bool) -> Statement {
    let database = view.resource.database.as_ref().map(ToString::to_string).unwrap_or_default();
    let ttl = view.ttl.map_or_else(|| "the target's usual time".to_owned(), |ttl| ttl.to_string());
    let mut lines = vec![
        ("As", format!("{} ({})", actor.principal.name, actor.principal.id)),
        ("Target", view.resource.target.to_string()),
        ("Login", view.resource.login.to_string()),
        ("Database", database),
        ("For", ttl),
        ("Reason", view.reason.clone()),
        ("Ticket", named(view.ticket.as_ref())),
        ("Client address", view.client.clone()),
        ("Program (unchecked)", view.application.clone()),
        ("Waits since", view.asked_at.to_string()),
        ("Connection", view.id.clone()),
    ];
    if elsewhere {
        lines.push(("Careful", "it comes from another address than your browser".to_owned()));
    }
    statement(Purpose::Connect, view.resource.to_string(), lines)
}

/// Somebody's request, as an approver is to say yes to it.
pub(crate) fn of_approval(request: &Request, name: &str) -> Statement {
    statement(Purpose::Approve, request.id.to_string(), asked(request, name))
}

/// One's own request, as the one who asks is to stand by it.
pub(crate) fn of_request(request: &Request, name: &str) -> Statement {
    statement(Purpose::Ask, request.subject(), asked(request, name))
}

fn named(ticket: Option<&Ticket>) -> String {
    ticket.map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn asked(request: &Request, name: &str) -> Vec<(&'static str, String)> {
    let mut lines = vec![("Asked by", format!("{name} ({})", request.principal))];
    lines.extend(request.resources().map(|resource| ("For", resource.to_string())));
    lines.push(("How long", request.ttl.to_string()));
    lines.extend(request.starts_at.map(|at| ("From", at.to_string())));
    lines.extend(request.extends.as_ref().map(|grant| ("Extends", grant.to_string())));
    if request.act == Act::BreakGlass {
        lines.push(("Emergency", "given without approval, and reviewed afterwards".to_owned()));
    }
    lines.extend([
        ("Reason", request.reason.clone()),
        ("Ticket", named(request.ticket.as_ref())),
        ("Asked", request.asked_at.to_string()),
        ("Request", request.id.to_string()),
        ("Digest", request.digest().to_string()),
    ]);
    lines
}

/// What somebody is to agree to, exactly as they are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What the proof is for.
    pub purpose: Purpose,
    /// The one thing that it is good for: a resource, a request, a passkey.
    pub subject: String,
    /// Each line of it: its label and its text.
    pub lines: Vec<(String, String)>,
}

impl Statement {
    /// The digest of what was shown.
    #[must_use]
    pub fn digest(&self) -> Digest {
        ids::hex(&self.hash()).into()
    }

    /// SHA-256 over every part, each behind its length, so that no two statements run together.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let head = ["postern statement v1", self.purpose.word(), self.subject.as_str()];
        let lines = self.lines.iter().flat_map(|(label, text)| [label.as_str(), text.as_str()]);
        for part in head.into_iter().chain(lines) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }
}
