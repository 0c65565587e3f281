//! One channel, from the client's wish to its close.
//!
//! Two futures carry the two directions, so that neither waits for the other: what the client sent is
//! taken from its inbox, and what the target answers from the library's queue, which fills up and stops
//! the target where the client doesn't read. Everything is recorded before it goes on.

mod open;
mod terminal;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit::ssh::{Echo, Ssh as Happening};
use bytes::Bytes;
use policies::Record;
use russh::client::Msg as ToUpstream;
use russh::server::Handle;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::calls::{Calls, Wanted};
use super::hub::{Broken, Hub, Reader};
use super::inbox::{Ask, Inbox, Item};
use super::lead::NOT_RUN;
use super::refuse::plain;
use super::sftp::{Fault, Flow, Sftp};

pub(super) use self::open::{answer, serve};

/// How long a target may take to take what a client left behind, and to close a channel.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the client reads on its standard error.
pub(super) const STDERR: u32 = 1;
/// The subsystem whose operations are followed.
pub(super) const SFTP: &str = "sftp";

/// One channel between a client and a target.
struct Line<'a> {
    hub: &'a Hub,
    handle: &'a Handle,
    ch: u32,
    out: Arc<Reader>,
    target: ChannelWriteHalf<ToUpstream>,
    /// What the target may open.
    calls: &'a Calls,
    /// Whether there is a terminal, whose output is kept.
    terminal: AtomicBool,
    /// What was typed into it and isn't decided yet, where the rules want it kept.
    typed: Mutex<Option<Echo>>,
    /// What follows the file operations, where the channel carries any.
    files: Mutex<Option<Box<Sftp>>>,
    /// Held while what goes to the client is decided and sent: both directions may answer it.
    turn: tokio::sync::Mutex<()>,
    /// The target may have said where a path leads.
    resolved: Notify,
    bytes: (AtomicU64, AtomicU64),
    /// Whether its end stands in the recording.
    ended: AtomicBool,
}

/// One that is cut has its end in the recording, too, with what was transferred until then.
impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the recording lacks the end of a channel");
        }
    }
}

/// Both directions of an open channel to its end. Says whether the target closed its side, too.
async fn carry(
    hub: &Hub,
    handle: &Handle,
    (ch, out): (u32, Arc<Reader>),
    (inbox, channel): (&Inbox, Channel<ToUpstream>),
    calls: &Calls,
) -> Result<bool, Broken> {
    let (from_target, target) = channel.split();
    let line = Line {
        hub,
        handle,
        ch,
        out,
        target,
        calls,
        terminal: AtomicBool::new(false),
        typed: Mutex::default(),
        files: Mutex::default(),
        turn: tokio::sync::Mutex::default(),
        resolved: Notify::new(),
        bytes: Default::default(),
        ended: AtomicBool::new(false),
    };
    line.run(inbox, from_target).await
}

impl Line<'_> {
    /// Both directions, until one side closes. Says whether the target closed its side, too.
    async fn run(&self, inbox: &Inbox, from_target: ChannelReadHalf) -> Result<bool, Broken> {
        let mut down = std::pin::pin!(self.down(from_target));
        let abandoned = async {
            inbox.closed().await;
            sleep(PATIENCE).await;
        };
        let closed = tokio::select! {
            closed = &mut down => {
                closed?;
                true
            }
            taken = self.up(inbox) => {
                taken?;
                false
            }
            () = abandoned => false,
        };
        let clean = closed || {
            // The client has closed the channel: the target is given a moment to do so, too.
            let _ = self.target.close().await;
            timeout(PATIENCE, &mut down).await.is_ok_and(|done| done.is_ok())
        };
        self.end()?;
        let _ = self.out.close().await;
        Ok(clean)
    }

    /// Records the end, once.
    fn end(&self) -> Result<(), Broken> {
        if self.ended.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (bytes_in, bytes_out) =
            (self.bytes.0.load(Ordering::Relaxed), self.bytes.1.load(Ordering::Relaxed));
        self.follow(|files, flow| {
            files.close(flow);
            Ok(())
        })?;
        self.input(|typed| typed.finish().into_iter().collect())?;
        self.hub.record(Happening::Closed { ch: self.ch, bytes_in, bytes_out })
    }

    /// From the client to the target.
    async fn up(&self, inbox: &Inbox) -> Result<(), Broken> {
        while let Some(item) = inbox.next().await {
            // Until the target has said where a path leads, the client's window stays as it is.
            while self.files().as_ref().is_some_and(|files| files.is_waiting()) {
                self.resolved.notified().await;
            }
            self.hub.check()?;
            match item {
                Item::Data(bytes) => {
                    let count = bytes.len() as u64;
                    self.bytes.0.fetch_add(count, Ordering::Relaxed);
                    self.hub.passed(count, 0);
                    self.input(|typed| typed.typed(&bytes))?;
                    let bytes = self.onward(bytes).await?;
                    self.target.data_bytes(bytes).await.map_err(|_| Broken::Lost)?;
                }
                // Boxed, since a channel that is open asks for little.
                Item::Ask(ask) => Box::pin(self.ask(ask)).await?,
                Item::Eof => self.target.eof().await.map_err(|_| Broken::Lost)?,
            }
        }
        Ok(())
    }

    /// Passes a wish on, recorded. The client had its answer already.
    async fn ask(&self, ask: Ask) -> Result<(), Broken> {
        let (ch, target) = (self.ch, &self.target);
        let asked = match ask {
            Ask::Pty { term, size, modes } => {
                let (columns, rows) = (size.columns, size.rows);
                let name = term.as_str().into();
                self.hub.record(Happening::Terminal { ch, term: name, columns, rows })?;
                self.terminal.store(true, Ordering::Relaxed);
                *self.typed() = self.hub.keeps(Record::Input).then(Echo::default);
                let (width, height) = (size.width, size.height);
                target.request_pty(false, &term, columns, rows, width, height, &modes).await
            }
            Ask::Env { name, value } => {
                let (n, v) = (name.as_str().into(), value.as_str().into());
                self.hub.record(Happening::Env { ch, name: n, value: v })?;
                target.set_env(false, name, value).await
            }
            Ask::Shell => {
                self.hub.record(Happening::Shell { ch })?;
                self.hub.ran();
                target.request_shell(true).await
            }
            Ask::Exec(command) => {
                self.hub.record(Happening::Exec { ch, command: command.as_slice().into() })?;
                self.hub.ran();
                target.exec(true, command).await
            }
            Ask::Subsystem(name) => {
                self.hub.record(Happening::Subsystem { ch, name: name.as_str().into() })?;
                self.hub.ran();
                if name == SFTP {
                    let limit = self.hub.file_limit()?;
                    *self.files() = Some(Box::new(Sftp::new(ch, limit)));
                }
                target.request_subsystem(true, name).await
            }
            Ask::Resize(size) => {
                let (columns, rows) = (size.columns, size.rows);
                self.hub.record(Happening::Resize { ch, columns, rows })?;
                target.window_change(columns, rows, size.width, size.height).await
            }
            // Whether the target grants it shows in what it opens: a refusal would end the command.
            Ask::Agent => {
                self.calls.expect(Wanted::Agent);
                target.agent_forward(false).await
            }
            Ask::X11 { single, protocol, cookie, screen } => {
                self.calls.expect(Wanted::X11);
                target.request_x11(false, single, protocol, cookie, screen).await
            }
            Ask::Tell(reason) => return self.tell(&reason).await,
            Ask::Signal(signal) => {
                self.hub
                    .record(Happening::Signal { ch, name: name_of(&signal).as_str().into() })?;
                target.signal(signal).await
            }
        };
        asked.map_err(|_| Broken::Lost)
    }

    /// What the client sent, as it may go to the target: of file operations, what was decided and
    /// recorded.
    async fn onward(&self, bytes: Bytes) -> Result<Bytes, Broken> {
        if self.files().is_none() {
            return Ok(bytes);
        }
        let _turn = self.turn.lock().await;
        let Some(flow) = self.follow(|files, flow| files.client(&bytes, flow))? else {
            return Ok(bytes);
        };
        if !flow.to_client.is_empty() {
            let answer = self.out.data_bytes(flow.to_client.freeze()).await;
            answer.map_err(|_| Broken::Client)?;
        }
        Ok(flow.to_target.freeze())
    }

    /// What the target wrote, as it may go to the client.
    async fn back(&self, bytes: Bytes) -> Result<(), Broken> {
        if self.files().is_none() {
            return self.out.data_bytes(bytes).await.map_err(|_| Broken::Client);
        }
        let turn = self.turn.lock().await;
        let flow = self.follow(|files, flow| files.target(&bytes, flow))?;
        self.resolved.notify_one();
        let (to_client, to_target) = match flow {
            Some(flow) => (flow.to_client.freeze(), flow.to_target.freeze()),
            None => (bytes, Bytes::new()),
        };
        self.out.data_bytes(to_client).await.map_err(|_| Broken::Client)?;
        drop(turn);
        self.target.data_bytes(to_target).await.map_err(|_| Broken::Lost)
    }

    /// Follows file operations and records them; none where the channel carries none.
    fn follow(
        &self,
        step: impl FnOnce(&mut Sftp, &mut Flow) -> Result<(), Fault>,
    ) -> Result<Option<Flow>, Broken> {
        let mut files = self.files();
        let Some(files) = files.as_deref_mut() else {
            return Ok(None);
        };
        let mut flow = Flow::default();
        let followed = step(files, &mut flow);
        self.hub.record_all(flow.events.drain(..))?;
        followed.map_err(|fault| Broken::Files(fault.to_string()))?;
        Ok(Some(flow))
    }

    fn files(&self) -> MutexGuard<'_, Option<Box<Sftp>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the target to the client, until the target closes the channel.
    async fn down(&self, mut from_target: ChannelReadHalf) -> Result<(), Broken> {
        while let Some(message) = from_target.wait().await {
            self.hub.check()?;
            if matches!(message, ChannelMsg::Close) {
                return Ok(());
            }
            self.answer(message).await?;
        }
        Err(Broken::Lost)
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add messages")]
    async fn answer(&self, message: ChannelMsg) -> Result<(), Broken> {
        let sent = match message {
            ChannelMsg::Data { data } => {
                self.output(&data, false)?;
                return self.back(data).await;
            }
            ChannelMsg::ExtendedData { data, ext } => {
                self.output(&data, true)?;
                self.out.extended_data_bytes(ext, data).await
            }
            ChannelMsg::Eof => self.out.eof().await,
            ChannelMsg::ExitStatus { exit_status: status } => {
                self.hub.record(Happening::Exit { ch: self.ch, status })?;
                self.out.exit_status(status).await
            }
            ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, lang_tag } => {
                let signalled = self.signalled(signal_name, core_dumped, error_message, lang_tag);
                return Box::pin(signalled).await;
            }
            ChannelMsg::Failure => return Box::pin(self.not_run()).await,
            _ => Ok(()),
        };
        sent.map_err(|_| Broken::Client)
    }

    async fn signalled(
        &self,
        signal: Sig,
        core: bool,
        message: String,
        language: String,
    ) -> Result<(), Broken> {
        self.hub.record(Happening::ExitSignal {
            ch: self.ch,
            name: name_of(&signal).as_str().into(),
            core,
            message: message.as_str().into(),
        })?;
        let sent = self.handle.exit_signal_request(self.out.id(), signal, core, message, language);
        sent.await.map_err(|()| Broken::Client)
    }

    async fn tell(&self, reason: &str) -> Result<(), Broken> {
        let told = self.out.extended_data_bytes(STDERR, format!("{reason}\r\n"));
        told.await.map_err(|_| Broken::Client)
    }

    /// The target doesn't run what it was asked to run, though the client was told yes.
    async fn not_run(&self) -> Result<(), Broken> {
        let text = Bytes::from_static(b"postern: the target refuses to run this\r\n");
        self.out.extended_data_bytes(STDERR, text).await.map_err(|_| Broken::Client)?;
        self.out.exit_status(NOT_RUN).await.map_err(|_| Broken::Client)?;
        self.target.close().await.map_err(|_| Broken::Lost)
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
