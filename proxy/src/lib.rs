//! The data plane: it lets connections through while a live grant exists, and cuts them when it ends.
//!
//! A connection passes through the files in this order:
//!
//! 1. `listener` accepts it, within `limits`.
//! 2. `postgres` or `ssh` speaks its protocol and finds out who it is; `hold` asks control where a token has
//!    to be redeemed or a person has to act.
//! 3. `leases` admits it, from what `feed` heard from control, by the time of `clock`.
//! 4. `credential` obtains what opens the target.
//! 5. `session` holds the cut, and `recorder` the evidence, while bytes flow.
//! 6. `report` tells control how it ended; `metrics` counts it.

mod clock;
mod credential;
mod feed;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod hold;
mod leases;
mod limits;
mod listener;
mod metrics;
mod plane;
mod postgres;
mod proxy;
mod recorder;
mod report;
mod session;
mod settings;
mod ssh;
#[cfg(test)]
mod testing;

/// For benches only: no part of the crate's contract.
#[doc(hidden)]
pub mod bench {
    pub use crate::postgres::bench::Scanners;
}

pub use clock::Clock;
pub use leases::{Delta, Held, LeaseError, Leases, Pass, Snapshot};
pub use proxy::{Proxy, ProxyError};
pub use recorder::{SpoolUse, spool_use};
pub use settings::{LimitSettings, RecordingSettings, Settings, SshSettings};

pub(crate) use plane::Plane;
