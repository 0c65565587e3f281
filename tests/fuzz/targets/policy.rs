//! Files of rules with their annotations.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policies::fuzz::policy(bytes));
