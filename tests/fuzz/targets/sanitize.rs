//! Terminals of others, shown on this one.
//!
//! The binary cleans them, and nothing else of it is built here.
#![no_main]

#[path = "../../../src/terminal/fuzz.rs"]
mod fuzz;
#[path = "../../../src/terminal/sanitize.rs"]
mod sanitize;
#[path = "../../../src/terminal/plain.rs"]
#[expect(dead_code, reason = "the binary needs more of it")]
mod plain;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sanitize(bytes));
