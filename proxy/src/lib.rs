//! The data plane: it lets connections through while a live grant exists, and cuts them when it ends.
//!
//! [`Proxy`] starts it. `core` is what a connection passes through whatever it speaks: its files know no
//! protocol. `postgres` and `ssh` are protocols on top of it, and know nothing of each other
//! (`tests/layers.rs` keeps that so).
//!
//! A connection passes through the files in this order:
//!
//! 1. `core/listener.rs` accepts it, within `core/limits.rs`, and gives it to its protocol.
//! 2. The protocol speaks with the client and finds out who it is and what it wants:
//!    `postgres/{entry,startup,identify}.rs`, `ssh/auth/`.
//! 3. `core/admission.rs` admits it from `core/leases.rs`, or waits for people (`core/pending.rs`), opens the
//!    session (`core/session.rs`) and obtains what opens the target (`core/credential.rs`).
//! 4. The protocol signs in to the target and carries the bytes: `postgres/{session,upstream,relay}.rs`,
//!    `ssh/{session.rs,upstream/,channel/}`. `core/session.rs` cuts it, and `core/recorder.rs` keeps the evidence.
//! 5. `core/report.rs` tells control how it ended; `core/metrics.rs` counts it.

mod core;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod postgres;
mod proxy;
mod ssh;

/// For benches only: no part of the crate's contract.
#[doc(hidden)]
pub mod bench {
    pub use crate::postgres::bench::Scanners;
}

pub use crate::core::clock::Clock;
pub use crate::core::leases::{Delta, Held, LeaseError, Leases, Pass, Snapshot};
pub use crate::core::settings::{LimitSettings, RecordingSettings, Settings, SshSettings};
pub use crate::core::spool::{SpoolUse, spool_use};
pub use crate::proxy::{Proxy, ProxyError};
