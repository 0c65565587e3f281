//! Letting a connection in: by what it proved, or after people have acted.
//!
//! Nothing is decided by what a client merely offers, and nothing is kept of a name that it used
//! before: each attempt stands for itself. All failures of authentication look alike and take the same
//! time. Who has proved who they are is told what is wrong.

use std::sync::Arc;

use policies::{Denial, End, Hold, Kind, Knock, LeaseKey, Resource, Target, Timestamp, Ttl};
use russh::server::Auth;
use russh::{Disconnect, MethodKind, MethodSet};
use ssh_key::{Certificate, PublicKey};

use super::begin::NotYet;
use super::door::Door;
use super::onward::Opener;
use super::refuse::Refusal;
use super::route::Route;
use super::wait::{Turn, Waiting};
use super::{Visit, identify};
use crate::credential::Begun;
use crate::hold::Identity;
use crate::leases::Pass;
use crate::report::Denied;
use crate::session::{Session, Tally};

/// How long a connection that leads on speaks for whoever opened it with a key: it has no end of its own.
const KEY_LIFE: Ttl = Ttl::from_secs(12 * 3_600);

/// A connection that was let in.
pub(super) enum Entered {
    /// To a target.
    Target(Box<LetIn>),
    /// To lead on to targets; whoever isn't known says who they are there.
    Onward(Option<Opener>),
}

/// A caller whose session has begun.
pub(super) struct LetIn {
    pub(super) session: Session,
    pub(super) begun: Begun,
    pub(super) caller: Caller,
}

/// What somebody wants.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) target: Arc<Target>,
    pub(super) resource: Resource,
}

impl Visit {
    /// What this user name asks for; none where it leads on.
    fn wish(&self, user: &str) -> Result<Option<Caller>, Refusal> {
        let unknown = |why: String| Refusal::new("unknown-resource", why);
        let route = match &self.within {
            Some(within) => Route::within(user, &within.target),
            None => Route::read(user),
        };
        let (login, name) = match route.map_err(|error| unknown(error.to_string()))? {
            Route::Onward => return Ok(None),
            Route::Target(login, name) => (login, name),
        };
        let target = self.plane.leases.target(&name);
        let target = target.filter(|target| target.kind == Kind::Ssh);
        let target = target.ok_or_else(|| unknown(format!("there is no SSH target `{name}`")))?;
        let resource = target.resolve(&login, None).map_err(|why| unknown(why.to_string()))?;
        Ok(Some(Caller { target, resource }))
    }

    /// The hot path: the lease table, and nothing else.
    pub(super) fn look_up(&self, identity: &Identity, caller: &Caller) -> Result<Pass, Denial> {
        let (principal, resource) = (identity.principal.clone(), caller.resource.clone());
        let key = LeaseKey { principal, resource };
        let authn = &identity.authn;
        let knock =
            Knock { key: &key, device: authn.device.as_ref(), credential: Some(&authn.evidence) };
        self.plane.admit(&knock)
    }

    /// Counts a refusal and tells control of it.
    pub(super) fn denied(
        &self,
        identity: Option<&Identity>,
        resource: Option<&Resource>,
        refusal: &Refusal,
    ) {
        self.plane.denied(Denied {
            identity: identity.cloned(),
            target: resource.map(|wish| wish.target.to_string()).unwrap_or_default(),
            login: resource.map(|wish| wish.login.to_string()).unwrap_or_default(),
            database: String::new(),
            client: self.peer,
            reason: refusal.reason,
            detail: refusal.message.clone(),
        });
    }
}

impl Door {
    /// Somebody within a connection that has proved who they are needs no further proof.
    pub(super) async fn by_outer(&mut self, user: &str) -> Auth {
        let within = self.visit.within.as_ref();
        match within.and_then(|within| within.identity.clone()) {
            Some(identity) => self.come_in(user, identity, self.visit.plane.clock.now()).await,
            None => Auth::reject(),
        }
    }

    /// A certificate whose key was proved.
    pub(super) async fn by_certificate(&mut self, user: &str, shown: &Certificate) -> Auth {
        let shown = identify::by_certificate(&self.visit.plane, shown, self.visit.peer);
        let (identity, until) = match shown {
            Ok(person) => person,
            Err(error) => {
                let refusal = Refusal::new("certificate", error.to_string());
                self.visit.denied(None, None, &refusal);
                return Auth::reject();
            }
        };
        self.proved(user, identity, until).await
    }

    /// A registered key that was proved. Of those that are nobody's, clients offer many.
    pub(super) async fn by_key(&mut self, user: &str, key: &PublicKey) -> Auth {
        match identify::by_key(&self.visit, key).await {
            Ok(identity) => {
                let until = self.visit.plane.clock.now().after(KEY_LIFE);
                self.proved(user, identity, until).await
            }
            Err(error) => {
                tracing::debug!(peer = %self.visit.peer, %error, "a key that is nobody's");
                Auth::reject()
            }
        }
    }

    /// Somebody who is known comes in, unless somebody else opened the connection around this one.
    async fn proved(&mut self, user: &str, identity: Identity, until: Timestamp) -> Auth {
        let outer = self.visit.within.as_ref().and_then(|within| within.identity.as_ref());
        if outer.is_some_and(|outer| outer.principal != identity.principal) {
            let refusal = Refusal::new("another-person", "it is not who opened the connection");
            self.visit.denied(Some(&identity), None, &refusal);
            return Auth::reject();
        }
        self.come_in(user, identity, until).await
    }

    /// Somebody who is known, until when by the same proof.
    async fn come_in(&mut self, user: &str, identity: Identity, until: Timestamp) -> Auth {
        self.waiting = None;
        let caller = match self.visit.wish(user) {
            Ok(Some(caller)) => caller,
            Ok(None) => {
                self.entered = Some(Entered::Onward(Some(Opener { identity, until })));
                return Auth::Accept;
            }
            Err(refusal) => return self.refuse(Some(&identity), None, &refusal).await,
        };
        match self.visit.look_up(&identity, &caller) {
            Ok(pass) => self.begin_session(user, (pass, caller, identity)).await,
            Err(Denial::NoGrant | Denial::Expired) if may_wait(&caller.target) => {
                self.has_to_wait(Waiting::new(user, caller, Some(identity)))
            }
            Err(denial) => {
                let refusal = Refusal::denial(&denial, &caller.resource);
                self.refuse(Some(&identity), Some(&caller.resource), &refusal).await
            }
        }
    }

    /// Somebody with a live lease comes in, or waits for their own touch.
    async fn begin_session(
        &mut self,
        user: &str,
        (pass, caller, identity): (Pass, Caller, Identity),
    ) -> Auth {
        // What is waited for from here on is control, and has bounds of its own.
        self.visit.slot.authenticated();
        let refusal = match self.visit.begin(pass, caller.clone(), identity.clone()).await {
            Ok(let_in) => {
                self.let_in(let_in);
                return Auth::Accept;
            }
            Err(NotYet::Touch(session, _)) if may_wait(&caller.target) => {
                return self.has_to_wait(Waiting::for_touch(user, caller, *session));
            }
            Err(NotYet::Touch(session, refusal)) => {
                session.close(&End::Policy(refusal.message.clone()), &Tally::default());
                refusal
            }
            Err(NotYet::Refused(refusal)) => refusal,
        };
        self.refuse(Some(&identity), Some(&caller.resource), &refusal).await
    }

    /// The key is proved; what is missing is a person's act, which another method waits for.
    fn has_to_wait(&mut self, waiting: Waiting) -> Auth {
        self.waiting = Some(waiting);
        Auth::Reject { proceed_with_methods: Some(waiting_methods()), partial_success: true }
    }

    /// The next step of a dialogue in which there is nothing to type.
    pub(super) async fn dialogue(&mut self, user: &str, begins: bool) -> Auth {
        if begins {
            self.begin(user);
        }
        if matches!(self.entered, Some(Entered::Onward(None))) {
            return Auth::Accept;
        }
        let Some(mut waiting) = self.waiting.take().filter(|waiting| waiting.is_of(user)) else {
            return Auth::reject();
        };
        match waiting.turn(&self.visit).await {
            Turn::Tell(text) => {
                self.waiting = Some(waiting);
                Auth::Partial {
                    name: "".into(),
                    instructions: text.into(),
                    prompts: Vec::new().into(),
                }
            }
            Turn::In(let_in) => {
                self.let_in(*let_in);
                Auth::Accept
            }
            Turn::Refused(refusal) => {
                let (identity, resource) = waiting.who();
                self.refuse(identity.as_ref(), Some(&resource), &refusal).await
            }
            Turn::Left => Auth::reject(),
        }
    }

    /// Begins to wait for somebody who isn't known, unless somebody who is waits already.
    fn begin(&mut self, user: &str) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.is_of(user)) {
            return;
        }
        self.waiting = match self.visit.wish(user) {
            Ok(Some(caller)) if may_wait(&caller.target) => Some(Waiting::new(user, caller, None)),
            Ok(Some(_)) => None,
            // It reaches nothing but targets, each of which asks who it is.
            Ok(None) => {
                self.entered = Some(Entered::Onward(None));
                None
            }
            Err(refusal) => {
                self.visit.denied(None, None, &refusal);
                None
            }
        };
    }

    fn let_in(&mut self, let_in: LetIn) {
        self.allowed = let_in.caller.target.ssh.clone().map(Arc::new);
        self.entered = Some(Entered::Target(Box::new(let_in)));
    }

    /// Turns somebody away who may know why.
    async fn refuse(
        &mut self,
        identity: Option<&Identity>,
        resource: Option<&Resource>,
        refusal: &Refusal,
    ) -> Auth {
        self.visit.denied(identity, resource, refusal);
        self.visit.over.cancel();
        if let Some(handle) = self.shared.phone.get() {
            let (reason, text) =
                (Disconnect::ByApplication, format!("postern: {}", refusal.message));
            let _ = handle.disconnect(reason, text, String::new()).await;
        }
        Auth::reject()
    }
}

fn may_wait(target: &Target) -> bool {
    match target.hold {
        Hold::Always | Hold::Interactive => true,
        Hold::Never => false,
    }
}

fn waiting_methods() -> MethodSet {
    MethodSet::from(&[MethodKind::KeyboardInteractive][..])
}
