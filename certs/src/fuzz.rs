//! What this crate promises of bytes that it didn't make, for `tests/fuzz` to try to break.
//!
//! Each function takes any bytes and fails where a promise does not hold. The inputs in `tests/fuzz/seeds`
//! are tests here.

use std::net::{IpAddr, Ipv4Addr};

use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Certificate, PrivateKey};

use crate::ssh::DEVICE;
use crate::{
    Csr, identify, identify_ssh, key_fingerprint, names, read_public_key, tls_server_end_point,
};

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;

/// When the seeds are valid, in unix milliseconds.
const NOW: i64 = 1_800_000_000_000;
/// From where the certificates of [`ssh_certificate`] are shown.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A certificate names one person in one spelling, a request has one key, and neither has anything behind it.
pub fn x509(bytes: &[u8]) {
    let longer = [bytes, &[0]].concat();
    if let Ok(person) = identify(bytes, NOW) {
        assert!(identify(&longer, NOW).is_err());
        assert!(person.not_after > NOW);
        for id in [person.principal_id, person.device] {
            assert!(names::encode(&id).is_ok(), "{id:?} can't stand in a certificate");
        }
    }
    if let Ok(csr) = Csr::from_der(bytes) {
        assert!(Csr::from_der(&longer).is_err());
        assert!(!csr.public_key_der().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Csr::from_pem(text);
    }
    let binding = tls_server_end_point(bytes).map(|hash| hash.len());
    assert!(matches!(binding, None | Some(28 | 32 | 48 | 64)));
}

/// An id has one spelling.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = names::decode(text) {
        assert_eq!(names::encode(&id).as_deref(), Ok(text));
    }
    if let Ok(spelled) = names::encode(text) {
        assert!(spelled.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(names::decode(&spelled).as_deref(), Ok(text));
    }
}

/// Keys in lines of text: what is read is read again, and is known by the same name.
pub fn ssh_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(line) = read_public_key(text) {
        assert_eq!(read_public_key(&line).ok().as_ref(), Some(&line));
        assert_eq!(key_fingerprint(&line).ok(), key_fingerprint(text).ok());
        assert!(!line.contains(['\n', '\r', '\0']));
    }
}

/// Whatever our authority might sign, a person is somebody's one name, on a device, from an allowed place.
pub fn ssh_certificate(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let Some((certificate, authority)) = signed(*kind, rest) else { return };
    let read = identify_ssh(&certificate, authority.public_key(), HERE, NOW);
    let Ok(person) = read else { return };
    assert_eq!(certificate.cert_type(), CertType::User);
    assert_eq!(certificate.valid_principals(), [person.principal_id]);
    assert!(!person.device.is_empty());
    for (name, value) in certificate.critical_options().iter() {
        assert!(name == "source-address" && !value.is_empty());
    }
    let other = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let elsewhere = identify_ssh(&certificate, authority.public_key(), other, NOW);
    assert!(elsewhere.is_ok() || !certificate.critical_options().is_empty());
}

/// A certificate as the input describes it: fields between NULs, each with a letter for what it is.
fn signed(kind: u8, fields: &[u8]) -> Option<(Certificate, PrivateKey)> {
    let key = |seed| PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&[seed; 32])), "");
    let (authority, subject) = (key(1).ok()?, key(9).ok()?);
    let second = u64::try_from(NOW / 1_000).ok()?;
    let subject = subject.public_key().key_data().clone();
    let mut builder = Builder::new([7; 32], subject, second - 60, second + 60).ok()?;
    builder.cert_type(if kind.is_multiple_of(2) { CertType::User } else { CertType::Host }).ok()?;
    if kind & 2 != 0 {
        builder.all_principals_valid().ok()?;
    }
    for field in fields.split(|byte| *byte == 0) {
        let Some((what, text)) = field.split_first() else { continue };
        let text = String::from_utf8(text.to_vec()).ok()?;
        match what {
            b'p' => builder.valid_principal(text).ok()?,
            b'd' => builder.extension(DEVICE, text).ok()?,
            b's' => builder.critical_option("source-address", text).ok()?,
            b'o' => builder.critical_option(text, "").ok()?,
            _ => builder.extension(text, "").ok()?,
        };
    }
    let certificate = builder.sign(&authority).ok()?;
    // As it comes: by the wire, not from the builder.
    let certificate = Certificate::from_bytes(&certificate.to_bytes().ok()?);
    Some((certificate.ok()?, authority))
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn every_seed_holds() {
        seeds::each("x509", super::x509);
        seeds::each("names", super::names);
        seeds::each("ssh_key", super::ssh_key);
        seeds::each("ssh_certificate", super::ssh_certificate);
    }
}
