//! Letting a client in: at once by a live lease, or after waiting for people.
//!
//! Opening the connection is the request. A client without a lease that may wait reads in notices where to
//! go, and goes on by itself when the act is done. Nothing that a waiting client sends is looked at; if it
//! leaves, its code is no longer valid.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::startup::Authentication;
use policies::{Kind, Ttl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::refuse::Refusal;
use super::wire::{put, put_notice};
use super::{Caller, Connection, Stream};
use crate::core::admission::{Admitted, Attempt, Progress, may_wait};
use crate::core::pending::{AccessRequestInput, PendingEvent, WaitFor};

/// How long a connection waits where its client doesn't say.
const TIMEOUT: Ttl = Ttl::from_secs(600);
/// A notice that the client doesn't take within this has no reader.
const NOTICE: Duration = Duration::from_secs(10);

/// Why a caller isn't let in.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    Refused(Refusal),
    /// The client left.
    Left,
}

/// A caller that was let in.
#[derive(Debug)]
pub(super) struct LetIn {
    pub(super) admitted: Box<Admitted>,
    /// Whether the client has read already that it is authenticated.
    pub(super) greeted: bool,
}

/// The client has proved who it is, as far as it has to.
pub(super) fn put_authenticated(out: &mut BytesMut) {
    put(out, &Authentication::Ok);
}

impl Connection<'_> {
    /// Lets the caller in, or says why not.
    pub(super) async fn admit(&self, caller: &mut Caller) -> Result<LetIn, NotAdmitted> {
        let waits = may_wait(&caller.target, caller.startup.is_interactive());
        let input = self.input(caller, waits);
        let (plane, slot) = (Arc::clone(self.plane), Arc::clone(self.slot));
        let mut attempt = Attempt::new(plane, Kind::Postgres, input, slot);
        let mut notices = Notices { greeted: false, shown: waits };
        let mut step = attempt.begin().await;
        loop {
            match step {
                Progress::MustWait => {}
                Progress::Event(event) => {
                    if let Err(error) = notices.send(caller, &attempt, &event).await {
                        tracing::debug!(%error, "the client does not read its notices");
                        attempt.leave();
                        return Err(NotAdmitted::Left);
                    }
                }
                Progress::Admitted(admitted) => {
                    caller.identity = attempt.identity().cloned();
                    return Ok(LetIn { admitted, greeted: notices.greeted });
                }
                Progress::Refused(error) => {
                    caller.identity = attempt.identity().cloned();
                    let refusal = Refusal::admission(&error, &caller.resource);
                    return Err(NotAdmitted::Refused(refusal));
                }
                Progress::Left => return Err(NotAdmitted::Left),
            }
            step = attempt.wait(left(&mut caller.stream)).await;
        }
    }

    /// What is asked for where there is no live grant. A program that doesn't wait has at once what the
    /// rules give without a person.
    fn input(&self, caller: &Caller, waits: bool) -> AccessRequestInput {
        let options = &caller.startup.options;
        AccessRequestInput {
            identity: caller.identity.clone(),
            resource: caller.resource.clone(),
            client: self.peer,
            application: caller.startup.application.clone(),
            ttl: options.ttl,
            reason: options.reason.clone(),
            ticket: options.ticket.clone(),
            wait_for: if waits { WaitFor::People } else { WaitFor::Rules },
            timeout: options.hold.map_or(TIMEOUT, |wanted| wanted.min(TIMEOUT)),
        }
    }
}

/// Resolves when a waiting client leaves, or says anything at all, which none should.
async fn left(stream: &mut Stream) {
    let _ = stream.read(&mut [0; 1]).await;
}

/// What a waiting client reads meanwhile. libpq shows notices only after AuthenticationOk.
struct Notices {
    greeted: bool,
    /// Whether the client waits, and so has a person who reads.
    shown: bool,
}

impl Notices {
    async fn send(
        &mut self,
        caller: &mut Caller,
        attempt: &Attempt,
        event: &PendingEvent,
    ) -> std::io::Result<()> {
        let lines = attempt.describe(event);
        if !self.shown || lines.is_empty() {
            return Ok(());
        }
        let mut out = BytesMut::new();
        if !self.greeted {
            put_authenticated(&mut out);
            put_notice(&mut out, &attempt.headline(event));
            self.greeted = true;
        }
        lines.iter().for_each(|line| put_notice(&mut out, line));
        let sent = async {
            caller.stream.write_all(&out).await?;
            caller.stream.flush().await
        };
        tokio::time::timeout(NOTICE, sent).await?
    }
}
