//! A channel whose bytes pass: the program of a session runs, or a forward is open.
//!
//! Two futures carry the two directions, so that neither waits for the other: what the client sent is taken
//! from its queue, and what the target answers from the library's queue, which fills up and stops the target
//! where the client doesn't read. All of it passes through its [`Content`], and is recorded before it goes on.
//!
//! The library answers a client's close by itself, and passes nothing on afterwards. Clients that share a connection
//! close a channel as soon as both directions have ended: so the end of a program's output waits for its status
//! ([`HeldEof`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use audit::ssh::Ssh as Happening;
use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, Sig};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::channel_open::NOT_RUN;
use super::content::{Content, Effects};
use super::held_eof::HeldEof;
use super::link::{ClientEnd, Link, STDERR, TIMEOUT, name_of};
use super::queue::Item;
use super::request::{Control, Refused};
use crate::ssh::session_state::Broken;
use crate::ssh::sftp::Fault;

/// A channel whose bytes pass.
pub(super) struct Running<'a> {
    link: Link<'a>,
    content: Mutex<Content>,
    /// Held while what goes to the client is decided and sent, where both directions may answer it.
    turn: Option<tokio::sync::Mutex<()>>,
    /// The target may have resolved a path.
    resolved: Notify,
    /// Whether it is a program, which has a status.
    is_program: bool,
    /// Whether the target has written its last.
    written: AtomicBool,
}

/// One that is cut has its end in the recording, too, with what was transferred until then.
impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the recording lacks the end of what a channel carried");
        }
    }
}

impl<'a> Running<'a> {
    pub(super) fn of_program(link: Link<'a>, content: Content) -> Self {
        Self::new(link, content, true)
    }

    pub(super) fn of_forward(link: Link<'a>, content: Content) -> Self {
        Self::new(link, content, false)
    }

    fn new(link: Link<'a>, content: Content, is_program: bool) -> Self {
        let turn = content.answers_both_ways().then(tokio::sync::Mutex::default);
        let (content, resolved) = (Mutex::new(content), Notify::new());
        Self { link, content, turn, resolved, is_program, written: AtomicBool::new(false) }
    }

    /// Both directions, from what the target said `first`, until one side closes. Says whether the target closed its
    /// side, too.
    pub(super) async fn carry(
        &self,
        first: Option<Box<ChannelMsg>>,
        mut from_target: ChannelReadHalf,
    ) -> Result<bool, Broken> {
        let queue = self.link.client.queue;
        let abandoned = async {
            queue.closed().await;
            sleep(TIMEOUT).await;
        };
        let closed = tokio::select! {
            closed = self.down(first, &mut from_target) => {
                closed?;
                true
            }
            taken = self.up() => match taken? {
                Some(refused) => {
                    self.link.refuse(&refused).await?;
                    self.finish()?;
                    return self.link.close().await;
                }
                None => false,
            },
            () = abandoned => false,
        };
        let clean = closed || self.leave(&mut from_target).await?;
        self.finish()?;
        self.link.close().await?;
        Ok(clean)
    }

    /// The client has closed the channel. The target gets the end of its input and a moment to close by itself: so the
    /// recording has what a program exits with, and the connection serves another channel. A terminal is hung up, and what
    /// still writes is closed at once. Says whether the target closed its side.
    async fn leave(&self, from_target: &mut ChannelReadHalf) -> Result<bool, Broken> {
        let Link { client: ClientEnd { queue, .. }, target, .. } = &self.link;
        let is_terminal = matches!(&*self.content(), Content::Terminal { .. });
        if is_terminal && !self.written.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let last = async {
            if !queue.has_ended() {
                target.eof().await.map_err(|_| Broken::Lost)?;
            }
            self.last_messages(from_target).await
        };
        timeout(TIMEOUT, last).await.unwrap_or(Ok(false))
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add messages")]
    /// What a target says that nobody reads any more: whether it closes its side.
    async fn last_messages(&self, from_target: &mut ChannelReadHalf) -> Result<bool, Broken> {
        while let Some(message) = from_target.wait().await {
            self.link.state.check()?;
            match message {
                ChannelMsg::Close => return Ok(true),
                ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. } => return Ok(false),
                message => self.answer(message).await?,
            }
        }
        Ok(false)
    }

    /// Records what is still missing about what was carried.
    fn finish(&self) -> Result<(), Broken> {
        let left = self.content().finish();
        self.link.state.record_all(left)
    }

    /// From the client to the target, until the client closes the channel, or does what ends it.
    async fn up(&self) -> Result<Option<Refused>, Broken> {
        let Link { state, client: ClientEnd { queue, .. }, target, bytes, .. } = &self.link;
        while let Some(item) = queue.content().await {
            // Until the target has resolved a path, the client's window stays as it is.
            while self.content().is_waiting() {
                self.resolved.notified().await;
            }
            state.check()?;
            match item {
                Item::Data(data) => {
                    let count = data.len() as u64;
                    bytes.from_client.fetch_add(count, Ordering::Relaxed);
                    state.passed(count, 0);
                    let data = self.forward(data).await?;
                    target.data_bytes(data).await.map_err(|_| Broken::Lost)?;
                }
                // Boxed, since a channel that is open asks for little.
                Item::Control(control) => Box::pin(self.control(control)).await?,
                Item::Eof => target.eof().await.map_err(|_| Broken::Lost)?,
                Item::Refused(refused) => return Ok(Some(refused)),
            }
        }
        Ok(None)
    }

    /// Passes on what goes to the program beside its bytes, recorded. The client had its answer already.
    async fn control(&self, control: Control) -> Result<(), Broken> {
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
        match control {
            Control::Resize(size) => self.link.resize(size).await,
            Control::Signal(signal) => {
                let name = name_of(&signal);
                state.record(Happening::Signal { ch: *ch, name: name.as_str().into() })?;
                target.signal(signal).await.map_err(|_| Broken::Lost)
            }
        }
    }

    /// What the client sent, as it may go to the target: decided and recorded.
    async fn forward(&self, data: Bytes) -> Result<Bytes, Broken> {
        let _turn = self.turn().await;
        let (to_target, to_client) = self.step(|content, step| content.client(&data, step))?;
        if !to_client.is_empty() {
            self.link.client.out.data_bytes(to_client).await.map_err(|_| Broken::Client)?;
        }
        Ok(to_target)
    }

    /// What the target wrote, as it may go to the client.
    async fn back(&self, data: Bytes) -> Result<(), Broken> {
        let turn = self.turn().await;
        let (to_target, to_client) = self.step(|content, step| content.target(&data, step))?;
        self.resolved.notify_one();
        self.link.client.out.data_bytes(to_client).await.map_err(|_| Broken::Client)?;
        drop(turn);
        if !to_target.is_empty() {
            self.link.target.data_bytes(to_target).await.map_err(|_| Broken::Lost)?;
        }
        Ok(())
    }

    /// Takes a step, records it, and returns what goes to the target and to the client.
    fn step<'b>(
        &self,
        step: impl FnOnce(&mut Content, &mut Effects<'b>) -> Result<(), Fault>,
    ) -> Result<(Bytes, Bytes), Broken> {
        let (mut content, mut next) = (self.content(), Effects::default());
        let taken = step(&mut content, &mut next);
        self.link.state.record_all(next.events)?;
        taken.map_err(|fault| Broken::Files(fault.to_string()))?;
        Ok((next.to_target, next.to_client))
    }

    async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the target to the client, until the target closes the channel.
    async fn down(
        &self,
        first: Option<Box<ChannelMsg>>,
        from_target: &mut ChannelReadHalf,
    ) -> Result<(), Broken> {
        let mut eof = HeldEof::default();
        let mut next = first;
        loop {
            let message = match next.take() {
                Some(message) => Some(*message),
                None => tokio::select! {
                    biased;
                    message = from_target.wait() => message,
                    () = eof.due(self.link.client.queue) => {
                        self.pass(eof.release()).await?;
                        continue;
                    }
                },
            };
            let message = message.ok_or(Broken::Lost)?;
            self.link.state.check()?;
            if self.deliver(message, &mut eof).await? {
                return Ok(());
            }
        }
    }

    /// Passes on one message, and what waited for it. Says whether the target closes the channel with it.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add messages")]
    async fn deliver(&self, message: ChannelMsg, eof: &mut HeldEof) -> Result<bool, Broken> {
        match message {
            ChannelMsg::Close => {
                self.pass(eof.release()).await?;
                return Ok(true);
            }
            ChannelMsg::Eof => {
                self.written.store(true, Ordering::Relaxed);
                self.pass(!self.is_program || eof.hold()).await?;
            }
            ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. } => {
                self.answer(message).await?;
                self.pass(eof.status()).await?;
            }
            _ => self.answer(message).await?,
        }
        Ok(false)
    }

    /// Tells the client, where it is `due`, that the target writes no more.
    async fn pass(&self, due: bool) -> Result<(), Broken> {
        if due {
            self.link.client.out.eof().await.map_err(|_| Broken::Client)?;
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add messages")]
    async fn answer(&self, message: ChannelMsg) -> Result<(), Broken> {
        let Link { state, client: ClientEnd { ch, out, .. }, .. } = &self.link;
        let sent = match message {
            ChannelMsg::Data { data } => {
                self.link.wrote(&data);
                return self.back(data).await;
            }
            ChannelMsg::ExtendedData { data, ext } => {
                self.link.wrote(&data);
                let (_, data) = self.step(|content, step| {
                    content.stderr(&data, step);
                    Ok(())
                })?;
                out.extended_data_bytes(ext, data).await
            }
            ChannelMsg::ExitStatus { exit_status: status } => {
                state.record(Happening::Exit { ch: *ch, status })?;
                out.exit_status(status).await
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
        let Link { state, handle, client: ClientEnd { ch, out, .. }, .. } = &self.link;
        state.record(Happening::ExitSignal {
            ch: *ch,
            name: name_of(&signal).as_str().into(),
            core,
            message: message.as_str().into(),
        })?;
        let sent = handle.exit_signal_request(out.id(), signal, core, message, language);
        sent.await.map_err(|()| Broken::Client)
    }

    /// The target doesn't run what it was asked to run, though the client's request succeeded.
    async fn not_run(&self) -> Result<(), Broken> {
        let Link { client: ClientEnd { out, .. }, target, .. } = &self.link;
        let text = Bytes::from_static(b"postern: the target refuses to run this\r\n");
        out.extended_data_bytes(STDERR, text).await.map_err(|_| Broken::Client)?;
        out.exit_status(NOT_RUN).await.map_err(|_| Broken::Client)?;
        target.close().await.map_err(|_| Broken::Lost)
    }
}
