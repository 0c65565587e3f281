//! What one side of a handshake brings: its own certificate chain and key, and the roots that it
//! trusts, from files or from what an authority issued.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::fields::{fingerprint, millis};
use crate::store::{self, StoreError};

/// Why a TLS configuration can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or is open to others.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A PEM text holds no certificate, or a broken one.
    #[error("there is no usable certificate in the PEM text")]
    NoCertificate,
    /// A PEM text holds no private key, or a broken one.
    #[error("there is no usable private key in the PEM text")]
    NoKey,
    /// The certificate and the key don't belong together, or rustls can't use them.
    #[error("the certificate and its private key can't be used together")]
    Pair(#[source] rustls::Error),
    /// A server needs at least one certificate.
    #[error("there is no server certificate")]
    NoIdentity,
    /// A mode that verifies has nothing to verify against.
    #[error("there are no trusted roots: name a root certificate, or use the system's")]
    NoRoots,
    /// The name of the server can't be verified against any certificate.
    #[error("`{name}` is neither an IP address nor a DNS name")]
    ServerName {
        /// The name, escaped.
        name: String,
    },
    /// rustls refused the configuration.
    #[error("the TLS configuration was refused")]
    Rustls(#[from] rustls::Error),
    /// rustls refused the roots.
    #[error("the trusted roots were refused")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A certificate chain with its private key, known to belong together.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Reads a chain and a key from PEM files. The key file may be readable by its owner alone.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = store::read_public(certificate)?;
        let key = store::read_private(key)?;
        Self::new(&chain, key.expose_secret())
    }

    /// Reads a chain, leaf first, and a key from PEM.
    pub fn from_pem(chain: &[u8], key: &SecretString) -> Result<Self, TlsError> {
        Self::new(chain, key.expose_secret().as_bytes())
    }

    fn new(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Pair)?;
        Ok(Self(Arc::new(pair)))
    }

    /// The leaf certificate in DER, for channel binding.
    pub fn leaf(&self) -> &[u8] {
        self.0.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }

    /// When the leaf certificate ends, in unix milliseconds.
    pub fn not_after(&self) -> Option<i64> {
        let (_, leaf) = X509Certificate::from_der(self.leaf()).ok()?;
        Some(millis(leaf.validity().not_after))
    }

    pub(crate) fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &fingerprint(self.leaf()))
            .field("key", &"[redacted]")
            .finish()
    }
}

/// Reads trusted roots from a PEM file.
pub fn roots_from_file(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    roots_from_pem(&store::read_public(path)?)
}

/// Reads trusted roots from PEM: all of them, or none if one is broken.
pub fn roots_from_pem(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| TlsError::NoCertificate)?;
    }
    Ok(Arc::new(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate)?;
    if found.is_empty() { Err(TlsError::NoCertificate) } else { Ok(found) }
}

/// The one provider of this project, named here so that no process-wide default is needed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::{Authority, IssuedKey};

    fn issued() -> IssuedKey {
        let now = 1_800_000_000_000;
        let authority = Authority::generate("CA", now).unwrap();
        authority.issue_server(&["gate.example.com"], Duration::from_secs(60), now).unwrap()
    }

    #[test]
    fn an_identity_comes_from_files_unless_the_key_is_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let issued = issued();
        store::write_public(&certificate, issued.certificate.pem.as_bytes()).unwrap();
        store::write_private(&key, issued.key_pem.expose_secret().as_bytes()).unwrap();
        let identity = Identity::from_files(&certificate, &key).unwrap();
        assert_eq!(identity.leaf(), issued.certificate.der.as_ref());
        assert_eq!(identity.not_after(), Some(issued.certificate.not_after));
        assert!(format!("{identity:?}").contains("[redacted]"));

        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::from_files(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (issued(), issued());
        let mixed = Identity::from_pem(one.certificate.pem.as_bytes(), &other.key_pem);
        assert!(matches!(mixed, Err(TlsError::Pair(_))));
    }

    #[test]
    fn an_empty_text_holds_neither_certificate_nor_key_nor_roots() {
        let issued = issued();
        let none = Identity::from_pem(b"", &issued.key_pem);
        assert!(matches!(none, Err(TlsError::NoCertificate)));
        let none = Identity::from_pem(issued.certificate.pem.as_bytes(), &"".into());
        assert!(matches!(none, Err(TlsError::NoKey)));
        assert!(matches!(roots_from_pem(b"\n"), Err(TlsError::NoCertificate)));
    }
}
