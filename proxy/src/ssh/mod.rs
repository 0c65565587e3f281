//! The SSH data plane. A connection passes through the files in this order:
//!
//! 1. [`server`] speaks the protocol with the client, over a [`wire`] that can be cut. [`handler`] is what the
//!    library calls; `preamble` and `packet_bound` bound what unauthenticated clients send.
//! 2. [`auth`] finds out who it is and what it wants, and lets it in, or waits for people in a dialogue.
//! 3. [`session`] connects to the target ([`upstream`]) and serves the session; [`session_state`] is what all its
//!    channels share, with the recording.
//! 4. [`channel`] serves one channel; [`sftp`] follows what file transfer does.
//! 5. [`jump`] serves connections that lead to targets by `-J`, each like one that came by itself.
//!
//! The protocol runs in the tasks of its library, on the same worker. No channel opens before the
//! connection is admitted, and one connection is one target.

mod auth;
mod channel;
mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handler;
mod inner_connections;
mod jump;
mod packet_bound;
mod preamble;
mod refuse;
mod server;
mod session;
mod session_state;
mod sftp;
mod transport;
mod upstream;
mod wire;

pub(crate) use server::SshServer;
