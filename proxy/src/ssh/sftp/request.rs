//! What a client asks for, read strictly: draft-ietf-secsh-filexfer-02 and OpenSSH's extensions.

use audit::Text;
use audit::ssh::{Attributes, FileOp, OpenMode};

use super::frame::{Fault, Fields, HANDLE_MAX, Malformed, bounded, whole};

pub(super) const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
pub(super) const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
pub(super) const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;

/// Where a write's handle has its length, and what stands before and after the handle.
const HANDLE_AT: usize = 13;
const AFTER_HANDLE: usize = 12;

/// A request that is held whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// One that is recorded, and by its paths decided.
    Op(FileOp<'a>),
    /// Attributes of an open file are set.
    SetOpen { handle: &'a [u8], attributes: Attributes },
    /// The target copies by itself.
    Copy { from: &'a [u8], offset: u64, bytes: u64, into: &'a [u8] },
    /// A piece of a file is read.
    Read { handle: &'a [u8], offset: u64 },
    /// A file or folder is closed.
    Close { handle: &'a [u8] },
    /// An open file or folder is looked at.
    Look { handle: &'a [u8] },
    /// What reaches no file.
    Ask,
    /// What is not known.
    Unknown(&'a [u8]),
}

/// The head of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write<'a> {
    pub(super) id: u32,
    pub(super) handle: &'a [u8],
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// How much of the client's next packet has to be held.
pub(super) fn wanted(held: &[u8]) -> Result<usize, Fault> {
    match whole(held)? {
        None => Ok(5),
        Some((all, WRITE)) => Ok(write_head(held).min(all)),
        Some((all, _)) => bounded(all),
    }
}

/// The head of a write reaches up to its data; one with an endless handle is refused by what is held of it.
fn write_head(held: &[u8]) -> usize {
    match held.get(9..HANDLE_AT).and_then(<[u8]>::first_chunk) {
        None => HANDLE_AT,
        Some(length) => {
            let handle = super::frame::size(u32::from_be_bytes(*length)).min(HANDLE_MAX + 1);
            HANDLE_AT + handle + AFTER_HANDLE
        }
    }
}

/// The number of a request.
pub(super) fn id(packet: &[u8]) -> Result<u32, Malformed> {
    Fields::of(packet).u32()
}

/// Reads the head of a write.
pub(super) fn write(head: &[u8]) -> Result<Write<'_>, Malformed> {
    let mut fields = Fields::of(head);
    let write = Write {
        id: fields.u32()?,
        handle: handle(&mut fields)?,
        offset: fields.u64()?,
        bytes: fields.u32()?,
    };
    fields.end()?;
    Ok(write)
}

/// Reads a request with its number.
pub(super) fn read(kind: u8, packet: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut fields = Fields::of(packet);
    fields.u32()?;
    let request = match kind {
        OPEN => open(&mut fields)?,
        CLOSE => Request::Close { handle: handle(&mut fields)? },
        READ => {
            let (handle, offset) = (handle(&mut fields)?, fields.u64()?);
            fields.u32()?;
            Request::Read { handle, offset }
        }
        FSTAT | READDIR => Request::Look { handle: handle(&mut fields)? },
        FSETSTAT => {
            Request::SetOpen { handle: handle(&mut fields)?, attributes: attributes(&mut fields)? }
        }
        EXTENDED => return extended(fields),
        known => match on_paths(known, &mut fields)? {
            Some(op) => Request::Op(op),
            None => return Ok(Request::Unknown(&[])),
        },
    };
    fields.end()?;
    Ok(request)
}

fn on_paths<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Option<FileOp<'a>>, Malformed> {
    Ok(Some(match kind {
        OPENDIR => FileOp::List { path: text(fields)? },
        LSTAT => FileOp::Stat { path: text(fields)?, follow: false },
        STAT => FileOp::Stat { path: text(fields)?, follow: true },
        REMOVE => FileOp::Remove { path: text(fields)? },
        RMDIR => FileOp::Rmdir { path: text(fields)? },
        REALPATH => FileOp::RealPath { path: text(fields)? },
        READLINK => FileOp::ReadLink { path: text(fields)? },
        RENAME => FileOp::Rename { from: text(fields)?, to: text(fields)?, replace: false },
        // OpenSSH takes these two the other way round than the draft, and most others follow it (`symlink.rs`).
        SYMLINK => FileOp::Symlink { target: text(fields)?, path: text(fields)? },
        MKDIR => {
            let path = text(fields)?;
            attributes(fields)?;
            FileOp::Mkdir { path }
        }
        SETSTAT => {
            FileOp::SetStat { path: text(fields)?, follow: true, attributes: attributes(fields)? }
        }
        _ => return Ok(None),
    }))
}

fn open<'a>(fields: &mut Fields<'a>) -> Result<Request<'a>, Malformed> {
    let (path, flags) = (text(fields)?, fields.u32()?);
    attributes(fields)?;
    if flags & !0x3f != 0 {
        return Err(Malformed);
    }
    let has = |flag| flags & flag != 0;
    let mode = OpenMode {
        read: has(1),
        write: has(2),
        append: has(4),
        create: has(8),
        truncate: has(16),
        exclusive: has(32),
    };
    Ok(Request::Op(FileOp::Open { path, mode }))
}

fn extended(mut fields: Fields<'_>) -> Result<Request<'_>, Malformed> {
    let name = fields.string()?;
    let request = match name {
        b"posix-rename@openssh.com" => {
            let (from, to) = (text(&mut fields)?, text(&mut fields)?);
            Request::Op(FileOp::Rename { from, to, replace: true })
        }
        b"hardlink@openssh.com" => {
            let (target, path) = (text(&mut fields)?, text(&mut fields)?);
            Request::Op(FileOp::Link { path, target })
        }
        b"lsetstat@openssh.com" => Request::Op(FileOp::SetStat {
            path: text(&mut fields)?,
            follow: false,
            attributes: attributes(&mut fields)?,
        }),
        b"expand-path@openssh.com" => Request::Op(FileOp::RealPath { path: text(&mut fields)? }),
        b"statvfs@openssh.com" => {
            Request::Op(FileOp::Extended { name: Text::from(name), path: text(&mut fields)? })
        }
        b"fstatvfs@openssh.com" | b"fsync@openssh.com" => {
            Request::Look { handle: handle(&mut fields)? }
        }
        b"copy-data" => copy(&mut fields)?,
        b"limits@openssh.com" => Request::Ask,
        b"home-directory" => {
            fields.string()?;
            Request::Ask
        }
        b"users-groups-by-id@openssh.com" => {
            fields.string()?;
            fields.string()?;
            Request::Ask
        }
        unknown => return Ok(Request::Unknown(unknown)),
    };
    fields.end()?;
    Ok(request)
}

fn copy<'a>(fields: &mut Fields<'a>) -> Result<Request<'a>, Malformed> {
    let (from, offset, bytes) = (handle(fields)?, fields.u64()?, fields.u64()?);
    let into = handle(fields)?;
    fields.u64()?;
    Ok(Request::Copy { from, offset, bytes, into })
}

fn handle<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    fields.string().and_then(|it| if it.len() > HANDLE_MAX { Err(Malformed) } else { Ok(it) })
}

fn text<'a>(fields: &mut Fields<'a>) -> Result<Text<'a>, Malformed> {
    fields.string().map(Text::from)
}

fn attributes(fields: &mut Fields<'_>) -> Result<Attributes, Malformed> {
    const KNOWN: u32 = 0x8000_000f;
    let flags = fields.u32()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed);
    }
    let has = |flag| flags & flag != 0;
    let mut it = Attributes::default();
    if has(1) {
        it.size = Some(fields.u64()?);
    }
    if has(2) {
        (it.uid, it.gid) = (Some(fields.u32()?), Some(fields.u32()?));
    }
    if has(4) {
        it.mode = Some(fields.u32()?);
    }
    if has(8) {
        (it.atime, it.mtime) = (Some(fields.u32()?), Some(fields.u32()?));
    }
    if has(0x8000_0000) {
        skip_pairs(fields)?;
    }
    Ok(it)
}

fn skip_pairs(fields: &mut Fields<'_>) -> Result<(), Malformed> {
    for _ in 0..fields.u32()? {
        fields.string()?;
        fields.string()?;
    }
    Ok(())
}
