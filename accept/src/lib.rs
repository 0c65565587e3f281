//! Accepting connections: listening sockets, and who gets a place on them.
//!
//! Every listener of the gateway stands behind this crate, whatever it speaks: Postgres, SSH and HTTP.
//! `socket` binds and prepares, `run` accepts for ever, `limits` gives out places, `network` says what
//! counts as one address, `recent` remembers in bounded memory. It knows nothing of protocols and of people.

mod limits;
mod network;
mod recent;
mod run;
mod socket;

pub use limits::{AtWork, Bounds, Limits, Refused, Slot, Unauthenticated};
pub use network::{neighbourhood, network};
pub use recent::Recent;
pub use run::accept_all;
pub use socket::{KEEPALIVE, bind, keep_alive, prepare};
