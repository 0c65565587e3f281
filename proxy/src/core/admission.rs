//! Letting a connection in, whatever it speaks: at once by a live lease, or after people have acted.
//!
//! An [`Attempt`] asks the lease table, opens the session and obtains what opens the target. Where a person
//! has to act first, it waits and reports each event. What the client reads of that, and in which form, is
//! the matter of its protocol.

use std::sync::Arc;

use policies::{AdmissionQuery, Denial, End, Hold, Kind, LeaseKey, Resource, Target};
use thiserror::Error;

use crate::core::credential::{BeginError, Begun};
use crate::core::identity::Identity;
use crate::core::leases::Pass;
use crate::core::limits::Slot;
use crate::core::pending::{
    AccessRequestInput, PendingConnection, PendingError, PendingEvent, WaitFor,
};
use crate::core::plane::Plane;
use crate::core::sanitize::sanitize;
use crate::core::session::{OpenError, Opening, Session, Tally};

/// One client that wants one resource.
#[derive(Debug)]
pub(crate) struct Attempt {
    plane: Arc<Plane>,
    kind: Kind,
    input: AccessRequestInput,
    slot: Arc<Slot>,
    dropped_with_client: bool,
    stage: Stage,
    /// A session that was opened by a live lease, and for which the rules want a fresh touch first.
    session: Option<Session>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing waits.
    Idle,
    /// A person has to act.
    Pending(Box<PendingConnection>),
    /// All have acted: the lease decides like at any other connection.
    Acted,
}

/// How an attempt goes on.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A person has to act: [`Attempt::wait`] is next.
    MustWait,
    /// What happened meanwhile: [`Attempt::wait`] is next.
    Event(PendingEvent),
    Admitted(Box<Admitted>),
    Refused(AdmissionError),
    /// The client has left.
    Left,
}

/// A session that has begun, with what opens its target.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) session: Session,
    pub(crate) begun: Begun,
}

/// Why a connection isn't admitted.
#[derive(Debug, Error)]
pub(crate) enum AdmissionError {
    /// By the lease table.
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Pending(#[from] PendingError),
    /// By control, which was asked for access.
    #[error("{message}")]
    Refused { code: String, message: String, hint: String },
    #[error(transparent)]
    NotOpened(OpenError),
    #[error(transparent)]
    NoCredential(#[from] BeginError),
    /// The session ended before anything passed.
    #[error("{0}")]
    Ended(End),
}

impl From<OpenError> for AdmissionError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Full(full) => Self::Ended(full.end()),
            OpenError::Draining | OpenError::Backlogged => Self::NotOpened(error),
        }
    }
}

/// Whether a client of this target may wait for people.
pub(crate) fn may_wait(target: &Target, is_interactive: bool) -> bool {
    match target.hold {
        Hold::Always => true,
        Hold::Interactive => is_interactive,
        Hold::Never => false,
    }
}

impl Attempt {
    pub(crate) fn new(
        plane: Arc<Plane>,
        kind: Kind,
        input: AccessRequestInput,
        slot: Arc<Slot>,
    ) -> Self {
        let (stage, session) = (Stage::Idle, None);
        Self { plane, kind, input, slot, dropped_with_client: false, stage, session }
    }

    /// For a protocol that drops the attempt when the client leaves: that isn't an error.
    pub(crate) fn dropped_with_client(mut self) -> Self {
        self.dropped_with_client = true;
        self
    }

    /// Who it is, where that is known by now.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.input.identity.as_ref()
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.input.resource
    }

    /// The same attempt, which has at once what the rules give without a person. None where nobody is identified, or a
    /// touch is owed.
    pub(crate) fn without_people(&self) -> Option<Self> {
        if self.input.identity.is_none() || self.session.is_some() {
            return None;
        }
        let input = AccessRequestInput { wait_for: WaitFor::Rules, ..self.input.clone() };
        let (plane, slot) = (Arc::clone(&self.plane), Arc::clone(&self.slot));
        let attempt = Self::new(plane, self.kind, input, slot);
        Some(Self { dropped_with_client: self.dropped_with_client, ..attempt })
    }

    /// Decides by what is known now: nothing waits for a person.
    pub(crate) async fn begin(&mut self) -> Progress {
        let Some(identity) = self.input.identity.clone() else {
            return Progress::MustWait;
        };
        match self.look_up(&identity) {
            Ok(pass) => self.open(pass, identity).await,
            Err(Denial::NoGrant | Denial::Expired) if self.input.wait_for != WaitFor::Nothing => {
                Progress::MustWait
            }
            Err(denial) => Progress::Refused(denial.into()),
        }
    }

    /// Asks control for access, unless it has been asked. [`Attempt::wait`] does so, too.
    pub(crate) async fn ask(&mut self) -> Result<(), AdmissionError> {
        if matches!(self.stage, Stage::Idle) {
            let asked = tokio::select! {
                biased;
                end = ended(self.session.as_ref()) => Err(AdmissionError::Ended(end)),
                asked = PendingConnection::ask(&self.plane, self.input.clone()) => {
                    asked.map_err(AdmissionError::from)
                }
            };
            let pending = asked.map_err(|error| self.fail(error))?;
            // From here on it waits for a person, which has bounds of its own.
            self.slot.authenticated();
            self.stage = Stage::Pending(Box::new(pending));
        }
        Ok(())
    }

    /// The next step of a connection that waits. `left` resolves when its client has left.
    pub(crate) async fn wait(&mut self, left: impl Future<Output = ()>) -> Progress {
        if let Err(error) = self.ask().await {
            return Progress::Refused(error);
        }
        let Stage::Pending(pending) = &mut self.stage else {
            return self.enter().await;
        };
        let event = tokio::select! {
            biased;
            end = ended(self.session.as_ref()) => Err(AdmissionError::Ended(end)),
            event = pending.next() => event.map_err(AdmissionError::from),
            () = left => {
                self.leave();
                return Progress::Left;
            }
        };
        match event {
            Ok(PendingEvent::Refused { code, message, hint }) => {
                Progress::Refused(self.fail(AdmissionError::Refused { code, message, hint }))
            }
            Ok(event) => Progress::Event(self.follow(event)),
            Err(error) => Progress::Refused(self.fail(error)),
        }
    }

    /// Why it waits. An identified client that has to confirm nevertheless owes a fresh touch.
    pub(crate) fn headline(&self, event: &PendingEvent) -> String {
        let Resource { login, target, .. } = self.resource();
        let confirms = matches!(event, PendingEvent::Confirm { .. }) && self.identity().is_some();
        if self.session.is_some() || confirms {
            format!("{login} on {target} takes a fresh step-up")
        } else {
            format!("no live grant for {login} on {target}")
        }
    }

    /// What the client reads of an event, line by line.
    pub(crate) fn describe(&self, event: &PendingEvent) -> Vec<String> {
        match event {
            PendingEvent::Confirm { code, url, timeout } => vec![
                format!("confirm code {code} at {url}  (waiting, {timeout})"),
                format!("or in another terminal: postern confirm {code}"),
            ],
            PendingEvent::Confirmed(identity) => {
                vec![format!("confirmed by {}", sanitize(&identity.name))]
            }
            PendingEvent::Asked { request, needs, url, timeout } => vec![format!(
                "asked for {} as {request}: needs {}, at {url}  (waiting, {timeout})",
                self.resource(),
                needs.join(", "),
            )],
            PendingEvent::Granted { ttl, approved_by, .. } if approved_by.is_empty() => {
                vec![format!("approved by the rules, for {ttl}")]
            }
            PendingEvent::Granted { ttl, approved_by, .. } => {
                vec![format!("approved by {}, for {ttl}", sanitize(&approved_by.join(", ")))]
            }
            PendingEvent::Refused { .. } => vec![],
        }
    }

    /// The hot path: the lease table, and nothing else.
    fn look_up(&self, identity: &Identity) -> Result<Pass, Denial> {
        let (principal, resource) = (identity.principal.clone(), self.input.resource.clone());
        let key = LeaseKey { principal, resource };
        let authn = &identity.authn;
        let query = AdmissionQuery {
            key: &key,
            device: authn.device.as_ref(),
            credential: Some(&authn.evidence),
        };
        self.plane.admit(&query)
    }

    fn follow(&mut self, event: PendingEvent) -> PendingEvent {
        match &event {
            PendingEvent::Confirmed(identity) => self.input.identity = Some(identity.clone()),
            PendingEvent::Granted { .. } => self.stage = Stage::Acted,
            PendingEvent::Confirm { .. }
            | PendingEvent::Asked { .. }
            | PendingEvent::Refused { .. } => {}
        }
        event
    }

    /// The grant exists: now the lease has to let it in like any other.
    async fn enter(&mut self) -> Progress {
        let Some(identity) = self.input.identity.clone() else {
            return Progress::Left;
        };
        if let Some(session) = self.session.take() {
            return self.obtain(session, WaitFor::Nothing).await;
        }
        match self.look_up(&identity) {
            Ok(pass) => self.open(pass, identity).await,
            Err(denial) => Progress::Refused(denial.into()),
        }
    }

    async fn open(&mut self, pass: Pass, identity: Identity) -> Progress {
        // What is waited for from here on is control, and has bounds of its own.
        self.slot.authenticated();
        let (kind, client) = (self.kind, self.input.client);
        let application = self.input.application.clone();
        let opening = Opening { kind, pass, identity, client, application };
        match self.plane.sessions.open(opening) {
            Ok(mut session) => {
                if self.dropped_with_client {
                    session.may_be_left();
                }
                self.obtain(session, self.input.wait_for).await
            }
            Err(error) => Progress::Refused(error.into()),
        }
    }

    /// Obtains what opens the target. The rules may want a touch for this very connection first.
    async fn obtain(&mut self, session: Session, wait_for: WaitFor) -> Progress {
        let begun = tokio::select! {
            biased;
            end = session.ended() => {
                session.close(&end, &Tally::default());
                return Progress::Refused(AdmissionError::Ended(end));
            }
            begun = self.plane.credentials.begin(&session) => begun,
        };
        match begun {
            Ok(begun) => Progress::Admitted(Box::new(Admitted { session, begun })),
            Err(BeginError::StepUp { .. }) if wait_for == WaitFor::People => {
                (self.stage, self.session) = (Stage::Idle, Some(session));
                Progress::MustWait
            }
            Err(error) => {
                session.close(&error.end(), &Tally::default());
                Progress::Refused(error.into())
            }
        }
    }

    /// The client has left, as its protocol knows.
    pub(crate) fn leave(&mut self) {
        self.close(&End::Closed);
    }

    /// Nothing waits any more, and a session that was to begin has ended.
    fn fail(&mut self, error: AdmissionError) -> AdmissionError {
        match &error {
            AdmissionError::Ended(end) => self.close(end),
            AdmissionError::Denied(_)
            | AdmissionError::Pending(_)
            | AdmissionError::Refused { .. }
            | AdmissionError::NotOpened(_)
            | AdmissionError::NoCredential(_) => self.close(&End::Policy(error.to_string())),
        }
        error
    }

    fn close(&mut self, end: &End) {
        self.stage = Stage::Idle;
        if let Some(session) = self.session.take() {
            session.close(end, &Tally::default());
        }
    }
}

/// Resolves when the session has to end that waits for a touch, where there is one.
async fn ended(session: Option<&Session>) -> End {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}

impl AdmissionError {
    /// Its name in the audit log and in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Pending(error) => match error {
                PendingError::Draining => "draining",
                PendingError::TooMany => "too-many-holds",
                PendingError::Lapsed => "lapsed",
                PendingError::Unreachable(_)
                | PendingError::Ended
                | PendingError::Malformed(_)
                | PendingError::Unsettled => "control-unreachable",
            },
            Self::Refused { code, .. } if code == "step-up-needed" => "step-up-needed",
            Self::Refused { .. } => "no-grant",
            Self::NotOpened(OpenError::Draining) => "draining",
            Self::NotOpened(OpenError::Backlogged) => "backlogged",
            Self::NotOpened(OpenError::Full(full)) => full.end().code(),
            Self::NoCredential(error) => match error {
                BeginError::Refused(_) | BeginError::Over => "no-grant",
                BeginError::Unreachable(_) | BeginError::Late | BeginError::Unregistered => {
                    "control-unreachable"
                }
                BeginError::StepUp { .. } => "step-up-needed",
                BeginError::Empty | BeginError::Unusable(_) => "no-credential",
            },
            Self::Ended(end) => end.code(),
        }
    }

    /// What its user can do about it; empty where that is nothing.
    pub(crate) fn hint(&self, resource: &Resource) -> String {
        match self {
            Self::Denied(Denial::NoGrant | Denial::Expired)
            | Self::Pending(_)
            | Self::NoCredential(BeginError::Refused(_) | BeginError::Over) => {
                format!("Ask for it: postern request {resource} --reason \"...\"")
            }
            Self::Denied(Denial::Locked(_)) => {
                "Ask who runs the gateway; a lock beats every grant.".to_owned()
            }
            Self::Denied(Denial::Stale)
            | Self::NotOpened(OpenError::Draining | OpenError::Backlogged)
            | Self::NoCredential(
                BeginError::Unreachable(_) | BeginError::Late | BeginError::Unregistered,
            ) => "Try again in a moment.".to_owned(),
            Self::Refused { hint, .. } | Self::NoCredential(BeginError::StepUp { hint, .. }) => {
                hint.clone()
            }
            Self::NoCredential(BeginError::Empty | BeginError::Unusable(_)) => {
                "Ask who runs the gateway to check the login's credential.".to_owned()
            }
            Self::NotOpened(OpenError::Full(full)) => end_hint(&full.end()).to_owned(),
            Self::Ended(end) => end_hint(end).to_owned(),
        }
    }
}

/// What the user of a session that ended like this can do; empty where that is nothing.
pub(crate) fn end_hint(end: &End) -> &'static str {
    match end {
        End::UpstreamLost => "Connect again; the gateway's log has the cause.",
        End::RecorderFailed => "Nothing passes unrecorded. Ask who runs the gateway.",
        End::RecordingFull(_) => "Nothing passes unrecorded.",
        End::Expired | End::Done => "Connect again to ask for a new grant.",
        End::Closed
        | End::Protocol(_)
        | End::Revoked(_)
        | End::Locked(_)
        | End::Policy(_)
        | End::Partitioned
        | End::Drained => "",
    }
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
