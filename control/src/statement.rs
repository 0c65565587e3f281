//! What people are shown before they prove that they agree: each line of it, and its digest.
//!
//! A page shows these lines and nothing else, so that what was proved is what was read.

use policies::{Digest, Purpose, Request};
use sha2::{Digest as _, Sha256};

use crate::{Actor, HoldView, ids};

/// What somebody is to agree to, exactly as they are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// What the proof is for.
    pub(crate) purpose: Purpose,
    /// The one thing that it is good for: a resource, or a request.
    pub(crate) subject: String,
    /// Each line of it: its label and its text.
    pub(crate) lines: Vec<(String, String)>,
}

impl Statement {
    /// SHA-256 over every part, each behind its length, so that no two statements run together.
    pub(crate) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let head = ["postern statement v1", self.purpose.word(), self.subject.as_str()];
        let lines = self.lines.iter().flat_map(|(label, text)| [label.as_str(), text.as_str()]);
        for part in head.into_iter().chain(lines) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        ids::hex(&hash.finalize()).into()
    }
}

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
pub(crate) fn of_wish(request: &Request, name: &str) -> Statement {
    statement(Purpose::Ask, request.resource.to_string(), asked(request, name))
}

fn asked(request: &Request, name: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Asked by", format!("{name} ({})", request.principal)),
        ("For", request.resource.to_string()),
        ("How long", request.ttl.to_string()),
        ("Reason", request.reason.clone()),
        ("Asked", request.asked_at.to_string()),
        ("Request", request.id.to_string()),
        ("Digest", request.digest().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_read_differently_have_different_digests() {
        let said = |purpose, lines| statement(purpose, "a@o".into(), lines).digest();
        let one = said(Purpose::Ask, vec![("For", "1h".to_owned())]);
        for other in [
            said(Purpose::Approve, vec![("For", "1h".to_owned())]),
            said(Purpose::Ask, vec![("For", "2h".to_owned())]),
            said(Purpose::Ask, vec![("For1h", String::new())]),
            said(Purpose::Ask, vec![("For", "1h".to_owned()), ("", String::new())]),
        ] {
            assert_ne!(one, other);
        }
    }
}
