//! Certificates for SSH, with any names and options.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certs::fuzz::ssh_certificate(bytes));
