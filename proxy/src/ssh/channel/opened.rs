//! A session channel that runs no program yet.
//!
//! It passes on what prepares the program, and no bytes: it has nothing that they could pass through. The one
//! program that the target takes makes a [`Running`] channel of it. Whatever else the client sends ends it. Each
//! request is answered by what the target answers.
//!
//! Nothing here waits for the client: its requests wait for what happens here.

use audit::ssh::Ssh as Happening;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::time::timeout;

use super::answer::{ANSWER, Asked};
use super::content::{Content, ContentRules};
use super::link::{ClientEnd, Link};
use super::queue::Preparation;
use super::request::{Program, Setup, Size};
use super::running::Running;
use crate::ssh::session_state::Broken;
use crate::ssh::upstream::Upstream;
use crate::ssh::upstream::remote_forward::{RemoteForward, RemoteForwards};

/// A channel before its program.
pub(super) struct Opened<'a> {
    link: Link<'a>,
    /// What the target may open.
    remote: &'a RemoteForwards,
    /// Whether the paths of a symbolic link come the other way round than the target takes them.
    swaps_links: bool,
    /// Whether the target gave a terminal.
    terminal: bool,
    /// What the client reads once something runs.
    notes: Vec<String>,
}

/// How a target takes a program.
enum Started {
    Runs,
    /// It runs: the target writes before it says so.
    Says(Box<ChannelMsg>),
    Refused,
    Closed,
}

/// What comes of such a channel.
enum Next<'a> {
    /// Its program runs, and may have said something already.
    Runs(Running<'a>, Option<Box<ChannelMsg>>),
    /// It ends without a program.
    Ends(Link<'a>),
}

impl<'a> Opened<'a> {
    pub(super) fn new(link: Link<'a>, upstream: &'a Upstream) -> Self {
        let swaps_links = link.state.swaps_links(&upstream.version);
        let remote = &*upstream.remote;
        Self { link, remote, swaps_links, terminal: false, notes: Vec::new() }
    }

    /// Serves the channel to its end. Says whether the target closed its side, too.
    pub(super) async fn serve(self, mut from_target: ChannelReadHalf) -> Result<bool, Broken> {
        match Box::pin(self.next(&mut from_target)).await? {
            Next::Runs(running, first) => running.carry(first, from_target).await,
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
                Some(Preparation::Program(program)) => {
                    self = match Box::pin(self.run(program, from_target)).await? {
                        Ok(next) => return Ok(next),
                        Err(refused) => refused,
                    };
                }
                Some(Preparation::Refused(refused)) => {
                    self.link.refuse(&refused).await?;
                    return Ok(Next::Ends(self.link));
                }
                None => return Ok(Next::Ends(self.link)),
            }
        }
    }

    /// Passes on what prepares the program, recorded.
    async fn set_up(
        &mut self,
        setup: Asked<Setup>,
        from_target: &mut ChannelReadHalf,
    ) -> Result<(), Broken> {
        let (setup, answer) = setup.split();
        answer(match setup {
            Setup::Pty { term, size, modes } => {
                self.set_up_terminal(&term, size, &modes, from_target).await?
            }
            Setup::Env { name, value } => {
                let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
                let (n, v) = (name.as_str().into(), value.as_str().into());
                state.record(Happening::Env { ch: *ch, name: n, value: v })?;
                target.set_env(true, name, value).await.map_err(|_| Broken::Lost)?;
                let granted = is_granted(from_target).await?;
                self.noted("env", granted)?
            }
            Setup::Resize(size) => {
                self.link.resize(size).await?;
                true
            }
            Setup::Agent => {
                let asked = self.link.target.agent_forward(true);
                self.lend("agent", RemoteForward::Agent, asked, from_target).await?
            }
            Setup::X11 { single, protocol, cookie, screen } => {
                let asked = self.link.target.request_x11(true, single, protocol, cookie, screen);
                self.lend("x11", RemoteForward::X11, asked, from_target).await?
            }
            Setup::Print(reason) => {
                self.notes.push(reason);
                true
            }
        });
        Ok(())
    }

    /// Lets the target use what is the client's, unless it doesn't want to.
    async fn lend(
        &self,
        name: &'static str,
        what: RemoteForward,
        asked: impl Future<Output = Result<(), russh::Error>>,
        from_target: &mut ChannelReadHalf,
    ) -> Result<bool, Broken> {
        let is_new = self.remote.expect(what.clone());
        asked.await.map_err(|_| Broken::Lost)?;
        let granted = is_granted(from_target).await?;
        if !granted && is_new {
            self.remote.expect_not(&what);
        }
        self.noted(name, granted)
    }

    /// Records where the target doesn't take what was passed on to it.
    fn noted(&self, what: &'static str, granted: bool) -> Result<bool, Broken> {
        let Link { state, client: ClientEnd { ch, .. }, .. } = &self.link;
        if !granted {
            let reason = "the target does not take it".into();
            state.record(Happening::Refused { ch: Some(*ch), what: what.into(), reason })?;
        }
        Ok(granted)
    }

    /// Asks for a terminal: a program that has none after all is recorded by its streams, since nothing shows what it
    /// reads.
    async fn set_up_terminal(
        &mut self,
        term: &str,
        size: Size,
        modes: &[(russh::Pty, u32)],
        from_target: &mut ChannelReadHalf,
    ) -> Result<bool, Broken> {
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
        let Size { columns, rows, width, height } = size;
        let granted = !self.terminal && {
            let asked = target.request_pty(true, term, columns, rows, width, height, modes);
            asked.await.map_err(|_| Broken::Lost)?;
            is_granted(from_target).await?
        };
        if granted {
            state.record(Happening::Terminal { ch: *ch, term: term.into(), columns, rows })?;
            self.terminal = true;
            return Ok(true);
        }
        let reason = match self.terminal {
            true => "the channel has a terminal already",
            false => "the target gives no terminal",
        };
        let (what, reason) = ("pty".into(), reason.into());
        state.record(Happening::Refused { ch: Some(*ch), what, reason })?;
        Ok(false)
    }

    /// Starts the program: what it carries is known from here on, and bytes can pass. One that the target refuses leaves
    /// the channel as it was.
    async fn run(
        self,
        program: Asked<Program>,
        from_target: &mut ChannelReadHalf,
    ) -> Result<Result<Next<'a>, Self>, Broken> {
        let (program, answer) = program.split();
        let Link { state, client: ClientEnd { ch, queue, .. }, .. } = &self.link;
        let rules = ContentRules { swaps_links: self.swaps_links, ..state.content_rules() };
        let content = match Content::of_program(&program, self.terminal, *ch, &rules) {
            Ok(content) => content,
            Err(refused) => {
                answer(true);
                self.link.refuse(&refused).await?;
                return Ok(Ok(Next::Ends(self.link)));
            }
        };
        let what = program.word().into();
        let first = match self.start(program, from_target).await? {
            Started::Runs => None,
            Started::Says(first) => Some(first),
            Started::Closed => return Ok(Ok(Next::Ends(self.link))),
            Started::Refused => {
                let reason = "the target refuses to run it".into();
                state.record(Happening::Refused { ch: Some(*ch), what, reason })?;
                queue.not_started();
                answer(false);
                return Ok(Err(self));
            }
        };
        state.ran();
        answer(true);
        self.print_notes().await?;
        Ok(Ok(Next::Runs(Running::of_program(self.link, content), first)))
    }

    /// Asks for the program, recorded.
    async fn start(
        &self,
        program: Program,
        from_target: &mut ChannelReadHalf,
    ) -> Result<Started, Broken> {
        let Link { state, client: ClientEnd { ch, .. }, target, .. } = &self.link;
        let ch = *ch;
        state.record(match &program {
            Program::Shell => Happening::Shell { ch },
            Program::Exec(command) => Happening::Exec { ch, command: command.as_slice().into() },
            Program::Subsystem(name) => Happening::Subsystem { ch, name: name.as_str().into() },
        })?;
        let asked = match program {
            Program::Shell => target.request_shell(true).await,
            Program::Exec(command) => target.exec(true, command).await,
            Program::Subsystem(name) => target.request_subsystem(true, name).await,
        };
        asked.map_err(|_| Broken::Lost)?;
        timeout(ANSWER, started(from_target)).await.map_err(|_| Broken::Lost)?
    }

    async fn print_notes(&self) -> Result<(), Broken> {
        for note in &self.notes {
            self.link.print(note).await?;
        }
        Ok(())
    }
}

/// Whether the target grants what it was asked for last.
async fn is_granted(from_target: &mut ChannelReadHalf) -> Result<bool, Broken> {
    let answered = async {
        loop {
            match from_target.wait().await {
                None | Some(ChannelMsg::Close) => return Err(Broken::Lost),
                Some(ChannelMsg::Success) => return Ok(true),
                Some(ChannelMsg::Failure) => return Ok(false),
                Some(message) => no_data(&message)?,
            }
        }
    };
    timeout(ANSWER, answered).await.map_err(|_| Broken::Lost)?
}

/// How the target takes the program that it was asked for.
#[allow(clippy::wildcard_enum_match_arm, reason = "the library may add messages")]
async fn started(from_target: &mut ChannelReadHalf) -> Result<Started, Broken> {
    loop {
        match from_target.wait().await {
            None => return Err(Broken::Lost),
            Some(ChannelMsg::Close) => return Ok(Started::Closed),
            Some(ChannelMsg::Success) => return Ok(Started::Runs),
            Some(ChannelMsg::Failure) => return Ok(Started::Refused),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(says) => return Ok(Started::Says(Box::new(says))),
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
