//! The end of a target's side: nothing of a session stays behind.
//!
//! A target that runs a statement doesn't notice that its client has gone. So the statement is
//! cancelled, the end of the connection is announced, and the connection is read out until the target closes it. A statement
//! that traps its cancels is ended from outside, by a session of the same login.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policies::{Resource, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::cancel::CancelRoute;
use super::stream::{SINK, Stream};
use super::upstream::{Call, Connectors, DialError, dial};
use super::wire::{WireError, put_raw, read_message};
use crate::core::credential::TargetCredential;

/// A statement may trap a cancel, so it is repeated.
const AGAIN: Duration = Duration::from_millis(250);
/// So many cancels before the session is ended from outside.
const CANCELS: u32 = 3;
/// After this the connection is dropped, whatever the target does.
const TIMEOUT: Duration = Duration::from_secs(10);
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// What it takes to sign in once more as the session did.
pub(super) struct Outside<'a> {
    pub(super) connectors: &'a Connectors,
    pub(super) target: &'a Arc<Target>,
    pub(super) resource: &'a Resource,
    pub(super) credential: &'a TargetCredential,
}

/// Ends a target's side. Whether the target closed it in time.
pub(super) async fn release(
    mut upstream: Stream,
    clean: bool,
    busy: bool,
    route: Option<&CancelRoute>,
    outside: &Outside<'_>,
) -> bool {
    let deadline = Instant::now() + TIMEOUT;
    let goodbye = timeout(AGAIN, goodbye(&mut upstream, clean));
    match route.filter(|_| busy) {
        Some(route) => {
            let (_, cancelled) = tokio::join!(goodbye, route.cancel());
            log(&cancelled, outside.target);
        }
        None => drop(goodbye.await),
    }
    for tries in 1.. {
        if timeout(AGAIN, drain(&mut upstream)).await.is_ok() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        let Some(route) = route else { continue };
        let done = if tries % CANCELS == 0 {
            timeout(TIMEOUT, outside.terminate(route.pid)).await.unwrap_or(Err(DialError::Late))
        } else {
            route.cancel().await
        };
        log(&done, outside.target);
    }
    false
}

fn log(done: &Result<(), DialError>, target: &Target) {
    if let Err(error) = done {
        tracing::warn!(target = %target.name, %error, "a session's statement could not be ended");
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
    let mut sink = vec![0; SINK];
    while matches!(upstream.read(&mut sink).await, Ok(count) if count > 0) {}
}

impl Outside<'_> {
    /// A login may end its own sessions.
    async fn terminate(&self, pid: u32) -> Result<(), DialError> {
        let database = self.resource.database.as_ref().map_or("", |name| name.as_str());
        let name = ("application_name".to_owned(), "postern: ends a session".to_owned());
        let call = Call {
            target: self.target,
            login: self.resource.login.as_str(),
            database,
            settings: BTreeMap::from([name]),
            replication: None,
            credential: self.credential,
        };
        let mut stream = dial(self.connectors, &call).await?.stream;
        let mut out = bytes::BytesMut::new();
        put_raw(&mut out, b'Q', format!("select pg_terminate_backend({pid})\0").as_bytes());
        out.extend_from_slice(&TERMINATE);
        stream.write_all(&out).await.map_err(WireError::from)?;
        stream.flush().await.map_err(WireError::from)?;
        while read_message(&mut stream, 16 * 1024).await?.first() != Some(&b'Z') {}
        Ok(())
    }
}
