//! Statements and values, which may hold secrets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::mask(bytes));
