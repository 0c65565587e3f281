//! Certificates and requests for them, in DER and PEM.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certs::fuzz::x509(bytes));
