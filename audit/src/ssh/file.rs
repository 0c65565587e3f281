//! File operations of the SFTP protocol, version 3, and what was transferred by them.
//!
//! Paths stand here as the client sent them. What the target made of a path is known where it said so
//! (`realpath`), since links are its own affair.

use serde::{Deserialize, Serialize};

use crate::chain::Digest;
use crate::event::Text;

/// One file operation: the `op` of an event, and its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum FileOp<'a> {
    /// A file was opened.
    Open {
        /// Its path.
        path: Text<'a>,
        /// What for.
        mode: OpenMode,
    },
    /// A folder was listed.
    List {
        /// Its path.
        path: Text<'a>,
    },
    /// A file was removed.
    Remove {
        /// Its path.
        path: Text<'a>,
    },
    /// A folder was removed.
    Rmdir {
        /// Its path.
        path: Text<'a>,
    },
    /// A folder was made.
    Mkdir {
        /// Its path.
        path: Text<'a>,
    },
    /// A file or folder got another name.
    Rename {
        /// The old one.
        from: Text<'a>,
        /// The new one.
        to: Text<'a>,
        /// Whether what stood there before may be replaced (`posix-rename@openssh.com`).
        replace: bool,
    },
    /// A symbolic link was made.
    Symlink {
        /// Its path.
        path: Text<'a>,
        /// Where it leads.
        target: Text<'a>,
    },
    /// A further name was given to a file (`hardlink@openssh.com`).
    Link {
        /// The new name.
        path: Text<'a>,
        /// The file.
        target: Text<'a>,
    },
    /// Attributes were set.
    SetStat {
        /// Its path.
        path: Text<'a>,
        /// Whether a link is followed.
        follow: bool,
        /// The attributes.
        attributes: Attributes,
    },
    /// Attributes of an open file were set.
    SetOpen {
        /// The number of the operation that opened it.
        opened: u64,
        /// The attributes.
        attributes: Attributes,
    },
    /// Attributes were asked for.
    Stat {
        /// Its path.
        path: Text<'a>,
        /// Whether a link is followed.
        follow: bool,
    },
    /// The target of a link was asked for.
    ReadLink {
        /// Its path.
        path: Text<'a>,
    },
    /// A path was resolved.
    RealPath {
        /// The path.
        path: Text<'a>,
    },
    /// The target copies between two open files by itself (`copy-data`).
    Copy {
        /// The number of the operation that opened the source.
        opened: u64,
        /// Where in the source.
        offset: u64,
        /// Bytes; 0 is up to the end.
        bytes: u64,
        /// The number of the operation that opened the destination.
        into: u64,
    },
    /// Another extension that names a path.
    Extended {
        /// Its name.
        name: Text<'a>,
        /// The path.
        path: Text<'a>,
    },
}

impl FileOp<'_> {
    /// The operation in one word, as in its `op`.
    pub fn word(&self) -> &'static str {
        match self {
            FileOp::Open { .. } => "open",
            FileOp::List { .. } => "list",
            FileOp::Remove { .. } => "remove",
            FileOp::Rmdir { .. } => "rmdir",
            FileOp::Mkdir { .. } => "mkdir",
            FileOp::Rename { .. } => "rename",
            FileOp::Symlink { .. } => "symlink",
            FileOp::Link { .. } => "link",
            FileOp::SetStat { .. } => "set_stat",
            FileOp::SetOpen { .. } => "set_open",
            FileOp::Stat { .. } => "stat",
            FileOp::ReadLink { .. } => "read_link",
            FileOp::RealPath { .. } => "real_path",
            FileOp::Copy { .. } => "copy",
            FileOp::Extended { .. } => "extended",
        }
    }

    /// The paths that it names: the one it acts on, and the other one of a rename or a link.
    pub fn paths(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let (one, other) = match self {
            FileOp::Open { path, .. }
            | FileOp::List { path }
            | FileOp::Remove { path }
            | FileOp::Rmdir { path }
            | FileOp::Mkdir { path }
            | FileOp::SetStat { path, .. }
            | FileOp::Stat { path, .. }
            | FileOp::ReadLink { path }
            | FileOp::RealPath { path }
            | FileOp::Extended { path, .. } => (Some(path), None),
            FileOp::Rename { from, to, .. } => (Some(from), Some(to)),
            FileOp::Symlink { path, target } | FileOp::Link { path, target } => {
                (Some(path), Some(target))
            }
            FileOp::SetOpen { .. } | FileOp::Copy { .. } => (None, None),
        };
        (one.map(Text::as_bytes), other.map(Text::as_bytes))
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> FileOp<'static> {
        match self {
            FileOp::Open { path, mode } => FileOp::Open { path: path.into_owned(), mode },
            FileOp::List { path } => FileOp::List { path: path.into_owned() },
            FileOp::Remove { path } => FileOp::Remove { path: path.into_owned() },
            FileOp::Rmdir { path } => FileOp::Rmdir { path: path.into_owned() },
            FileOp::Mkdir { path } => FileOp::Mkdir { path: path.into_owned() },
            FileOp::Rename { from, to, replace } => {
                FileOp::Rename { from: from.into_owned(), to: to.into_owned(), replace }
            }
            FileOp::Symlink { path, target } => {
                FileOp::Symlink { path: path.into_owned(), target: target.into_owned() }
            }
            FileOp::Link { path, target } => {
                FileOp::Link { path: path.into_owned(), target: target.into_owned() }
            }
            FileOp::SetStat { path, follow, attributes } => {
                FileOp::SetStat { path: path.into_owned(), follow, attributes }
            }
            FileOp::SetOpen { opened, attributes } => FileOp::SetOpen { opened, attributes },
            FileOp::Stat { path, follow } => FileOp::Stat { path: path.into_owned(), follow },
            FileOp::ReadLink { path } => FileOp::ReadLink { path: path.into_owned() },
            FileOp::RealPath { path } => FileOp::RealPath { path: path.into_owned() },
            FileOp::Copy { opened, offset, bytes, into } => {
                FileOp::Copy { opened, offset, bytes, into }
            }
            FileOp::Extended { name, path } => {
                FileOp::Extended { name: name.into_owned(), path: path.into_owned() }
            }
        }
    }
}

/// What a file was opened for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenMode {
    /// To be read.
    pub read: bool,
    /// To be written.
    pub write: bool,
    /// Writes go to its end.
    pub append: bool,
    /// Made where it isn't there.
    pub create: bool,
    /// Emptied first.
    pub truncate: bool,
    /// Refused where it is there.
    pub exclusive: bool,
}

/// Attributes that were set; what isn't there was left as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// The size in bytes, which cuts or fills the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The owner's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Seconds of the last access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atime: Option<u32>,
    /// Seconds of the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<u32>,
}

/// What has passed through an open file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transfer {
    /// What the client read, as the target answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Transferred>,
    /// What the client wrote, in whole requests; without a digest where the target refused one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Transferred>,
    /// Reads and writes that the target refused; the end of the file is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Whether the channel ended before the file was closed.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
}

/// Bytes in one direction of one open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// How many passed, also where a place was passed twice.
    pub bytes: u64,
    /// Where in the file the first one belongs.
    pub from: u64,
    /// SHA-256 of them; `None` where a piece did not begin where the one before it ended (a hole, an
    /// overlap, another order), since no digest would be that of a piece of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(it: &bool) -> bool {
    !*it
}
