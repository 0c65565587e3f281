//! Packets of SFTP, of both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::sftp(bytes));
