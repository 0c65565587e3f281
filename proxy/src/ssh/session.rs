//! A session, once its caller is let in: credential, target, recording, channels, end.
//!
//! The guard is asked first at every step, so that a grant that ends while the target is being dialled
//! cuts as surely as one that ends during a transfer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use policies::End;
use russh::Disconnect;
use russh::server::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::calls::{Called, MOST_CALLS};
use super::channel::STDERR;
use super::enter::{Caller, LetIn};
use super::hub::{Broken, Hub, Reader, connect};
use super::lead::Opened;
use super::refuse::{Refusal, told};
use super::upstream::{Ties, Upstream};
use super::{Client, MOST_CHANNELS, Outcome, Shared, Visit, channel, listen};
use crate::credential::Begun;
use crate::recorder::{self, Recorder};
use crate::session::{Session, Tally};

/// How long a client may take to read why it is turned away.
const FAREWELL: Duration = Duration::from_secs(2);
/// The most that is seen to at once: channels, and as many again that a target opens for its client.
const MOST_AT_WORK: usize = 2 * MOST_CHANNELS;

impl Visit {
    /// Serves a caller who was let in to its end.
    pub(super) async fn stay(&self, client: Client, let_in: LetIn) -> Outcome {
        self.slot.authenticated();
        let LetIn { mut session, begun, caller } = let_in;
        session.is_served();
        let span = tracing::info_span!(
            "session",
            id = %session.id(),
            principal = %session.key().principal,
            resource = %session.key().resource,
            client = %self.peer,
        );
        self.run(client, caller, (session, begun)).instrument(span).await
    }

    async fn run(
        &self,
        mut client: Client,
        caller: Caller,
        (session, begun): (Session, Begun),
    ) -> Outcome {
        let (calls, called) = mpsc::channel(MOST_CALLS);
        let ties = Ties { calls, mute: Arc::default() };
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err((Refusal::cut(&end), end)),
            _ = &mut client.running => {
                session.close(&End::Closed, &Tally::default());
                return "left";
            }
            prepared = Box::pin(self.prepare(&caller, (&session, &begun), &ties)) => prepared,
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
        let Prepared { recorder, first } = prepared;
        // It is set once, here, before any channel is confirmed.
        let _ = client.shared.rights.set(begun.rights.clone());
        let plane = Arc::clone(&self.plane);
        let hub = Hub::new(plane, (session, begun), caller, (recorder, first), ties);
        serve(Arc::new(hub), client, called).await;
        "session"
    }

    /// Target and recording.
    async fn prepare(
        &self,
        caller: &Caller,
        (session, begun): (&Session, &Begun),
        ties: &Ties,
    ) -> Result<Prepared, (Refusal, End)> {
        let first = connect(&self.plane, caller, &begun.upstream, ties).await;
        let first = first.map_err(|refusal| (refusal, End::UpstreamLost))?;
        let recorder = Recorder::create(&self.plane.spool, session).map_err(|error| {
            tracing::error!(%error, "the recording can't begin");
            let end = recorder::end_of(&error);
            (Refusal::cut(&end), end)
        })?;
        Ok(Prepared { recorder, first })
    }
}

/// What a session needs.
struct Prepared {
    recorder: Recorder,
    first: Upstream,
}

/// Until the client leaves or the guard cuts it; and then to the very end.
async fn serve(hub: Arc<Hub>, mut client: Client, mut called: mpsc::Receiver<Box<Called>>) {
    let mut channels = JoinSet::new();
    let Client { handle, running, opens, shared } = &mut client;
    let end = tokio::select! {
        biased;
        end = hub.session.ended() => end,
        _ = running => End::Closed,
        never = count_down(&hub) => match never {},
        end = take_on(&hub, (handle, shared), (opens, &mut called), &mut channels) => end,
    };
    // From here on nothing passes: no channel runs again on this thread, and nothing goes to the target. What
    // they hold is dropped after all others of the same end have come this far, since that wakes targets.
    channels.abort_all();
    if end != End::Closed {
        hub.mute();
    }
    hub.session.cut_done();
    tokio::task::yield_now().await;
    channels.shutdown().await;
    // Who is refused may leave at once: what they wanted stands in the recording all the same. Who still
    // waits for an answer learns that there is none.
    client.opens.close();
    while let Ok(opened) = client.opens.try_recv() {
        if let Opened::Refused { what, reason } = *opened
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
            let _ = timeout(FAREWELL, tell(&readers, &text)).await;
            see_off(client, &text).await;
        }
    };
    Box::pin(async { tokio::join!(finish, leave) }).await;
}

/// Tells those who read a channel how long there still is. Who doesn't read isn't waited for.
async fn count_down(hub: &Hub) -> Infallible {
    let mut countdown = hub.session.countdown();
    loop {
        let left = countdown.next().await;
        let grant = hub.session.pass().grant();
        let text =
            format!("This session ends in {left}; `postern extend {grant}` asks for more time.");
        let _ = timeout(FAREWELL, tell(&hub.readers(), &text)).await;
    }
}

/// Takes on channel after channel, until one of them says that the session is over.
async fn take_on(
    hub: &Arc<Hub>,
    (handle, shared): (&Handle, &Arc<Shared>),
    (opens, called): (&mut mpsc::Receiver<Box<Opened>>, &mut mpsc::Receiver<Box<Called>>),
    channels: &mut JoinSet<Result<(), Broken>>,
) -> End {
    loop {
        let done = tokio::select! {
            Some(opened) = opens.recv() => take(hub, (handle, shared), *opened, channels),
            // What is dropped is refused.
            Some(called) = called.recv() => {
                if channels.len() < MOST_AT_WORK {
                    let (hub, shared) = (Arc::clone(hub), Arc::clone(shared));
                    let answering = channel::answer(hub, handle.clone(), shared, *called);
                    channels.spawn(answering.in_current_span());
                }
                Ok(())
            }
            Some(done) = channels.join_next(), if !channels.is_empty() => match done {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "a channel broke off");
                    return End::Protocol("internal error".to_owned());
                }
            },
            else => return End::Closed,
        };
        match done {
            Ok(()) | Err(Broken::Client) => {}
            Err(broken) => return end_of(hub, broken).await,
        }
    }
}

/// Sees to one thing that the client wants.
fn take(
    hub: &Arc<Hub>,
    (handle, shared): (&Handle, &Arc<Shared>),
    opened: Opened,
    channels: &mut JoinSet<Result<(), Broken>>,
) -> Result<(), Broken> {
    match opened {
        Opened::Channel(wanted) => {
            let serving =
                channel::serve(Arc::clone(hub), handle.clone(), Arc::clone(shared), wanted);
            channels.spawn(serving.in_current_span());
        }
        Opened::Listen(wanted) => {
            let listening = listen::listen(Arc::clone(hub), wanted);
            channels.spawn(listening.in_current_span());
        }
        Opened::Refused { what, reason } => record_refused(hub, what, reason)?,
        // Only connections that lead on have any, and this one leads to a target.
        Opened::Onward { .. } => {}
    }
    Ok(())
}

/// What the end of one channel means for the session.
async fn end_of(hub: &Hub, broken: Broken) -> End {
    match broken {
        Broken::Recorder(error) => {
            tracing::error!(%error, "the recording failed");
            recorder::end_of(&error)
        }
        Broken::LeaseOver => hub.session.ended().await,
        Broken::Lost => End::UpstreamLost,
        Broken::Target(why) => End::Protocol(format!("the target breaks the protocol: {why}")),
        Broken::Files(why) => End::Protocol(why),
        Broken::Client => End::Closed,
    }
}

fn record_refused(hub: &Hub, what: &'static str, reason: String) -> Result<(), Broken> {
    let (what, reason) = (what.into(), reason.into());
    hub.record(audit::ssh::Ssh::Refused { ch: None, what, reason })
}

/// Tells those who read a channel, all at once. Nothing is put into the way of the other channels for one
/// that isn't read.
async fn tell(readers: &[Arc<Reader>], text: &str) {
    let line = Bytes::from(format!("\r\npostern: {text}\r\n"));
    let told = readers.iter().map(|reader| reader.extended_data_bytes(STDERR, line.clone()));
    join_all(told).await;
}

/// Disconnects with a reason. Who doesn't listen is left.
pub(super) async fn see_off(client: Client, text: &str) {
    let Client { handle, running, opens, shared: _ } = client;
    let said = async {
        let text = format!("postern: {text}");
        let _ = handle.disconnect(Disconnect::ByApplication, text, String::new()).await;
        let _ = running.await;
    };
    let _ = timeout(FAREWELL, said).await;
    drop(opens);
}
