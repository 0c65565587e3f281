//! A connection that waits for people, as a dialogue in which there is nothing to type.
//!
//! Each step of keyboard-interactive authentication shows a text and asks for nothing, so that a client
//! answers at once; the answer to its answer comes when something has happened. A waiting connection
//! is dead to the world: it has no channels, and if the client leaves or says anything, its code is
//! dead too.

use std::sync::Arc;

use policies::{Resource, Ttl};

use super::Visit;
use super::enter::{Caller, LetIn};
use super::refuse::{Refusal, plain};
use crate::hold::{Hold, HoldEvent, Identity, Wish};

/// How long a connection waits.
const PATIENCE: Ttl = Ttl::from_secs(600);
/// SSH clients say what they are only after authentication.
const APPLICATION: &str = "ssh";

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    user: String,
    caller: Caller,
    identity: Option<Identity>,
    hold: Option<Hold>,
    granted: bool,
}

/// What comes next.
pub(super) enum Turn {
    /// This is shown.
    Tell(String),
    In(Box<LetIn>),
    Refused(Refusal),
    /// The client has left.
    Left,
}

impl Waiting {
    pub(super) fn new(user: &str, caller: Caller, identity: Option<Identity>) -> Self {
        Self { user: user.to_owned(), caller, identity, hold: None, granted: false }
    }

    /// Whether this is the wait of that user name: another name is another wish.
    pub(super) fn is_of(&self, user: &str) -> bool {
        self.user == user
    }

    /// Who wants what.
    pub(super) fn who(&self) -> (Option<Identity>, Resource) {
        (self.identity.clone(), self.caller.resource.clone())
    }

    /// Waits for the next that happens.
    pub(super) async fn turn(&mut self, visit: &Arc<Visit>) -> Turn {
        if self.granted {
            return self.let_in(visit);
        }
        let begins = self.hold.is_none();
        let event = match self.event(visit).await {
            Ok(Some(event)) => event,
            Ok(None) => return Turn::Left,
            Err(refusal) => return Turn::Refused(refusal),
        };
        if let HoldEvent::Confirmed(identity) = &event {
            self.identity = Some(identity.clone());
        }
        if let HoldEvent::Granted { .. } = &event {
            self.granted = true;
        }
        match self.lines(&event, begins) {
            Ok(lines) => {
                Turn::Tell(lines.iter().map(|line| format!("postern: {line}\r\n")).collect())
            }
            Err(refusal) => Turn::Refused(refusal),
        }
    }

    /// None where the client has left.
    async fn event(&mut self, visit: &Arc<Visit>) -> Result<Option<HoldEvent>, Refusal> {
        let resource = &self.caller.resource;
        let failed = |error| Refusal::hold(&error, resource);
        let mut hold = match self.hold.take() {
            Some(hold) => hold,
            None => Hold::ask(&visit.plane, self.wish(visit)).await.map_err(failed)?,
        };
        let event = tokio::select! {
            biased;
            event = hold.next() => event.map_err(failed)?,
            () = visit.leaving.left() => return Ok(None),
        };
        self.hold = Some(hold);
        Ok(Some(event))
    }

    fn wish(&self, visit: &Visit) -> Wish {
        Wish {
            identity: self.identity.clone(),
            resource: self.caller.resource.clone(),
            client: visit.peer,
            application: APPLICATION.to_owned(),
            ttl: None,
            reason: String::new(),
            ticket: None,
            wait: true,
            patience: PATIENCE,
        }
    }

    /// The grant stands: now the lease has to let it in like any other.
    fn let_in(&mut self, visit: &Visit) -> Turn {
        let Some(identity) = self.identity.clone() else {
            return Turn::Left;
        };
        let caller = self.caller.clone();
        match visit.look_up(&identity, &caller) {
            Ok(pass) => Turn::In(Box::new(LetIn { pass, caller, identity })),
            Err(denial) => Turn::Refused(Refusal::denial(&denial, &caller.resource)),
        }
    }

    fn lines(&self, event: &HoldEvent, begins: bool) -> Result<Vec<String>, Refusal> {
        let resource = &self.caller.resource;
        let mut lines = Vec::new();
        if begins {
            lines.push(format!("no live grant for {} on {}", resource.login, resource.target));
        }
        match event {
            HoldEvent::Confirm { code, url, patience } => {
                lines.push(format!("confirm code {code} at {url}  (waiting, {patience})"));
                lines.push(format!("or in another terminal: postern confirm {code}"));
            }
            HoldEvent::Confirmed(identity) => {
                lines.push(format!("confirmed by {}", plain(&identity.name)));
            }
            HoldEvent::Asked { request, needs, url, patience } => lines.push(format!(
                "asked for {resource} as {request}: needs {}, at {url}  (waiting, {patience})",
                needs.join(", "),
            )),
            HoldEvent::Granted { ttl, approved_by, .. } if approved_by.is_empty() => {
                lines.push(format!("approved by the rules, for {ttl}"));
            }
            HoldEvent::Granted { ttl, approved_by, .. } => {
                lines.push(format!("approved by {}, for {ttl}", plain(&approved_by.join(", "))));
            }
            HoldEvent::Refused { message, hint, .. } => {
                let text = format!("{}. {}", plain(message), plain(hint));
                return Err(Refusal::new("no-grant", text.trim_end_matches([' ', '.'])));
            }
        }
        Ok(lines)
    }
}
