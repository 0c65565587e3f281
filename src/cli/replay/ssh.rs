//! An SSH session as people read it: what was asked for, line by line, and between the lines what the
//! terminal showed and what programs without a terminal read and wrote, cleaned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use audit::ssh::cast::Decoder;
use audit::ssh::{Attributes, Channel, FileOp, OpenMode, Ssh, Stream, Transfer, Transferred};
use audit::{Text, Value};

use super::style::duration;
use crate::terminal::{Paint, Sanitizer, plain};

/// The words of SFTP's status numbers.
const STATUS: [&str; 9] = [
    "done",
    "end of file",
    "no such file",
    "permission denied",
    "failure",
    "bad message",
    "no connection",
    "connection lost",
    "not supported",
];

/// A stream of a channel. A terminal has one, its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    ch: u32,
    stream: Stream,
}

/// One pass over the events of a session.
#[derive(Debug)]
pub(super) struct SshRenderer {
    paint: Paint,
    /// Whether the terminal's own sequences may pass.
    sequences: bool,
    /// The channels that have a terminal.
    terminals: BTreeSet<u32>,
    screens: BTreeMap<Source, Screen>,
    /// What was shown last, and whether it stands in the middle of a line.
    showing: Option<Source>,
    in_line: bool,
}

#[derive(Debug)]
struct Screen {
    text: Decoder,
    sanitizer: Sanitizer,
}

impl SshRenderer {
    pub(super) fn new(paint: Paint, sequences: bool) -> Self {
        let (terminals, screens) = (BTreeSet::new(), BTreeMap::new());
        Self { paint, sequences, terminals, screens, showing: None, in_line: false }
    }

    /// What is shown of an event.
    pub(super) fn render(&mut self, t: u64, ssh: &Ssh<'_>) -> String {
        if let Ssh::Terminal { ch, .. } = ssh {
            self.terminals.insert(*ch);
        }
        if let Some((source, bytes)) = self.bytes_of(ssh) {
            return self.show(source, bytes);
        }
        let last = if let Ssh::Closed { ch, .. } = ssh { self.close(*ch) } else { String::new() };
        match self.describe(ssh) {
            Some(description) => last + &self.line(t, ssh.channel(), &description),
            None => last,
        }
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> String {
        let screens = std::mem::take(&mut self.screens);
        let left: String = screens.into_values().map(Screen::finish).collect();
        if std::mem::take(&mut self.in_line) { left + "\n" } else { left }
    }

    /// The bytes that an event holds, where they are shown. What was typed into a terminal stands in its
    /// output, as far as it was shown.
    fn bytes_of<'e>(&self, ssh: &'e Ssh<'_>) -> Option<(Source, &'e [u8])> {
        let is_terminal = |ch: u32| self.terminals.contains(&ch);
        if let Ssh::Output { ch, data } = ssh {
            return Some((Source { ch: *ch, stream: Stream::Output }, data.as_bytes()));
        }
        if let Ssh::Stderr { ch, data } = ssh {
            let stream = if is_terminal(*ch) { Stream::Output } else { Stream::Stderr };
            return Some((Source { ch: *ch, stream }, data.as_bytes()));
        }
        let Ssh::Input { ch, data } = ssh else { return None };
        let bytes = match data {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            Value::Null | Value::Hashed { .. } | Value::Cut { .. } | Value::Omitted(_) => {
                return None;
            }
        };
        (!is_terminal(*ch)).then_some((Source { ch: *ch, stream: Stream::Input }, bytes))
    }

    /// The channel has ended.
    fn close(&mut self, ch: u32) -> String {
        self.terminals.remove(&ch);
        let ended = self.screens.extract_if(.., |source, _| source.ch == ch);
        ended.map(|(_, screen)| screen.finish()).collect()
    }

    fn show(&mut self, source: Source, bytes: &[u8]) -> String {
        if !self.terminals.contains(&source.ch) && bytes.contains(&0) {
            let description = format!("{} {} bytes that are no text\n", label(source), bytes.len());
            self.showing = Some(source);
            return self.fresh() + &self.paint.dim(&description);
        }
        let sequences = self.sequences;
        let screen = self.screens.entry(source).or_insert_with(|| Screen {
            text: Decoder::default(),
            sanitizer: Sanitizer::new(sequences),
        });
        let shown = screen.sanitizer.push(&screen.text.push(bytes));
        if shown.is_empty() {
            return shown;
        }
        let other = match self.showing {
            Some(showing) => showing != source,
            None => source.stream != Stream::Output,
        };
        let before = if other {
            self.fresh() + &self.paint.dim(&format!("{}\n", label(source)))
        } else {
            String::new()
        };
        self.showing = Some(source);
        self.in_line = !shown.ends_with('\n');
        before + &shown
    }

    /// A line of its own about something, with its time and its channel.
    fn line(&mut self, t: u64, ch: Option<u32>, text: &str) -> String {
        let ch = ch.map(|ch| format!(" [{ch}]")).unwrap_or_default();
        let at = self.paint.dim(&format!("+{}{ch}", duration(t)));
        format!("{}{at} {text}\n", self.fresh())
    }

    fn fresh(&mut self) -> String {
        if std::mem::take(&mut self.in_line) { "\n".into() } else { String::new() }
    }

    fn describe(&self, ssh: &Ssh<'_>) -> Option<String> {
        Some(match ssh {
            Ssh::Opened { channel, .. } => opened(channel)?,
            Ssh::Refused { what, reason, .. } => {
                self.paint.bad(&format!("refused {}: {}", shown(what), plain(reason)))
            }
            Ssh::Env { name, value, .. } => format!("env {}={}", shown(name), shown(value)),
            Ssh::Terminal { term, columns, rows, .. } => {
                format!("terminal {} {columns}x{rows}", shown(term))
            }
            Ssh::Resize { columns, rows, .. } => format!("resized to {columns}x{rows}"),
            Ssh::Shell { .. } => "shell".into(),
            Ssh::Exec { command, .. } => format!("exec {}", self.paint.bold(&shown(command))),
            Ssh::Subsystem { name, .. } => format!("subsystem {}", shown(name)),
            Ssh::Signal { name, .. } => format!("signal {}", shown(name)),
            Ssh::Break { millis, .. } => format!("break of {millis}ms"),
            Ssh::Exit { status, .. } => format!("exit status {status}"),
            Ssh::ExitSignal { name, message, .. } => {
                format!("ended by signal {} {}", shown(name), shown(message))
            }
            Ssh::File { n, op, .. } => format!("#{n} {}", operation(op)),
            Ssh::FileDone { n, status: 0, path: Some(path), .. } => {
                format!("#{n} is {}", shown(path))
            }
            Ssh::FileDone { status: 0, path: None, .. } => return None,
            Ssh::FileDone { n, status, .. } => {
                self.paint.bad(&format!("#{n} failed: {}", status_told(*status)))
            }
            Ssh::FileClosed { n, transfer, .. } => format!("#{n} closed{}", passed(transfer)),
            Ssh::Listen { address, port } => format!("listen on {}", place(address, *port)),
            Ssh::Unlisten { address, port } => {
                format!("listen no longer on {}", place(address, *port))
            }
            Ssh::Closed { bytes_in, bytes_out, .. } => {
                format!("closed ({bytes_in} B in, {bytes_out} B out)")
            }
            Ssh::Input { data: Value::Omitted(bytes), .. } => {
                format!("{bytes} bytes of input are not kept: the terminal did not show them")
            }
            Ssh::StreamCut { stream, kept, .. } => {
                format!("{}: beyond its first {kept} bytes only a digest is kept", stream.word())
            }
            Ssh::StreamDigest { stream, bytes, sha256, last, .. } => {
                let so_far = if *last { "" } else { " so far" };
                format!("{}: {bytes} bytes{so_far}, sha256 {sha256}", stream.word())
            }
            Ssh::Input { .. } | Ssh::Output { .. } | Ssh::Stderr { .. } => return None,
        })
    }
}

impl Screen {
    fn finish(mut self) -> String {
        self.sanitizer.push(self.text.finish()) + &self.sanitizer.finish()
    }
}

/// The name of a source, such as `[0 stderr]`.
fn label(source: Source) -> String {
    let Source { ch, stream } = source;
    match stream {
        Stream::Output => format!("[{ch}]"),
        Stream::Input | Stream::Stderr => format!("[{ch} {}]", stream.word()),
    }
}

fn shown(text: &Text<'_>) -> String {
    match text {
        Text::Utf8(text) => plain(text),
        Text::Bytes(bytes) => bytes.escape_ascii().to_string(),
    }
}

fn place(address: &Text<'_>, port: Option<u32>) -> String {
    port.map_or_else(|| shown(address), |port| format!("{}:{port}", shown(address)))
}

fn opened(channel: &Channel<'_>) -> Option<String> {
    Some(match channel {
        Channel::Session => return None,
        Channel::DirectTcpip { host, port, from, from_port } => {
            let (to, from) = (place(host, Some(*port)), place(from, Some(*from_port)));
            format!("forward to {to}, from {from}")
        }
        Channel::ForwardedTcpip { host, port, from, from_port } => {
            let (at, from) = (place(host, Some(*port)), place(from, Some(*from_port)));
            format!("connection at {at}, from {from}")
        }
        Channel::DirectStreamlocal { path } => format!("forward to {}", shown(path)),
        Channel::ForwardedStreamlocal { path } => format!("connection at {}", shown(path)),
        Channel::Agent => "the target uses the key agent".into(),
        Channel::X11 { from, from_port } => {
            format!("the target uses the display, for {}", place(from, Some(*from_port)))
        }
    })
}

fn operation(op: &FileOp<'_>) -> String {
    match op {
        FileOp::Open { path, mode } => format!("open {}{}", shown(path), opened_for(*mode)),
        FileOp::Rename { from, to, replace } => {
            let replace = if *replace { ", over what is there" } else { "" };
            format!("rename {} to {}{replace}", shown(from), shown(to))
        }
        FileOp::Symlink { path, target } => format!("symlink {} to {}", shown(path), shown(target)),
        FileOp::Link { path, target } => format!("link {} to {}", shown(path), shown(target)),
        FileOp::SetStat { path, attributes, .. } => {
            format!("set {}:{}", shown(path), attributes_told(attributes))
        }
        FileOp::SetOpen { opened, attributes } => {
            format!("set #{opened}:{}", attributes_told(attributes))
        }
        FileOp::Copy { opened, into, .. } => format!("copy #{opened} into #{into}"),
        FileOp::Extended { name, path } => format!("{} {}", shown(name), shown(path)),
        FileOp::List { path } => format!("list {}", shown(path)),
        FileOp::Remove { path } => format!("remove {}", shown(path)),
        FileOp::Rmdir { path } => format!("rmdir {}", shown(path)),
        FileOp::Mkdir { path } => format!("mkdir {}", shown(path)),
        FileOp::Stat { path, .. } => format!("stat {}", shown(path)),
        FileOp::ReadLink { path } => format!("readlink {}", shown(path)),
        FileOp::RealPath { path } => format!("realpath {}", shown(path)),
    }
}

fn opened_for(mode: OpenMode) -> String {
    let words = [
        (mode.read, "read"),
        (mode.write, "write"),
        (mode.append, "append"),
        (mode.create, "create"),
        (mode.truncate, "empty"),
        (mode.exclusive, "new only"),
    ];
    let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    format!(" to {}", words.join(", "))
}

fn attributes_told(attributes: &Attributes) -> String {
    let mut text = String::new();
    let mut add = |name, value: Option<String>| {
        // Writing to a string can't fail.
        let _ = value.map(|value| write!(text, " {name} {value}"));
    };
    add("size", attributes.size.map(|size| size.to_string()));
    add("uid", attributes.uid.map(|uid| uid.to_string()));
    add("gid", attributes.gid.map(|gid| gid.to_string()));
    add("mode", attributes.mode.map(|mode| format!("{mode:o}")));
    add("mtime", attributes.mtime.map(|mtime| mtime.to_string()));
    text
}

fn status_told(status: u32) -> String {
    let word = usize::try_from(status).ok().and_then(|status| STATUS.get(status));
    word.map_or_else(|| format!("status {status}"), |word| (*word).to_owned())
}

fn passed(transfer: &Transfer) -> String {
    let mut text = String::new();
    let directions = [("read", &transfer.read), ("wrote", &transfer.written)];
    for (verb, transferred) in directions.iter().filter_map(|(verb, it)| Some((verb, it.as_ref()?)))
    {
        let Transferred { bytes, from, sha256 } = transferred;
        let from = if *from == 0 { String::new() } else { format!(" from byte {from} on") };
        let digest = sha256.map_or_else(
            || "no digest: not in sequence, or refused in part".to_owned(),
            |digest| format!("sha256 {digest}"),
        );
        text += &format!(", {verb} {bytes} B{from} ({digest})");
    }
    if transfer.refused > 0 {
        text += &format!(", {} refused", transfer.refused);
    }
    if transfer.cut {
        text += ", cut by the end of the channel";
    }
    text
}

#[cfg(test)]
mod tests {
    use audit::Digest;

    use super::*;

    fn rendered(events: &[Ssh<'_>]) -> String {
        let mut renderer = SshRenderer::new(Paint::off(), false);
        let output: String = events.iter().map(|event| renderer.render(1_500, event)).collect();
        output + &renderer.finish()
    }

    #[test]
    fn a_session_reads_as_what_was_asked_and_what_was_shown() {
        let mode = OpenMode { write: true, create: true, ..OpenMode::default() };
        let op = FileOp::Open { path: "/srv/a\n".into(), mode };
        let written = Transferred { bytes: 3, from: 0, sha256: Some(Digest([0xab; 32])) };
        let transfer = Transfer { written: Some(written), ..Transfer::default() };
        let text = rendered(&[
            Ssh::Opened { ch: 0, channel: Channel::Session },
            Ssh::Exec { ch: 0, command: "uptime; \u{1b}]0;x\u{7}".into() },
            Ssh::Output { ch: 0, data: Text::from(&b"\x1b]52;c;eA==\x07\x1b[31mup \xc3"[..]) },
            Ssh::Output { ch: 0, data: Text::from(&b"\xbc 3 days"[..]) },
            Ssh::Exit { ch: 0, status: 0 },
            Ssh::File { ch: 1, n: 1, op },
            Ssh::FileDone { ch: 1, n: 1, status: 0, path: None },
            Ssh::FileClosed { ch: 1, n: 1, transfer },
            Ssh::File { ch: 1, n: 2, op: FileOp::Remove { path: Text::from(&b"\xff"[..]) } },
            Ssh::FileDone { ch: 1, n: 2, status: 3, path: None },
            Ssh::Refused { ch: None, what: "agent".into(), reason: "not allowed".into() },
            Ssh::Closed { ch: 0, bytes_in: 1, bytes_out: 2 },
        ]);
        let hex = "ab".repeat(32);
        let want = format!(
            "+1.5ms [0] exec uptime; \\u{{1b}}]0;x\\u{{7}}\n\
             ␛]52;c;eA==up ü 3 days\n\
             +1.5ms [0] exit status 0\n\
             +1.5ms [1] #1 open /srv/a\\u{{a}} to write, create\n\
             +1.5ms [1] #1 closed, wrote 3 B (sha256 {hex})\n\
             +1.5ms [1] #2 remove \\xff\n\
             +1.5ms [1] #2 failed: permission denied\n\
             +1.5ms refused agent: not allowed\n\
             +1.5ms [0] closed (1 B in, 2 B out)\n"
        );
        assert_eq!(text, want);
    }

    #[test]
    fn streams_are_told_apart_and_what_is_not_kept_of_them_is_said() {
        let sha256 = Digest([0xab; 32]);
        let text = rendered(&[
            Ssh::Exec { ch: 0, command: "bash".into() },
            Ssh::Input { ch: 0, data: Value::Text("echo hi\n".into()) },
            Ssh::Output { ch: 0, data: "hi\n".into() },
            Ssh::Stderr { ch: 0, data: "oh".into() },
            Ssh::Output { ch: 0, data: Text::from(&b"\0\xff"[..]) },
            Ssh::StreamCut { ch: 0, stream: Stream::Output, kept: 5 },
            Ssh::StreamDigest { ch: 0, stream: Stream::Output, bytes: 9, sha256, last: true },
            Ssh::Terminal { ch: 1, term: "xterm".into(), columns: 80, rows: 24 },
            Ssh::Input { ch: 1, data: Value::Text("it stands in the output\n".into()) },
            Ssh::Input { ch: 1, data: Value::Omitted(7) },
        ]);
        let want = format!(
            "+1.5ms [0] exec bash\n[0 stdin]\necho hi\n[0]\nhi\n[0 stderr]\noh\n\
             [0] 2 bytes that are no text\n\
             +1.5ms [0] stdout: beyond its first 5 bytes only a digest is kept\n\
             +1.5ms [0] stdout: 9 bytes, sha256 {sha256}\n\
             +1.5ms [1] terminal xterm 80x24\n\
             +1.5ms [1] 7 bytes of input are not kept: the terminal did not show them\n"
        );
        assert_eq!(text, want);
    }

    #[test]
    fn what_has_no_digest_says_so() {
        let read = Transferred { bytes: 9, from: 4, sha256: None };
        let transfer = Transfer { read: Some(read), refused: 1, cut: true, ..Transfer::default() };
        assert_eq!(
            passed(&transfer),
            ", read 9 B from byte 4 on (no digest: not in sequence, or refused in part), 1 refused, \
             cut by the end of the channel"
        );
    }
}
