//! A session, once its caller is let in: target, recording, relay, end.
//!
//! The guard is asked first at every step, so that a grant that ends while the target is being dialled
//! cuts as surely as one that ends during a COPY.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use pgwire::messages::startup::{BackendKeyData, SecretKey};
use policies::{Binds, End, Record};
use tracing::Instrument;

use super::admit::{LetIn, NotAdmitted, put_authenticated};
use super::cancel::{CancelRoute, Issued};
use super::copies::Keep;
use super::refuse::{self, Refusal};
use super::relay::{Relay, Remains, Stop};
use super::release::{Outside, release};
use super::upstream::{Call, DialError, Greeting, Upstream, dial, refusal};
use super::wire::{Fatal, put, put_raw};
use super::{Caller, Connection};
use crate::core::admission::Admitted;
use crate::core::credential::TargetCredential;
use crate::core::listener::ConnectionOutcome;
use crate::core::recorder::Recorder;
use crate::core::session::{Session, Tally};

/// The longest `application_name` that Postgres keeps (NAMEDATALEN - 1).
const APPLICATION: usize = 63;

/// All that a relay needs.
struct RelayParts {
    upstream: Upstream,
    recorder: Recorder,
}

/// Why a session ended before its relay began.
#[derive(Debug)]
struct Failed {
    refusal: Refusal,
    end: End,
}

impl Connection<'_> {
    /// Lets the caller in and serves it to its end.
    pub(super) async fn serve_session(&self, mut caller: Box<Caller>) -> ConnectionOutcome {
        let admitted = match Box::pin(self.admit(&mut caller)).await {
            Ok(admitted) => admitted,
            Err(NotAdmitted::Refused(refusal)) => {
                return Box::pin(self.refuse(caller, &refusal)).await;
            }
            Err(NotAdmitted::Left) => return "left",
        };
        let LetIn { admitted, greeted } = admitted;
        let Admitted { session, begun } = *admitted;
        let span = session.span();
        self.run(caller, session, begun.credential, greeted).instrument(span).await
    }

    async fn run(
        &self,
        caller: Box<Caller>,
        session: Session,
        credential: TargetCredential,
        greeted: bool,
    ) -> ConnectionOutcome {
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err(Failed { refusal: Refusal::cut(&end), end }),
            prepared = Box::pin(self.prepare(&caller, &session, &credential)) => prepared,
        };
        let RelayParts { upstream, recorder } = match prepared {
            Ok(prepared) => prepared,
            Err(Failed { refusal, end }) => {
                session.close(&end, &Tally::default());
                return Box::pin(self.refuse(caller, &refusal)).await;
            }
        };
        tracing::info!("session opened");
        let Upstream { stream, greeting } = upstream;
        let issued = greeting.key.clone().map(|(pid, secret)| {
            let connector = self.postgres.connectors.anonymous(&caller.target);
            let route = CancelRoute { target: caller.target.clone(), connector, pid, secret };
            self.postgres.keys.issue(route, caller.startup.minor)
        });
        let hello = hello(&greeting, issued.as_ref(), greeted);
        // What a rule wants recorded is kept, whatever the target leaves out.
        let binds = if session.records(Record::Binds) {
            Binds::Keep
        } else {
            caller.target.recording.binds
        };
        let keep = Keep { binds, whole: session.records(Record::Data) };
        let relay = Box::new(Relay::new(caller.stream, &hello, stream, recorder, keep));
        let outside = Outside {
            connectors: &self.postgres.connectors,
            target: &caller.target,
            resource: &caller.resource,
            credential: &credential,
        };
        self.relay(relay, session, issued, &outside).await;
        "session"
    }

    /// Target and recording.
    async fn prepare(
        &self,
        caller: &Caller,
        session: &Session,
        credential: &TargetCredential,
    ) -> Result<RelayParts, Failed> {
        let database = caller.resource.database.as_ref().map_or("", |database| database.as_str());
        let call = Call {
            target: &caller.target,
            login: caller.resource.login.as_str(),
            database,
            settings: settings(caller, session),
            replication: caller.startup.replication.as_deref(),
            credential,
        };
        let dialling = dial(&self.postgres.connectors, &call);
        let dialled = self.plane.dial(&caller.target.name, dialling).await;
        let upstream = dialled.map_err(|error| self.not_dialled(&error, caller, credential))?;
        let recorder = Recorder::begin(&self.plane.spool, session);
        let recorder = recorder.map_err(|end| Failed { refusal: Refusal::cut(&end), end })?;
        Ok(RelayParts { upstream, recorder })
    }

    fn not_dialled(
        &self,
        error: &DialError,
        caller: &Caller,
        credential: &TargetCredential,
    ) -> Failed {
        if let DialError::Refused(message) = error {
            let fatal = refusal(message, &caller.target, credential);
            let Fatal { sqlstate, message, .. } = &fatal;
            tracing::warn!(target = %caller.target.name, %sqlstate, message, "the target refused");
            let refusal = Refusal::new("refused-by-target", fatal);
            return Failed { refusal, end: End::UpstreamLost };
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(target = %caller.target.name, %error, cause, "no connection to the target");
        let fatal = error.fatal(&caller.target.name);
        Failed { refusal: Refusal::new("upstream", fatal), end: End::UpstreamLost }
    }

    /// Until the relay stops or the guard cuts it; and then to the very end.
    async fn relay(
        &self,
        mut relay: Box<Relay>,
        session: Session,
        issued: Option<Issued>,
        outside: &Outside<'_>,
    ) {
        let end = relayed(&mut relay, &session).await;
        session.cut_done();
        // One end may cut a thousand sessions: nothing passes in any of them before each client gets its reason.
        tokio::task::yield_now().await;
        let route = issued.as_ref().map(|issued| issued.route().clone());
        // From here on, the client's key cancels nothing.
        drop(issued);
        let fatal = (end != End::Closed)
            .then(|| refuse::cut(&end).detail(format!("Session {}.", session.id())));
        let (leave, remains) = relay.part();
        let Remains { upstream, clean, busy, recorder, tally } = remains;
        tracing::info!(end = end.code(), statements = tally.statements, "session ended");
        recorder.close(session, &end, tally);
        let (released, ()) = tokio::join!(
            Box::pin(release(upstream, clean, busy, route.as_ref(), outside)),
            Box::pin(leave.take(fatal))
        );
        if !released {
            tracing::warn!("the target kept the connection open; it was dropped");
        }
    }
}

/// Until the relay stops or the guard cuts it, telling on the way how long there still is.
async fn relayed(relay: &mut Relay, session: &Session) -> End {
    let mut countdown = session.countdown();
    let mut ended = std::pin::pin!(session.ended());
    loop {
        tokio::select! {
            biased;
            end = &mut ended => return end,
            left = countdown.next() => {
                let grant = session.pass().grant();
                relay.notify(&format!(
                    "this session ends in {left}; `postern extend {grant}` asks for more time"
                ));
            }
            stop = relay.run(session) => match stop {
                Stop::End(end) => return end,
                Stop::LeaseOver => return ended.await,
            },
        }
    }
}

/// What passes on to the target, with the person's name where its tools show it.
fn settings(caller: &Caller, session: &Session) -> BTreeMap<String, String> {
    let mut settings = caller.startup.settings.clone();
    let mut name = format!("postern:{} {}", session.key().principal, caller.startup.application);
    let cut = name.floor_char_boundary(APPLICATION);
    name.truncate(cut);
    settings.insert("application_name".to_owned(), name.trim_end().to_owned());
    settings
}

/// Everything up to ReadyForQuery, in one record.
fn hello(greeting: &Greeting, issued: Option<&Issued>, greeted: bool) -> BytesMut {
    let mut out = BytesMut::new();
    if !greeted {
        put_authenticated(&mut out);
    }
    out.put_slice(&greeting.passing);
    if let Some(issued) = issued {
        let pid = issued.route().pid.cast_signed();
        let secret = SecretKey::Bytes(issued.secret().clone());
        put(&mut out, &BackendKeyData::new(pid, secret));
    }
    put_raw(&mut out, b'Z', &[greeting.status]);
    out
}
