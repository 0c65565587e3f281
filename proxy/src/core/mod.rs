//! What a connection passes through whatever it speaks. Nothing here knows a protocol.
//!
//! - `listener` accepts connections, within `limits`; each protocol implements `Protocol`.
//! - `identity` asks control who a client is.
//! - `admission` lets it in: from `leases`, which follow control by `feed` and the time by `clock`; or after
//!   people have acted, for whom it waits in `pending`. It obtains what opens the target (`credential`).
//! - `session` is what was admitted. It ends with its lease, by a lock, or with the gateway.
//! - `recorder` writes what passes, as far as there is room in the `spool`.
//! - `report` tells control what happened; `metrics` counts it.
//! - `plane` is what all connections share, made from `settings`.

pub(crate) mod admission;
pub(crate) mod clock;
pub(crate) mod credential;
pub(crate) mod feed;
pub(crate) mod handshakes;
pub(crate) mod identity;
pub(crate) mod leases;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod pending;
pub(crate) mod plane;
pub(crate) mod recorder;
pub(crate) mod report;
pub(crate) mod sanitize;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod spool;
#[cfg(test)]
pub(crate) mod testing;
