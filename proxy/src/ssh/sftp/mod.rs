//! The SFTP protocol, version 3, followed as it passes: every file operation is recorded, and refused where
//! a limit says so.
//!
//! A pure state machine over both directions. It takes chunks as they come, cut anywhere, and says in a
//! [`Flow`] what is to be recorded, what goes to the target and what to the client, in that order. Requests
//! are held until they are whole and decided; of reads and writes only the head is, and their bytes stream
//! through, counted and digested. Answers are paired with requests by their number, and handles with the
//! operations that opened them. What is refused never reaches the target: the client gets the answer from
//! here, between two packets of the target's.
//!
//! Where paths are limited, the gateway first asks the target where a path leads. Meanwhile what the client
//! sends waits, so that nothing can change in between on this channel.
//!
//! Stages: [`frame`] finds packets, `request` and `reply` read them, `limit` decides, `files` knows what is
//! open, `answers` follows what the target says.

use std::collections::{HashMap, VecDeque};

use audit::ssh::{FileOp, Ssh};
use bytes::{Buf, BytesMut};

mod answers;
mod files;
mod frame;
mod limit;
mod reply;
mod request;
mod symlink;

use files::OpenFiles;
pub(crate) use frame::Fault;
use frame::{Framer, LENGTH, Malformed, length, packet, size};
use limit::Check;
pub(crate) use limit::Limit;
use request::{Request, Write};
pub(in crate::ssh) use symlink::are_swapped;

/// The most requests that may wait for their answers.
const IN_FLIGHT_MAX: usize = 4096;

/// The most bytes that may wait while the target resolves a path. It is more than a channel's window, so that
/// a client meets it only where its caller ignores [`Sftp::is_waiting`].
const BACKLOG_MAX: usize = 8 * 1024 * 1024;

/// The most bytes of refusals that may wait for the end of a packet of the target's.
const REFUSALS_MAX: usize = 1024 * 1024;

/// What follows from a chunk: first record, then send.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// What is to be recorded before anything is sent.
    pub(crate) events: Vec<Ssh<'static>>,
    /// What goes to the target.
    pub(crate) to_target: BytesMut,
    /// What goes to the client.
    pub(crate) to_client: BytesMut,
}

/// One channel that runs the `sftp` subsystem.
#[derive(Debug)]
pub(crate) struct Sftp {
    ch: u32,
    limit: Limit,
    /// Whether the client sends the paths of a symbolic link the other way round than the target takes them.
    swaps_links: bool,
    client: Framer,
    target: Framer,
    handshake: Handshake,
    /// What the bytes that stream to the target belong to.
    writing: Writing,
    /// The open file whose bytes stream to the client.
    reading: Option<u64>,
    pending: HashMap<u32, Pending>,
    files: OpenFiles,
    /// How many operations were recorded.
    ops: u64,
    resolving: Option<Resolving>,
    backlog: BytesMut,
    refusals: Vec<u8>,
}

/// How far the start of the protocol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    Nothing,
    Asked,
    Answered,
}

/// What becomes of the bytes of a write.
#[derive(Debug, Clone, Copy)]
enum Writing {
    Into(u64),
    Nowhere,
}

/// What a request that went to the target waits for.
#[derive(Debug, PartialEq, Eq)]
enum Pending {
    /// A handle for the operation of this number.
    Open(u64),
    /// The answer to the operation of this number, which names a path where `path`.
    Done { n: u64, path: bool },
    /// Bytes of an open file from here.
    Read { n: u64, offset: u64 },
    /// The status of a write to an open file.
    Write(u64),
    /// The end of an open file.
    Close(u64),
    /// Something that leaves no trace.
    Other,
    /// A path, asked for by the gateway itself.
    Resolve,
}

/// A request that waits for the target to resolve its paths.
#[derive(Debug)]
struct Resolving {
    packet: Vec<u8>,
    id: u32,
    op: FileOp<'static>,
    checks: VecDeque<Check>,
}

impl Sftp {
    /// A channel on which nothing has passed yet.
    pub(crate) fn new(ch: u32, limit: Limit) -> Self {
        Self {
            ch,
            limit,
            swaps_links: false,
            client: Framer::default(),
            target: Framer::default(),
            handshake: Handshake::Nothing,
            writing: Writing::Nowhere,
            reading: None,
            pending: HashMap::new(),
            files: OpenFiles::default(),
            ops: 0,
            resolving: None,
            backlog: BytesMut::new(),
            refusals: Vec::new(),
        }
    }

    /// For a client that sends the paths of a symbolic link the other way round than the target takes them.
    pub(crate) fn swapping_links(self, swaps_links: bool) -> Self {
        Self { swaps_links, ..self }
    }

    /// Whether what the client sends waits for the target: better not to read from it meanwhile.
    pub(crate) fn is_waiting(&self) -> bool {
        self.resolving.is_some()
    }

    /// Takes a chunk from the client.
    pub(crate) fn client(&mut self, input: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        let taken = self.take(input, flow)?;
        let waits = input.get(taken..).unwrap_or_default();
        if self.backlog.len() + waits.len() > BACKLOG_MAX {
            return Err(Fault::Flood);
        }
        self.backlog.extend_from_slice(waits);
        Ok(())
    }

    /// Goes on with what waited. What waits on stays where it is: there may be many requests in it, and each
    /// may have to wait.
    fn go_on(&mut self, flow: &mut Flow) -> Result<(), Fault> {
        let mut backlog = std::mem::take(&mut self.backlog);
        let taken = self.take(&backlog, flow)?;
        backlog.advance(taken);
        self.backlog = if backlog.is_empty() { BytesMut::new() } else { backlog };
        Ok(())
    }

    /// Takes packets from the client until one has to wait. Returns how much it took.
    fn take(&mut self, all: &[u8], flow: &mut Flow) -> Result<usize, Fault> {
        let mut input = all;
        while !input.is_empty() && self.resolving.is_none() {
            if self.client.left > 0 {
                self.write_piece(&mut input, flow);
            } else if self.client.fill(&mut input, request::wanted)? {
                let packet = self.client.release();
                self.request(packet, flow)?;
            }
        }
        self.flush_refusals(flow);
        Ok(all.len() - input.len())
    }

    /// The channel has ended: what was open gets its end in the recording.
    pub(crate) fn close(&mut self, flow: &mut Flow) {
        let ch = self.ch;
        let closed = self.files.drain().map(|(n, transfer)| Ssh::FileClosed { ch, n, transfer });
        flow.events.extend(closed);
    }

    /// Whether no more is held than may be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_bounded(&self) -> bool {
        self.pending.len() <= IN_FLIGHT_MAX
            && self.backlog.len() <= BACKLOG_MAX
            && self.refusals.len() <= REFUSALS_MAX + frame::HELD_MAX
    }

    fn request(&mut self, packet: Vec<u8>, flow: &mut Flow) -> Result<(), Fault> {
        let kind = packet.get(LENGTH).copied().unwrap_or_default();
        if self.handshake == Handshake::Nothing || kind == request::INIT {
            return self.begin(kind, flow);
        }
        if kind == request::WRITE {
            return self.write(&packet, flow);
        }
        let Ok(id) = request::id(&packet) else { return Err(Fault::Start) };
        let turned = (self.swaps_links && kind == request::SYMLINK)
            .then(|| symlink::swapped(&packet).ok())
            .flatten();
        let packet = turned.unwrap_or(packet);
        match request::read(kind, &packet) {
            Ok(Request::Op(op)) => self.decide(id, op, &packet, flow),
            Ok(other) => self.on_handles(id, other, &packet, flow),
            Err(Malformed) => {
                self.refuse(id, reply::BAD_MESSAGE, b"request", "it is malformed", flow)
            }
        }
    }

    /// Whatever the client offers, version 3 is what the target is asked for.
    fn begin(&mut self, kind: u8, flow: &mut Flow) -> Result<(), Fault> {
        if self.handshake != Handshake::Nothing || kind != request::INIT {
            return Err(Fault::Start);
        }
        self.handshake = Handshake::Asked;
        flow.to_target.extend_from_slice(&[0, 0, 0, 5, request::INIT, 0, 0, 0, 3]);
        Ok(())
    }

    /// An operation on paths.
    fn decide(
        &mut self,
        id: u32,
        op: FileOp<'_>,
        packet: &[u8],
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        match self.limit.examine(&op) {
            Err(why) => self.refuse(id, reply::DENIED, &describe(&op), why, flow),
            Ok(checks) if checks.is_empty() => self.pass(id, op, packet, flow),
            Ok(checks) => {
                let (packet, op) = (packet.to_owned(), op.into_owned());
                let resolving = Resolving { packet, id, op, checks: checks.into() };
                self.resolve(resolving, flow)
            }
        }
    }

    /// Asks the target where the next path leads, or lets the request go on where all are decided.
    fn resolve(&mut self, resolving: Resolving, flow: &mut Flow) -> Result<(), Fault> {
        let Some(check) = resolving.checks.front() else {
            return self.pass(resolving.id, resolving.op, &resolving.packet, flow);
        };
        let own =
            (0..=u32::MAX).rev().find(|id| *id != resolving.id && !self.pending.contains_key(id));
        let own = own.ok_or(Fault::Flood)?;
        self.expect(own, Pending::Resolve)?;
        let mut question = Vec::new();
        let fields = [&own.to_be_bytes()[..], &length(&check.path), &check.path];
        packet(&mut question, request::REALPATH, &fields);
        flow.to_target.extend_from_slice(&question);
        self.resolving = Some(resolving);
        Ok(())
    }

    /// Records an operation and lets it go on.
    fn pass(
        &mut self,
        id: u32,
        op: FileOp<'_>,
        packet: &[u8],
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        let opens = matches!(op, FileOp::Open { .. } | FileOp::List { .. });
        if opens && self.files.are_full() {
            return self.refuse(
                id,
                reply::FAILURE,
                &describe(&op),
                "too many files are open",
                flow,
            );
        }
        let n = self.ops + 1;
        let path = matches!(op, FileOp::RealPath { .. } | FileOp::ReadLink { .. });
        self.expect(id, if opens { Pending::Open(n) } else { Pending::Done { n, path } })?;
        self.ops = n;
        flow.events.push(Ssh::File { ch: self.ch, n, op: op.into_owned() });
        flow.to_target.extend_from_slice(packet);
        Ok(())
    }

    /// What is asked of open files, or of none.
    fn on_handles(
        &mut self,
        id: u32,
        request: Request<'_>,
        packet: &[u8],
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        let pending = match request {
            Request::Op(op) => return self.decide(id, op, packet, flow),
            Request::Unknown(name) => {
                return self.refuse(id, reply::UNSUPPORTED, name, "it is not known here", flow);
            }
            Request::SetOpen { handle, attributes } => {
                let Some(opened) = self.files.find(handle) else { return self.no_file(id, flow) };
                return self.decide(id, FileOp::SetOpen { opened, attributes }, packet, flow);
            }
            Request::Copy { from, offset, bytes, into } => {
                let (Some(opened), Some(into)) = (self.files.find(from), self.files.find(into))
                else {
                    return self.no_file(id, flow);
                };
                let op = FileOp::Copy { opened, offset, bytes, into };
                return self.decide(id, op, packet, flow);
            }
            Request::Read { handle, offset } => {
                self.files.find(handle).map(|n| Pending::Read { n, offset })
            }
            Request::Close { handle } => self.files.close(handle).map(Pending::Close),
            Request::Look { handle } => self.files.find(handle).map(|_| Pending::Other),
            Request::Ask => Some(Pending::Other),
        };
        let Some(pending) = pending else { return self.no_file(id, flow) };
        self.expect(id, pending)?;
        flow.to_target.extend_from_slice(packet);
        Ok(())
    }

    /// A write whose head is here: its bytes follow, to the target or to nowhere.
    fn write(&mut self, head: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        let Ok(Some((whole, _))) = frame::whole(head) else { return Err(Fault::Start) };
        self.client.left = whole.saturating_sub(head.len());
        self.writing = Writing::Nowhere;
        let (Ok(id), write) = (request::id(head), request::write(head)) else {
            return Err(Fault::Start);
        };
        match write {
            Ok(Write { bytes, .. }) if size(bytes) != self.client.left => {
                self.refuse(id, reply::BAD_MESSAGE, b"write", "it is malformed", flow)
            }
            Err(Malformed) => {
                self.refuse(id, reply::BAD_MESSAGE, b"write", "it is malformed", flow)
            }
            Ok(_) if self.limit.is_read_only() => {
                self.refuse(id, reply::DENIED, b"write", "only reading is allowed here", flow)
            }
            Ok(Write { handle, offset, .. }) => {
                let Some(n) = self.files.find(handle) else { return self.no_file(id, flow) };
                self.expect(id, Pending::Write(n))?;
                self.writing = Writing::Into(n);
                if let Some(open) = self.files.get(n) {
                    open.before_unfinished = (self.client.left > 0).then(|| open.written.clone());
                    open.written.begin(offset);
                }
                flow.to_target.extend_from_slice(head);
                Ok(())
            }
        }
    }

    fn write_piece(&mut self, input: &mut &[u8], flow: &mut Flow) {
        let piece = self.client.stream(input);
        match self.writing {
            Writing::Nowhere => {}
            Writing::Into(n) => {
                if let Some(open) = self.files.get(n) {
                    open.written.add(piece);
                    if self.client.left == 0 {
                        open.before_unfinished = None;
                    }
                }
                flow.to_target.extend_from_slice(piece);
            }
        }
    }

    fn expect(&mut self, id: u32, pending: Pending) -> Result<(), Fault> {
        if self.pending.len() >= IN_FLIGHT_MAX {
            return Err(Fault::Flood);
        }
        match self.pending.insert(id, pending) {
            None => Ok(()),
            Some(_) => Err(Fault::Number(id)),
        }
    }

    /// A handle that the target never gave, or that is closed: to guess one must lead nowhere.
    fn no_file(&mut self, id: u32, flow: &mut Flow) -> Result<(), Fault> {
        self.refuse(id, reply::FAILURE, b"request", "it names no open file", flow)
    }

    /// Answers in the target's place.
    fn refuse(
        &mut self,
        id: u32,
        status: u32,
        what: &[u8],
        why: &'static str,
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        if self.refusals.len() > REFUSALS_MAX {
            return Err(Fault::Flood);
        }
        let what = [b"sftp ", what].concat().into();
        flow.events.push(Ssh::Refused { ch: Some(self.ch), what, reason: why.into() });
        reply::refuse(&mut self.refusals, id, status, &format!("postern: {why}"));
        Ok(())
    }

    /// Refusals go between two packets of the target's, and never before its version.
    fn flush_refusals(&mut self, flow: &mut Flow) {
        if self.target.left == 0 && self.handshake == Handshake::Answered {
            flow.to_client.extend_from_slice(&self.refusals);
            self.refusals.clear();
        }
    }
}

/// Describes an operation, for what is refused.
fn describe(op: &FileOp<'_>) -> Vec<u8> {
    let (one, other) = op.paths();
    let mut text = op.word().as_bytes().to_owned();
    for path in [one, other].into_iter().flatten() {
        text.push(b' ');
        text.extend_from_slice(path);
    }
    text
}

#[cfg(test)]
mod tests;
