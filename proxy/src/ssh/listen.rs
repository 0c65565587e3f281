//! A target that listens for the client (`-R`).
//!
//! Each place has a connection to the target of its own: what is connected there can't hold up a channel,
//! and a target that is slow to answer holds up nothing but its answer.

use std::sync::Arc;
use std::time::Duration;

use audit::ssh::Ssh as Happening;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::calls::{Listen, Wanted};
use super::hub::{Broken, Hub};
use super::refuse::Refusal;
use super::upstream::Upstream;

/// How long a target may take to stop listening.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the target listen at a place until the session ends. What is connected there outlives the
/// client's wish that it listen, and the connection to the target ends with the last of it.
pub(super) async fn listen(hub: Arc<Hub>, wish: Listen) -> Result<(), Broken> {
    let Listen { at, until, mut answer } = wish;
    if let Some(reason) = hub.why_not(at.kind()) {
        let _ = answer.send(Err(reason.clone()));
        return refused(&hub, &at, reason);
    }
    hub.check()?;
    hub.record_all(at.told(true))?;
    let begun = tokio::select! {
        begun = begin(&hub, &at) => begun,
        // Nobody waits for it any more.
        () = answer.closed() => return hub.record_all(at.told(false)),
    };
    match begun {
        Ok((upstream, port)) => {
            let place = at.clone().chosen(port);
            if place != at {
                hub.record_all(place.told(true))?;
            }
            if answer.send(Ok(port)).is_err() {
                until.cancel();
            }
            hold(&hub, upstream, place, until).await
        }
        Err(refusal) => {
            let _ = answer.send(Err(format!("postern: {}", refusal.message)));
            refused(&hub, &at, refusal.message)
        }
    }
}

fn refused(hub: &Hub, at: &Wanted, reason: String) -> Result<(), Broken> {
    let what = at.kind().word().into();
    hub.record(Happening::Refused { ch: None, what, reason: reason.into() })
}

/// A connection over which the target listens, and the port where it chose one.
async fn begin(hub: &Hub, at: &Wanted) -> Result<(Upstream, u32), Refusal> {
    let upstream = hub.dial().await?;
    upstream.calls.expect(at.clone());
    let port = match at {
        Wanted::Tcp { host, port } => upstream.handle.tcpip_forward(host.as_str(), *port).await,
        Wanted::Socket { path } => {
            upstream.handle.streamlocal_forward(path.as_str()).await.map(|()| 0)
        }
        Wanted::Agent | Wanted::X11 => Err(russh::Error::RequestDenied),
    };
    let refuses = |_| Refusal::new("upstream", "the target refuses to listen there");
    Ok((upstream, port.map_err(refuses)?))
}

async fn hold(
    hub: &Hub,
    mut upstream: Upstream,
    place: Wanted,
    until: CancellationToken,
) -> Result<(), Broken> {
    tokio::select! {
        _ = &mut upstream.handle => return Err(Broken::Lost),
        () = until.cancelled() => {}
    }
    hub.record_all(place.told(false))?;
    let handle = &upstream.handle;
    // A target that would rather go on listening is of no use to anybody: nothing it opens is passed on.
    let cancelled = async {
        match &place {
            Wanted::Tcp { host, port } => handle.cancel_tcpip_forward(host.as_str(), *port).await,
            Wanted::Socket { path } => handle.cancel_streamlocal_forward(path.as_str()).await,
            Wanted::Agent | Wanted::X11 => Ok(()),
        }
    };
    let _ = timeout(PATIENCE, cancelled).await;
    upstream.calls.expect_no_more();
    upstream.calls.ended().await;
    upstream.leave().await;
    Ok(())
}
