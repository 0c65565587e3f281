//! What is recorded of a Postgres target's answers, beside a model of that target.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::outcomes(bytes));
