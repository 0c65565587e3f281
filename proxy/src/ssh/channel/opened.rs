//! A session channel that runs no program yet.
//!
//! It passes on what prepares the program, and no bytes: it has nothing that they could pass through. Its one
//! program makes a [`Running`] channel of it. Whatever else the client sends ends it.

use std::time::Duration;

use audit::ssh::Ssh as Happening;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::time::timeout;

use super::content::Content;
use super::link::{ClientEnd, Link};
use super::queue::Preparation;
use super::request::{Program, Setup, Size};
use super::running::Running;
use crate::ssh::session_state::Broken;
use crate::ssh::upstream::remote_forward::{RemoteForward, RemoteForwards};

/// How long a target may take to say whether it gives a terminal.
const ANSWER: Duration = Duration::from_secs(20);

/// A channel before its program.
pub(super) struct Opened<'a> {
    link: Link<'a>,
    /// What the target may open.
    remote: &'a RemoteForwards,
    /// Whether the target gave a terminal.
    terminal: bool,
}

/// What comes of such a channel.
enum Next<'a> {
    Runs(Running<'a>),
    /// It ends without a program.
    Ends(Link<'a>),
}

impl<'a> Opened<'a> {
    pub(super) fn new(link: Link<'a>, remote: &'a RemoteForwards) -> Self {
        Self { link, remote, terminal: false }
    }

    /// Serves the channel to its end. Says whether the target closed its side, too.
    pub(super) async fn serve(self, mut from_target: ChannelReadHalf) -> Result<bool, Broken> {
        match Box::pin(self.next(&mut from_target)).await? {
            Next::Runs(running) => running.carry(from_target).await,
            Next::Ends(link) => link.close().await,
        }
    }

    async fn next(mut self, from_target: &mut ChannelReadHalf) -> Result<Next<'a>, Broken> {
        loop {
            let opening = tokio::select! {
                opening = self.link.client.queue.preparation() => opening,
                message = from_target.wait() => match message {
                    None => return Err(Broken::Lost),
                    Some(ChannelMsg::Close) => return Ok(Next::Ends(self.link)),
                    Some(message) => {
                        no_data(&message)?;
                        continue;
                    }
                },
            };
            self.link.state.check()?;
            match opening {
                Some(Preparation::Setup(setup)) => self.set_up(setup, from_target).await?,
                Some(Preparation::Program(program)) => return self.run(program).await,
                Some(Preparation::Refused(refused)) => {
                    self.link.refuse(&refused).await?;
                    return Ok(Next::Ends(self.link));
                }
                None => return Ok(Next::Ends(self.link)),
            }
        }
    }

    /// Passes on what prepares the program, recorded. The client had its answer already.
    async fn set_up(
        &mut self,
        setup: Setup,
        from_target: &mut ChannelReadHalf,
    ) -> Result<(), Broken> {
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
        let ch = *ch;
        let asked = match setup {
            Setup::Pty { term, size, modes } => {
                return self.set_up_terminal(&term, size, &modes, from_target).await;
            }
            Setup::Env { name, value } => {
                let (n, v) = (name.as_str().into(), value.as_str().into());
                state.record(Happening::Env { ch, name: n, value: v })?;
                target.set_env(false, name, value).await
            }
            Setup::Resize(size) => return self.link.resize(size).await,
            // Whether the target grants it shows in what it opens: a refusal would end the command.
            Setup::Agent => {
                self.remote.expect(RemoteForward::Agent);
                target.agent_forward(false).await
            }
            Setup::X11 { single, protocol, cookie, screen } => {
                self.remote.expect(RemoteForward::X11);
                target.request_x11(false, single, protocol, cookie, screen).await
            }
            Setup::Print(reason) => return self.link.print(&reason).await,
        };
        asked.map_err(|_| Broken::Lost)
    }

    /// Asks for a terminal, and waits for the answer: a program that has none after all is recorded by its
    /// streams, since nothing shows what it reads.
    async fn set_up_terminal(
        &mut self,
        term: &str,
        size: Size,
        modes: &[(russh::Pty, u32)],
        from_target: &mut ChannelReadHalf,
    ) -> Result<(), Broken> {
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
        let Size { columns, rows, width, height } = size;
        let granted = !self.terminal && {
            let asked = target.request_pty(true, term, columns, rows, width, height, modes);
            asked.await.map_err(|_| Broken::Lost)?;
            let answered = timeout(ANSWER, is_granted(from_target)).await;
            answered.map_err(|_| Broken::Lost)??
        };
        if granted {
            state.record(Happening::Terminal { ch: *ch, term: term.into(), columns, rows })?;
            self.terminal = true;
            return Ok(());
        }
        let reason = "postern: the target gives no terminal";
        state.record(Happening::Refused {
            ch: Some(*ch),
            what: "pty".into(),
            reason: reason.into(),
        })?;
        self.link.print(reason).await
    }

    /// Starts the program: what it carries is known from here on, and bytes can pass.
    async fn run(self, program: Program) -> Result<Next<'a>, Broken> {
        let Self { link, terminal, .. } = self;
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &link;
        let ch = *ch;
        let content = match Content::of_program(&program, terminal, ch, &state.content_rules()) {
            Ok(content) => content,
            Err(refused) => {
                link.refuse(&refused).await?;
                return Ok(Next::Ends(link));
            }
        };
        state.record(match &program {
            Program::Shell => Happening::Shell { ch },
            Program::Exec(command) => Happening::Exec { ch, command: command.as_slice().into() },
            Program::Subsystem(name) => Happening::Subsystem { ch, name: name.as_str().into() },
        })?;
        state.ran();
        let asked = match program {
            Program::Shell => target.request_shell(true).await,
            Program::Exec(command) => target.exec(true, command).await,
            Program::Subsystem(name) => target.request_subsystem(true, name).await,
        };
        asked.map_err(|_| Broken::Lost)?;
        Ok(Next::Runs(Running::new(link, content)))
    }
}

/// Whether the target grants what it was asked for last.
async fn is_granted(from_target: &mut ChannelReadHalf) -> Result<bool, Broken> {
    loop {
        match from_target.wait().await {
            None | Some(ChannelMsg::Close) => return Err(Broken::Lost),
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure) => return Ok(false),
            Some(message) => no_data(&message)?,
        }
    }
}

/// A target has nothing to say before a program runs.
fn no_data(message: &ChannelMsg) -> Result<(), Broken> {
    if matches!(message, ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. }) {
        return Err(Broken::Target("it sent data before any program ran"));
    }
    Ok(())
}
