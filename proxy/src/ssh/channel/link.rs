//! The two ends of a channel, which are the same in every state of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use audit::ssh::Ssh as Happening;
use bytes::Bytes;
use russh::client::Msg as ToUpstream;
use russh::server::Handle;
use russh::{ChannelWriteHalf, Sig};
use tokio::time::timeout;

use crate::core::sanitize::sanitize;
use crate::ssh::channel::channel_open::NOT_RUN;
use crate::ssh::channel::queue::ChannelQueue;
use crate::ssh::channel::request::{Refused, Size};
use crate::ssh::session_state::{Broken, Reader, SessionState};

/// How long a target may take to take what a client left behind, and to close a channel.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// What the client reads on its standard error.
pub(in crate::ssh) const STDERR: u32 = 1;

/// The two ends of a channel and its place in the recording.
pub(super) struct Link<'a> {
    pub(super) state: &'a SessionState,
    pub(super) handle: &'a Handle,
    pub(super) client: ClientEnd<'a>,
    pub(super) target: ChannelWriteHalf<ToUpstream>,
    pub(super) bytes: ByteCounts,
    /// Whether its end stands in the recording.
    ended: AtomicBool,
}

/// The client's end of a channel.
pub(super) struct ClientEnd<'a> {
    /// The number of the channel in the recording.
    pub(super) ch: u32,
    pub(super) queue: &'a ChannelQueue,
    pub(super) out: Arc<Reader>,
}

/// How many bytes passed.
#[derive(Debug, Default)]
pub(super) struct ByteCounts {
    pub(super) from_client: AtomicU64,
    pub(super) to_client: AtomicU64,
}

/// One that is cut has its end in the recording, too.
impl Drop for Link<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the recording lacks the end of a channel");
        }
    }
}

impl<'a> Link<'a> {
    pub(super) fn new(
        state: &'a SessionState,
        handle: &'a Handle,
        client: ClientEnd<'a>,
        target: ChannelWriteHalf<ToUpstream>,
    ) -> Self {
        let (bytes, ended) = (ByteCounts::default(), AtomicBool::new(false));
        Self { state, handle, client, target, bytes, ended }
    }

    /// Closes both sides. Whether the target agrees is not known yet.
    pub(super) async fn close(&self) -> Result<bool, Broken> {
        self.end()?;
        self.close_target().await;
        let _ = self.client.out.close().await;
        Ok(false)
    }

    /// Closes the target's side. One that takes nothing any more isn't waited for.
    pub(super) async fn close_target(&self) {
        let _ = timeout(TIMEOUT, self.target.close()).await;
    }

    /// Records the end, once, and why the client brought it about.
    fn end(&self) -> Result<(), Broken> {
        if self.ended.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let refused = self.client.queue.refused();
        self.state.record_all(refused.as_ref().map(|refused| self.refusal(refused)))?;
        let bytes_in = self.bytes.from_client.load(Ordering::Relaxed);
        let bytes_out = self.bytes.to_client.load(Ordering::Relaxed);
        self.state.record(Happening::Closed { ch: self.client.ch, bytes_in, bytes_out })
    }

    /// Records why the channel ends, and prints it for the client, which isn't waited for for long.
    pub(super) async fn refuse(&self, refused: &Refused) -> Result<(), Broken> {
        self.state.record(self.refusal(refused))?;
        let printed = async {
            self.print(&refused.reason).await?;
            self.client.out.exit_status(NOT_RUN).await.map_err(|_| Broken::Client)
        };
        let _ = timeout(TIMEOUT, printed).await;
        Ok(())
    }

    fn refusal<'r>(&self, refused: &'r Refused) -> Happening<'r> {
        let reason = refused.reason.as_str().into();
        Happening::Refused { ch: Some(self.client.ch), what: refused.what.into(), reason }
    }

    pub(super) async fn print(&self, reason: &str) -> Result<(), Broken> {
        let line = Bytes::from(format!("{reason}\r\n"));
        self.client.out.extended_data_bytes(STDERR, line).await.map_err(|_| Broken::Client)
    }

    /// Passes on the size of the client's terminal, recorded.
    pub(super) async fn resize(&self, size: Size) -> Result<(), Broken> {
        let Size { columns, rows, width, height } = size;
        self.state.record(Happening::Resize { ch: self.client.ch, columns, rows })?;
        let changed = self.target.window_change(columns, rows, width, height);
        changed.await.map_err(|_| Broken::Lost)
    }

    /// Counts what the target wrote.
    pub(super) fn wrote(&self, data: &Bytes) {
        let count = data.len() as u64;
        self.bytes.to_client.fetch_add(count, Ordering::Relaxed);
        self.state.passed(0, count);
    }
}

pub(super) fn name_of(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => sanitize(name),
        Sig::ABRT
        | Sig::ALRM
        | Sig::FPE
        | Sig::HUP
        | Sig::ILL
        | Sig::INT
        | Sig::KILL
        | Sig::PIPE
        | Sig::QUIT
        | Sig::SEGV
        | Sig::TERM
        | Sig::USR1 => format!("{signal:?}"),
    }
}
