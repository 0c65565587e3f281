//! Events of a recording, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::statements(bytes));
