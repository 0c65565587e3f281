//! What SSH clients say before anything is encrypted.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::preamble(bytes));
