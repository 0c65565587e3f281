//! A session channel that transfers files, beside a model of OpenSSH's server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy::fuzz::sftp_channel(bytes));
