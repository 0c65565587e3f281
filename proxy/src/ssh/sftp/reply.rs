//! What the target answers.

use super::frame::{Fault, Fields, HANDLE_MAX, Malformed, bounded, length, packet, whole};

pub(super) const VERSION: u8 = 2;
pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRS: u8 = 105;
pub(super) const EXTENDED_REPLY: u8 = 201;

pub(super) const OK: u32 = 0;
pub(super) const EOF: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const DENIED: u32 = 3;
pub(super) const FAILURE: u32 = 4;
pub(super) const BAD_MESSAGE: u32 = 5;
pub(super) const UNSUPPORTED: u32 = 8;

/// What stands before the bytes of a file, and before what is only counted.
const DATA_HEAD: usize = 13;
const NAMES_HEAD: usize = 9;

/// How much of the target's next packet has to be held, where `names_matter` says of which answers the
/// names do.
pub(super) fn wanted(held: &[u8], names_matter: impl Fn(u32) -> bool) -> Result<usize, Fault> {
    match whole(held)? {
        None => Ok(5),
        Some((all, DATA)) => Ok(all.min(DATA_HEAD)),
        Some((all, ATTRS | EXTENDED_REPLY)) => Ok(all.min(NAMES_HEAD)),
        Some((all, NAME)) => match held.get(..NAMES_HEAD).map(id) {
            None => Ok(all.min(NAMES_HEAD)),
            Some(Ok(id)) if names_matter(id) => bounded(all),
            Some(Ok(_) | Err(Malformed)) => Ok(all.min(NAMES_HEAD)),
        },
        Some((all, _)) => bounded(all),
    }
}

/// The number of the request that is answered.
pub(super) fn id(packet: &[u8]) -> Result<u32, Malformed> {
    Fields::of(packet).u32()
}

/// The version that the target chose.
pub(super) fn version(packet: &[u8]) -> Result<u32, Malformed> {
    Fields::of(packet).u32()
}

/// The status that was answered.
pub(super) fn status(packet: &[u8]) -> Result<u32, Malformed> {
    let mut fields = Fields::of(packet);
    fields.u32()?;
    fields.u32()
}

/// The handle that was answered.
pub(super) fn handle(packet: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields::of(packet);
    fields.u32()?;
    let handle = fields.string()?;
    fields.end()?;
    if handle.len() > HANDLE_MAX { Err(Malformed) } else { Ok(handle) }
}

/// How many bytes of a file follow.
pub(super) fn data(head: &[u8]) -> Result<u32, Malformed> {
    let mut fields = Fields::of(head);
    fields.u32()?;
    fields.u32()
}

/// The one name that was answered.
pub(super) fn name(packet: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields::of(packet);
    fields.u32()?;
    if fields.u32()? != 1 {
        return Err(Malformed);
    }
    fields.string()
}

/// Appends the answer of the gateway itself.
pub(super) fn refuse(out: &mut Vec<u8>, id: u32, status: u32, message: &str) {
    let message = message.as_bytes();
    let (id, status) = (id.to_be_bytes(), status.to_be_bytes());
    packet(out, STATUS, &[&id, &status, &length(message), message, &length(b"en"), b"en"]);
}
