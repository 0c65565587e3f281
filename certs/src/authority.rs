//! The authority: one ECDSA P-256 key and its self-signed certificate, kept in a private folder as
//! `ca.key` and `ca.pem`.
//!
//! The key file comes first and is never replaced. A crash between the two leaves a key without a
//! certificate, which [`Authority::load_or_generate`] mends by signing again: what the key signed
//! before still verifies. The reverse, a certificate without its key, is an error: making a new key
//! would silently abandon everything that was issued.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretSlice};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

use crate::fields::{begin, fingerprint, instant, millis, new_serial};
use crate::issue::IssueError;
use crate::store::{self, StoreError};

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
const LIFE_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Why an authority could not be made, kept or loaded.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key or certificate could not be made.
    #[error("cannot make the authority")]
    Make(#[from] IssueError),
    /// The certificate's key is gone, and with it the power to issue.
    #[error("`{}` exists but `{}` does not: restore the key, or move the certificate away to start again", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate that is there.
        certificate: PathBuf,
        /// The key that isn't.
        key: PathBuf,
    },
    /// The key file doesn't hold a private key.
    #[error("`{}` holds no private key in PEM", path.display())]
    BadKey {
        /// The key file.
        path: PathBuf,
    },
    /// The certificate file doesn't hold an authority's certificate.
    #[error("the authority's certificate is unusable: {reason}")]
    BadCertificate {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A certificate authority. Whoever holds one can issue.
pub struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    not_before: i64,
    not_after: i64,
    issuer: Issuer<'static, AuthorityKey>,
}

impl Authority {
    /// Makes an authority that lives for ten years and may issue no further authorities.
    pub fn generate(name: &str, now: i64) -> Result<Self, AuthorityError> {
        let key = AuthorityKey::generate()?;
        let pem = self_sign(name, &key, now)?;
        Self::assemble(pem, key)
    }

    /// Loads `ca.pem` and `ca.key`; refuses a key that others may read, or that isn't the
    /// certificate's.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let key = AuthorityKey::read(&dir.join(KEY_FILE))?;
        let pem = String::from_utf8(store::read_public(&dir.join(CERTIFICATE_FILE))?)
            .map_err(|_| bad_certificate("it is not text"))?;
        Self::assemble(pem, key)
    }

    /// Loads the authority of a folder, or makes one there. Of several processes that start at
    /// once, all end with the same authority.
    pub fn load_or_generate(dir: &Path, name: &str, now: i64) -> Result<Self, AuthorityError> {
        store::create_private_dir(dir)?;
        let (certificate, key) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        // In this order: the key is written first, so it is there if the certificate is.
        if certificate.exists() && !key.exists() {
            return Err(AuthorityError::KeyMissing { certificate, key });
        }
        create_unless_there(store::create_private, &key, || Ok(AuthorityKey::generate()?.pem()))?;
        create_unless_there(store::create_public, &certificate, || {
            let pem = self_sign(name, &AuthorityKey::read(&key)?, now)?;
            Ok(Zeroizing::new(pem.into_bytes()))
        })?;
        Self::load(dir)
    }

    /// Saves a generated authority in a folder that has none.
    pub fn save(&self, dir: &Path) -> Result<(), AuthorityError> {
        store::create_private_dir(dir)?;
        let (certificate, key) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        // Looked for first, so that no new key is left beside an old certificate.
        if certificate.exists() {
            return Err(StoreError::Exists { path: certificate }.into());
        }
        store::create_private(&key, &self.issuer.key().pem())?;
        store::create_public(&certificate, self.pem.as_bytes())?;
        Ok(())
    }

    fn assemble(pem: String, key: AuthorityKey) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| bad_certificate("it holds no certificate in PEM"))?;
        let (not_before, not_after) = check(&certificate, &key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(IssueError::Sign)?;
        Ok(Self { pem, certificate, not_before, not_after, issuer })
    }

    /// The certificate in PEM: what clients put into `sslrootcert`.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate, in hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }

    /// When the authority begins, in unix milliseconds; before that, the clock is wrong.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// When the authority ends, in unix milliseconds; nothing it issues outlives it.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// This authority as the only root: what a listener trusts for client certificates.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, AuthorityError> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .map_err(|_| bad_certificate("it can't be a trust anchor"))?;
        Ok(Arc::new(roots))
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, AuthorityKey> {
        &self.issuer
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

fn create_unless_there(
    create: fn(&Path, &[u8]) -> Result<(), StoreError>,
    path: &Path,
    content: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, AuthorityError>,
) -> Result<(), AuthorityError> {
    if path.exists() {
        return Ok(());
    }
    match create(path, &content()?) {
        Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn self_sign(name: &str, key: &AuthorityKey, now: i64) -> Result<String, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(new_serial());
    params.not_before = begin(now)?.to_datetime();
    params.not_after = instant(now.saturating_add(LIFE_MS))?.to_datetime();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.self_signed(key).map(|certificate| certificate.pem()).map_err(IssueError::Sign)
}

/// Checks that the certificate is this key's and may issue; answers when it begins and ends.
fn check(certificate: &[u8], key: &AuthorityKey) -> Result<(i64, i64), AuthorityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| bad_certificate("it can't be parsed"))?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(bad_certificate("it belongs to another key"));
    }
    if !parsed.is_ca() {
        return Err(bad_certificate("it is not an authority's (CA:TRUE is missing)"));
    }
    if !matches!(parsed.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign()) {
        return Err(bad_certificate("its key usage doesn't include signing certificates"));
    }
    let validity = parsed.validity();
    Ok((millis(validity.not_before), millis(validity.not_after)))
}

fn bad_certificate(reason: &'static str) -> AuthorityError {
    AuthorityError::BadCertificate { reason }
}

/// The private key: no `Debug`, no `Clone`, its serialised form overwritten when dropped.
pub(crate) struct AuthorityKey(KeyPair);

impl AuthorityKey {
    fn generate() -> Result<Self, IssueError> {
        KeyPair::generate().map(Self).map_err(IssueError::Sign)
    }

    fn read(path: &Path) -> Result<Self, AuthorityError> {
        Self::parse(&store::read_private(path)?)
            .ok_or_else(|| AuthorityError::BadKey { path: path.to_owned() })
    }

    fn parse(pem: &SecretSlice<u8>) -> Option<Self> {
        let pem = std::str::from_utf8(pem.expose_secret()).ok()?;
        KeyPair::from_pem(pem).ok().map(Self)
    }

    fn pem(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_pem().into_bytes())
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Drop for AuthorityKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn an_authority_is_the_same_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        let made = Authority::load_or_generate(&dir, "Example CA", NOW).unwrap();
        let again = Authority::load_or_generate(&dir, "Other name", NOW + 1000).unwrap();
        assert_eq!(made.ca_der(), again.ca_der());
        assert_eq!(made.fingerprint(), again.fingerprint());
        assert_eq!(made.not_after(), NOW + LIFE_MS);
        let mode = |name| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(KEY_FILE), mode(CERTIFICATE_FILE), mode("")), (0o600, 0o644, 0o700));
    }

    #[test]
    fn a_saved_authority_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        Authority::generate("First", NOW).unwrap().save(folder.path()).unwrap();
        let kept = fs::read(folder.path().join(KEY_FILE)).unwrap();
        let second = Authority::generate("Second", NOW).unwrap().save(folder.path());
        assert!(matches!(second, Err(AuthorityError::Store(StoreError::Exists { .. }))));
        assert_eq!(fs::read(folder.path().join(KEY_FILE)).unwrap(), kept);
    }

    #[test]
    fn a_certificate_without_its_key_gets_no_other_key() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (
            Authority::generate("First", NOW).unwrap(),
            Authority::generate("Second", NOW).unwrap(),
        );
        fs::write(folder.path().join(CERTIFICATE_FILE), first.ca_pem()).unwrap();
        assert!(second.save(folder.path()).is_err());
        assert!(!folder.path().join(KEY_FILE).exists());
    }

    #[test]
    fn processes_that_start_at_once_share_one_authority() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        let prints: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| Authority::load_or_generate(&dir, "CA", NOW).unwrap()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap().fingerprint()).collect()
        });
        assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
    }

    #[test]
    fn a_crash_between_key_and_certificate_is_mended_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        Authority::load_or_generate(&dir, "CA", NOW).unwrap();
        let key = fs::read(dir.join(KEY_FILE)).unwrap();
        fs::remove_file(dir.join(CERTIFICATE_FILE)).unwrap();
        Authority::load_or_generate(&dir, "CA", NOW).unwrap();
        assert_eq!(fs::read(dir.join(KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn a_lost_key_is_an_error_and_never_a_new_authority() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        Authority::load_or_generate(&dir, "CA", NOW).unwrap();
        fs::remove_file(dir.join(KEY_FILE)).unwrap();
        let lost = Authority::load_or_generate(&dir, "CA", NOW);
        assert!(matches!(lost, Err(AuthorityError::KeyMissing { .. })));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        Authority::load_or_generate(&dir, "CA", NOW).unwrap();
        fs::set_permissions(dir.join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Authority::load(&dir).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Authority::generate("CA", NOW).unwrap().save(folder.path()).unwrap();
        let other = Authority::generate("CA", NOW).unwrap();
        fs::write(folder.path().join(CERTIFICATE_FILE), other.ca_pem()).unwrap();
        let refused = Authority::load(folder.path());
        assert!(matches!(refused, Err(AuthorityError::BadCertificate { .. })));
    }

    #[test]
    fn an_authority_cannot_be_printed_with_its_key() {
        let authority = Authority::generate("CA", NOW).unwrap();
        assert!(format!("{authority:?}").contains("[redacted]"));
        assert!(!format!("{authority:#?}").contains("PRIVATE"));
    }
}
