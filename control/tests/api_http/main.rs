//! The HTTP side of control, asked as a client asks it: against a real store, without a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that can't go on has failed"
)]

mod access;
mod faults;
mod flood;
mod forms;
mod matrix;
mod pages;
mod support;
mod surface;
mod words;
