//! Why there is no room for a recording, and what to do about it.

use std::io;

use policies::{End, Rounded};
use rustix::io::Errno;
use thiserror::Error;

/// Why there is no room: the reason that the person reads, with what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Full {
    /// This session's recording has reached its quota.
    #[error("the recording of this session reached its quota of {}; connect again to go on", Rounded(*quota))]
    Session { quota: u64 },
    /// The recordings of this principal have.
    #[error(
        "your recordings take {}, and the quota of one person is {}; ask an admin to move old \
         recordings away",
        Rounded(*used), Rounded(*quota)
    )]
    Principal { used: u64, quota: u64 },
    /// All recordings have.
    #[error(
        "all recordings take {}, and their quota is {}; ask an admin to move old recordings away",
        Rounded(*used), Rounded(*quota)
    )]
    Spool { used: u64, quota: u64 },
    /// The file system has too little left.
    #[error(
        "the disk of the recordings has {} free, which is below its reserve of {}; ask an admin to \
         free space",
        Rounded(*free), Rounded(*reserve)
    )]
    Reserve { free: u64, reserve: u64 },
    /// The file system of control's state has too little left.
    #[error(
        "the disk of control's state has {} free, which is below its reserve of {}; ask an admin \
         to free space",
        Rounded(*free), Rounded(*reserve)
    )]
    State { free: u64, reserve: u64 },
    /// It is not known how much is left.
    #[error("the free space for recordings can't be measured ({0}); ask an admin to mend that")]
    Unmeasured(Errno),
    /// A write failed for want of space.
    #[error("the disk of the recordings is full; ask an admin to free space")]
    Disk,
}

impl Full {
    /// A name of fixed wording, for metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Session { .. } => "session-quota",
            Self::Principal { .. } => "principal-quota",
            Self::Spool { .. } => "spool-quota",
            Self::Reserve { .. } => "reserve",
            Self::State { .. } => "state-reserve",
            Self::Unmeasured(_) => "unmeasured",
            Self::Disk => "disk-full",
        }
    }

    /// How a session ends because of it.
    pub(crate) fn end(self) -> End {
        End::RecordingFull(self.to_string())
    }

    /// What a failed write says about space.
    pub(in crate::core) fn of(error: &io::Error) -> Option<Self> {
        if let Some(full) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return Some(*full);
        }
        let kind = error.kind();
        let full =
            [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        full.contains(&kind).then_some(Self::Disk)
    }
}

impl From<Full> for io::Error {
    fn from(full: Full) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, full)
    }
}

/// How a session ends whose recorder returned this error.
pub(crate) fn end_of(error: &io::Error) -> End {
    match Full::of(error) {
        Some(full) => full.end(),
        None => End::RecorderFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_says_what_is_full_and_what_to_do() {
        let quota = io::Error::from(Full::Session { quota: 2 << 30 });
        let why = "the recording of this session reached its quota of 2GiB; connect again to go on";
        assert_eq!(end_of(&quota), End::RecordingFull(why.to_owned()));
        let disk = "the disk of the recordings is full; ask an admin to free space";
        for code in [28, 122, 27] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(end_of(&error), End::RecordingFull(disk.to_owned()), "{error}");
        }
        assert_eq!(end_of(&io::Error::from_raw_os_error(5)), End::RecorderFailed);
    }
}
