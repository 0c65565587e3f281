//! User names of SSH clients, which say where they lead.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::route(bytes));
