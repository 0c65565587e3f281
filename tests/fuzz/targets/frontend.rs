//! Messages of Postgres clients.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::frontend(bytes));
