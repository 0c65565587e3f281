//! Stock clients and hostile wires at the Postgres listener, in front of a real Postgres.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a journey reads best in one piece, and one that can't go on has failed"
)]

mod as_direct;
mod clients;
mod cut;
mod entry;
mod load;
mod oauthbearer;
mod upstream;

#[path = "../support/mod.rs"]
mod support;
