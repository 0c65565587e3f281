//! The end of a target's side: nothing of a session stays behind.
//!
//! A target that runs a statement doesn't notice that its client has gone. So the statement is
//! cancelled, goodbye is said, and the connection is read out until the target closes it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::cancel::Route;
use super::stream::Stream;

/// A statement may catch a cancel, so it is repeated.
const AGAIN: Duration = Duration::from_millis(250);
/// After this the connection is dropped, whatever the target does.
const PATIENCE: Duration = Duration::from_secs(10);
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// Ends a target's side. Whether the target closed it in time.
pub(super) async fn release(
    mut upstream: Stream,
    clean: bool,
    busy: bool,
    route: Option<&Route>,
) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let goodbye = timeout(AGAIN, goodbye(&mut upstream, clean));
    match route.filter(|_| busy) {
        Some(route) => {
            let (_, cancelled) = tokio::join!(goodbye, route.cancel());
            log(cancelled, route);
        }
        None => drop(goodbye.await),
    }
    while Instant::now() < deadline {
        if timeout(AGAIN, drain(&mut upstream)).await.is_ok() {
            return true;
        }
        if let Some(route) = route {
            log(route.cancel().await, route);
        }
    }
    false
}

fn log(cancelled: Result<(), super::upstream::DialError>, route: &Route) {
    if let Err(error) = cancelled {
        tracing::warn!(target = %route.target.name, %error, "a query could not be cancelled");
    }
}

async fn goodbye(upstream: &mut Stream, clean: bool) -> std::io::Result<()> {
    if clean {
        upstream.write_all(&TERMINATE).await?;
    }
    upstream.shutdown().await
}

/// Reads to the end, whether orderly or not.
async fn drain(upstream: &mut Stream) {
    let mut sink = vec![0; 64 * 1024];
    while matches!(upstream.read(&mut sink).await, Ok(count) if count > 0) {}
}
