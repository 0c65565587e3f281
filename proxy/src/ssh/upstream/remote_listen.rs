//! A target that listens for the client (`-R`).
//!
//! Each place has a connection to the target of its own: what is connected there can't hold up a channel,
//! and a target that is slow to answer holds up nothing but its answer.

use std::sync::Arc;
use std::time::Duration;

use audit::ssh::Ssh as Happening;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ssh::refuse::Refusal;
use crate::ssh::session_state::{Broken, SessionState};
use crate::ssh::upstream::Upstream;
use crate::ssh::upstream::remote_forward::{ListenRequest, RemoteForward};

/// How long a target may take to stop listening.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Has the target listen at a place until the session ends. What is connected there outlives the
/// client's request that it listen, and the connection to the target ends with the last of it.
pub(in crate::ssh) async fn remote_forward(
    state: Arc<SessionState>,
    request: ListenRequest,
) -> Result<(), Broken> {
    let ListenRequest { at, until, mut answer } = request;
    if let Some(reason) = state.why_not(at.kind()) {
        let _ = answer.send(Err(reason.clone()));
        return refused(&state, &at, reason);
    }
    state.check()?;
    state.record_all(at.event(true))?;
    let begun = tokio::select! {
        begun = start(&state, &at) => begun,
        // The client does not wait for it any more.
        () = answer.closed() => return state.record_all(at.event(false)),
    };
    match begun {
        Ok((upstream, port)) => {
            let place = at.clone().chosen(port);
            if place != at {
                state.record_all(place.event(true))?;
            }
            if answer.send(Ok(port)).is_err() {
                until.cancel();
            }
            serve(&state, upstream, place, until).await
        }
        Err(refusal) => {
            let _ = answer.send(Err(format!("postern: {}", refusal.message)));
            refused(&state, &at, refusal.message)
        }
    }
}

fn refused(state: &SessionState, at: &RemoteForward, reason: String) -> Result<(), Broken> {
    let what = at.kind().word().into();
    state.record(Happening::Refused { ch: None, what, reason: reason.into() })
}

/// A connection over which the target listens, and the port where it chose one.
async fn start(state: &SessionState, at: &RemoteForward) -> Result<(Upstream, u32), Refusal> {
    let upstream = state.dial().await?;
    upstream.remote.expect(at.clone());
    let port = match at {
        RemoteForward::Tcp { host, port } => {
            upstream.handle.tcpip_forward(host.as_str(), *port).await
        }
        RemoteForward::Socket { path } => {
            upstream.handle.streamlocal_forward(path.as_str()).await.map(|()| 0)
        }
        RemoteForward::Agent | RemoteForward::X11 => Err(russh::Error::RequestDenied),
    };
    let refuses = |_| Refusal::new("upstream", "the target refuses to listen there");
    Ok((upstream, port.map_err(refuses)?))
}

async fn serve(
    state: &SessionState,
    mut upstream: Upstream,
    place: RemoteForward,
    until: CancellationToken,
) -> Result<(), Broken> {
    tokio::select! {
        _ = &mut upstream.handle => return Err(Broken::Lost),
        () = until.cancelled() => {}
    }
    state.record_all(place.event(false))?;
    let handle = &upstream.handle;
    // A target that goes on listening nevertheless gains nothing: nothing it opens is passed on.
    let cancelled = async {
        match &place {
            RemoteForward::Tcp { host, port } => {
                handle.cancel_tcpip_forward(host.as_str(), *port).await
            }
            RemoteForward::Socket { path } => {
                handle.cancel_streamlocal_forward(path.as_str()).await
            }
            RemoteForward::Agent | RemoteForward::X11 => Ok(()),
        }
    };
    let _ = timeout(TIMEOUT, cancelled).await;
    upstream.remote.expect_no_more();
    upstream.remote.ended().await;
    upstream.leave().await;
    Ok(())
}
