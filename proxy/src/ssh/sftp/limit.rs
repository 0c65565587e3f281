//! What may be done to which files.
//!
//! A limit on paths is decided by where the target says that a path leads (`realpath`), with all links and
//! `..` followed, and by the last name itself where the operation doesn't follow a link there. What the
//! target can't resolve is refused. Links can't be made under such a limit, since another channel could
//! put one where this one has just looked; links that are there already can still be moved by a rename.
//! `realpath` itself is free: every client begins with it, and it opens nothing.

use audit::Text;
use audit::ssh::FileOp;

/// The longest path that the target's system calls take.
const PATH_MAX: usize = 4095;

/// A limit on file operations. The default allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limit {
    read_only: bool,
    /// Folders without a slash at their end; nothing limits paths where this is empty.
    under: Vec<String>,
}

/// Why something is not allowed, for the client and the recording.
pub(super) type Reason = &'static str;

/// A path that the target has to resolve before a request goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// What to resolve.
    pub(super) path: Vec<u8>,
    /// What stands below it and isn't followed.
    last: Option<Vec<u8>>,
}

impl Limit {
    /// Nothing but reading is allowed, where `read_only`; nothing but what lies in these folders, where
    /// there are any. `None` where one of them is not an absolute path without `.`, `..` and NUL.
    pub(crate) fn new(read_only: bool, under: &[&str]) -> Option<Self> {
        let under = under.iter().map(|folder| {
            let is_plain = folder.starts_with('/')
                && !folder.contains('\0')
                && folder.split('/').skip(1).all(|name| name != "." && name != "..")
                && !folder.contains("//");
            is_plain.then(|| folder.trim_end_matches('/').to_owned())
        });
        under.collect::<Option<_>>().map(|under| Self { read_only, under })
    }

    /// Whether nothing may be changed.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What has to be resolved first, or why the operation is refused already.
    pub(super) fn examine(&self, op: &FileOp<'_>) -> Result<Vec<Check>, Reason> {
        let (one, other) = op.paths();
        for path in [one, other].into_iter().flatten() {
            is_sound(path)?;
        }
        if self.read_only && changes(op) {
            return Err("only reading is allowed here");
        }
        if self.under.is_empty() {
            return Ok(Vec::new());
        }
        self.checks(op)
    }

    fn checks(&self, op: &FileOp<'_>) -> Result<Vec<Check>, Reason> {
        match op {
            FileOp::RealPath { .. } => Ok(Vec::new()),
            FileOp::Symlink { .. } | FileOp::Link { .. } => {
                Err("links can not be made where paths are limited")
            }
            FileOp::Open { path, .. }
            | FileOp::List { path }
            | FileOp::Extended { path, .. }
            | FileOp::Stat { path, follow: true }
            | FileOp::SetStat { path, follow: true, .. } => Ok(vec![follow(path)]),
            FileOp::Stat { path, follow: false }
            | FileOp::SetStat { path, follow: false, .. }
            | FileOp::ReadLink { path }
            | FileOp::Remove { path }
            | FileOp::Rmdir { path }
            | FileOp::Mkdir { path } => Ok(vec![keep_last(path)]),
            FileOp::Rename { from, to, .. } => Ok(vec![keep_last(from), keep_last(to)]),
            FileOp::SetOpen { .. } | FileOp::Copy { .. } => Ok(Vec::new()),
        }
    }

    /// Whether the path that the target resolved `check` to is within the limit.
    pub(super) fn allows(&self, check: &Check, resolved: &[u8]) -> Result<(), Reason> {
        let is_plain = resolved.starts_with(b"/")
            && !resolved.contains(&0)
            && resolved.split(|byte| *byte == b'/').all(|name| name != b".." && name != b".");
        if !is_plain {
            return Err("the target did not say where this path leads");
        }
        let mut path = resolved.to_owned();
        if let Some(last) = &check.last {
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(last);
        }
        let inside = self.under.iter().any(|folder| is_under(&path, folder.as_bytes()));
        if inside { Ok(()) } else { Err("this path is not among those allowed here") }
    }
}

fn is_under(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A NUL ends a path early on the target, so that the recording would name another one.
fn is_sound(path: &[u8]) -> Result<(), Reason> {
    if path.contains(&0) {
        return Err("a path can not hold a NUL");
    }
    if path.len() > PATH_MAX {
        return Err("the path is longer than 4095 bytes");
    }
    Ok(())
}

fn follow(path: &Text<'_>) -> Check {
    Check { path: path.as_bytes().to_owned(), last: None }
}

/// The folder is resolved, the last name stays; but a slash or dots at the end follow even there.
fn keep_last(path: &Text<'_>) -> Check {
    let path = path.as_bytes();
    let (folder, last) = match path.iter().rposition(|byte| *byte == b'/') {
        None => (&b"."[..], path),
        Some(0) => (&b"/"[..], path.get(1..).unwrap_or_default()),
        Some(slash) => path
            .split_at_checked(slash)
            .map_or((path, &[][..]), |(folder, rest)| (folder, rest.get(1..).unwrap_or_default())),
    };
    match last {
        b"" => {
            let kept = path.iter().rposition(|byte| *byte != b'/').map_or(1, |end| end + 1);
            Check { path: path.get(..kept).unwrap_or(path).to_owned(), last: None }
        }
        b"." | b".." => Check { path: path.to_owned(), last: None },
        name => Check { path: folder.to_owned(), last: Some(name.to_owned()) },
    }
}

/// Whether something is different afterwards.
fn changes(op: &FileOp<'_>) -> bool {
    match op {
        FileOp::Open { mode, .. } => {
            mode.write || mode.append || mode.create || mode.truncate || !mode.read
        }
        FileOp::Remove { .. }
        | FileOp::Rmdir { .. }
        | FileOp::Mkdir { .. }
        | FileOp::Rename { .. }
        | FileOp::Symlink { .. }
        | FileOp::Link { .. }
        | FileOp::SetStat { .. }
        | FileOp::SetOpen { .. }
        | FileOp::Copy { .. } => true,
        FileOp::List { .. }
        | FileOp::Stat { .. }
        | FileOp::ReadLink { .. }
        | FileOp::RealPath { .. }
        | FileOp::Extended { .. } => false,
    }
}
