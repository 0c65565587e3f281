//! What a channel carries, and what is recorded of it before it goes on.
//!
//! A pure state machine, made once: when the program of a session starts, or when a forward opens. It is what
//! bytes pass through, so that a channel without a program has nothing that could pass any.

use audit::Text;
use audit::ssh::{Echo, Ssh as Happening, Stream, StreamKeeper};
use bytes::Bytes;

use crate::ssh::channel::request::{Program, Refused};
use crate::ssh::sftp::{Fault, Flow, Limit, Sftp};

/// The subsystem whose operations are followed.
pub(in crate::ssh) const SFTP: &str = "sftp";

/// What a session allows and keeps, decided when it began.
#[derive(Debug)]
pub(in crate::ssh) struct ContentRules {
    /// What file operations are limited to; none where that can't be read.
    pub(in crate::ssh) files: Option<Limit>,
    /// How many bytes of each stream are kept whole.
    pub(in crate::ssh) streams: u64,
    /// Whether all input of programs is kept.
    pub(in crate::ssh) input: bool,
    /// Whether the paths of a symbolic link come the other way round than the target takes them.
    pub(in crate::ssh) swaps_links: bool,
}

/// What a channel carries.
#[derive(Debug)]
pub(in crate::ssh) enum Content {
    /// A terminal: all that the target shows, and what is typed where the rules want it.
    Terminal { ch: u32, typed: Option<Echo> },
    /// The streams of a program without a terminal, or of a forward.
    Streams(Box<Streams>),
    /// File transfer, followed operation by operation.
    Files(Box<Files>),
}

#[derive(Debug)]
pub(in crate::ssh) struct Streams {
    input: StreamKeeper,
    output: StreamKeeper,
    stderr: StreamKeeper,
}

#[derive(Debug)]
pub(in crate::ssh) struct Files {
    sftp: Sftp,
    stderr: StreamKeeper,
}

/// What follows from some bytes: first record, then send.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Effects<'b> {
    pub(in crate::ssh) events: Vec<Happening<'b>>,
    pub(in crate::ssh) to_target: Bytes,
    pub(in crate::ssh) to_client: Bytes,
}

impl Content {
    /// What this program carries. A terminal changes bytes on their way to the program, so that the target
    /// would read other file operations than are followed here: file transfer has none.
    pub(in crate::ssh) fn of_program(
        program: &Program,
        terminal: bool,
        ch: u32,
        rules: &ContentRules,
    ) -> Result<Self, Refused> {
        let is_sftp = matches!(program, Program::Subsystem(name) if name == SFTP);
        match (is_sftp, terminal) {
            (true, true) => {
                let why = "postern: file transfer needs a channel without a terminal";
                Err(Refused::new(SFTP, why))
            }
            (true, false) => Files::new(ch, rules).map(|files| Self::Files(Box::new(files))),
            (false, true) => Ok(Self::Terminal { ch, typed: rules.input.then(Echo::default) }),
            (false, false) => {
                let input = if rules.input { u64::MAX } else { rules.streams };
                Ok(Self::Streams(Box::new(Streams::new(ch, input, rules.streams))))
            }
        }
    }

    /// What a forward carries, from whichever side it was opened.
    pub(in crate::ssh) fn of_forward(ch: u32, rules: &ContentRules) -> Self {
        Self::Streams(Box::new(Streams::new(ch, rules.streams, rules.streams)))
    }

    /// Takes what the client sent.
    pub(in crate::ssh) fn client<'b>(
        &mut self,
        bytes: &'b Bytes,
        step: &mut Effects<'b>,
    ) -> Result<(), Fault> {
        match self {
            Self::Terminal { ch, typed } => {
                let decided = typed.as_mut().map(|typed| typed.typed(bytes)).unwrap_or_default();
                let ch = *ch;
                step.events.extend(decided.into_iter().map(|data| Happening::Input { ch, data }));
                step.to_target = bytes.clone();
                Ok(())
            }
            Self::Streams(streams) => {
                streams.input.pass(bytes, &mut step.events);
                step.to_target = bytes.clone();
                Ok(())
            }
            Self::Files(files) => files.follow(step, |sftp, flow| sftp.client(bytes, flow)),
        }
    }

    /// Takes what the target wrote.
    pub(in crate::ssh) fn target<'b>(
        &mut self,
        bytes: &'b Bytes,
        step: &mut Effects<'b>,
    ) -> Result<(), Fault> {
        match self {
            Self::Terminal { ch, typed } => {
                shown(*ch, typed, bytes, step);
                step.events.push(Happening::Output { ch: *ch, data: Text::from(&bytes[..]) });
                step.to_client = bytes.clone();
                Ok(())
            }
            Self::Streams(streams) => {
                streams.output.pass(bytes, &mut step.events);
                step.to_client = bytes.clone();
                Ok(())
            }
            Self::Files(files) => files.follow(step, |sftp, flow| sftp.target(bytes, flow)),
        }
    }

    /// Takes what the target wrote on standard error.
    pub(in crate::ssh) fn stderr<'b>(&mut self, bytes: &'b Bytes, step: &mut Effects<'b>) {
        match self {
            Self::Terminal { ch, typed } => {
                shown(*ch, typed, bytes, step);
                step.events.push(Happening::Stderr { ch: *ch, data: Text::from(&bytes[..]) });
            }
            Self::Streams(streams) => streams.stderr.pass(bytes, &mut step.events),
            Self::Files(files) => files.stderr.pass(bytes, &mut step.events),
        }
        step.to_client = bytes.clone();
    }

    /// Whether what the client sends has to wait until the target has answered.
    pub(in crate::ssh) fn is_waiting(&self) -> bool {
        match self {
            Self::Files(files) => files.sftp.is_waiting(),
            Self::Terminal { .. } | Self::Streams(_) => false,
        }
    }

    /// Whether both directions may answer the client.
    pub(in crate::ssh) fn answers_both_ways(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// The channel is at its end: what is still to be recorded, once.
    pub(in crate::ssh) fn finish(&mut self) -> Vec<Happening<'static>> {
        match self {
            Self::Terminal { ch, typed } => {
                let (ch, left) = (*ch, typed.as_mut().and_then(Echo::finish));
                left.into_iter().map(|data| Happening::Input { ch, data }).collect()
            }
            Self::Streams(streams) => {
                let Streams { input, output, stderr } = &mut **streams;
                [input, output, stderr].into_iter().filter_map(StreamKeeper::finish).collect()
            }
            Self::Files(files) => {
                let mut flow = Flow::default();
                files.sftp.close(&mut flow);
                flow.events.extend(files.stderr.finish());
                flow.events
            }
        }
    }
}

/// What a terminal showed decides what of the input may be kept.
fn shown(ch: u32, typed: &mut Option<Echo>, bytes: &[u8], step: &mut Effects<'_>) {
    let decided = typed.as_mut().map(|typed| typed.wrote(bytes)).unwrap_or_default();
    step.events.extend(decided.into_iter().map(|data| Happening::Input { ch, data }));
}

impl Streams {
    fn new(ch: u32, input: u64, others: u64) -> Self {
        Self {
            input: StreamKeeper::new(ch, Stream::Input, input),
            output: StreamKeeper::new(ch, Stream::Output, others),
            stderr: StreamKeeper::new(ch, Stream::Stderr, others),
        }
    }
}

impl Files {
    fn new(ch: u32, rules: &ContentRules) -> Result<Self, Refused> {
        let limit = rules.files.clone();
        let limit = limit.ok_or_else(|| {
            Refused::new(SFTP, "postern: the limits of file transfer can not be read")
        })?;
        let stderr = StreamKeeper::new(ch, Stream::Stderr, rules.streams);
        let sftp = Sftp::new(ch, limit).swapping_links(rules.swaps_links);
        Ok(Self { sftp, stderr })
    }

    fn follow(
        &mut self,
        step: &mut Effects<'_>,
        follow: impl FnOnce(&mut Sftp, &mut Flow) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut flow = Flow::default();
        let followed = follow(&mut self.sftp, &mut flow);
        step.events.extend(std::mem::take(&mut flow.events));
        followed?;
        step.to_target = flow.to_target.freeze();
        step.to_client = flow.to_client.freeze();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rules(input: bool) -> ContentRules {
        ContentRules { files: Limit::new(false, &[]), streams: 4, input, swaps_links: false }
    }

    fn subsystem(name: &str) -> Program {
        Program::Subsystem(name.to_owned())
    }

    #[rstest]
    #[case::shell(Program::Shell, true, "terminal")]
    #[case::piped_shell(Program::Shell, false, "streams")]
    #[case::command(Program::Exec(b"rsync --server".to_vec()), false, "streams")]
    #[case::watched_command(Program::Exec(b"top".to_vec()), true, "terminal")]
    #[case::other_subsystem(subsystem("netconf"), false, "streams")]
    #[case::sftp(subsystem("sftp"), false, "files")]
    #[case::sftp_in_a_terminal(subsystem("sftp"), true, "refused")]
    fn every_program_is_recorded_by_what_it_is(
        #[case] program: Program,
        #[case] terminal: bool,
        #[case] expected: &str,
    ) {
        let content = Content::of_program(&program, terminal, 1, &rules(false));
        let kind = match content {
            Ok(Content::Terminal { .. }) => "terminal",
            Ok(Content::Streams(_)) => "streams",
            Ok(Content::Files(_)) => "files",
            Err(refused) => {
                assert_eq!(refused.what, SFTP);
                "refused"
            }
        };
        assert_eq!(kind, expected);
    }

    #[test]
    fn a_rule_that_wants_all_input_keeps_standard_input_beyond_the_bound() {
        let (bytes, output) = (Bytes::from_static(b"beyond"), Bytes::from_static(b"output"));
        for (input, cut) in [(false, 1), (true, 0)] {
            let content = Content::of_program(&Program::Shell, false, 1, &rules(input));
            let (mut content, mut step) = (content.unwrap(), Effects::default());
            content.client(&bytes, &mut step).unwrap();
            content.target(&output, &mut step).unwrap();
            let is_cut = |event: &&Happening<'_>, of: Stream| matches!(event, Happening::StreamCut { stream, .. } if *stream == of);
            let count = |of| step.events.iter().filter(|event| is_cut(event, of)).count();
            assert_eq!((count(Stream::Input), count(Stream::Output)), (cut, 1));
            assert_eq!((&step.to_target, &step.to_client), (&bytes, &output));
        }
    }
}
