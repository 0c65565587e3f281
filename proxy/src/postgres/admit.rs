//! Letting a caller in: at once by a live lease, or after waiting for people.
//!
//! Opening the connection is the request. A caller without a lease that may wait is told where to go,
//! by notices, and goes on by itself when the act is done. A waiting connection is dead to the world:
//! nothing that its client sends is looked at, and if the client leaves, its code is dead too.

use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use policies::{Denial, Knock, LeaseKey, Resource, Ttl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::refuse::Refusal;
use super::startup::MINOR;
use super::wire::{put, put_notice};
use super::{Caller, Visit, identify};
use crate::Pass;
use crate::hold::{Hold, HoldEvent, Identity, Wish};

/// How long a connection waits where its client doesn't say.
const PATIENCE: Ttl = Ttl::from_secs(600);
/// A notice that the client doesn't take within this has no reader.
const NOTICE: Duration = Duration::from_secs(10);

/// Why a caller isn't let in.
#[derive(Debug)]
pub(super) enum NotIn {
    Refused(Refusal),
    /// The client left.
    Left,
}

impl From<Refusal> for NotIn {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A caller that was let in.
#[derive(Debug)]
pub(super) struct LetIn {
    pub(super) pass: Pass,
    pub(super) identity: Identity,
    /// Whether the client was told already that it is authenticated.
    pub(super) greeted: bool,
}

/// What comes before the first message after authentication.
pub(super) fn put_authenticated(out: &mut BytesMut, caller: &Caller) {
    let startup = &caller.startup;
    if startup.minor > MINOR || !startup.extensions.is_empty() {
        let newest = 0x0003_0000 | i32::from(startup.minor.min(MINOR));
        put(out, &NegotiateProtocolVersion::new(newest, startup.extensions.clone()));
    }
    put(out, &Authentication::Ok);
}

impl Visit {
    /// Lets the caller in, or says why not.
    pub(super) async fn admit(&self, caller: &mut Caller) -> Result<LetIn, NotIn> {
        if let Some(identity) = caller.identity.clone() {
            match self.look_up(&identity, caller) {
                Ok(pass) => {
                    return Ok(LetIn { pass, identity, greeted: false });
                }
                Err(Denial::NoGrant | Denial::Expired) => {}
                Err(denial) => return Err(Refusal::denial(&denial, &caller.resource).into()),
            }
        }
        self.wait(caller, false).await
    }

    /// The hot path: the lease table, and nothing else.
    fn look_up(&self, identity: &Identity, caller: &Caller) -> Result<Pass, Denial> {
        let (principal, resource) = (identity.principal.clone(), caller.resource.clone());
        let key = LeaseKey { principal, resource };
        let authn = &identity.authn;
        let knock =
            Knock { key: &key, device: authn.device.as_ref(), credential: Some(&authn.evidence) };
        self.plane.admit(&knock)
    }

    /// Waits for what people have to do, telling the caller of it.
    pub(super) async fn wait(&self, caller: &mut Caller, greeted: bool) -> Result<LetIn, NotIn> {
        let waits = identify::waits(&caller.target, &caller.startup);
        let hold = Hold::ask(&self.plane, self.wish_of(caller, waits)).await;
        let mut hold = hold.map_err(|error| Refusal::hold(&error, &caller.resource))?;
        let mut teller = Teller { greeted, waits };
        loop {
            let event = tokio::select! {
                biased;
                event = hold.next() => event.map_err(|error| Refusal::hold(&error, &caller.resource))?,
                () = left(&mut caller.stream) => return Err(NotIn::Left),
            };
            teller.tell(caller, &event).await?;
            if let HoldEvent::Confirmed(identity) = &event {
                caller.identity = Some(identity.clone());
            }
            match event {
                HoldEvent::Granted { .. } => return self.let_in(caller, teller.greeted),
                HoldEvent::Refused { code, message, hint } => {
                    let fatal = super::Fatal::new("28000", message).hint(hint);
                    let touch = code == "step-up-needed";
                    let reason = if touch { "step-up-needed" } else { "no-grant" };
                    return Err(Refusal::new(reason, fatal).into());
                }
                HoldEvent::Confirm { .. } | HoldEvent::Confirmed(_) | HoldEvent::Asked { .. } => {}
            }
        }
    }

    fn wish_of(&self, caller: &Caller, wait: bool) -> Wish {
        let options = &caller.startup.options;
        Wish {
            identity: caller.identity.clone(),
            resource: caller.resource.clone(),
            client: self.peer,
            application: caller.startup.application.clone(),
            ttl: options.ttl,
            reason: options.reason.clone(),
            ticket: options.ticket.clone(),
            wait,
            patience: options.hold.map_or(PATIENCE, |wish| wish.min(PATIENCE)),
        }
    }

    /// The grant stands: now the lease has to let it in like any other.
    fn let_in(&self, caller: &Caller, greeted: bool) -> Result<LetIn, NotIn> {
        let identity = caller.identity.clone().ok_or(NotIn::Left)?;
        let pass = self.look_up(&identity, caller);
        let pass = pass.map_err(|denial| Refusal::denial(&denial, &caller.resource))?;
        Ok(LetIn { pass, identity, greeted })
    }
}

/// Resolves when a waiting client leaves, or says anything at all, which none should.
async fn left(stream: &mut super::Stream) {
    let _ = stream.read(&mut [0; 1]).await;
}

/// Tells a waiting client how it goes. libpq shows notices only after AuthenticationOk.
struct Teller {
    greeted: bool,
    waits: bool,
}

impl Teller {
    async fn tell(&mut self, caller: &mut Caller, event: &HoldEvent) -> Result<(), NotIn> {
        let lines = lines(caller, event);
        if !self.waits || lines.is_empty() {
            return Ok(());
        }
        let mut out = BytesMut::new();
        if !self.greeted {
            put_authenticated(&mut out, caller);
            put_notice(&mut out, &headline(caller, event));
            self.greeted = true;
        }
        lines.iter().for_each(|line| put_notice(&mut out, line));
        let said = async {
            caller.stream.write_all(&out).await?;
            caller.stream.flush().await
        };
        match tokio::time::timeout(NOTICE, said).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotIn::Left),
        }
    }
}

/// Why it waits. Whoever is known and has to confirm nevertheless has to touch.
fn headline(caller: &Caller, event: &HoldEvent) -> String {
    let Resource { login, target, .. } = &caller.resource;
    let touch = matches!(event, HoldEvent::Confirm { .. }) && caller.identity.is_some();
    if touch {
        format!("{login} on {target} takes a fresh touch of yours")
    } else {
        format!("no live grant for {login} on {target}")
    }
}

fn lines(caller: &Caller, event: &HoldEvent) -> Vec<String> {
    match event {
        HoldEvent::Confirm { code, url, patience } => vec![
            format!("confirm code {code} at {url}  (waiting, {patience})"),
            format!("or in another terminal: postern confirm {code}"),
        ],
        HoldEvent::Confirmed(identity) => vec![format!("confirmed by {}", identity.name)],
        HoldEvent::Asked { request, needs, url, patience } => vec![format!(
            "asked for {} as {request}: needs {}, at {url}  (waiting, {patience})",
            caller.resource,
            needs.join(", "),
        )],
        HoldEvent::Granted { ttl, approved_by, .. } => {
            let by = if approved_by.is_empty() {
                "by the rules".to_owned()
            } else {
                format!("by {}", approved_by.join(", "))
            };
            vec![format!("approved {by}, for {ttl}")]
        }
        HoldEvent::Refused { .. } => vec![],
    }
}
