//! A certificate request, read for one thing only: the public key, and the proof that the sender
//! holds its private half.
//!
//! The subject, the alternative names and the extensions that a request asks for are ignored: who
//! somebody is comes from their login, never from their request. [`NewRequest`] is the other side,
//! the key and request that a person's own machine makes.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use zeroize::Zeroize;

/// Why a certificate request was refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a certificate request.
    #[error("this is not a PEM or DER certificate request")]
    Malformed,
    /// The key or its signature is of a kind that is not accepted.
    #[error("the key must be ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits with SHA-2")]
    UnsupportedKey,
    /// The signature doesn't prove possession of the private key.
    #[error("the request is not signed by the key that it names")]
    NotPossessed,
    /// A new key or request could not be made.
    #[error("cannot make a certificate request")]
    Generate(#[source] rcgen::Error),
}

/// A public key whose holder has proven to have the private key.
#[derive(Debug, Clone)]
pub struct Csr {
    key: SubjectPublicKeyInfo,
}

impl Csr {
    /// Reads a `CERTIFICATE REQUEST` in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, CsrError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CsrError::Malformed)?;
        Self::from_der(&der)
    }

    /// Reads a PKCS #10 request (RFC 2986) in DER and checks its signature.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        if !is_accepted(&request) {
            return Err(CsrError::UnsupportedKey);
        }
        request.verify_signature().map_err(|_| CsrError::NotPossessed)?;
        let key = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(key).map_err(|_| CsrError::UnsupportedKey)?;
        Ok(Self { key })
    }

    /// The public key (SubjectPublicKeyInfo, RFC 5280) in DER, by which two requests are compared.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(crate) fn public_key(&self) -> &impl PublicKeyData {
        &self.key
    }
}

/// SHA-1 is out although the verifier knows it; with it go RSA keys under 2048 bits.
fn is_accepted(request: &X509CertificationRequest<'_>) -> bool {
    [
        &oid::OID_SIG_ECDSA_WITH_SHA256,
        &oid::OID_SIG_ECDSA_WITH_SHA384,
        &oid::OID_SIG_ED25519,
        &oid::OID_PKCS1_SHA256WITHRSA,
        &oid::OID_PKCS1_SHA384WITHRSA,
        &oid::OID_PKCS1_SHA512WITHRSA,
    ]
    .contains(&&request.signature_algorithm.algorithm)
}

/// A fresh ECDSA P-256 key and a request for it, made where the key will be used.
#[derive(Debug)]
pub struct NewRequest {
    /// The private key, PKCS #8 in PEM.
    pub key_pem: SecretString,
    /// The request, in PEM; it names nobody.
    pub csr_pem: String,
}

impl NewRequest {
    /// Makes a key and its request.
    pub fn generate() -> Result<Self, CsrError> {
        Self::with(KeyPair::generate().map_err(CsrError::Generate)?)
    }

    /// Makes a request for a key that was made before, which [`Self::key_pem`] gave.
    pub fn again(key_pem: &SecretString) -> Result<Self, CsrError> {
        Self::with(KeyPair::from_pem(key_pem.expose_secret()).map_err(CsrError::Generate)?)
    }

    fn with(mut key: KeyPair) -> Result<Self, CsrError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(CsrError::Generate)?;
        let key_pem = SecretString::from(key.serialize_pem());
        key.zeroize();
        Ok(Self { key_pem, csr_pem })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn request(key: &KeyPair) -> Vec<u8> {
        CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
    }

    #[rstest]
    #[case::p256(&rcgen::PKCS_ECDSA_P256_SHA256)]
    #[case::p384(&rcgen::PKCS_ECDSA_P384_SHA384)]
    #[case::ed25519(&rcgen::PKCS_ED25519)]
    #[case::rsa(&rcgen::PKCS_RSA_SHA256)]
    fn the_usual_keys_are_accepted(#[case] algorithm: &'static rcgen::SignatureAlgorithm) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = Csr::from_der(&request(&key)).unwrap();
        assert_eq!(csr.public_key().subject_public_key_info(), key.subject_public_key_info());
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        assert!(matches!(Csr::from_der(&request(&key)), Err(CsrError::UnsupportedKey)));
    }

    #[test]
    fn a_key_that_the_sender_does_not_hold_is_refused() {
        let (mine, victim) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut der = request(&mine);
        let at = der.windows(65).position(|w| w == mine.public_key_raw()).unwrap();
        der[at..at + 65].copy_from_slice(victim.public_key_raw());
        assert!(matches!(Csr::from_der(&der), Err(CsrError::NotPossessed)));
    }

    #[test]
    fn a_new_request_is_accepted_and_keeps_its_key_to_itself() {
        let new = NewRequest::generate().unwrap();
        Csr::from_pem(&new.csr_pem).unwrap();
        assert!(!format!("{new:?}").contains("PRIVATE KEY"));
    }

    #[rstest]
    #[case::empty("")]
    #[case::another_kind("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    #[case::not_der(
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    )]
    fn what_is_not_a_request_is_refused(#[case] pem: &str) {
        assert!(matches!(Csr::from_pem(pem), Err(CsrError::Malformed)));
    }

    #[test]
    fn bytes_behind_a_request_are_refused() {
        let mut der = request(&KeyPair::generate().unwrap());
        der.push(0);
        assert!(matches!(Csr::from_der(&der), Err(CsrError::Malformed)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Csr::from_der(&der);
        }
    }
}
