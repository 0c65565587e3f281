//! Statements with known secrets, as the input chooses.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| audit::fuzz::mask_sql(bytes));
