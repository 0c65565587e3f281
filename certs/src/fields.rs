//! The fields of a certificate, as every file here writes and reads them: its begin and end, its
//! serial number and its fingerprint.

use std::fmt::Write;

use rcgen::SerialNumber;
use sha2::{Digest, Sha256};
use x509_parser::time::ASN1Time;

use crate::issue::IssueError;

pub(crate) const BACKDATE_MS: i64 = 5 * 60 * 1000;

/// A certificate begins five minutes before it is issued: the machine that checks it may run a
/// little behind the one that issued it, and a fresh certificate has to work at once.
pub(crate) fn begin(now: i64) -> Result<ASN1Time, IssueError> {
    instant(now.saturating_sub(BACKDATE_MS))
}

/// A time as a certificate says it: on a whole second, never later than asked.
pub(crate) fn instant(millis: i64) -> Result<ASN1Time, IssueError> {
    ASN1Time::from_timestamp(millis.div_euclid(1000)).map_err(|_| IssueError::Time { millis })
}

pub(crate) fn millis(time: ASN1Time) -> i64 {
    time.timestamp().saturating_mul(1000)
}

/// 128 random bits: no two serials meet, and none tells how many were issued before.
pub(crate) fn new_serial() -> SerialNumber {
    SerialNumber::from(rand::random::<[u8; 16]>().to_vec())
}

/// Leading zeros depend on who encodes the number, so they are left out.
pub(crate) fn serial_hex(serial: &[u8]) -> String {
    let digits: Vec<u8> = serial.iter().copied().skip_while(|byte| *byte == 0).collect();
    hex(&digits)
}

/// SHA-256 of a certificate in DER, in hex.
pub fn fingerprint(certificate: &[u8]) -> String {
    hex(&Sha256::digest(certificate))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
