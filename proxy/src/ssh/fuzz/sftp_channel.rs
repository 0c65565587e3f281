//! A session channel beside a model of the target that stands behind it.
//!
//! The model is OpenSSH's `sshd` and `sftp-server`, as far as bytes and requests matter: one program a channel,
//! data before it ignored, packets by their length. It shares no code with the gateway's side. One model reads
//! what the client sent, another one what the gateway passed on: whatever they do stands in the recording, and
//! whatever the client sent either reached the target or was refused with a reason.

use std::collections::BTreeMap;

use audit::ssh::Ssh;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::fuzz::steps::steps;
use crate::ssh::channel::answer::Answer;
use crate::ssh::channel::content::{Content, ContentRules, Effects, SFTP};
use crate::ssh::channel::queue::{ChannelQueue, Flooded, Item, Preparation};
use crate::ssh::channel::request::{Control, Program, Setup, Size};
use crate::ssh::sftp::Limit;

const INIT: &[u8] = &[0, 0, 0, 5, 1, 0, 0, 0, 3];
/// The longest packet that OpenSSH's server takes.
const PACKET_MAX: usize = 256 * 1024;
/// The first bytes of requests that open something, and what else the model answers by itself.
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const REALPATH: u8 = 16;
const READLINK: u8 = 19;
/// Requests that are answered with attributes.
const STATS: [u8; 3] = [7, 8, 17];

/// Whatever a client sends and asks for, in whatever pieces, the target does nothing that isn't recorded.
pub fn sftp_channel(bytes: &[u8]) {
    compare(bytes, None);
}

/// A wrong rule that the gateway's side can be given, to show that the comparison finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzzing tries the gateway as it is"))]
enum Fault {
    /// A second program request begins a new parser, whatever the first one was reading.
    NewParser,
    /// No event of an open is recorded.
    UnrecordedOpen,
    /// What the parser refuses goes to the target all the same.
    PassedRefusal,
}

fn compare(bytes: &[u8], fault: Option<Fault>) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let mut both = Both::new(how & 1 != 0, usize::from(how >> 3) + 1);
    both.fault = fault;
    if how & 2 == 0 {
        both.ask(Program::Subsystem(SFTP.to_owned()));
        both.send(INIT);
        both.pass();
        both.answer(usize::MAX);
    }
    for (what, bytes) in steps(rest) {
        both.take(what, bytes);
    }
    both.pass();
    both.agree();
}

/// What the model was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    kind: u8,
    id: u32,
    body: Vec<u8>,
}

/// What a server does with a channel.
#[derive(Debug, Default)]
struct Target {
    /// Whether its program is file transfer, once it has one.
    program: Option<bool>,
    begun: bool,
    /// It has hung up.
    dead: bool,
    buffer: Vec<u8>,
    packets: Vec<Packet>,
    /// How many bytes were written to each file, in the order in which they were opened.
    files: Vec<u64>,
    /// The open ones, by their handles.
    handles: BTreeMap<u8, usize>,
    answers: Vec<u8>,
}

impl Target {
    fn ask(&mut self, is_sftp: bool) {
        self.program.get_or_insert(is_sftp);
    }

    fn data(&mut self, bytes: &[u8]) {
        if self.program == Some(true) && !self.dead {
            self.buffer.extend_from_slice(bytes);
            while let Some(payload) = self.next_payload() {
                self.dead |= self.take(&payload).is_none();
            }
        }
    }

    fn next_payload(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(u32::from_be_bytes(*self.buffer.first_chunk()?)).ok()?;
        self.dead |= length > PACKET_MAX;
        if self.dead || self.buffer.len() < 4 + length {
            return None;
        }
        let packet: Vec<u8> = self.buffer.drain(..4 + length).collect();
        packet.get(4..).map(<[u8]>::to_vec)
    }

    /// None where a server hangs up.
    fn take(&mut self, payload: &[u8]) -> Option<()> {
        let (kind, rest) = payload.split_first()?;
        let (id, body) = rest.split_first_chunk()?;
        if *kind == 1 {
            self.begun = true;
            self.answers.extend([0, 0, 0, 5, 2, 0, 0, 0, 3]);
            return Some(());
        }
        if !self.begun {
            return None;
        }
        let packet = Packet { kind: *kind, id: u32::from_be_bytes(*id), body: body.to_vec() };
        self.reply(&packet);
        self.packets.push(packet);
        Some(())
    }

    fn reply(&mut self, packet: &Packet) {
        let done = |done: Option<()>| status(if done.is_some() { 0 } else { 4 });
        let (kind, fields): (u8, Vec<u8>) = match packet.kind {
            OPEN | OPENDIR => {
                self.open().map_or_else(|| done(None), |handle| (102, string(&[handle])))
            }
            CLOSE => done(self.close(&packet.body)),
            WRITE => done(self.write(&packet.body)),
            READ => (103, string(b"read")),
            REALPATH | READLINK => {
                (104, [&1_u32.to_be_bytes()[..], &string(b"/a"), &string(b""), &[0; 4]].concat())
            }
            kind if STATS.contains(&kind) => (105, vec![0; 4]),
            _ => status(0),
        };
        let payload = [&[kind][..], &packet.id.to_be_bytes(), &fields].concat();
        self.answers.extend(string(&payload));
    }

    /// Gives the lowest handle that is free, which may be one that was closed just before.
    fn open(&mut self) -> Option<u8> {
        let file = self.files.len();
        self.files.push(0);
        let handle = (1..=u8::MAX).find(|handle| !self.handles.contains_key(handle))?;
        self.handles.insert(handle, file);
        Some(handle)
    }

    fn close(&mut self, mut body: &[u8]) -> Option<()> {
        self.handles.remove(&take_handle(&mut body)?).map(drop)
    }

    fn write(&mut self, mut body: &[u8]) -> Option<()> {
        let file = *self.handles.get(&take_handle(&mut body)?)?;
        body = body.get(8..)?;
        let data = take_string(&mut body)?;
        *self.files.get_mut(file)? += data.len() as u64;
        Some(())
    }

    /// The operations on paths that it did: each by its name, with its paths in order.
    fn operations(&self) -> Vec<(&'static str, Vec<Vec<u8>>)> {
        self.packets.iter().filter_map(operation).collect()
    }
}

/// What a request does to paths, read by the draft.
fn operation(packet: &Packet) -> Option<(&'static str, Vec<Vec<u8>>)> {
    let mut rest = &packet.body[..];
    let (word, paths) = match packet.kind {
        3 => ("open", 1),
        7 | 17 => ("stat", 1),
        9 => ("set_stat", 1),
        10 => ("set_open", 0),
        11 => ("list", 1),
        13 => ("remove", 1),
        14 => ("mkdir", 1),
        15 => ("rmdir", 1),
        16 => ("real_path", 1),
        18 => ("rename", 2),
        19 => ("read_link", 1),
        20 => ("symlink", 2),
        200 => match take_string(&mut rest)? {
            b"posix-rename@openssh.com" => ("rename", 2),
            b"hardlink@openssh.com" => ("link", 2),
            b"lsetstat@openssh.com" => ("set_stat", 1),
            b"expand-path@openssh.com" => ("real_path", 1),
            b"statvfs@openssh.com" => ("extended", 1),
            b"copy-data" => ("copy", 0),
            _ => return None,
        },
        _ => return None,
    };
    let mut paths: Vec<_> =
        (0..paths).filter_map(|_| take_string(&mut rest).map(<[u8]>::to_vec)).collect();
    paths.sort();
    Some((word, paths))
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(string)
}

fn take_handle(rest: &mut &[u8]) -> Option<u8> {
    let [handle] = take_string(rest)? else { return None };
    Some(*handle)
}

fn status(code: u32) -> (u8, Vec<u8>) {
    (101, [&code.to_be_bytes()[..], &string(b""), &string(b"")].concat())
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The gateway's side of a channel.
enum Gate {
    Opened { terminal: bool },
    Running(Content),
    Over,
}

/// The gateway between a client and a model, and another model that hears the client itself.
struct Both {
    rules: ContentRules,
    queue: ChannelQueue,
    gate: Gate,
    behind: Target,
    beside: Target,
    /// How much of what the client sends comes at once.
    piece: usize,
    next: u32,
    programs: usize,
    early: bool,
    ended: bool,
    /// The client broke the protocol: what it sent just before stands in the recording and went nowhere.
    broken: bool,
    recorded: Vec<Ssh<'static>>,
    fault: Option<Fault>,
}

impl Both {
    fn new(read_only: bool, piece: usize) -> Self {
        Self {
            rules: ContentRules {
                files: Limit::new(read_only, &[]),
                streams: 64,
                input: false,
                swaps_links: false,
            },
            queue: ChannelQueue::of_session(),
            gate: Gate::Opened { terminal: false },
            behind: Target::default(),
            beside: Target::default(),
            piece,
            next: 0,
            programs: 0,
            early: false,
            ended: false,
            broken: false,
            recorded: Vec::new(),
            fault: None,
        }
    }

    fn take(&mut self, what: u8, bytes: &[u8]) {
        let (first, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
        match what {
            0 => self.send(bytes),
            1 => self.packet(first, rest),
            2 => self.packet(OPEN, &[&string(bytes)[..], &[0, 0, 0, 10], &[0; 4]].concat()),
            3 => self.write(first, rest, 0),
            4 => self.request(first),
            // The head of a write that promises more than it has yet.
            5 => self.write(1, rest, u32::from(first)),
            6 => {
                self.pass();
                self.answer(usize::from(first));
            }
            _ => self.other(first),
        }
    }

    fn packet(&mut self, kind: u8, body: &[u8]) {
        self.next += 1;
        let id = self.next.to_be_bytes();
        self.send(&string(&[&[kind][..], &id, body].concat()));
    }

    fn write(&mut self, handle: u8, data: &[u8], more: u32) {
        self.next += 1;
        let size = u32::try_from(data.len()).unwrap_or(0) + more;
        let head = [&[WRITE][..], &self.next.to_be_bytes(), &string(&[handle % 4])].concat();
        let head = [&head[..], &[0; 8], &size.to_be_bytes()].concat();
        let length = u32::try_from(head.len()).unwrap_or(0) + size;
        self.send(&[&length.to_be_bytes()[..], &head, data].concat());
    }

    fn request(&mut self, which: u8) {
        let size = Size { columns: 80, rows: 24, width: 0, height: 0 };
        let name = || "x".to_owned();
        match which % 8 {
            0..=2 => self.ask(Program::Subsystem(SFTP.to_owned())),
            3 => self.ask(Program::Shell),
            4 => self.ask(Program::Exec(b"cat".to_vec())),
            5 => self.ask(Program::Subsystem("netconf".to_owned())),
            6 => {
                let pty = Setup::Pty { term: name(), size, modes: Vec::new() };
                let taken = self.queue.prepare(pty);
                self.flooded(taken);
            }
            _ => {
                let taken = self.queue.prepare(Setup::Env { name: name(), value: name() });
                self.flooded(taken);
            }
        }
    }

    fn ask(&mut self, program: Program) {
        if self.fault == Some(Fault::NewParser) && matches!(self.gate, Gate::Running(_)) {
            self.gate = self.start(&program, false);
            return;
        }
        let is_sftp = matches!(&program, Program::Subsystem(name) if name == SFTP);
        self.programs += 1;
        self.early |= self.ended && self.programs == 1;
        self.beside.ask(is_sftp);
        let taken = self.queue.start(program);
        self.flooded(taken);
    }

    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            self.early |= self.programs == 0;
            self.queue.data(piece);
            if !self.ended {
                self.beside.data(piece);
            }
        }
    }

    fn other(&mut self, which: u8) {
        match which % 3 {
            0 => {
                self.ended = true;
                self.queue.eof();
            }
            1 => {
                self.early |= self.programs == 0;
                self.queue.extended_data();
            }
            _ => {
                let size = Size { columns: 1, rows: 1, width: 0, height: 0 };
                let taken = self.queue.control(Control::Resize(size));
                self.flooded(taken);
            }
        }
    }

    /// A client that asks too much loses its connection.
    fn flooded(&mut self, taken: Result<Answer, Flooded>) {
        if taken.is_err()
            && let Gate::Running(content) = std::mem::replace(&mut self.gate, Gate::Over)
        {
            self.finish(content);
        }
    }

    /// Passes on what waits, as the task of a channel does.
    fn pass(&mut self) {
        loop {
            self.gate = match std::mem::replace(&mut self.gate, Gate::Over) {
                Gate::Over => return,
                Gate::Opened { terminal } => {
                    match self.queue.preparation().now_or_never().flatten() {
                        None => {
                            self.gate = Gate::Opened { terminal };
                            return;
                        }
                        Some(Preparation::Setup(setup)) => Gate::Opened {
                            terminal: terminal || matches!(setup.request, Setup::Pty { .. }),
                        },
                        Some(Preparation::Refused(_)) => Gate::Over,
                        Some(Preparation::Program(program)) => {
                            self.start(&program.request, terminal)
                        }
                    }
                }
                Gate::Running(content) => match self.queue.content().now_or_never().flatten() {
                    None => {
                        self.gate = Gate::Running(content);
                        return;
                    }
                    Some(Item::Data(bytes)) => self.client(content, &bytes),
                    Some(Item::Control(_) | Item::Eof) => Gate::Running(content),
                    Some(Item::Refused(_)) => self.finish(content),
                },
            };
        }
    }

    fn start(&mut self, program: &Program, terminal: bool) -> Gate {
        match Content::of_program(program, terminal, 1, &self.rules) {
            Ok(content) => {
                self.behind.ask(matches!(content, Content::Files(_)));
                Gate::Running(content)
            }
            Err(_) => Gate::Over,
        }
    }

    fn client(&mut self, mut content: Content, bytes: &Bytes) -> Gate {
        let mut step = Effects::default();
        let taken = content.client(bytes, &mut step);
        let mut to_target = self.record(step);
        if self.fault == Some(Fault::PassedRefusal) {
            to_target = bytes.clone();
        }
        if taken.is_err() {
            self.broken = true;
            return self.finish(content);
        }
        self.behind.data(&to_target);
        Gate::Running(content)
    }

    /// The target answers, with so many bytes at most.
    fn answer(&mut self, most: usize) {
        let answers = &mut self.behind.answers;
        let bytes = Bytes::from(answers.drain(..most.min(answers.len())).collect::<Vec<_>>());
        let Gate::Running(content) = &mut self.gate else { return };
        let mut step = Effects::default();
        let taken = content.target(&bytes, &mut step);
        let to_target = self.record(step);
        assert!(to_target.is_empty(), "the gateway asks for nothing by itself here");
        let by_the_book = taken.is_ok() || self.fault.is_some();
        assert!(by_the_book, "the model answers by the book: {taken:?}");
    }

    fn finish(&mut self, mut content: Content) -> Gate {
        self.recorded.extend(content.finish());
        Gate::Over
    }

    fn record(&mut self, step: Effects<'_>) -> Bytes {
        let unrecorded = self.fault == Some(Fault::UnrecordedOpen);
        let is_kept = |event: &Ssh<'_>| {
            !unrecorded || !matches!(event, Ssh::File { op, .. } if op.word() == "open")
        };
        let files = step.events.into_iter().filter_map(owned).filter(is_kept);
        self.recorded.extend(files);
        step.to_target
    }

    fn agree(&mut self) {
        let over = match std::mem::replace(&mut self.gate, Gate::Over) {
            Gate::Running(content) => {
                self.finish(content);
                false
            }
            Gate::Opened { .. } => false,
            Gate::Over => true,
        };
        assert!(
            over || self.programs < 2 && !self.early,
            "a client that breaks the order loses the channel"
        );
        let (recorded, done) = (self.operations(), self.behind.operations());
        if self.behind.dead || self.broken {
            assert!(recorded.starts_with(&done), "{done:?} but {recorded:?}");
        } else {
            assert_eq!(recorded, done, "what is done is recorded, and nothing else");
            assert_eq!(self.written(), self.behind.files, "what is written stands by its file");
        }
        self.agree_with_the_client(over);
    }

    /// Whatever the target was asked is what its client asked, packet by packet; the rest was refused.
    fn agree_with_the_client(&self, over: bool) {
        let mut asked = self.beside.packets.iter();
        let same = self.behind.packets.iter().all(|packet| asked.any(|it| it == packet));
        assert!(same || self.beside.dead, "the client never asked that");
        let refused = self.recorded.iter().filter(|it| matches!(it, Ssh::Refused { .. })).count();
        let sftp = self.behind.program == Some(true);
        if sftp && !over && !self.behind.dead && !self.beside.dead {
            assert!(self.beside.packets.len() <= self.behind.packets.len() + refused);
        }
    }

    fn operations(&self) -> Vec<(&'static str, Vec<Vec<u8>>)> {
        let files = self
            .recorded
            .iter()
            .filter_map(|event| if let Ssh::File { op, .. } = event { Some(op) } else { None });
        let operations = files.map(|op| {
            let (one, other) = op.paths();
            let mut paths: Vec<_> = one.into_iter().chain(other).map(<[u8]>::to_vec).collect();
            paths.sort();
            (op.word(), paths)
        });
        operations.collect()
    }

    /// How many bytes were written to each file, in the order in which they were opened.
    fn written(&self) -> Vec<u64> {
        let opened = self.recorded.iter().filter_map(|event| {
            let Ssh::File { n, op, .. } = event else { return None };
            ["open", "list"].contains(&op.word()).then_some(*n)
        });
        opened.map(|file| self.recorded.iter().map(|event| written_to(file, event)).sum()).collect()
    }
}

fn written_to(file: u64, event: &Ssh<'_>) -> u64 {
    if let Ssh::FileClosed { n, transfer, .. } = event
        && *n == file
    {
        return transfer.written.as_ref().map_or(0, |written| written.bytes);
    }
    0
}

/// What is recorded of file operations, borrowing nothing.
fn owned(event: Ssh<'_>) -> Option<Ssh<'static>> {
    if let Ssh::File { ch, n, op } = event {
        return Some(Ssh::File { ch, n, op: op.into_owned() });
    }
    if let Ssh::FileClosed { ch, n, transfer } = event {
        return Some(Ssh::FileClosed { ch, n, transfer });
    }
    let Ssh::Refused { ch, what, reason } = event else { return None };
    Some(Ssh::Refused { ch, what: what.into_owned(), reason: reason.into_owned().into() })
}

#[cfg(test)]
mod tests;
