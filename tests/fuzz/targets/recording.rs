//! Recordings of sessions: cut, damaged, forged.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::recording(bytes));
