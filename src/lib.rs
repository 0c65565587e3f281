//! Postern: an identity-aware, just-in-time access gateway, as one binary.
//!
//! [`cli`] reads the command line. `postern up` reads a [`config`] and starts an [`up::Gateway`];
//! `postern demo` does the same around a [`throwaway`] Postgres; every other command is a [`client`]
//! of the HTTP API. [`doctor`] looks for what is wrong with a set-up, [`policy`] for what rules mean. One process at a time
//! uses a [`state`] folder; [`backup`] copies it and puts it back, and [`hardening`] keeps the memory private.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that can't go on has failed"
    )
)]

pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod hardening;
pub mod policy;
pub mod state;
pub mod telemetry;
pub mod terminal;
pub mod throwaway;
pub mod up;
