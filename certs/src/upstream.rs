//! The leg towards a target: how much of its certificate is verified, and what we present.
//!
//! `verify-full` is the default. Weaker modes have to be written down by name, and the weakest says
//! what it is: `insecure-no-verify`. libpq's `require` and `prefer`, which promise less than their
//! names, are refused. Names are matched in the subject alternative names, never in the common
//! name. A certificate that is marked as an authority, as `openssl req -x509` makes them, is no
//! server's certificate, even where it is the trusted root: the target needs one of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::identity::{Identity, TlsError, provider};

/// How much of an upstream's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamMode {
    /// The chain and the name.
    #[default]
    VerifyFull,
    /// The chain; any name will do.
    VerifyCa,
    /// Nothing: encrypted, but to whomever answers.
    InsecureNoVerify,
    /// No TLS at all.
    Off,
}

/// A mode that doesn't exist here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{mode}` is not a TLS mode: write `verify-full`, `verify-ca`, `insecure-no-verify` or `off`"
)]
pub struct UnknownMode {
    mode: String,
}

impl FromStr for UpstreamMode {
    type Err = UnknownMode;

    fn from_str(mode: &str) -> Result<Self, UnknownMode> {
        match mode {
            "verify-full" => Ok(Self::VerifyFull),
            "verify-ca" => Ok(Self::VerifyCa),
            "insecure-no-verify" => Ok(Self::InsecureNoVerify),
            "off" => Ok(Self::Off),
            other => Err(UnknownMode { mode: other.escape_debug().to_string() }),
        }
    }
}

impl fmt::Display for UpstreamMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VerifyFull => "verify-full",
            Self::VerifyCa => "verify-ca",
            Self::InsecureNoVerify => "insecure-no-verify",
            Self::Off => "off",
        })
    }
}

/// What a target says about the TLS to it.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// How much is verified.
    pub mode: UpstreamMode,
    /// The name to ask for and to verify, where it isn't the host that is dialled.
    pub server_name: Option<String>,
    /// Who may have signed the upstream's certificate.
    pub roots: Arc<RootCertStore>,
    /// Protocols to offer, such as `postgresql`; empty for none.
    pub alpn: Vec<Vec<u8>>,
}

/// A configuration to dial with. Build it once for a target (and login), use it for every dial.
#[derive(Debug, Clone)]
pub struct Connector {
    /// The configuration.
    pub config: Arc<ClientConfig>,
    /// The name that is asked for, and verified where the mode says so.
    pub server_name: ServerName<'static>,
}

impl UpstreamTls {
    /// Builds the connector for a host, with a client certificate where there is one; `None` where
    /// TLS is off.
    pub fn connector(
        &self,
        host: &str,
        client: Option<&Identity>,
    ) -> Result<Option<Connector>, TlsError> {
        let Some(verifier) = self.verifier()? else {
            return Ok(None);
        };
        let server_name = self.name(host)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match client {
            Some(identity) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.pair())))
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        // A resumed session would skip the verification of this very configuration.
        config.resumption = Resumption::disabled();
        Ok(Some(Connector { config: Arc::new(config), server_name }))
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ServerCertVerifier>>, TlsError> {
        let signatures = Signatures(provider());
        Ok(match self.mode {
            UpstreamMode::VerifyFull => Some(
                WebPkiServerVerifier::builder_with_provider(self.some_roots()?, provider())
                    .build()?,
            ),
            UpstreamMode::VerifyCa => {
                Some(Arc::new(ChainOnly { roots: self.some_roots()?, signatures }))
            }
            UpstreamMode::InsecureNoVerify => Some(Arc::new(Unverified { signatures })),
            UpstreamMode::Off => None,
        })
    }

    fn some_roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        if self.roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(Arc::clone(&self.roots)) }
    }

    fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::ServerName { name: name.escape_debug().to_string() })
    }
}

/// The proof that the upstream holds its certificate's key, which every mode keeps.
#[derive(Debug)]
struct Signatures(Arc<rustls::crypto::CryptoProvider>);

impl Signatures {
    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain, the time and the usage, but not the name.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<RootCertStore>,
    signatures: Signatures,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = self.signatures.0.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, known)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

/// `insecure-no-verify`: any certificate, as long as the upstream holds its key.
#[derive(Debug)]
struct Unverified {
    signatures: Signatures,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tls(mode: UpstreamMode) -> UpstreamTls {
        let roots = Arc::new(RootCertStore::empty());
        UpstreamTls { mode, server_name: None, roots, alpn: Vec::new() }
    }

    #[rstest]
    #[case::full("verify-full", Some(UpstreamMode::VerifyFull))]
    #[case::chain("verify-ca", Some(UpstreamMode::VerifyCa))]
    #[case::nothing("insecure-no-verify", Some(UpstreamMode::InsecureNoVerify))]
    #[case::off("off", Some(UpstreamMode::Off))]
    #[case::require("require", None)]
    #[case::prefer("prefer", None)]
    #[case::disable("disable", None)]
    #[case::case("Verify-Full", None)]
    #[case::empty("", None)]
    fn a_mode_is_written_in_full(#[case] text: &str, #[case] mode: Option<UpstreamMode>) {
        assert_eq!(text.parse().ok(), mode);
        if let Some(mode) = mode {
            assert_eq!(mode.to_string(), text);
        }
    }

    #[test]
    fn the_default_verifies_everything() {
        assert_eq!(UpstreamMode::default(), UpstreamMode::VerifyFull);
    }

    #[rstest]
    #[case::full(UpstreamMode::VerifyFull)]
    #[case::chain(UpstreamMode::VerifyCa)]
    fn verifying_without_roots_is_an_error(#[case] mode: UpstreamMode) {
        let refused = tls(mode).connector("db.example.com", None);
        assert!(matches!(refused, Err(TlsError::NoRoots)));
    }

    #[test]
    fn off_means_no_connector() {
        assert!(tls(UpstreamMode::Off).connector("db.example.com", None).unwrap().is_none());
    }

    #[test]
    fn a_host_that_cannot_be_verified_is_an_error() {
        let refused = tls(UpstreamMode::InsecureNoVerify).connector("not a host", None);
        assert!(matches!(refused, Err(TlsError::ServerName { .. })));
    }
}
