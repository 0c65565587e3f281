//! What an authority issues: a person's client certificate, a login's client certificate for an
//! upstream, and a server's certificate. Each has one usage, a random serial, and an end that is
//! the earliest of what was asked, what is allowed, and the authority's own.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, DnsName};
use secrecy::SecretString;
use x509_parser::time::ASN1Time;
use zeroize::Zeroize;

use crate::authority::Authority;
use crate::csr::Csr;
use crate::fields::{begin, fingerprint, instant, millis, new_serial, serial_hex};
use crate::identity::{Identity, TlsError};
use crate::names::{self, NameError};

/// The upper bound of a common name in RFC 5280; some clients refuse longer ones.
const MAX_COMMON_NAME: usize = 64;
/// Postgres cuts names at 63 bytes: a longer one would mean another login.
const MAX_LOGIN_BYTES: usize = 63;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// An id can't stand in a certificate.
    #[error("cannot put `{id}` into a certificate")]
    Name {
        /// The id.
        id: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A display name or login is empty, too long or holds control characters.
    #[error("`{name}` cannot be the common name of a certificate")]
    CommonName {
        /// The name, escaped.
        name: String,
    },
    /// A server name is neither an address nor a DNS name, or there is none.
    #[error("`{name}` is neither an IP address nor a DNS name")]
    ServerName {
        /// The name, escaped.
        name: String,
    },
    /// The certificate would have ended before it began.
    #[error("the certificate would have ended already")]
    Ended,
    /// The authority itself has ended.
    #[error("the authority has expired")]
    AuthorityExpired,
    /// A time is outside of what a certificate can say.
    #[error("the time `{millis}` cannot stand in a certificate")]
    Time {
        /// Unix milliseconds.
        millis: i64,
    },
    /// The key could not be made or used.
    #[error("cannot sign")]
    Sign(#[source] rcgen::Error),
}

/// What a person's certificate says.
#[derive(Debug, Clone)]
pub struct PersonCert<'a> {
    /// Who: the stable id of the principal.
    pub principal_id: &'a str,
    /// How people call them; shown, never trusted.
    pub name: &'a str,
    /// The device that the key lives on.
    pub device: &'a str,
    /// When it should end, in unix milliseconds.
    pub not_after: i64,
    /// How long it may live at most, whatever `not_after` says.
    pub max_life: Duration,
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// In PEM.
    pub pem: String,
    /// In DER.
    pub der: CertificateDer<'static>,
    /// The serial number in hex, without leading zeros.
    pub serial: String,
    /// SHA-256 of the DER, in hex.
    pub fingerprint: String,
    /// When it ends, in unix milliseconds, on a whole second and never later than asked.
    pub not_after: i64,
}

/// A certificate with a key that was made for it.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    /// The certificate.
    pub certificate: Issued,
    /// The private key, PKCS #8 in PEM.
    pub key_pem: SecretString,
}

impl IssuedKey {
    /// The pair as one side of a handshake.
    pub fn identity(&self) -> Result<Identity, TlsError> {
        Identity::from_pem(self.certificate.pem.as_bytes(), &self.key_pem)
    }
}

impl Authority {
    /// Issues a client certificate for a person, for the key that a request proved to be theirs.
    pub fn issue_person(
        &self,
        person: &PersonCert<'_>,
        csr: &Csr,
        now: i64,
    ) -> Result<Issued, IssueError> {
        let end = person.not_after.min(after(now, person.max_life));
        let mut params =
            self.leaf(&display_name(person.name)?, ExtendedKeyUsagePurpose::ClientAuth, end, now)?;
        params.subject_alt_names = vec![
            SanType::URI(uri(names::PRINCIPAL, person.principal_id)?),
            SanType::URI(uri(names::DEVICE, person.device)?),
        ];
        self.sign(&params, csr.public_key())
    }

    /// Issues a client certificate, with a fresh key, whose common name is exactly an upstream
    /// login: what Postgres' `cert` authentication compares.
    pub fn issue_login(
        &self,
        login: &str,
        ttl: Duration,
        now: i64,
    ) -> Result<IssuedKey, IssueError> {
        if login.len() > MAX_LOGIN_BYTES {
            return Err(bad_common_name(login));
        }
        check_common_name(login)?;
        let params = self.leaf(login, ExtendedKeyUsagePurpose::ClientAuth, after(now, ttl), now)?;
        self.sign_fresh(&params)
    }

    /// Issues a server certificate, with a fresh key, for DNS names (`*.` allowed) and addresses.
    pub fn issue_server(
        &self,
        names: &[impl AsRef<str>],
        ttl: Duration,
        now: i64,
    ) -> Result<IssuedKey, IssueError> {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let first = names.first().ok_or_else(|| bad_server_name(""))?;
        let mut params =
            self.leaf(&cut(first), ExtendedKeyUsagePurpose::ServerAuth, after(now, ttl), now)?;
        params.subject_alt_names =
            names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        self.sign_fresh(&params)
    }

    /// What all of them share. The end is capped by the authority's own.
    fn leaf(
        &self,
        common_name: &str,
        usage: ExtendedKeyUsagePurpose,
        end: i64,
        now: i64,
    ) -> Result<CertificateParams, IssueError> {
        if self.not_after() <= now {
            return Err(IssueError::AuthorityExpired);
        }
        if end <= now {
            return Err(IssueError::Ended);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(new_serial());
        params.not_before = begin(now)?.to_datetime();
        params.not_after = instant(end.min(self.not_after()))?.to_datetime();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn sign_fresh(&self, params: &CertificateParams) -> Result<IssuedKey, IssueError> {
        let mut key = KeyPair::generate().map_err(IssueError::Sign)?;
        let certificate = self.sign(params, &key)?;
        let key_pem = SecretString::from(key.serialize_pem());
        key.zeroize();
        Ok(IssuedKey { certificate, key_pem })
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Issued, IssueError> {
        let signed = params.signed_by(key, self.issuer()).map_err(IssueError::Sign)?;
        let serial = params.serial_number.as_ref().map(AsRef::as_ref).unwrap_or_default();
        Ok(Issued {
            pem: signed.pem(),
            serial: serial_hex(serial),
            fingerprint: fingerprint(signed.der()),
            not_after: millis(ASN1Time::new(params.not_after)),
            der: signed.der().clone(),
        })
    }
}

fn uri(prefix: &str, id: &str) -> Result<Ia5String, IssueError> {
    let name = |source| IssueError::Name { id: id.escape_debug().to_string(), source };
    let spelled = names::encode(id).map_err(name)?;
    Ia5String::try_from(format!("{prefix}{spelled}")).map_err(|_| name(NameError::NotCanonical))
}

fn display_name(name: &str) -> Result<String, IssueError> {
    check_common_name(name)?;
    Ok(cut(name))
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_COMMON_NAME).collect()
}

fn check_common_name(name: &str) -> Result<(), IssueError> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(bad_common_name(name));
    }
    Ok(())
}

fn bad_common_name(name: &str) -> IssueError {
    IssueError::CommonName { name: name.escape_debug().to_string() }
}

fn server_name(name: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bare = name.strip_prefix("*.").unwrap_or(name);
    DnsName::try_from(bare).map_err(|_| bad_server_name(name))?;
    Ia5String::try_from(name).map(SanType::DnsName).map_err(|_| bad_server_name(name))
}

fn bad_server_name(name: &str) -> IssueError {
    IssueError::ServerName { name: name.escape_debug().to_string() }
}

fn after(now: i64, life: Duration) -> i64 {
    now.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::csr::NewRequest;
    use crate::fields::BACKDATE_MS;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    fn authority() -> Authority {
        Authority::generate("Example CA", NOW).unwrap()
    }

    fn csr() -> Csr {
        Csr::from_pem(&NewRequest::generate().unwrap().csr_pem).unwrap()
    }

    fn alice() -> PersonCert<'static> {
        PersonCert {
            principal_id: "alice",
            name: "Alice",
            device: "laptop",
            not_after: NOW + 1_800_000,
            max_life: HOUR,
        }
    }

    #[rstest]
    #[case::as_asked(NOW + 1_800_000, HOUR, NOW + 1_800_000)]
    #[case::cut_to_the_second(NOW + 1_800_999, HOUR, NOW + 1_800_000)]
    #[case::at_most_the_longest_life(i64::MAX, HOUR, NOW + 3_600_000)]
    fn a_certificate_ends_when_it_may(#[case] ask: i64, #[case] max: Duration, #[case] end: i64) {
        let person = PersonCert { not_after: ask, max_life: max, ..alice() };
        let issued = authority().issue_person(&person, &csr(), NOW).unwrap();
        assert_eq!(issued.not_after, end);
    }

    #[test]
    fn nothing_outlives_the_authority() {
        let authority = authority();
        let issued = authority.issue_login("app_rw", Duration::MAX, NOW).unwrap();
        assert_eq!(issued.certificate.not_after, authority.not_after());
        let late = authority.issue_login("app_rw", HOUR, authority.not_after());
        assert!(matches!(late, Err(IssueError::AuthorityExpired)));
    }

    #[test]
    fn a_certificate_that_has_ended_is_not_issued() {
        let person = PersonCert { not_after: NOW, ..alice() };
        let refused = authority().issue_person(&person, &csr(), NOW);
        assert!(matches!(refused, Err(IssueError::Ended)));
    }

    #[test]
    fn a_certificate_works_for_a_machine_five_minutes_behind() {
        let issued = authority().issue_person(&alice(), &csr(), NOW).unwrap();
        let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(millis(parsed.validity().not_before), NOW - BACKDATE_MS);
    }

    #[test]
    fn the_request_names_nobody() {
        let mut params = CertificateParams::new(vec!["evil.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.subject_alt_names.push(SanType::URI("postern:principal/bob".try_into().unwrap()));
        let der = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let csr = Csr::from_der(der.der()).unwrap();
        let issued = authority().issue_person(&alice(), &csr, NOW).unwrap();
        let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=Alice");
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["URI(postern:principal/alice)", "URI(postern:device/laptop)"]);
    }

    #[rstest]
    #[case::no_id("", "Alice", "laptop")]
    #[case::control_in_id("ali\0ce", "Alice", "laptop")]
    #[case::control_in_name("alice", "Ali\nce", "laptop")]
    #[case::no_name("alice", "", "laptop")]
    #[case::no_device("alice", "Alice", "")]
    fn a_person_that_cannot_be_named_gets_nothing(
        #[case] principal_id: &'static str,
        #[case] name: &'static str,
        #[case] device: &'static str,
    ) {
        let person = PersonCert { principal_id, name, device, ..alice() };
        assert!(authority().issue_person(&person, &csr(), NOW).is_err());
    }

    #[test]
    fn a_login_is_the_common_name_to_the_byte() {
        let login = " App_Rw é ";
        let issued = authority().issue_login(login, HOUR, NOW).unwrap().certificate;
        let (_, parsed) = X509Certificate::from_der(&issued.der).unwrap();
        let name = parsed.subject().iter_common_name().next().unwrap();
        assert_eq!(name.as_str().unwrap(), login);
        assert_eq!(serial_hex(parsed.raw_serial()), issued.serial);
    }

    #[rstest]
    #[case::empty("")]
    #[case::nul("app\0admin")]
    #[case::too_long("a234567890123456789012345678901234567890123456789012345678901234")]
    fn a_login_that_postgres_would_change_is_refused(#[case] login: &str) {
        let refused = authority().issue_login(login, HOUR, NOW);
        assert!(matches!(refused, Err(IssueError::CommonName { .. })));
    }

    #[rstest]
    #[case::names(&["gate.example.com", "*.gate.example.com", "127.0.0.1", "::1"], true)]
    #[case::none(&[], false)]
    #[case::empty(&[""], false)]
    #[case::space(&["gate example"], false)]
    #[case::wildcard_inside(&["a.*.example.com"], false)]
    #[case::bare_wildcard(&["*"], false)]
    fn a_server_is_named_by_names_and_addresses(#[case] names: &[&str], #[case] accepted: bool) {
        assert_eq!(authority().issue_server(names, HOUR, NOW).is_ok(), accepted);
    }

    #[test]
    fn an_issued_key_cannot_be_printed() {
        let issued = authority().issue_login("app_rw", HOUR, NOW).unwrap();
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }
}
