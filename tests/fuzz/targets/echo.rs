//! What is typed into a terminal, and what it shows.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::echo(bytes));
