//! Who a client certificate is: from bytes that the handshake has verified to a [`Person`].
//!
//! The handshake proves that our authority signed and that the peer holds the key. What is left is
//! to read the name in exactly one way. Anything that this authority would not have written, such
//! as a second principal, another usage or another spelling, is a [`Rejection`], never a guess; the
//! common name is for people and is not looked at.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::fields::{fingerprint, millis, serial_hex};
use crate::names::{self, NameError};

/// The holder of a verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The stable id of the principal.
    pub principal_id: String,
    /// The device that the key lives on.
    pub device: String,
    /// The certificate's serial number in hex, without leading zeros.
    pub serial: String,
    /// When the certificate ends, in unix milliseconds.
    pub not_after: i64,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
}

/// Why a verified certificate names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not a certificate, or one with extensions that can't be read or stand there twice.
    #[error("the certificate is malformed")]
    Malformed,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// It may issue certificates, so it is nobody's.
    #[error("the certificate is an authority's")]
    AnAuthority,
    /// It isn't for TLS clients.
    #[error("the certificate is not for client authentication")]
    NotForClients,
    /// It is for something else as well.
    #[error("the certificate is for more than client authentication")]
    OtherUsage,
    /// It names no principal; a common name alone is not a name.
    #[error("the certificate names no principal")]
    NoPrincipal,
    /// It names several principals.
    #[error("the certificate names more than one principal")]
    ManyPrincipals,
    /// It names no device.
    #[error("the certificate names no device")]
    NoDevice,
    /// It names several devices.
    #[error("the certificate names more than one device")]
    ManyDevices,
    /// It has a URI that isn't ours.
    #[error("the certificate has a URI that is neither a principal nor a device")]
    UnknownUri,
    /// It has a name that isn't a URI: a host, an address, a mailbox.
    #[error("the certificate has a name that is not a URI")]
    ForeignName,
    /// The principal's id can't be read.
    #[error("the principal of the certificate is unreadable: {0}")]
    BadPrincipal(NameError),
    /// The device's id can't be read.
    #[error("the device of the certificate is unreadable: {0}")]
    BadDevice(NameError),
}

/// Reads the person out of a certificate whose chain was verified already.
pub fn identify(certificate: &[u8], now: i64) -> Result<Person, Rejection> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| Rejection::Malformed)?;
    if !rest.is_empty() {
        return Err(Rejection::Malformed);
    }
    check_time(&parsed, now)?;
    check_usage(&parsed)?;
    let (principal_id, device) = read_names(&parsed)?;
    Ok(Person {
        principal_id,
        device,
        serial: serial_hex(parsed.raw_serial()),
        not_after: millis(parsed.validity().not_after),
        fingerprint: fingerprint(certificate),
    })
}

fn check_time(certificate: &X509Certificate<'_>, now: i64) -> Result<(), Rejection> {
    let validity = certificate.validity();
    if now < millis(validity.not_before) {
        return Err(Rejection::NotYetValid);
    }
    if now >= millis(validity.not_after) {
        return Err(Rejection::Expired);
    }
    Ok(())
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), Rejection> {
    let constraints = certificate.basic_constraints().map_err(|_| Rejection::Malformed)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(Rejection::AnAuthority);
    }
    let usage = certificate.extended_key_usage().map_err(|_| Rejection::Malformed)?;
    let usage = usage.ok_or(Rejection::NotForClients)?.value;
    if !usage.client_auth {
        return Err(Rejection::NotForClients);
    }
    let more = usage.any
        || usage.server_auth
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty();
    if more { Err(Rejection::OtherUsage) } else { Ok(()) }
}

fn read_names(certificate: &X509Certificate<'_>) -> Result<(String, String), Rejection> {
    let names = certificate.subject_alternative_name().map_err(|_| Rejection::Malformed)?;
    let names = names.ok_or(Rejection::NoPrincipal)?.value;
    let (mut principals, mut devices) = (Vec::new(), Vec::new());
    for name in &names.general_names {
        let GeneralName::URI(uri) = name else {
            return Err(Rejection::ForeignName);
        };
        if let Some(id) = uri.strip_prefix(names::PRINCIPAL) {
            principals.push(id);
        } else if let Some(id) = uri.strip_prefix(names::DEVICE) {
            devices.push(id);
        } else {
            return Err(Rejection::UnknownUri);
        }
    }
    let principal = only(&principals, Rejection::NoPrincipal, Rejection::ManyPrincipals)?;
    let device = only(&devices, Rejection::NoDevice, Rejection::ManyDevices)?;
    Ok((
        names::decode(principal).map_err(Rejection::BadPrincipal)?,
        names::decode(device).map_err(Rejection::BadDevice)?,
    ))
}

fn only<'a>(found: &[&'a str], none: Rejection, many: Rejection) -> Result<&'a str, Rejection> {
    match found {
        [] => Err(none),
        [one] => Ok(one),
        [_, ..] => Err(many),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
        KeyPair, SanType,
    };
    use rstest::rstest;

    use super::*;
    use crate::{Authority, Csr, Issued, NewRequest, PersonCert};

    const NOW: i64 = 1_800_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn issue(principal_id: &str) -> Issued {
        let csr = Csr::from_pem(&NewRequest::generate().unwrap().csr_pem).unwrap();
        let person = PersonCert {
            principal_id,
            name: "Alice",
            device: "laptop-1",
            not_after: NOW + HOUR_MS,
            max_life: Duration::from_secs(86_400),
        };
        Authority::generate("CA", NOW).unwrap().issue_person(&person, &csr, NOW).unwrap()
    }

    /// A certificate with the given names, as only a broken or hostile authority would sign it.
    fn forge(usages: &[Usage], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "postern:principal/alice");
        params.extended_key_usages = usages.to_vec();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uris(names: &[&str]) -> Vec<SanType> {
        names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect()
    }

    #[rstest]
    #[case::plain("alice")]
    #[case::mail("alice@example.com")]
    #[case::like_a_uri("postern:principal/bob")]
    #[case::unicode("zoë")]
    fn a_person_is_who_the_certificate_was_issued_to(#[case] id: &str) {
        let issued = issue(id);
        let person = identify(&issued.der, NOW).unwrap();
        let expected = Person {
            principal_id: id.to_owned(),
            device: "laptop-1".to_owned(),
            serial: issued.serial,
            not_after: NOW + HOUR_MS,
            fingerprint: issued.fingerprint,
        };
        assert_eq!(person, expected);
    }

    #[rstest]
    #[case::before(NOW - 301_000, Err(Rejection::NotYetValid))]
    #[case::backdated(NOW - 300_000, Ok(()))]
    #[case::the_last_millisecond(NOW + HOUR_MS - 1, Ok(()))]
    #[case::the_end(NOW + HOUR_MS, Err(Rejection::Expired))]
    fn a_certificate_counts_only_in_its_time(
        #[case] now: i64,
        #[case] expected: Result<(), Rejection>,
    ) {
        assert_eq!(identify(&issue("alice").der, now).map(drop), expected);
    }

    const P: &str = "postern:principal/alice";
    const D: &str = "postern:device/laptop";

    #[rstest]
    #[case::common_name_only(&[], Rejection::NoPrincipal)]
    #[case::device_only(&[D], Rejection::NoPrincipal)]
    #[case::principal_only(&[P], Rejection::NoDevice)]
    #[case::two_principals(&[P, "postern:principal/bob", D], Rejection::ManyPrincipals)]
    #[case::the_same_twice(&[P, P, D], Rejection::ManyPrincipals)]
    #[case::two_devices(&[P, D, D], Rejection::ManyDevices)]
    #[case::other_scheme(&["spiffe://principal/alice", D], Rejection::UnknownUri)]
    #[case::upper_case_scheme(&["POSTERN:principal/alice", D], Rejection::UnknownUri)]
    #[case::authority_form(&["postern://principal/alice", D], Rejection::UnknownUri)]
    #[case::leading_space(&[" postern:principal/alice", D], Rejection::UnknownUri)]
    #[case::a_stray_uri(&[P, D, "https://example.com"], Rejection::UnknownUri)]
    #[case::no_id(&["postern:principal/", D], Rejection::BadPrincipal(NameError::Empty))]
    #[case::raw_nul(&["postern:principal/a\0b", D], Rejection::BadPrincipal(NameError::ControlCharacter))]
    #[case::escaped_nul(&["postern:principal/a%00", D], Rejection::BadPrincipal(NameError::ControlCharacter))]
    #[case::escaped_letter(&["postern:principal/%61lice", D], Rejection::BadPrincipal(NameError::NotCanonical))]
    #[case::lower_case_escape(&["postern:principal/a%2fb", D], Rejection::BadPrincipal(NameError::NotCanonical))]
    #[case::second_segment(&["postern:principal/alice/bob", D], Rejection::BadPrincipal(NameError::NotCanonical))]
    #[case::query(&["postern:principal/alice?x", D], Rejection::BadPrincipal(NameError::NotCanonical))]
    #[case::no_device_id(&[P, "postern:device/"], Rejection::BadDevice(NameError::Empty))]
    fn a_trick_in_the_names_is_rejected(#[case] names: &[&str], #[case] expected: Rejection) {
        let der = forge(&[Usage::ClientAuth], uris(names));
        assert_eq!(identify(&der, NOW), Err(expected));
    }

    #[rstest]
    #[case::host(SanType::DnsName("gate.example.com".try_into().unwrap()))]
    #[case::mailbox(SanType::Rfc822Name("alice@example.com".try_into().unwrap()))]
    #[case::address(SanType::IpAddress("127.0.0.1".parse().unwrap()))]
    fn a_name_of_another_kind_is_rejected(#[case] extra: SanType) {
        let mut names = uris(&[P, D]);
        names.push(extra);
        assert_eq!(identify(&forge(&[Usage::ClientAuth], names), NOW), Err(Rejection::ForeignName));
    }

    #[rstest]
    #[case::none(&[], Rejection::NotForClients)]
    #[case::server(&[Usage::ServerAuth], Rejection::NotForClients)]
    #[case::any(&[Usage::Any], Rejection::NotForClients)]
    #[case::both(&[Usage::ClientAuth, Usage::ServerAuth], Rejection::OtherUsage)]
    #[case::client_and_any(&[Usage::ClientAuth, Usage::Any], Rejection::OtherUsage)]
    #[case::unknown(&[Usage::ClientAuth, Usage::Other(vec![1, 3, 6, 1])], Rejection::OtherUsage)]
    fn a_certificate_for_anything_else_is_rejected(
        #[case] usages: &[Usage],
        #[case] expected: Rejection,
    ) {
        assert_eq!(identify(&forge(usages, uris(&[P, D])), NOW), Err(expected));
    }

    #[test]
    fn an_authority_is_nobody() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![Usage::ClientAuth];
        params.subject_alt_names = uris(&[P, D]);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(identify(certificate.der(), NOW), Err(Rejection::AnAuthority));
    }

    #[test]
    fn a_login_certificate_names_no_person() {
        let authority = Authority::generate("CA", NOW).unwrap();
        let login = authority.issue_login("alice", Duration::from_secs(60), NOW).unwrap();
        assert_eq!(identify(&login.certificate.der, NOW), Err(Rejection::NoPrincipal));
    }

    #[test]
    fn bytes_behind_a_certificate_are_rejected() {
        let mut der = issue("alice").der.to_vec();
        der.push(0);
        assert_eq!(identify(&der, NOW), Err(Rejection::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(der in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(identify(&der, NOW).is_err());
        }

        #[test]
        fn no_damage_to_a_certificate_makes_it_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            static DER: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| issue("alice").der.to_vec());
            let mut der = DER.clone();
            for (at, byte) in &damage {
                let at = at.index(der.len());
                der[at] = *byte;
            }
            let _ = identify(&der, NOW);
            der.truncate(cut.index(der.len()));
            prop_assert!(identify(&der, NOW).is_err());
        }
    }
}
