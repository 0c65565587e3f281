//! A session, once its client is let in: target, recording, channels, end.
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

use crate::core::admission::Admitted;
use crate::core::listener::ConnectionOutcome;
use crate::core::recorder::Recorder;
use crate::core::session::Tally;
use crate::core::spool;
use crate::ssh::auth::Destination;
use crate::ssh::channel::channel_open::ClientRequest;
use crate::ssh::channel::link::STDERR;
use crate::ssh::channel::serve;
use crate::ssh::connection::{Connection, MOST_CHANNELS, MOST_OPENED, Shared};
use crate::ssh::handler::Client;
use crate::ssh::refuse::{Refusal, end_message};
use crate::ssh::session_state::{Broken, Reader, SessionParts, SessionState, connect, turn};
use crate::ssh::upstream::Ties;
use crate::ssh::upstream::remote_forward::{MOST_REMOTE_CHANNELS, RemoteChannel};
use crate::ssh::upstream::remote_listen::remote_forward;

/// How long a client may take to read why it is turned away.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that is served at once: channels, and as many again that a target opens for its client.
const MOST_SERVED: usize = 2 * MOST_CHANNELS;

impl Connection {
    /// Serves a client that was let in to its end.
    pub(super) async fn serve_session(
        &self,
        client: Client,
        mut admitted: Admitted,
        destination: Destination,
    ) -> ConnectionOutcome {
        self.slot.authenticated();
        let session = &mut admitted.session;
        session.is_served();
        let span = session.span();
        self.run(client, admitted, destination).instrument(span).await
    }

    async fn run(
        &self,
        mut client: Client,
        admitted: Admitted,
        destination: Destination,
    ) -> ConnectionOutcome {
        let session = &admitted.session;
        let (remote, opened) = mpsc::channel(MOST_REMOTE_CHANNELS);
        let ties = Ties { remote, mute: Arc::default() };
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err((Refusal::cut(&end), end)),
            _ = &mut client.running => {
                admitted.session.close(&End::Closed, &Tally::default());
                return "left";
            }
            prepared = Box::pin(self.prepare(&destination, &admitted, ties)) => prepared,
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err((refusal, end)) => {
                self.denied(Some(session.identity()), Some(&destination.resource), &refusal);
                admitted.session.close(&end, &Tally::default());
                disconnect(client, &refusal.message).await;
                return "refused";
            }
        };
        tracing::info!("session opened");
        // It is set once, here, before any channel is confirmed.
        let _ = client.shared.rights.set(admitted.begun.rights.clone());
        let plane = Arc::clone(&self.plane);
        let version = client.shared.version.get().cloned().unwrap_or_default();
        let state = SessionState::new(plane, admitted, destination, version, prepared);
        Served { state: Arc::new(state), client, opened, channels: JoinSet::new() }.run().await;
        "session"
    }

    /// Target and recording.
    async fn prepare(
        &self,
        destination: &Destination,
        admitted: &Admitted,
        ties: Ties,
    ) -> Result<SessionParts, (Refusal, End)> {
        let Admitted { session, begun } = admitted;
        let first = async {
            let turn = turn(&self.plane, destination).await?;
            connect(&self.plane, destination, &begun.credential, &ties, turn).await
        };
        let first = first.await.map_err(|refusal| (refusal, End::UpstreamLost))?;
        let recorder = Recorder::begin(&self.plane.spool, session);
        let recorder = recorder.map_err(|end| (Refusal::cut(&end), end))?;
        Ok(SessionParts { recorder, first, ties })
    }
}

/// A session that is served.
struct Served {
    state: Arc<SessionState>,
    client: Client,
    /// What the target opens.
    opened: mpsc::Receiver<Box<RemoteChannel>>,
    channels: JoinSet<Result<(), Broken>>,
}

impl Served {
    /// Until the client leaves or the guard cuts it; and then to the very end.
    async fn run(mut self) {
        let end = self.serve().await;
        let Self { state, mut client, mut channels, .. } = self;
        // From here on nothing passes: no channel runs again on this thread, and nothing goes to the target.
        // What they hold is dropped after all others of the same end have come this far, since that wakes
        // targets.
        channels.abort_all();
        if end != End::Closed {
            state.mute();
        }
        state.session.cut_done();
        tokio::task::yield_now().await;
        channels.shutdown().await;
        // A client that is refused may leave at once: what it wanted stands in the recording all the same. One
        // that still waits for an answer learns that there is none.
        client.requests.close();
        while let Ok(request) = client.requests.try_recv() {
            if let ClientRequest::Refused { what, reason } = *request
                && let Err(error) = record_refused(&state, what, reason)
            {
                tracing::error!(%error, "the recording lacks what was refused");
            }
        }
        // One end may cut a thousand sessions: nothing passes in any of them before the first client gets its reason.
        tokio::task::yield_now().await;
        let readers = state.readers();
        let text = format!("{} Session {}.", end_message(&end), state.session.id());
        let finish = async {
            // INVARIANT: all channels are gone, and no other task has a part in it.
            if let Some(state) = Arc::into_inner(state) {
                state.finish(&end).await;
            }
        };
        let leave = async {
            if end != End::Closed {
                let _ = timeout(READ_TIMEOUT, print(&readers, &text)).await;
                disconnect(client, &text).await;
            }
        };
        Box::pin(async { tokio::join!(finish, leave) }).await;
    }

    async fn serve(&mut self) -> End {
        let Self { state, client, opened, channels } = self;
        let Client { handle, running, requests, shared } = client;
        let mut channels = Channels { state, handle, shared, all: channels, opened: 0 };
        tokio::select! {
            biased;
            end = state.session.ended() => end,
            _ = running => End::Closed,
            never = count_down(state) => match never {},
            end = channels.take_all(requests, opened) => end,
        }
    }
}

/// The channels of a session, and with what they are served.
struct Channels<'a> {
    state: &'a Arc<SessionState>,
    handle: &'a Handle,
    shared: &'a Arc<Shared>,
    all: &'a mut JoinSet<Result<(), Broken>>,
    /// How many channels the target has opened.
    opened: usize,
}

impl Channels<'_> {
    /// Takes on channel after channel, until one of them says that the session is over.
    async fn take_all(
        &mut self,
        requests: &mut mpsc::Receiver<Box<ClientRequest>>,
        opened: &mut mpsc::Receiver<Box<RemoteChannel>>,
    ) -> End {
        loop {
            let done = tokio::select! {
                Some(request) = requests.recv() => self.take(*request),
                Some(opened) = opened.recv() => {
                    self.answer(*opened);
                    Ok(())
                }
                Some(done) = self.all.join_next(), if !self.all.is_empty() => match done {
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
                Err(broken) => return end_of(self.state, broken).await,
            }
        }
    }

    /// Does one thing that the client wants.
    fn take(&mut self, request: ClientRequest) -> Result<(), Broken> {
        let state = Arc::clone(self.state);
        match request {
            ClientRequest::Channel(requested) => {
                let serving = serve::serve(state, self.handle.clone(), requested);
                self.all.spawn(serving.in_current_span());
            }
            ClientRequest::Listen(requested) => {
                self.all.spawn(remote_forward(state, requested).in_current_span());
            }
            ClientRequest::Refused { what, reason } => record_refused(&state, what, reason)?,
            // Only connections that lead on have any, and this one leads to a target.
            ClientRequest::Jump { .. } => {}
        }
        Ok(())
    }

    /// Serves a channel that the target opens. What is dropped is refused.
    fn answer(&mut self, opened: RemoteChannel) {
        if self.all.len() < MOST_SERVED && self.opened < MOST_OPENED {
            self.opened += 1;
            let (state, shared) = (Arc::clone(self.state), Arc::clone(self.shared));
            let answering = serve::answer(state, self.handle.clone(), shared, opened);
            self.all.spawn(answering.in_current_span());
        }
    }
}

/// Prints on the channels that a client reads how much time is left. Slow readers aren't waited for.
async fn count_down(state: &SessionState) -> Infallible {
    let mut countdown = state.session.countdown();
    loop {
        let left = countdown.next().await;
        let grant = state.session.pass().grant();
        let text =
            format!("This session ends in {left}; `postern extend {grant}` asks for more time.");
        let _ = timeout(READ_TIMEOUT, print(&state.readers(), &text)).await;
    }
}

/// What the end of one channel means for the session.
async fn end_of(state: &SessionState, broken: Broken) -> End {
    match broken {
        Broken::Recorder(error) => {
            tracing::error!(%error, "the recording failed");
            spool::end_of(&error)
        }
        Broken::LeaseOver => state.session.ended().await,
        Broken::Lost => End::UpstreamLost,
        Broken::Target(why) => End::Protocol(format!("the target breaks the protocol: {why}")),
        Broken::Files(why) => End::Protocol(why),
        Broken::Client => End::Closed,
    }
}

fn record_refused(state: &SessionState, what: &'static str, reason: String) -> Result<(), Broken> {
    let (what, reason) = (what.into(), reason.into());
    state.record(audit::ssh::Ssh::Refused { ch: None, what, reason })
}

/// Prints a line on these channels, all at once. A channel that isn't read holds up no other.
async fn print(readers: &[Arc<Reader>], text: &str) {
    let line = Bytes::from(format!("\r\npostern: {text}\r\n"));
    let printed = readers.iter().map(|reader| reader.extended_data_bytes(STDERR, line.clone()));
    join_all(printed).await;
}

/// Disconnects with a reason. A client that doesn't listen isn't waited for.
async fn disconnect(client: Client, text: &str) {
    let Client { handle, running, requests, shared: _ } = client;
    let sent = async {
        let text = format!("postern: {text}");
        let _ = handle.disconnect(Disconnect::ByApplication, text, String::new()).await;
        let _ = running.await;
    };
    let _ = timeout(READ_TIMEOUT, sent).await;
    drop(requests);
}
