//! The Postgres data plane, read top-down as a connection passes:
//! [`entry`] (TLS, start-up) -> [`identify`] -> [`admit`] (with holds) -> [`upstream`] -> [`relay`] ->
//! [`release`].

mod admit;
mod backend;
pub(crate) mod bench;
mod buffer;
mod cancel;
mod copies;
mod entry;
mod flight;
mod frontend;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identify;
mod large;
mod prepared;
mod refuse;
mod relay;
mod release;
mod sasl;
mod session;
mod startup;
mod stream;
mod upstream;
mod values;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use policies::{Kind, Resource, Target, TargetName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::entry::{Arrival, Entry, EntryError};
use self::identify::{ClientContext, IdentifyError};
use self::refuse::Refusal;
use self::stream::Stream;
use self::wire::Fatal;
use crate::core::identity::Identity;
use crate::core::limits::Slot;
use crate::core::listener::{Accepted, ConnectionOutcome, Protocol};
use crate::core::plane::Plane;
use crate::core::report::Denied;

/// How long a client may take to read that its cancel is done.
const GOODBYE: Duration = Duration::from_secs(2);

/// The protocol, with what its connections share: keys to cancel by, and prepared TLS settings.
#[derive(Debug)]
pub(crate) struct Postgres {
    plane: Arc<Plane>,
    keys: Arc<cancel::Keys>,
    connectors: upstream::Connectors,
}

/// A client whose request is understood, and whose identity may be known.
#[derive(Debug)]
struct Caller {
    stream: Stream,
    startup: startup::Startup,
    target: Arc<Target>,
    resource: Resource,
    identity: Option<Identity>,
}

impl Postgres {
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        let connectors = upstream::Connectors::new(plane.settings.limits.keepalive);
        Self { plane, keys: Arc::default(), connectors }
    }
}

impl Protocol for Postgres {
    const KIND: Kind = Kind::Postgres;

    async fn serve(&self, accepted: Accepted) -> ConnectionOutcome {
        let Accepted { stream, peer, slot } = accepted;
        let connection = Connection { plane: &self.plane, postgres: self, peer, slot: &slot };
        // Boxed, here and further down: what is over gives its memory back, and a session only idles.
        match Box::pin(connection.receive_caller(stream)).await {
            Ok(caller) => {
                slot.authenticated();
                connection.serve_session(caller).await
            }
            Err(outcome) => outcome,
        }
    }
}

/// One connection and what it works with.
struct Connection<'p> {
    plane: &'p Arc<Plane>,
    postgres: &'p Postgres,
    peer: SocketAddr,
    slot: &'p Arc<Slot>,
}

impl Connection<'_> {
    /// From the first byte to a request that is understood; the listener keeps the deadline over it.
    async fn receive_caller(&self, tcp: TcpStream) -> Result<Box<Caller>, ConnectionOutcome> {
        let arrival = self.receive(tcp).await?;
        self.identify(arrival).await
    }

    async fn receive(&self, tcp: TcpStream) -> Result<Arrival, ConnectionOutcome> {
        let settings = &self.plane.settings;
        match entry::receive(tcp, &settings.tls, &settings.host_names).await {
            Ok(Entry::Session(arrival)) => Ok(*arrival),
            Ok(Entry::Cancel { mut stream, pid, secret }) => {
                self.slot.authenticated();
                let outcome = self.cancel(pid, &secret).await;
                // By its end the client knows that the cancel is done: the next statement is safe from it.
                let _ = timeout(GOODBYE, stream.shutdown()).await;
                Err(outcome)
            }
            Err(EntryError::Refused(stream, fatal)) => {
                self.plane.metrics.denied("startup");
                if let Some(stream) = stream {
                    refuse::send(*stream, &fatal).await;
                }
                Err("refused")
            }
            Err(EntryError::Nonsense(why)) => {
                tracing::debug!(peer = %self.peer, why, "not a client of ours");
                Err("nonsense")
            }
            Err(EntryError::Io(error)) => {
                tracing::debug!(peer = %self.peer, %error, "the connection broke before start-up");
                Err("broken")
            }
        }
    }

    /// Until the target has taken the cancel. A cancel gets no answer, whether or not it was one.
    async fn cancel(&self, pid: u32, secret: &[u8]) -> ConnectionOutcome {
        let Some(route) = self.postgres.keys.find(pid, secret, self.peer) else {
            return "cancel-unknown";
        };
        match route.cancel().await {
            Ok(()) => "cancel",
            Err(error) => {
                tracing::warn!(target = %route.target.name, %error, "a cancel did not reach the target");
                "cancel-failed"
            }
        }
    }

    /// What the client wants, and who it is.
    async fn identify(&self, mut arrival: Arrival) -> Result<Box<Caller>, ConnectionOutcome> {
        let (target, resource) = match self.requested(&arrival) {
            Ok(requested) => requested,
            Err(fatal) => {
                let refusal = Refusal::new("unknown-resource", fatal);
                return Err(self.reject(arrival, &refusal).await);
            }
        };
        let context = ClientContext { resource: &resource, client: self.peer, slot: self.slot };
        match identify::identify(self.plane, &mut arrival, &target, context).await {
            Ok(identity) => {
                let Arrival { stream, startup, .. } = arrival;
                Ok(Box::new(Caller { stream, startup, target, resource, identity }))
            }
            Err(IdentifyError::Refused(refusal)) => Err(self.reject(arrival, &refusal).await),
            Err(IdentifyError::Discovered(fatal)) => {
                refuse::send(arrival.stream, &fatal).await;
                Err("discovery")
            }
            Err(IdentifyError::Wire(error)) => {
                tracing::debug!(peer = %self.peer, %error, "the connection broke while signing in");
                Err("broken")
            }
        }
    }

    fn requested(&self, arrival: &Arrival) -> Result<(Arc<Target>, Resource), Fatal> {
        let startup = &arrival.startup;
        let name = startup.target_name(arrival.server_name.clone());
        let name = name.map_err(|error| Fatal::from(&error))?;
        let target = of_postgres(&name, self.plane.leases.target(&name))?;
        if startup.replication.is_some() && !target.replication {
            return Err(Fatal::from(&startup::StartupError::Replication));
        }
        let resource = startup.resource(&target)?;
        Ok((target, resource))
    }

    async fn reject(&self, arrival: Arrival, refusal: &Refusal) -> ConnectionOutcome {
        let startup = &arrival.startup;
        let named = startup.target_name(arrival.server_name.clone());
        self.plane.denied(Denied {
            identity: None,
            target: named.map(|name| name.to_string()).unwrap_or_default(),
            login: startup.login.to_string(),
            database: startup.database.clone().unwrap_or_default(),
            client: self.peer,
            reason: refusal.reason,
            detail: refusal.fatal.message.clone(),
        });
        refuse::send(arrival.stream, &refusal.fatal).await;
        "refused"
    }

    /// Turns a caller away, whether identified or not.
    async fn refuse(&self, caller: Box<Caller>, refusal: &Refusal) -> ConnectionOutcome {
        let (identity, detail) = (caller.identity.as_ref(), refusal.fatal.message.clone());
        let resource = Some(&caller.resource);
        self.plane.denied(Denied::new(self.peer, identity, resource, refusal.reason, detail));
        refuse::send(caller.stream, &refusal.fatal).await;
        "refused"
    }
}

/// A target that speaks Postgres.
fn of_postgres(name: &TargetName, found: Option<Arc<Target>>) -> Result<Arc<Target>, Fatal> {
    let target = found.ok_or_else(|| {
        Fatal::new("28000", format!("there is no target `{name}`")).hint(
            "The target is chosen by host name, by -c postern.target=NAME, or by database name.",
        )
    })?;
    match target.kind {
        Kind::Postgres => Ok(target),
        Kind::Ssh => Err(Fatal::new("28000", format!("target `{name}` is an SSH host"))
            .hint("Open it with ssh; `postern ssh-config` prints what it needs to know.")),
    }
}

#[cfg(test)]
mod tests {
    use policies::Partition;

    use super::*;
    use crate::core::testing::target;

    #[test]
    fn a_host_of_ssh_is_named_as_one() {
        let name: TargetName = "web-1".parse().unwrap();
        let of = |kind| Some(Arc::new(Target { kind, ..target(Partition::Cut) }));
        assert!(of_postgres(&name, of(Kind::Postgres)).is_ok());
        let message = |found| of_postgres(&name, found).unwrap_err().message;
        assert_eq!(message(of(Kind::Ssh)), "target `web-1` is an SSH host");
        assert_eq!(message(None), "there is no target `web-1`");
    }
}
