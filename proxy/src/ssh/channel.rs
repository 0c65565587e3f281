//! One channel, from the client's wish to its close.
//!
//! A session is [`Opened`] until its one program starts, and [`Running`] from then on; a forward is running
//! from its start. The transition makes the [`content`] of the channel, through which all bytes pass: what is
//! recorded of them, and the limits of file transfer. In any other state bytes have no way.

pub(super) mod content;
mod open;
mod opened;
mod running;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use audit::ssh::Ssh as Happening;
use bytes::Bytes;
use russh::client::Msg as ToUpstream;
use russh::server::Handle;
use russh::{ChannelWriteHalf, Sig};
use tokio::time::timeout;

use self::opened::Opened;
use self::running::Running;
use super::channel_requests::{Refused, Size};
use super::hub::{Broken, Hub, Reader};
use super::inbox::Inbox;
use super::lead::NOT_RUN;
use super::refuse::plain;

pub(super) use self::content::SFTP;
pub(super) use self::open::{answer, serve};

/// How long a target may take to take what a client left behind, and to close a channel.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the client reads on its standard error.
pub(super) const STDERR: u32 = 1;

/// The two ends of a channel and its place in the recording, which are the same in every state.
struct Link<'a> {
    hub: &'a Hub,
    handle: &'a Handle,
    ch: u32,
    inbox: &'a Inbox,
    out: Arc<Reader>,
    target: ChannelWriteHalf<ToUpstream>,
    bytes: (AtomicU64, AtomicU64),
    /// Whether its end stands in the recording.
    ended: AtomicBool,
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
    fn new(
        hub: &'a Hub,
        handle: &'a Handle,
        (ch, inbox, out): (u32, &'a Inbox, Arc<Reader>),
        target: ChannelWriteHalf<ToUpstream>,
    ) -> Self {
        let (bytes, ended) = (Default::default(), AtomicBool::new(false));
        Self { hub, handle, ch, inbox, out, target, bytes, ended }
    }

    /// Closes both sides. Nobody has seen yet that the target agrees.
    async fn close(&self) -> Result<bool, Broken> {
        self.end()?;
        let _ = self.target.close().await;
        let _ = self.out.close().await;
        Ok(false)
    }

    /// Records the end, once, and why the client brought it about.
    fn end(&self) -> Result<(), Broken> {
        if self.ended.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let refused = self.inbox.refused();
        self.hub.record_all(refused.as_ref().map(|refused| self.refusal(refused)))?;
        let (bytes_in, bytes_out) =
            (self.bytes.0.load(Ordering::Relaxed), self.bytes.1.load(Ordering::Relaxed));
        self.hub.record(Happening::Closed { ch: self.ch, bytes_in, bytes_out })
    }

    /// Records why the channel ends, and tells its client, who isn't waited for for long.
    async fn refuse(&self, refused: &Refused) -> Result<(), Broken> {
        self.hub.record(self.refusal(refused))?;
        let told = async {
            self.tell(&refused.reason).await?;
            self.out.exit_status(NOT_RUN).await.map_err(|_| Broken::Client)
        };
        let _ = timeout(PATIENCE, told).await;
        Ok(())
    }

    fn refusal<'r>(&self, refused: &'r Refused) -> Happening<'r> {
        let reason = refused.reason.as_str().into();
        Happening::Refused { ch: Some(self.ch), what: refused.what.into(), reason }
    }

    async fn tell(&self, reason: &str) -> Result<(), Broken> {
        let line = Bytes::from(format!("{reason}\r\n"));
        self.out.extended_data_bytes(STDERR, line).await.map_err(|_| Broken::Client)
    }

    /// Passes on the size of the client's terminal, recorded.
    async fn resize(&self, size: Size) -> Result<(), Broken> {
        let Size { columns, rows, width, height } = size;
        self.hub.record(Happening::Resize { ch: self.ch, columns, rows })?;
        let changed = self.target.window_change(columns, rows, width, height);
        changed.await.map_err(|_| Broken::Lost)
    }

    /// Counts what the target wrote.
    fn wrote(&self, data: &Bytes) {
        let count = data.len() as u64;
        self.bytes.1.fetch_add(count, Ordering::Relaxed);
        self.hub.passed(0, count);
    }
}

fn name_of(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => plain(name),
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
