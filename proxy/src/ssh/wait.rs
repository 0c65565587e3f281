//! A connection that waits for people, as a dialogue in which there is nothing to type.
//!
//! Each step of keyboard-interactive authentication shows a text and asks for nothing, so that a client
//! answers at once; the answer to its answer comes when something has happened. A waiting connection
//! is dead to the world: it has no channels, and if the client leaves or says anything, its code is
//! dead too.

use std::sync::Arc;

use policies::{End, Resource, Ttl};
use tokio_util::sync::DropGuard;

use super::begin::NotYet;
use super::enter::{Caller, LetIn};
use super::refuse::{Refusal, plain};
use super::{APPLICATION, Visit};
use crate::hold::{Hold, HoldEvent, Identity, Wish};
use crate::session::{Session, Tally};

/// How long a connection waits.
const PATIENCE: Ttl = Ttl::from_secs(600);

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    user: String,
    caller: Caller,
    identity: Option<Identity>,
    /// The session of somebody with a live lease, for which the rules want a touch.
    touch: Option<Session>,
    hold: Option<Hold>,
    /// Ends the connection with its wait, however that ends.
    until_over: Option<DropGuard>,
    granted: bool,
    /// Why it came to nothing, once that was told.
    over: Option<Refusal>,
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
        let user = user.to_owned();
        Self {
            user,
            caller,
            identity,
            touch: None,
            hold: None,
            until_over: None,
            granted: false,
            over: None,
        }
    }

    /// Somebody with a live lease, who has to touch first.
    pub(super) fn for_touch(user: &str, caller: Caller, session: Session) -> Self {
        let identity = Some(session.identity().clone());
        Self { touch: Some(session), ..Self::new(user, caller, identity) }
    }

    /// Whether this is the wait of that user name: another name is another wish.
    pub(super) fn is_of(&self, user: &str) -> bool {
        self.user == user
    }

    /// Who wants what.
    pub(super) fn who(&self) -> (Option<Identity>, Resource) {
        (self.identity.clone(), self.caller.resource.clone())
    }

    /// Waits for the next that happens. What comes with a refusal stock clients don't show where it was
    /// the last method: so it is told before.
    pub(super) async fn turn(&mut self, visit: &Arc<Visit>) -> Turn {
        if let Some(refusal) = self.over.take() {
            return Turn::Refused(refusal);
        }
        match self.step(visit).await {
            Turn::Refused(refusal) => {
                (self.hold, self.touch, self.until_over) = (None, None, None);
                let told = format!("postern: {}\r\n", refusal.message);
                self.over = Some(refusal);
                Turn::Tell(told)
            }
            turn @ (Turn::Tell(_) | Turn::In(_) | Turn::Left) => turn,
        }
    }

    async fn step(&mut self, visit: &Arc<Visit>) -> Turn {
        if self.granted {
            return self.let_in(visit).await;
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
            None => {
                let hold = Hold::ask(&visit.plane, self.wish(visit)).await.map_err(failed)?;
                // From here on it waits for a person, which has bounds of its own.
                self.until_over = Some(visit.over.clone().drop_guard());
                visit.slot.authenticated();
                hold
            }
        };
        let event = tokio::select! {
            biased;
            end = ended(self.touch.as_ref()) => return Err(self.cut(&end)),
            event = hold.next() => event.map_err(failed)?,
            () = visit.leaving.left() => return Ok(None),
        };
        self.hold = Some(hold);
        Ok(Some(event))
    }

    /// The session ends before it was touched for.
    fn cut(&mut self, end: &End) -> Refusal {
        if let Some(session) = self.touch.take() {
            session.close(end, &Tally::default());
        }
        Refusal::cut(end)
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
    async fn let_in(&mut self, visit: &Visit) -> Turn {
        let Some(identity) = self.identity.clone() else {
            return Turn::Left;
        };
        let caller = self.caller.clone();
        let begun = match self.touch.take() {
            Some(session) => visit.obtain(session, caller).await,
            None => match visit.look_up(&identity, &caller) {
                Ok(pass) => visit.begin(pass, caller, identity).await,
                Err(denial) => return Turn::Refused(Refusal::denial(&denial, &caller.resource)),
            },
        };
        match begun {
            Ok(let_in) => {
                let _ = self.until_over.take().map(DropGuard::disarm);
                Turn::In(Box::new(let_in))
            }
            Err(NotYet::Refused(refusal) | NotYet::Touch(_, refusal)) => Turn::Refused(refusal),
        }
    }

    fn lines(&self, event: &HoldEvent, begins: bool) -> Result<Vec<String>, Refusal> {
        let resource = &self.caller.resource;
        let mut lines = Vec::new();
        if begins {
            lines.push(self.headline(event));
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

    /// Why it waits. Whoever is known and has to confirm nevertheless has to touch.
    fn headline(&self, event: &HoldEvent) -> String {
        let Resource { login, target, .. } = &self.caller.resource;
        let confirms = matches!(event, HoldEvent::Confirm { .. }) && self.identity.is_some();
        if self.touch.is_some() || confirms {
            format!("{login} on {target} takes a fresh touch of yours")
        } else {
            format!("no live grant for {login} on {target}")
        }
    }
}

/// Resolves when the session has to end that waits for a touch, where one does.
async fn ended(session: Option<&Session>) -> End {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}
