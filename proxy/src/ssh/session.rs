//! A session, once its caller is let in: credential, target, recording, channels, end.
//!
//! The guard is asked first at every step, so that a grant that ends while the target is being dialled
//! cuts as surely as one that ends during a transfer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use policies::{End, Kind};
use russh::Disconnect;
use russh::server::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::enter::{Caller, LetIn};
use super::hub::{Broken, Hub, connect};
use super::lead::Opened;
use super::refuse::{Refusal, told};
use super::upstream::Upstream;
use super::{Client, Outcome, Visit, channel};
use crate::credential::Rights;
use crate::recorder::Recorder;
use crate::session::{Opening, Session, Tally};

/// How long a client may take to read why it is turned away.
const FAREWELL: Duration = Duration::from_secs(2);

impl Visit {
    /// Serves a caller who was let in to its end.
    pub(super) async fn stay(&self, client: Client, let_in: LetIn) -> Outcome {
        self.slot.authenticated();
        let LetIn { pass, caller, identity } = let_in;
        let opening = Opening {
            kind: Kind::Ssh,
            pass,
            identity: identity.clone(),
            client: self.peer,
            application: "ssh".to_owned(),
        };
        let session = match self.plane.sessions.open(opening) {
            Ok(session) => session,
            Err(error) => {
                let refusal = Refusal::open(&error);
                self.denied(Some(&identity), Some(&caller.resource), &refusal);
                see_off(client, &refusal.message).await;
                return "refused";
            }
        };
        let span = tracing::info_span!(
            "session",
            id = %session.id(),
            principal = %session.key().principal,
            resource = %session.key().resource,
            client = %self.peer,
        );
        self.run(client, caller, session).instrument(span).await
    }

    async fn run(&self, mut client: Client, caller: Caller, session: Session) -> Outcome {
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err((Refusal::cut(&end), end)),
            _ = &mut client.running => {
                session.close(&End::Closed, &Tally::default());
                return "left";
            }
            prepared = self.prepare(&caller, &session) => prepared,
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err((refusal, end)) => {
                self.denied(Some(session.identity()), Some(&caller.resource), &refusal);
                session.close(&end, &Tally::default());
                see_off(client, &refusal.message).await;
                return "refused";
            }
        };
        tracing::info!("session opened");
        let Prepared { recorder, first, rights } = prepared;
        // It is set once, here, before any channel is confirmed.
        let _ = client.rights.set(rights.clone());
        let hub = Hub::new(Arc::clone(&self.plane), (session, rights), caller, (recorder, first));
        let hub = Arc::new(hub);
        serve(hub, client).await;
        "session"
    }

    /// Credential, target and recording.
    async fn prepare(
        &self,
        caller: &Caller,
        session: &Session,
    ) -> Result<Prepared, (Refusal, End)> {
        let first = connect(&self.plane, session, caller).await;
        let (first, rights) = first.map_err(|refusal| (refusal, End::UpstreamLost))?;
        let recorder = Recorder::create(&self.plane.spool, session).map_err(|error| {
            tracing::error!(%error, "the recording can't begin");
            let end = End::RecorderFailed;
            (Refusal::cut(&end), end)
        })?;
        Ok(Prepared { recorder, first, rights })
    }
}

/// What a session needs.
struct Prepared {
    recorder: Recorder,
    first: Upstream,
    rights: Rights,
}

/// Until the client leaves or the guard cuts it; and then to the very end.
async fn serve(hub: Arc<Hub>, mut client: Client) {
    let mut channels = JoinSet::new();
    let end = tokio::select! {
        biased;
        end = hub.session.ended() => end,
        _ = &mut client.running => End::Closed,
        never = count_down(&hub, &client.handle) => match never {},
        end = take_on(&hub, &client.handle, &mut client.opens, &mut channels) => end,
    };
    // From here on nothing passes: what a channel was about to do is dropped.
    channels.shutdown().await;
    hub.session.cut_done();
    // Who is refused may leave at once: what they wanted stands in the recording all the same.
    while let Ok(opened) = client.opens.try_recv() {
        if let Opened::Refused { what, reason } = opened
            && let Err(error) = record_refused(&hub, what, reason)
        {
            tracing::error!(%error, "the recording lacks what was refused");
        }
    }
    // One end may cut a thousand sessions: nothing passes in any of them before each is seen off.
    tokio::task::yield_now().await;
    let readers = hub.readers();
    let text = format!("{} Session {}.", told(&end), hub.session.id());
    let finish = async {
        // INVARIANT: all channels are gone, and nobody else has a part in it.
        if let Some(hub) = Arc::into_inner(hub) {
            hub.finish(&end).await;
        }
    };
    let leave = async {
        if end != End::Closed {
            let _ = timeout(FAREWELL, tell(&client.handle, &readers, &text)).await;
            see_off(client, &text).await;
        }
    };
    tokio::join!(finish, leave);
}

/// Tells those who read a channel how long there still is. Who doesn't read isn't waited for.
async fn count_down(hub: &Hub, handle: &Handle) -> Infallible {
    let mut countdown = hub.session.countdown();
    loop {
        let left = countdown.next().await;
        let grant = hub.session.pass().grant();
        let text =
            format!("This session ends in {left}; `postern extend {grant}` asks for more time.");
        let _ = timeout(FAREWELL, tell(handle, &hub.readers(), &text)).await;
    }
}

/// Takes on channel after channel, until one of them says that the session is over.
async fn take_on(
    hub: &Arc<Hub>,
    handle: &Handle,
    opens: &mut tokio::sync::mpsc::Receiver<Opened>,
    channels: &mut JoinSet<Result<(), Broken>>,
) -> End {
    loop {
        tokio::select! {
            Some(opened) = opens.recv() => match opened {
                Opened::Channel(wanted) => {
                    let serving = channel::serve(Arc::clone(hub), handle.clone(), wanted);
                    channels.spawn(serving.in_current_span());
                }
                Opened::Refused { what, reason } => {
                    if record_refused(hub, what, reason).is_err() {
                        return End::RecorderFailed;
                    }
                }
                // Only connections that lead on have any, and this one leads to a target.
                Opened::Onward { .. } => {}
            },
            Some(done) = channels.join_next(), if !channels.is_empty() => match done {
                Ok(Ok(()) | Err(Broken::Client)) => {}
                Ok(Err(Broken::Recorder(error))) => {
                    tracing::error!(%error, "the recording failed");
                    return End::RecorderFailed;
                }
                Ok(Err(Broken::LeaseOver)) => return hub.session.ended().await,
                Ok(Err(Broken::Lost)) => return End::UpstreamLost,
                Ok(Err(Broken::Files(why))) => return End::Protocol(why),
                Err(error) => {
                    tracing::error!(%error, "a channel broke off");
                    return End::Protocol("internal error".to_owned());
                }
            },
            else => return End::Closed,
        }
    }
}

fn record_refused(hub: &Hub, what: &'static str, reason: String) -> Result<(), Broken> {
    let (what, reason) = (what.into(), reason.into());
    hub.record(audit::ssh::Ssh::Refused { ch: None, what, reason })
}

/// Tells those who read a channel why it ends.
async fn tell(handle: &Handle, readers: &[russh::ChannelId], text: &str) {
    for id in readers {
        let line = format!("\r\npostern: {text}\r\n");
        let _ = handle.extended_data(*id, 1, line.into_bytes()).await;
    }
}

/// Disconnects with a reason. Who doesn't listen is left.
pub(super) async fn see_off(client: Client, text: &str) {
    let Client { handle, running, opens, rights: _ } = client;
    let said = async {
        let text = format!("postern: {text}");
        let _ = handle.disconnect(Disconnect::ByApplication, text, String::new()).await;
        let _ = running.await;
    };
    let _ = timeout(FAREWELL, said).await;
    drop(opens);
}
