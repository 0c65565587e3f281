//! Stock OpenSSH and hostile wires at the SSH listener, in front of a real sshd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a journey reads best in one piece, and one that can't go on has failed"
)]

mod agent;
mod as_direct;
mod bed;
mod channels;
mod clients;
mod cuts;
mod evidence;
mod facts;
mod files;
mod flow;
mod forwards;
mod gateway_process;
mod jumps;
mod keys;
mod messages;
mod programs;
mod registered;
mod room;
mod running;
mod sessions;
mod step_up;
mod streams;
mod targets;
mod wire;

#[path = "../support/mod.rs"]
mod support;
