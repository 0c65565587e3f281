//! Running a gateway: configuration, deployment files, the doctor, floods, kills, the demo.
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

mod backup;
mod backup_page;
mod config;
mod configuration_page;
mod demo;
mod deploy;
mod doctor;
mod flood;
mod full;
mod hardening;
mod kill;
mod metrics_page;
mod policy_page;
mod room;
mod small;

#[path = "../support/mod.rs"]
mod support;
