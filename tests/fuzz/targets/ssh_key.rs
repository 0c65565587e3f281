//! Public keys for SSH, as people hand them in.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certs::fuzz::ssh_key(bytes));
