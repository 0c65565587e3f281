//! A terminal, as it is exported.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::cast(bytes));
