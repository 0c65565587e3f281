//! Channel binding of type `tls-server-end-point` (RFC 5929, section 4.1), for SCRAM-SHA-256-PLUS:
//! the hash of the server's certificate, by the hash function of the certificate's own signature.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

/// The hash to bind to. `None` where the RFC defines none: signatures without a single hash
/// function, such as Ed25519, and those that nobody here knows.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(match hash_of(&parsed.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(signature: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    if signature.algorithm == oid::OID_PKCS1_RSASSAPSS {
        return hash_of_pss(signature);
    }
    let table = [
        // MD5 and SHA-1 are replaced by SHA-256, as the RFC says.
        (oid::OID_PKCS1_MD5WITHRSAENC, Hash::Sha256),
        (oid::OID_PKCS1_SHA1WITHRSA, Hash::Sha256),
        (oid::OID_SHA1_WITH_RSA, Hash::Sha256),
        (ECDSA_WITH_SHA1, Hash::Sha256),
        (oid::OID_PKCS1_SHA224WITHRSA, Hash::Sha224),
        (oid::OID_SIG_ECDSA_WITH_SHA224, Hash::Sha224),
        (oid::OID_PKCS1_SHA256WITHRSA, Hash::Sha256),
        (oid::OID_SIG_ECDSA_WITH_SHA256, Hash::Sha256),
        (oid::OID_PKCS1_SHA384WITHRSA, Hash::Sha384),
        (oid::OID_SIG_ECDSA_WITH_SHA384, Hash::Sha384),
        (oid::OID_PKCS1_SHA512WITHRSA, Hash::Sha512),
        (oid::OID_SIG_ECDSA_WITH_SHA512, Hash::Sha512),
    ];
    table.iter().find(|(id, _)| *id == signature.algorithm).map(|(_, hash)| *hash)
}

/// PSS names its hash in the parameters; without one it is SHA-1, so SHA-256 here.
fn hash_of_pss(signature: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let params = RsaSsaPssParams::try_from(signature.parameters()?).ok()?;
    let table = [
        (oid::OID_HASH_SHA1, Hash::Sha256),
        (oid::OID_NIST_HASH_SHA256, Hash::Sha256),
        (oid::OID_NIST_HASH_SHA384, Hash::Sha384),
        (oid::OID_NIST_HASH_SHA512, Hash::Sha512),
    ];
    table.iter().find(|(id, _)| id == params.hash_algorithm_oid()).map(|(_, hash)| *hash)
}

const ECDSA_WITH_SHA1: x509_parser::der_parser::Oid<'static> =
    x509_parser::der_parser::oid!(1.2.840.10045.4.1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
    use rstest::rstest;

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::default().self_signed(&key).unwrap().der().to_vec()
    }

    fn sha256(der: &[u8]) -> Option<Vec<u8>> {
        Some(Sha256::digest(der).to_vec())
    }

    fn sha384(der: &[u8]) -> Option<Vec<u8>> {
        Some(Sha384::digest(der).to_vec())
    }

    fn sha512(der: &[u8]) -> Option<Vec<u8>> {
        Some(Sha512::digest(der).to_vec())
    }

    fn none(_: &[u8]) -> Option<Vec<u8>> {
        None
    }

    #[rstest]
    #[case::p256(&rcgen::PKCS_ECDSA_P256_SHA256, sha256)]
    #[case::p384(&rcgen::PKCS_ECDSA_P384_SHA384, sha384)]
    #[case::p521(&rcgen::PKCS_ECDSA_P521_SHA512, sha512)]
    #[case::rsa256(&rcgen::PKCS_RSA_SHA256, sha256)]
    #[case::rsa384(&rcgen::PKCS_RSA_SHA384, sha384)]
    #[case::rsa512(&rcgen::PKCS_RSA_SHA512, sha512)]
    #[case::ed25519(&rcgen::PKCS_ED25519, none)]
    fn the_hash_is_that_of_the_signature(
        #[case] algorithm: &'static SignatureAlgorithm,
        #[case] expected: fn(&[u8]) -> Option<Vec<u8>>,
    ) {
        let der = certificate(algorithm);
        assert_eq!(tls_server_end_point(&der), expected(&der));
    }

    #[rstest]
    #[case::md5(4)]
    #[case::sha1(5)]
    fn a_weak_hash_becomes_sha256(#[case] pkcs1_arc: u8) {
        // sha256WithRSAEncryption is 1.2.840.113549.1.1.11: its last arc is one byte.
        let mut der = certificate(&rcgen::PKCS_RSA_SHA256);
        let prefix = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 11];
        let places: Vec<_> =
            (0..der.len() - prefix.len()).filter(|at| der[*at..].starts_with(&prefix)).collect();
        for at in places {
            der[at + prefix.len() - 1] = pkcs1_arc;
        }
        assert_eq!(tls_server_end_point(&der), sha256(&der));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(der in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(tls_server_end_point(&der), None);
        }
    }
}
