//! Packets of the SFTP protocol in a stream: a length, a type, and fields.
//!
//! Only what has to be understood is held: whole requests and answers up to [`HELD_MAX`], and of those that
//! carry a file's bytes the head. No length is believed before it is bounded.

use thiserror::Error;

/// The longest packet of which only the head is held. OpenSSH takes a quarter of it.
pub(super) const PACKET_MAX: usize = 1024 * 1024;

/// The longest packet that is held.
pub(super) const HELD_MAX: usize = 64 * 1024;

/// The longest handle that the protocol allows.
pub(super) const HANDLE_MAX: usize = 256;

/// Bytes of the length before each packet.
pub(super) const LENGTH: usize = 4;

/// Why a stream can't be followed any further: its channel has to end.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No packet is as long as this one says.
    #[error("an sftp packet of {0} bytes is longer than any should be")]
    Length(usize),
    /// The first packet is not the one that begins the protocol, or it came twice.
    #[error("the sftp session did not begin as the protocol wants")]
    Start,
    /// The target chose a version that can't be recorded.
    #[error("the target speaks sftp version {0}, and only version 3 can be recorded")]
    Version(u32),
    /// The target answered what was not asked, or with what is no answer to it.
    #[error("the target's sftp answer to request {0} does not fit")]
    Answer(u32),
    /// The client used the number of a request that still waits for its answer.
    #[error("the sftp request number {0} is in use already")]
    Number(u32),
    /// The client asked too much at once.
    #[error("more sftp requests wait for answers than any client should send")]
    Flood,
    /// A field reaches beyond its packet.
    #[error("an sftp answer of the target is malformed")]
    Malformed,
}

/// A field reaches beyond its packet, or something is left over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One direction of the stream.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// What is held of the current packet.
    held: Vec<u8>,
    /// How much of the current packet is still to be streamed.
    pub(super) left: usize,
}

impl Framer {
    /// Takes from `input` until as much is held as `wanted` asks for; false where `input` ran out first.
    pub(super) fn fill(
        &mut self,
        input: &mut &[u8],
        wanted: impl Fn(&[u8]) -> Result<usize, Fault>,
    ) -> Result<bool, Fault> {
        loop {
            let missing = wanted(&self.held)?.saturating_sub(self.held.len());
            if missing == 0 {
                return Ok(true);
            }
            if input.is_empty() {
                return Ok(false);
            }
            self.held.extend_from_slice(take(input, missing));
        }
    }

    /// Moves out what is held.
    pub(super) fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The next piece of what is streamed.
    pub(super) fn stream<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let piece = take(input, self.left);
        self.left -= piece.len();
        piece
    }
}

/// Splits off up to `most` bytes.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at_checked(most).unwrap_or((*input, &[]));
    *input = rest;
    piece
}

/// How long a packet is whose first bytes are these, with its length; `None` while that isn't known.
pub(super) fn whole(held: &[u8]) -> Result<Option<(usize, u8)>, Fault> {
    let Some((length, rest)) = held.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = size(u32::from_be_bytes(*length));
    if length == 0 || length > PACKET_MAX {
        return Err(Fault::Length(length));
    }
    Ok(rest.first().map(|kind| (LENGTH + length, *kind)))
}

/// The same where the whole packet is to be held.
pub(super) fn bounded(whole: usize) -> Result<usize, Fault> {
    if whole > HELD_MAX { Err(Fault::Length(whole)) } else { Ok(whole) }
}

/// A number as a size; what does not fit is more than anything may be.
pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The fields of a packet, taken from its front.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a packet after its length and type.
    pub(super) fn of(packet: &'a [u8]) -> Self {
        Self(packet.get(LENGTH + 1..).unwrap_or_default())
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.chunk().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = size(self.u32()?);
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string)
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*chunk)
    }
}

/// Appends a packet of this type and these fields.
pub(super) fn packet(out: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    let length = fields.iter().map(|field| field.len()).sum::<usize>() + 1;
    // INVARIANT: what is written here is made from packets that were held.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(kind);
    fields.iter().for_each(|field| out.extend_from_slice(field));
}

/// The length that stands before a string.
pub(super) fn length(string: &[u8]) -> [u8; LENGTH] {
    u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes()
}
