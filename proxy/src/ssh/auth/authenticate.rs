//! Letting a connection in: by what it proved, or after people have acted.
//!
//! Nothing is decided by what a client merely offers, and nothing is kept of a name that it used
//! before: each attempt stands for itself. All failures of authentication look alike and take the same
//! time. A client that has proved who it is reads what is wrong.

use std::sync::Arc;
use std::time::Duration;

use policies::{Kind, Resource, Timestamp, Ttl};
use russh::server::Auth;
use russh::{Disconnect, MethodKind, MethodSet};
use ssh_key::{Certificate, PublicKey};
use tokio::time::timeout;

use crate::core::admission::{Admitted, Attempt, Progress, may_wait};
use crate::core::identity::Identity;
use crate::core::pending::{AccessRequestInput, PendingEvent, WaitFor};
use crate::ssh::auth::dialogue::{Dialogue, Turn};
use crate::ssh::auth::route::Route;
use crate::ssh::auth::{Authenticated, Destination, Opener, identify};
use crate::ssh::connection::{APPLICATION, Connection};
use crate::ssh::handler::ClientHandler;
use crate::ssh::refuse::Refusal;

/// How long an opener with a key is known to connections within its own: a key has no end.
const KEY_LIFE: Ttl = Ttl::from_secs(12 * 3_600);
/// How long control may take to give what the rules give at once.
const AT_ONCE: Duration = Duration::from_secs(20);
/// How long a connection waits for people.
const TIMEOUT: Ttl = Ttl::from_secs(600);

impl Connection {
    /// What this user name asks for; none where it leads on.
    fn destination(&self, user: &str) -> Result<Option<Destination>, Refusal> {
        let unknown = |why: String| Refusal::new("unknown-resource", why);
        let route = match &self.jump {
            Some(jump) => Route::within(user, &jump.target),
            None => Route::read(user),
        };
        let (login, name) = match route.map_err(|error| unknown(error.to_string()))? {
            Route::Jump => return Ok(None),
            Route::Target(login, name) => (login, name),
        };
        let target = self.plane.leases.target(&name);
        let target = target.filter(|target| target.kind == Kind::Ssh);
        let target = target.ok_or_else(|| unknown(format!("there is no SSH target `{name}`")))?;
        let resource = target.resolve(&login, None).map_err(|why| unknown(why.to_string()))?;
        Ok(Some(Destination { target, resource }))
    }

    fn attempt(&self, destination: &Destination, identity: Option<Identity>) -> Attempt {
        let waits = may_wait(&destination.target, true);
        let input = AccessRequestInput {
            identity,
            resource: destination.resource.clone(),
            client: self.peer,
            application: APPLICATION.to_owned(),
            ttl: None,
            reason: String::new(),
            ticket: None,
            wait_for: if waits { WaitFor::People } else { WaitFor::Nothing },
            timeout: TIMEOUT,
        };
        // The library drops its handler, with all that it holds, when the client leaves.
        let (plane, slot) = (Arc::clone(&self.plane), Arc::clone(&self.slot));
        Attempt::new(plane, Kind::Ssh, input, slot).dropped_with_client()
    }
}

impl ClientHandler {
    /// A client within a connection that has proved who it is needs no further proof.
    pub(in crate::ssh) async fn by_outer(&mut self, user: &str) -> Auth {
        let jump = self.connection.jump.as_ref();
        match jump.and_then(|jump| jump.identity.clone()) {
            Some(identity) => {
                self.authenticate(user, identity, self.connection.plane.clock.now()).await
            }
            None => Auth::reject(),
        }
    }

    /// A certificate whose key was proved.
    pub(in crate::ssh) async fn by_certificate(&mut self, user: &str, shown: &Certificate) -> Auth {
        let plane = &self.connection.plane;
        let (identity, until) = match identify::by_certificate(plane, shown, self.connection.peer) {
            Ok(person) => person,
            Err(error) => {
                let refusal = Refusal::new("certificate", error.to_string());
                self.connection.denied(None, None, &refusal);
                return Auth::reject();
            }
        };
        self.proved(user, identity, until).await
    }

    /// A registered key that was proved. Of those that are registered for no user, clients offer many.
    pub(in crate::ssh) async fn by_key(&mut self, user: &str, key: &PublicKey) -> Auth {
        match identify::by_key(&self.connection, key).await {
            Ok(identity) => {
                let until = self.connection.plane.clock.now().after(KEY_LIFE);
                self.proved(user, identity, until).await
            }
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "a key of no user");
                Auth::reject()
            }
        }
    }

    /// An identified client comes in, unless another person opened the outer connection.
    async fn proved(&mut self, user: &str, identity: Identity, until: Timestamp) -> Auth {
        let outer = self.connection.jump.as_ref().and_then(|jump| jump.identity.as_ref());
        if outer.is_some_and(|outer| outer.principal != identity.principal) {
            let refusal = Refusal::new("another-person", "it is not who opened the connection");
            self.connection.denied(Some(&identity), None, &refusal);
            return Auth::reject();
        }
        self.authenticate(user, identity, until).await
    }

    /// An identified client, whose proof lasts until then.
    async fn authenticate(&mut self, user: &str, identity: Identity, until: Timestamp) -> Auth {
        self.dialogue = None;
        let destination = match self.connection.destination(user) {
            Ok(Some(destination)) => destination,
            Ok(None) => {
                self.authenticated = Some(Authenticated::Jump(Some(Opener { identity, until })));
                return Auth::Accept;
            }
            Err(refusal) => return self.refuse(Some(&identity), None, &refusal).await,
        };
        let mut attempt = self.connection.attempt(&destination, Some(identity));
        let mut progress = Box::pin(attempt.begin()).await;
        if matches!(progress, Progress::MustWait)
            && let Ok(Some(admitted)) = timeout(AT_ONCE, Box::pin(by_rules(&attempt))).await
        {
            progress = Progress::Admitted(admitted);
        }
        match progress {
            Progress::Admitted(admitted) => {
                self.let_in(admitted, destination);
                Auth::Accept
            }
            // The key is proved; what is missing is a person's act, which another method waits for.
            Progress::MustWait | Progress::Event(_) => {
                self.dialogue = Some(Dialogue::new(user, destination, attempt));
                let methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
                Auth::Reject { proceed_with_methods: Some(methods), partial_success: true }
            }
            Progress::Refused(error) => {
                let refusal = Refusal::admission(&error, &destination.resource);
                self.refuse(attempt.identity(), Some(&destination.resource), &refusal).await
            }
            Progress::Left => Auth::reject(),
        }
    }

    /// The next step of a dialogue in which there is nothing to type.
    pub(in crate::ssh) async fn keyboard_interactive(&mut self, user: &str, begins: bool) -> Auth {
        if begins {
            self.begin_dialogue(user);
        }
        if matches!(self.authenticated, Some(Authenticated::Jump(None))) {
            return Auth::Accept;
        }
        let Some(mut dialogue) = self.dialogue.take().filter(|dialogue| dialogue.is_of(user))
        else {
            return Auth::reject();
        };
        match dialogue.turn(&self.connection).await {
            Turn::Show(text) => {
                self.dialogue = Some(dialogue);
                let (instructions, prompts) = (text.into(), Vec::new().into());
                Auth::Partial { name: "".into(), instructions, prompts }
            }
            Turn::Admitted(admitted) => {
                self.let_in(admitted, dialogue.into_destination());
                Auth::Accept
            }
            Turn::Refused(refusal) => {
                self.refuse(dialogue.identity(), Some(dialogue.resource()), &refusal).await
            }
            Turn::Left => Auth::reject(),
        }
    }

    /// Begins to wait with a client that isn't identified, unless an identified one waits already.
    fn begin_dialogue(&mut self, user: &str) {
        if self.dialogue.as_ref().is_some_and(|dialogue| dialogue.is_of(user)) {
            return;
        }
        self.dialogue = match self.connection.destination(user) {
            Ok(Some(destination)) if may_wait(&destination.target, true) => {
                let attempt = self.connection.attempt(&destination, None);
                Some(Dialogue::new(user, destination, attempt))
            }
            Ok(Some(_)) => None,
            // It reaches nothing but targets, each of which asks who it is.
            Ok(None) => {
                self.authenticated = Some(Authenticated::Jump(None));
                None
            }
            Err(refusal) => {
                self.connection.denied(None, None, &refusal);
                None
            }
        };
    }

    fn let_in(&mut self, admitted: Box<Admitted>, destination: Destination) {
        self.allowed = destination.target.ssh.clone().map(Arc::new);
        self.authenticated = Some(Authenticated::Target { admitted, destination });
    }

    /// Turns a client away that may know why.
    async fn refuse(
        &self,
        identity: Option<&Identity>,
        resource: Option<&Resource>,
        refusal: &Refusal,
    ) -> Auth {
        self.connection.denied(identity, resource, refusal);
        self.connection.over.cancel();
        if let Some(handle) = self.shared.handle.get() {
            let text = format!("postern: {}", refusal.message);
            let _ = handle.disconnect(Disconnect::ByApplication, text, String::new()).await;
        }
        Auth::reject()
    }
}

/// What the rules give without a person is given within the method that proved who it is: a client that can show
/// nothing gets in. None where a person has to act.
async fn by_rules(attempt: &Attempt) -> Option<Box<Admitted>> {
    let mut attempt = attempt.without_people()?;
    loop {
        match attempt.wait(std::future::pending()).await {
            Progress::Event(PendingEvent::Granted { .. }) => {}
            Progress::Admitted(admitted) => return Some(admitted),
            Progress::MustWait | Progress::Event(_) | Progress::Refused(_) | Progress::Left => {
                return None;
            }
        }
    }
}
