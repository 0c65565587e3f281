//! A connection asks for a grant, and waits for it where it wants to: the flow that one call of
//! `Ask` tells, from the code to the grant or the refusal.
//!
//! It ends with its caller: what isn't confirmed by then is dead, and what was asked by then in
//! somebody's name stays, without anything being started.

use std::net::IpAddr;

use link::v1;
use link::v1::ask_event::Event;
use policies::{
    Authn, Method, PrincipalId, Request, RequestId, RequestState, Resource, Ticket, Ttl,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Status;

use crate::access::input::{AccessRequestInput, Waiting};
use crate::access::step_up;
use crate::gateway::pending_connections::{Answer, Place};
use crate::gateway::{Gateway, pending_connections};
use crate::model::actor::{Asker, source};
use crate::model::carrier::Carrier;
use crate::model::error::{ControlError, Refusal, Rejection, StoreError};
use crate::model::waiting_connection::HoldView;
use crate::platform::ids;
use crate::store;

/// A connection that wants a grant.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Option<(PrincipalId, Authn)>,
    pub(crate) resource: Resource,
    pub(crate) client: String,
    pub(crate) application: String,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reason: String,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) waiting: Waiting,
    pub(crate) patience: Ttl,
}

type Events = mpsc::Sender<Result<v1::AskEvent, Status>>;

/// Tells the flow to its end, or until nobody listens.
pub(crate) async fn serve(gateway: Gateway, caller: Caller, events: Events) {
    let mut flow = AskFlow { gateway: &gateway, caller, events: &events };
    let ended = tokio::select! {
        () = events.closed() => return,
        () = gateway.kernel.closing().cancelled() => Err(refused("closing", "the gateway is shutting down")),
        ended = flow.run() => ended,
    };
    let last = match ended {
        Ok(granted) => Event::Granted(granted),
        Err(refused) => Event::Refused(refused),
    };
    let _ = flow.say(last).await;
}

struct AskFlow<'a> {
    gateway: &'a Gateway,
    caller: Caller,
    events: &'a Events,
}

impl AskFlow<'_> {
    async fn run(&mut self) -> Result<v1::Granted, v1::Refused> {
        if self.caller.waiting == Waiting::No {
            let known = self.caller.identity.as_ref();
            let (principal, authn) = known.ok_or_else(|| self.unidentified())?;
            return self.at_once(self.known(principal, authn)).await;
        }
        let entered = self.gateway.own.pending.enter(self.source());
        let mut place = entered.map_err(|refusal| self.refusal(&refusal))?;
        let identity = self.caller.identity.as_ref();
        let asker = match identity.map(|(principal, authn)| self.known(principal, authn)) {
            Some(known) => self.touched(&mut place, known).await?,
            None => self.confirmed(&mut place, None).await?,
        };
        let granted = self.granted(asker.clone()).await?;
        // Others may have taken longer to say yes than a touch lasts.
        self.touched(&mut place, asker).await?;
        Ok(granted)
    }

    /// Has a known person touch for this connection, where the rules want it and they didn't lately,
    /// or say on its page what their client had no way to say.
    async fn touched(&mut self, place: &mut Place, asker: Asker) -> Result<Asker, v1::Refused> {
        let requested = self.input();
        let wants = async {
            let touch = self.gateway.access.wants_touch(&asker, &requested).await?;
            Ok(touch || self.gateway.access.lacks_words(&asker, &requested).await?.is_some())
        };
        let wants = wants.await;
        if !wants.map_err(|error| self.why(&error))? {
            return Ok(asker);
        }
        self.confirmed(place, Some(&asker)).await
    }

    async fn at_once(&self, asker: Asker) -> Result<v1::Granted, v1::Refused> {
        let asked = self.gateway.access.ask_for(asker, self.input(), Waiting::No).await;
        let asked = asked.map_err(|error| self.why(&error))?;
        let (request, revision) = (&asked.request, asked.revision);
        let grant = asked.grant.ok_or_else(|| self.must_ask("approval is wanted"))?;
        Ok(self.grant(&grant, request, revision))
    }

    /// Waits until a person says that this connection is theirs: anybody, or the one who is known.
    async fn confirmed(
        &mut self,
        place: &mut Place,
        known: Option<&Asker>,
    ) -> Result<Asker, v1::Refused> {
        let patience = self.patience(self.gateway.kernel.settings().hold_patience);
        let view = self.view(patience, known)?;
        let id = view.id.clone();
        let (code, answered) = place.offer(view);
        let url = format!("{}/c/{id}", self.gateway.kernel.settings().base_url());
        let patience_ms = patience.millis().cast_unsigned();
        self.say(Event::Confirm(v1::Confirm { code, url, patience_ms })).await?;
        let answer = tokio::time::timeout(patience.duration(), answered).await;
        let late = |_| refused("unconfirmed", "nobody confirmed this connection in time");
        let Answer { actor, touch, view } = answer.map_err(late)?.map_err(|_| gone())?;
        (self.caller.reason, self.caller.ticket) = (view.reason, view.ticket);
        let identified = self.caller.identity.as_ref().map(|(_, authn)| authn.clone());
        let authn = identified.unwrap_or_else(|| Authn {
            method: Method::Confirmed,
            at: self.gateway.kernel.now(),
            evidence: id,
            device: actor.authn.device.clone(),
        });
        let asker = Asker { touch, ..self.known(&actor.principal.id, &authn) };
        self.say(Event::Confirmed(v1::Identity {
            principal: actor.principal.id.into(),
            name: actor.principal.name,
            authn: Some(authn.into()),
        }))
        .await?;
        Ok(asker)
    }

    fn view(&self, patience: Ttl, known: Option<&Asker>) -> Result<HoldView, v1::Refused> {
        let inventory = self.gateway.kernel.inventory();
        let resolved = inventory.resolve(&self.caller.resource);
        let (_, resource) = resolved.map_err(|error| self.why(&error.into()))?;
        let now = self.gateway.kernel.now();
        let mut view = HoldView {
            id: ids::fresh_text("ho"),
            principal: known.map(|asker| asker.principal.clone()),
            resource,
            // The one who will confirm it is unknown yet, and with them, the connection's device.
            place: match known {
                Some(asker) => asker.place.clone(),
                None => crate::model::actor::place(None, self.source()),
            },
            client: self.caller.client.clone(),
            source: self.source(),
            application: self.caller.application.clone(),
            carrier: known.map_or(Carrier::Session, |asker| asker.carrier.clone()),
            ttl: self.caller.ttl,
            reason: self.caller.reason.clone(),
            ticket: self.caller.ticket.clone(),
            asked_at: now,
            expires_at: now.after(patience),
            digest: String::new().into(),
        };
        view.digest = pending_connections::digest(&view);
        Ok(view)
    }

    /// Asks in somebody's name, and waits for those who have to say yes.
    async fn granted(&self, asker: Asker) -> Result<v1::Granted, v1::Refused> {
        // Listening begins before asking, so that no decision falls in between.
        let mut decided = self.gateway.kernel.decided().subscribe();
        let asked = self.gateway.access.ask_for(asker, self.input(), Waiting::Yes).await;
        let asked = asked.map_err(|error| self.why(&error))?;
        if let Some(grant) = &asked.grant {
            return Ok(self.grant(grant, &asked.request, asked.revision));
        }
        let left = self.gateway.kernel.now().until(asked.request.lapses_at);
        let patience = self.patience(left);
        self.say(Event::Asked(self.asked(&asked.request, patience))).await?;
        let id = asked.request.id;
        let outcome = async {
            loop {
                match decided.recv().await {
                    Ok(other) if other != id => continue,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(gone()),
                }
                if let Some(outcome) = self.outcome(&id).await {
                    return outcome;
                }
            }
        };
        let waited = tokio::time::timeout(patience.duration(), outcome).await;
        waited.unwrap_or_else(|_| Err(self.unanswered(&id)))
    }

    /// How a request ended; none while it waits.
    async fn outcome(&self, id: &RequestId) -> Option<Result<v1::Granted, v1::Refused>> {
        match self.look(id).await {
            Ok(outcome) => outcome,
            Err(error) => Some(Err(self.why(&error))),
        }
    }

    async fn look(
        &self,
        id: &RequestId,
    ) -> Result<Option<Result<v1::Granted, v1::Refused>>, ControlError> {
        let db = &mut *self.gateway.kernel.store().read().await?;
        let found = store::requests::find(db, id).await?;
        let request = found.ok_or(Refusal::NotFound("request"))?.request;
        let refusal = match &request.state {
            RequestState::NeedsStepUp | RequestState::NeedsApproval { .. } => return Ok(None),
            RequestState::Granted { .. } => {
                let none = || Refusal::NotFound("grant");
                let given = store::grants::of(db, id).await?;
                let wanted = &self.caller.resource;
                let named = |grant: &policies::Grant| {
                    (&grant.resource.target, &grant.resource.login)
                        == (&wanted.target, &wanted.login)
                };
                let grant = given.into_iter().find(named).ok_or_else(none)?;
                let revision = self.gateway.kernel.published_revision().await;
                return Ok(Some(Ok(self.grant(&grant, &request, revision))));
            }
            RequestState::Denied { by, reason, .. } => {
                let name = self.gateway.kernel.inventory().name(by);
                refused("denied", &format!("denied by {name}: {reason}"))
            }
            RequestState::Withdrawn { why: None, .. } => {
                refused("withdrawn", "the request was withdrawn")
            }
            RequestState::Withdrawn { why: Some(why), .. } => {
                refused("withdrawn", &format!("the request was withdrawn: {why}"))
            }
            RequestState::Lapsed { .. } => refused("lapsed", "nobody decided in time"),
        };
        Ok(Some(Err(refusal)))
    }

    fn grant(&self, grant: &policies::Grant, request: &Request, revision: u64) -> v1::Granted {
        let inventory = self.gateway.kernel.inventory();
        v1::Granted {
            grant: grant.id.to_string(),
            revision,
            ttl_ms: grant.ttl.millis().cast_unsigned(),
            approved_by: request
                .state
                .approvals()
                .iter()
                .map(|yes| inventory.name(&yes.by))
                .collect(),
        }
    }

    fn asked(&self, request: &Request, patience: Ttl) -> v1::Asked {
        v1::Asked {
            request: request.id.to_string(),
            needs: request.terms.approvals.lines(),
            url: format!("{}/", self.gateway.kernel.settings().base_url()),
            patience_ms: patience.millis().cast_unsigned(),
        }
    }

    fn input(&self) -> AccessRequestInput {
        AccessRequestInput {
            ttl: self.caller.ttl,
            reason: self.caller.reason.clone(),
            ticket: self.caller.ticket.clone(),
            source: self.source(),
            ..AccessRequestInput::new(self.caller.resource.clone())
        }
    }

    fn known(&self, principal: &PrincipalId, authn: &Authn) -> Asker {
        Asker::connected(principal, authn, self.source())
    }

    fn source(&self) -> Option<IpAddr> {
        source(&self.caller.client)
    }

    /// As long as the caller waits, within our own bound; without a word, our own.
    fn patience(&self, most: Ttl) -> Ttl {
        let requested = self.caller.patience;
        if requested.is_zero() { most } else { requested.min(most) }
    }

    async fn say(&self, event: Event) -> Result<(), v1::Refused> {
        let event = v1::AskEvent { event: Some(event) };
        self.events.send(Ok(event)).await.map_err(|_| gone())
    }

    fn unidentified(&self) -> v1::Refused {
        let hint = format!(
            "sign in with `postern login`, or use a token of `postern token`: {}/",
            self.gateway.kernel.settings().base_url()
        );
        v1::Refused { hint, ..refused("no-identity", "nobody is identified on this connection") }
    }

    fn unanswered(&self, id: &RequestId) -> v1::Refused {
        let hint = format!(
            "request {id} still waits: connect again once it is approved, see {}/",
            self.gateway.kernel.settings().base_url()
        );
        v1::Refused { hint, ..refused("unanswered", "nobody decided while this connection waited") }
    }

    fn must_ask(&self, message: &str) -> v1::Refused {
        let Resource { login, target, .. } = &self.caller.resource;
        let hint = format!(
            "ask with: postern request {login}@{target} --reason \"…\"   or at {}/",
            self.gateway.kernel.settings().base_url()
        );
        v1::Refused { hint, ..refused("no-grant", message) }
    }

    /// What the waiting person reads; what failed in the gateway is for the log.
    fn why(&self, error: &ControlError) -> v1::Refused {
        match error {
            ControlError::Refused(refusal) => self.refusal(refusal),
            ControlError::Store(StoreError::Unwritable | StoreError::Postponed) => {
                refused(error.code().name(), &error.to_string())
            }
            ControlError::Store(
                StoreError::Sql(_)
                | StoreError::Migrate(_)
                | StoreError::Unreadable(_)
                | StoreError::RolledBack(_)
                | StoreError::HighWater(_),
            )
            | ControlError::Upstream(_)
            | ControlError::Internal(_) => {
                let cause = error as &dyn std::error::Error;
                tracing::error!(error = cause, "an access request of a connection failed");
                refused(error.code().name(), "the gateway can't decide now: try again later")
            }
        }
    }

    fn refusal(&self, refusal: &Refusal) -> v1::Refused {
        match refusal {
            Refusal::Rejected(Rejection::NeedsApproval(_)) => self.must_ask(&refusal.to_string()),
            Refusal::StepUpNeeded { url, why } => {
                v1::Refused { hint: step_up::how(url), ..refused(refusal.code().name(), why) }
            }
            Refusal::NotFound(_)
            | Refusal::Forbidden(_)
            | Refusal::Rejected(_)
            | Refusal::Unfit { .. }
            | Refusal::Conflict(_)
            | Refusal::Invalid(_)
            | Refusal::TooMany(_)
            | Refusal::Unauthenticated
            | Refusal::EnrolFirst
            | Refusal::Unproven(_)
            | Refusal::Disbelieved(_) => refused(refusal.code().name(), &refusal.to_string()),
        }
    }
}

fn refused(code: &str, message: &str) -> v1::Refused {
    v1::Refused { code: code.to_owned(), message: message.to_owned(), hint: String::new() }
}

fn gone() -> v1::Refused {
    refused("gone", "the wait was broken off")
}
