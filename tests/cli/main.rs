//! The command line as people use it.
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

mod people;
mod policy;
mod reference;
mod tutorial;

#[path = "../support/mod.rs"]
mod support;
