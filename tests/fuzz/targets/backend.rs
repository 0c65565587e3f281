//! Messages of Postgres targets and clients between each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::backend(bytes));
