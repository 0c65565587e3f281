//! Names, spans, quorums and whatever else people write.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policies::fuzz::words(bytes));
