//! Tokens that Postgres clients show.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::sasl(bytes));
