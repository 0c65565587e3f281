//! A session, once its caller is let in: credential, target, recording, relay, end.
//!
//! The guard is asked first at every step, so that a grant that ends while the target is being dialled
//! cuts as surely as one that ends during a COPY.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use pgwire::messages::startup::{BackendKeyData, SecretKey};
use policies::{Binds, End, Kind, Record};
use tracing::Instrument;

use super::admit::{LetIn, NotIn, put_authenticated};
use super::cancel::{Issued, Route};
use super::copies::Keep;
use super::refuse::{self, Refusal};
use super::relay::{Relay, Remains, Stop};
use super::release::{Outside, release};
use super::upstream::{Call, DialError, Greeting, Upstream, dial, refusal};
use super::wire::{Fatal, put, put_raw};
use super::{Caller, Outcome, Visit, identify};
use crate::credential::BeginError;
use crate::recorder::{self, Recorder};
use crate::session::{Opening, Session, Tally};

/// The longest `application_name` that Postgres keeps (NAMEDATALEN - 1).
const APPLICATION: usize = 63;

/// All that a relay needs.
struct Prepared {
    upstream: Upstream,
    recorder: Recorder,
    credential: crate::credential::Upstream,
}

/// Why a session ended before its relay began.
#[derive(Debug)]
enum Failed {
    /// The gateway refuses, in its words.
    Refused(Refusal, End),
    /// The client left while it waited.
    Left,
}

impl Visit {
    /// Lets the caller in and serves it to its end.
    pub(super) async fn stay(&self, mut caller: Box<Caller>) -> Outcome {
        let admitted = match Box::pin(self.admit(&mut caller)).await {
            Ok(admitted) => admitted,
            Err(NotIn::Refused(refusal)) => return Box::pin(self.refuse(caller, &refusal)).await,
            Err(NotIn::Left) => return "left",
        };
        caller.identity = Some(admitted.identity.clone());
        let LetIn { pass, identity, greeted } = admitted;
        let application = caller.startup.application.clone();
        let opening =
            Opening { kind: Kind::Postgres, pass, identity, client: self.peer, application };
        let session = match self.plane.sessions.open(opening) {
            Ok(session) => session,
            Err(error) => return Box::pin(self.refuse(caller, &Refusal::open(&error))).await,
        };
        let span = tracing::info_span!(
            "session",
            id = %session.id(),
            principal = %session.key().principal,
            resource = %session.key().resource,
            client = %self.peer,
        );
        self.run(caller, session, greeted).instrument(span).await
    }

    async fn run(&self, mut caller: Box<Caller>, session: Session, mut greeted: bool) -> Outcome {
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err(Failed::Refused(Refusal::cut(&end), end)),
            prepared = Box::pin(self.prepare(&mut caller, &session, &mut greeted)) => prepared,
        };
        let Prepared { upstream, recorder, credential } = match prepared {
            Ok(prepared) => prepared,
            Err(failed) => return Box::pin(self.fail(caller, session, failed)).await,
        };
        tracing::info!("session opened");
        let Upstream { stream, greeting } = upstream;
        let issued = greeting.key.clone().map(|(pid, secret)| {
            let connector = self.plane.postgres.connectors.anonymous(&caller.target);
            let route = Route { target: caller.target.clone(), connector, pid, secret };
            self.plane.postgres.keys.issue(route, caller.startup.minor)
        });
        let hello = hello(&caller, &greeting, issued.as_ref(), greeted);
        // What a rule wants recorded is kept, whatever the target leaves out.
        let binds = if session.records(Record::Binds) {
            Binds::Keep
        } else {
            caller.target.recording.binds
        };
        let keep = Keep { binds, whole: session.records(Record::Data) };
        let relay = Box::new(Relay::new((caller.stream, &hello), stream, recorder, keep));
        let outside = Outside {
            connectors: &self.plane.postgres.connectors,
            target: &caller.target,
            resource: &caller.resource,
            credential: &credential,
        };
        self.relay(relay, session, issued, &outside).await;
        "session"
    }

    /// Credential, target and recording.
    async fn prepare(
        &self,
        caller: &mut Caller,
        session: &Session,
        greeted: &mut bool,
    ) -> Result<Prepared, Failed> {
        let credential = self.credential(caller, session, greeted).await?;
        let database = caller.resource.database.as_ref().map_or("", |database| database.as_str());
        let call = Call {
            target: &caller.target,
            login: caller.resource.login.as_str(),
            database,
            settings: settings(caller, session),
            replication: caller.startup.replication.as_deref(),
            credential: &credential,
        };
        let timer = self.plane.metrics.upstream_connect.start_timer();
        let dialled = dial(&self.plane.postgres.connectors, &call).await;
        timer.observe_duration();
        let upstream = dialled.map_err(|error| self.not_dialled(&error, caller, &credential))?;
        let recorder = Recorder::create(&self.plane.spool, session).map_err(|error| {
            tracing::error!(%error, "the recording can't begin");
            let end = recorder::end_of(&error);
            Failed::Refused(Refusal::cut(&end), end)
        })?;
        Ok(Prepared { upstream, recorder, credential })
    }

    /// What opens the target. Where the rules want a touch for this very connection, it waits for
    /// one, as it would for a grant; the guard stands over the wait as over everything.
    async fn credential(
        &self,
        caller: &mut Caller,
        session: &Session,
        greeted: &mut bool,
    ) -> Result<crate::credential::Upstream, Failed> {
        let waits = identify::waits(&caller.target, &caller.startup);
        let begun = self.plane.credentials.begin(session).await;
        let begun = if waits && matches!(begun, Err(BeginError::StepUp { .. })) {
            *greeted = self.wait(caller, *greeted).await?.greeted;
            self.plane.credentials.begin(session).await
        } else {
            begun
        };
        begun
            .map(|begun| begun.upstream)
            .map_err(|error| Failed::Refused(Refusal::begin(&error, &caller.resource), error.end()))
    }

    fn not_dialled(
        &self,
        error: &DialError,
        caller: &Caller,
        credential: &crate::credential::Upstream,
    ) -> Failed {
        self.plane.metrics.upstream_failed(&caller.target.name);
        if let DialError::Refused(message) = error {
            let fatal = refusal(message, &caller.target, credential);
            let Fatal { sqlstate, message, .. } = &fatal;
            tracing::warn!(target = %caller.target.name, %sqlstate, message, "the target refused");
            return Failed::Refused(Refusal::new("refused-by-target", fatal), End::UpstreamLost);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(target = %caller.target.name, %error, cause, "no connection to the target");
        let fatal = error.fatal(&caller.target.name);
        Failed::Refused(Refusal::new("upstream", fatal), End::UpstreamLost)
    }

    async fn fail(&self, caller: Box<Caller>, session: Session, failed: Failed) -> Outcome {
        match failed {
            Failed::Refused(refusal, end) => {
                session.close(&end, &Tally::default());
                self.refuse(caller, &refusal).await
            }
            Failed::Left => {
                session.close(&End::Closed, &Tally::default());
                "left"
            }
        }
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
        // One end may cut a thousand sessions: nothing passes in any of them before each is seen off.
        tokio::task::yield_now().await;
        let route = issued.as_ref().map(|issued| issued.route().clone());
        // From here on, the client's key cancels nothing.
        drop(issued);
        let fatal = (end != End::Closed)
            .then(|| refuse::cut(&end).detail(format!("Session {}.", session.id())));
        let (leave, remains) = relay.part();
        let Remains { upstream, clean, busy, recorder, mut tally } = remains;
        let head = recorder.finish(&end, &tally);
        tally.head =
            head.inspect_err(|error| tracing::error!(%error, "the recording has no end")).ok();
        tracing::info!(end = end.code(), statements = tally.statements, "session ended");
        session.close(&end, &tally);
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
                relay.tell(&format!(
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

impl From<NotIn> for Failed {
    fn from(not_in: NotIn) -> Self {
        match not_in {
            NotIn::Left => Self::Left,
            NotIn::Refused(refusal) => {
                let end = End::Policy(refusal.fatal.message.clone());
                Self::Refused(refusal, end)
            }
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
fn hello(caller: &Caller, greeting: &Greeting, issued: Option<&Issued>, greeted: bool) -> BytesMut {
    let mut out = BytesMut::new();
    if !greeted {
        put_authenticated(&mut out, caller);
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
