//! What the target answers, and what follows from it.

use audit::Text;
use audit::ssh::Ssh;

use super::frame::{Fault, Malformed, size, whole};
use super::{Flow, Handshake, Pending, Resolving, Sftp, describe, reply};

/// A field of the target's answer reaches beyond its packet.
impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Sftp {
    /// Takes a chunk from the target.
    pub(crate) fn target(&mut self, input: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        let mut input = input;
        while !input.is_empty() {
            if self.target.left > 0 {
                self.read_piece(&mut input, flow);
            } else {
                let pending = &self.pending;
                let names_matter = |id| {
                    matches!(
                        pending.get(&id),
                        Some(Pending::Resolve | Pending::Done { path: true, .. })
                    )
                };
                let filled =
                    self.target.fill(&mut input, |held| reply::wanted(held, names_matter))?;
                if filled {
                    let packet = self.target.release();
                    self.answer(&packet, flow)?;
                }
            }
            self.flush_refusals(flow);
        }
        Ok(())
    }

    fn read_piece(&mut self, input: &mut &[u8], flow: &mut Flow) {
        let piece = self.target.stream(input);
        if let Some(open) = self.reading.and_then(|n| self.files.get(n)) {
            open.read.add(piece);
        }
        flow.to_client.extend_from_slice(piece);
    }

    fn answer(&mut self, packet: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        let (all, kind) = whole(packet)?.ok_or(Fault::Malformed)?;
        if self.handshake != Handshake::Answered || kind == reply::VERSION {
            return self.version(kind, packet, flow);
        }
        let id = reply::id(packet)?;
        let pending = self.pending.remove(&id).ok_or(Fault::Answer(id))?;
        self.target.left = all.saturating_sub(packet.len());
        self.reading = None;
        if pending == Pending::Resolve {
            return self.resolved(id, kind, packet, flow);
        }
        match kind {
            reply::STATUS => self.status(pending, reply::status(packet)?, flow),
            reply::HANDLE => self.handle(id, &pending, reply::handle(packet)?, flow)?,
            reply::DATA => self.data(id, &pending, packet)?,
            reply::NAME => self.names(id, &pending, packet, flow)?,
            reply::ATTRS | reply::EXTENDED_REPLY => self.attributes(id, &pending, flow)?,
            _ => return Err(Fault::Answer(id)),
        }
        flow.to_client.extend_from_slice(packet);
        Ok(())
    }

    fn version(&mut self, kind: u8, packet: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        if self.handshake != Handshake::Asked || kind != reply::VERSION {
            return Err(Fault::Start);
        }
        match reply::version(packet)? {
            3 => {
                self.handshake = Handshake::Answered;
                flow.to_client.extend_from_slice(packet);
                Ok(())
            }
            other => Err(Fault::Version(other)),
        }
    }

    fn status(&mut self, pending: Pending, status: u32, flow: &mut Flow) {
        match pending {
            Pending::Open(n) | Pending::Done { n, .. } => self.done(n, status, None, flow),
            Pending::Read { n, .. } => {
                let refused = status != reply::OK && status != reply::EOF;
                if let Some(open) = self.files.get(n) {
                    open.refused += u64::from(refused);
                }
            }
            Pending::Write(n) => {
                if let Some(open) = self.files.get(n)
                    && status != reply::OK
                {
                    open.refused += 1;
                    open.unwritten = true;
                }
            }
            Pending::Close(n) => {
                if let Some(transfer) = self.files.remove(n) {
                    flow.events.push(Ssh::FileClosed { ch: self.ch, n, transfer });
                }
            }
            Pending::Other | Pending::Resolve => {}
        }
    }

    fn handle(
        &mut self,
        id: u32,
        pending: &Pending,
        handle: &[u8],
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        let Pending::Open(n) = *pending else { return Err(Fault::Answer(id)) };
        self.done(n, reply::OK, None, flow);
        if let Some((n, transfer)) = self.files.insert(handle, n) {
            flow.events.push(Ssh::FileClosed { ch: self.ch, n, transfer });
        }
        Ok(())
    }

    fn data(&mut self, id: u32, pending: &Pending, head: &[u8]) -> Result<(), Fault> {
        let Pending::Read { n, offset } = *pending else { return Err(Fault::Answer(id)) };
        if size(reply::data(head)?) != self.target.left {
            return Err(Fault::Malformed);
        }
        if let Some(open) = self.files.get(n) {
            open.read.begin(offset);
            self.reading = Some(n);
        }
        Ok(())
    }

    fn names(
        &mut self,
        id: u32,
        pending: &Pending,
        packet: &[u8],
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        match *pending {
            Pending::Done { n, path: true } => {
                let path = Text::from(reply::name(packet)?.to_owned());
                self.done(n, reply::OK, Some(path), flow);
                Ok(())
            }
            Pending::Other => Ok(()),
            Pending::Open(_)
            | Pending::Done { path: false, .. }
            | Pending::Read { .. }
            | Pending::Write(_)
            | Pending::Close(_)
            | Pending::Resolve => Err(Fault::Answer(id)),
        }
    }

    fn attributes(&mut self, id: u32, pending: &Pending, flow: &mut Flow) -> Result<(), Fault> {
        match *pending {
            Pending::Done { n, path: false } => {
                self.done(n, reply::OK, None, flow);
                Ok(())
            }
            Pending::Other => Ok(()),
            Pending::Open(_)
            | Pending::Done { path: true, .. }
            | Pending::Read { .. }
            | Pending::Write(_)
            | Pending::Close(_)
            | Pending::Resolve => Err(Fault::Answer(id)),
        }
    }

    fn done(&self, n: u64, status: u32, path: Option<Text<'static>>, flow: &mut Flow) {
        flow.events.push(Ssh::FileDone { ch: self.ch, n, status, path });
    }

    /// The answer to a question of the gateway's own, which the client doesn't see.
    fn resolved(&mut self, id: u32, kind: u8, packet: &[u8], flow: &mut Flow) -> Result<(), Fault> {
        let mut resolving = self.resolving.take().ok_or(Fault::Answer(id))?;
        match kind {
            reply::NAME => match self.check_resolved(&mut resolving, reply::name(packet)?) {
                Ok(()) => self.resolve(resolving, flow)?,
                Err(why) => self.turn_down(&resolving, reply::DENIED, why, flow)?,
            },
            reply::STATUS => {
                let missing = reply::status(packet)? == reply::NO_SUCH_FILE;
                let status = if missing { reply::NO_SUCH_FILE } else { reply::DENIED };
                let why = "the target can not resolve this path";
                self.turn_down(&resolving, status, why, flow)?;
            }
            _ => return Err(Fault::Answer(id)),
        }
        self.go_on(flow)
    }

    fn check_resolved(&self, resolving: &mut Resolving, path: &[u8]) -> Result<(), &'static str> {
        match resolving.checks.pop_front() {
            Some(check) => self.limit.allows(&check, path),
            None => Ok(()),
        }
    }

    fn turn_down(
        &mut self,
        resolving: &Resolving,
        status: u32,
        why: &'static str,
        flow: &mut Flow,
    ) -> Result<(), Fault> {
        self.refuse(resolving.id, status, &describe(&resolving.op), why, flow)
    }
}
