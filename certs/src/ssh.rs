//! Postern's SSH authorities: for people, for logins on targets, and for the names of targets.
//!
//! They are three keys, so that none can stand in for another: a person's certificate opens the
//! gateway and no target, whatever accounts a target has, since targets trust the authority of logins
//! alone. A fourth key is the gateway's own host key. All are Ed25519, kept beside the X.509 authority
//! in files of mode 0600, and never replaced: who wants new ones moves the files away.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Algorithm, Certificate, HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::PersonCert;
use crate::fields::BACKDATE_MS;
use crate::store::{self, StoreError};

const PEOPLE: &str = "ssh_people_ca";
const LOGINS: &str = "ssh_login_ca";
const HOSTS: &str = "ssh_host_ca";
const HOST_KEY: &str = "ssh_host_key";
/// The extension in which a person's certificate names its device.
pub(crate) const DEVICE: &str = "device@postern";
/// The longest name in a certificate: far more than any name of ours, far less than a packet.
const MAX_NAME: usize = 256;

/// Why there is no SSH authority, or it issued nothing.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A key's file can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file doesn't hold a key of ours.
    #[error("`{}` holds no Ed25519 key in OpenSSH's format", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// A text is no public key, or of a kind that isn't certified.
    #[error("this is no public key as it is wanted: `ssh-keygen -t ed25519` makes one")]
    PublicKey,
    /// A text is no private key that can be used.
    #[error("this is no Ed25519 or ECDSA private key without a passphrase, in OpenSSH's format")]
    PrivateKey,
    /// A name can't stand in a certificate.
    #[error("`{name}` can't stand in an SSH certificate")]
    Name {
        /// The name, escaped.
        name: String,
    },
    /// The certificate would have ended before it began.
    #[error("the certificate would have ended already")]
    Ended,
    /// The key or certificate can't be made.
    #[error("cannot sign")]
    Sign(#[source] ssh_key::Error),
}

/// The SSH keys of a gateway. Whoever holds them can issue.
pub struct SshAuthority {
    people: PrivateKey,
    logins: PrivateKey,
    hosts: PrivateKey,
    host_key: PrivateKey,
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct SshIssued {
    /// One line, as OpenSSH writes it.
    pub line: String,
    /// The serial number.
    pub serial: u64,
    /// When it ends, in unix milliseconds.
    pub not_after: i64,
}

impl SshIssued {
    /// The name by which it is known in audit logs and locks.
    pub fn evidence(&self) -> String {
        evidence(self.serial)
    }
}

/// The name by which a certificate with this serial number is known.
pub(crate) fn evidence(serial: u64) -> String {
    format!("ssh-{serial:016x}")
}

/// A certificate with a key that was made for it.
#[derive(Debug, Clone)]
pub struct SshIssuedKey {
    /// The certificate.
    pub certificate: SshIssued,
    /// The private key in OpenSSH's format.
    pub key: SecretString,
}

/// What a certificate of a login is for.
#[derive(Debug, Clone, Copy)]
pub struct LoginCert<'a> {
    /// The account on the target.
    pub login: &'a str,
    /// What the target's log will say: who uses the account, and by which grant.
    pub key_id: &'a str,
    /// What of OpenSSH's permissions it has beyond a terminal, such as `permit-port-forwarding`.
    pub permits: &'a [&'a str],
    /// How long it lasts.
    pub life: Duration,
}

impl SshAuthority {
    /// Loads the keys of a folder, or makes those that aren't there.
    pub fn load_or_generate(dir: &Path) -> Result<Self, SshError> {
        store::create_private_dir(dir)?;
        Ok(Self {
            people: load_or_generate(&dir.join(PEOPLE))?,
            logins: load_or_generate(&dir.join(LOGINS))?,
            hosts: load_or_generate(&dir.join(HOSTS))?,
            host_key: load_or_generate(&dir.join(HOST_KEY))?,
        })
    }

    /// Makes keys that are kept nowhere.
    pub fn generate() -> Result<Self, SshError> {
        Ok(Self {
            people: generate()?,
            logins: generate()?,
            hosts: generate()?,
            host_key: generate()?,
        })
    }

    /// The authority that signs people's certificates.
    pub fn people(&self) -> &PublicKey {
        self.people.public_key()
    }

    /// The line for a target's file of `TrustedUserCAKeys`.
    pub fn logins_line(&self) -> Result<String, SshError> {
        line(&self.logins)
    }

    /// The key behind `@cert-authority *` in people's `known_hosts`.
    pub fn hosts_line(&self) -> Result<String, SshError> {
        line(&self.hosts)
    }

    /// The gateway's own host key.
    pub fn host_key(&self) -> &PrivateKey {
        &self.host_key
    }

    /// Certifies the gateway's host key for these names.
    pub fn certify_host(
        &self,
        names: &[String],
        life: Duration,
        now: i64,
    ) -> Result<Certificate, SshError> {
        let draft = Draft { kind: CertType::Host, key_id: "postern", names, end: after(now, life) };
        let mut builder = draft.builder(self.host_key.public_key(), now)?;
        builder.comment("postern").map_err(SshError::Sign)?;
        builder.sign(&self.hosts).map_err(SshError::Sign)
    }

    /// Certifies a person's own key, given as OpenSSH writes public keys.
    pub fn issue_person(
        &self,
        person: &PersonCert<'_>,
        public_key: &str,
        now: i64,
    ) -> Result<SshIssued, SshError> {
        let key = person_key(public_key)?;
        let names = [person.principal_id.to_owned()];
        let end = person.not_after.min(after(now, person.max_life));
        let key_id = person.principal_id;
        let draft = Draft { kind: CertType::User, key_id, names: &names, end };
        let mut builder = draft.builder(&key, now)?;
        check(person.device)?;
        builder.extension(DEVICE, person.device).map_err(SshError::Sign)?;
        // OpenSSH's client needs nothing of these; other servers of the same authority might.
        builder.extension("permit-pty", "").map_err(SshError::Sign)?;
        finish(builder, &self.people)
    }

    /// Makes a key for a login, and certifies it.
    pub fn issue_login(
        &self,
        requested: &LoginCert<'_>,
        now: i64,
    ) -> Result<SshIssuedKey, SshError> {
        let key = generate()?;
        let names = [requested.login.to_owned()];
        let end = after(now, requested.life);
        let draft = Draft { kind: CertType::User, key_id: requested.key_id, names: &names, end };
        let mut builder = draft.builder(key.public_key(), now)?;
        builder.extension("permit-pty", "").map_err(SshError::Sign)?;
        for permit in requested.permits {
            builder.extension(*permit, "").map_err(SshError::Sign)?;
        }
        Ok(SshIssuedKey { certificate: finish(builder, &self.logins)?, key: secret(&key)? })
    }
}

impl fmt::Debug for SshAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = |key: &PrivateKey| key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
        f.debug_struct("SshAuthority")
            .field("people", &print(&self.people))
            .field("logins", &print(&self.logins))
            .field("hosts", &print(&self.hosts))
            .field("host_key", &print(&self.host_key))
            .finish()
    }
}

/// Makes a person's key pair: the private key in OpenSSH's format, and the public line.
pub fn new_ssh_key() -> Result<(SecretString, String), SshError> {
    let key = generate()?;
    Ok((secret(&key)?, line(&key)?))
}

/// Reads a public key as OpenSSH writes one: algorithm and key, and perhaps a comment, which is left
/// out of what is returned.
pub fn read_public_key(line: &str) -> Result<String, SshError> {
    let mut key = PublicKey::from_openssh(line.trim()).map_err(|_| SshError::PublicKey)?;
    key.set_comment("");
    key.to_openssh().map_err(SshError::Sign)
}

/// The name by which a public key is known in audit logs and locks: the fingerprint that OpenSSH shows.
pub fn key_fingerprint(line: &str) -> Result<String, SshError> {
    let key = PublicKey::from_openssh(line.trim()).map_err(|_| SshError::PublicKey)?;
    Ok(key.fingerprint(HashAlg::Sha256).to_string())
}

/// Checks that a text is a private key that the gateway can sign in with: Ed25519 or ECDSA, in OpenSSH's
/// format, without a passphrase. RSA keys are not kept (RUSTSEC-2023-0071).
pub fn check_private_key(text: &SecretString) -> Result<(), SshError> {
    let key = PrivateKey::from_openssh(text.expose_secret()).map_err(|_| SshError::PrivateKey)?;
    let usable = matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { .. });
    if usable && !key.is_encrypted() { Ok(()) } else { Err(SshError::PrivateKey) }
}

/// What all certificates have in common.
struct Draft<'a> {
    kind: CertType,
    key_id: &'a str,
    names: &'a [String],
    end: i64,
}

impl Draft<'_> {
    fn builder(&self, key: &PublicKey, now: i64) -> Result<Builder, SshError> {
        if self.end <= now {
            return Err(SshError::Ended);
        }
        let begin = seconds(now.saturating_sub(BACKDATE_MS));
        let nonce = rand::random::<[u8; 32]>().to_vec();
        let mut builder = Builder::new(nonce, key.key_data().clone(), begin, seconds(self.end))
            .map_err(SshError::Sign)?;
        check(self.key_id)?;
        builder.serial(rand::random()).map_err(SshError::Sign)?;
        builder.cert_type(self.kind).map_err(SshError::Sign)?;
        builder.key_id(self.key_id).map_err(SshError::Sign)?;
        for name in self.names {
            check(name)?;
            builder.valid_principal(name).map_err(SshError::Sign)?;
        }
        Ok(builder)
    }
}

fn finish(builder: Builder, by: &PrivateKey) -> Result<SshIssued, SshError> {
    let certificate = builder.sign(by).map_err(SshError::Sign)?;
    Ok(SshIssued {
        line: certificate.to_openssh().map_err(SshError::Sign)?,
        serial: certificate.serial(),
        not_after: i64::try_from(certificate.valid_before()).map_or(i64::MAX, |s| s * 1_000),
    })
}

/// A name is text that a log line can hold.
fn check(name: &str) -> Result<(), SshError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(SshError::Name { name: name.escape_debug().take(MAX_NAME).collect() });
    }
    Ok(())
}

fn person_key(text: &str) -> Result<PublicKey, SshError> {
    let key = PublicKey::from_openssh(text.trim()).map_err(|_| SshError::PublicKey)?;
    if key.algorithm() == Algorithm::Ed25519 { Ok(key) } else { Err(SshError::PublicKey) }
}

fn load_or_generate(path: &Path) -> Result<PrivateKey, SshError> {
    if !path.exists() {
        let key = generate()?;
        match store::create_private(path, secret(&key)?.expose_secret().as_bytes()) {
            // Another process may have been faster: then it is that one's key.
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let bytes = store::read_private(path)?;
    let bad = || SshError::BadKey { path: path.to_owned() };
    let key = PrivateKey::from_openssh(bytes.expose_secret()).map_err(|_| bad())?;
    if key.algorithm() == Algorithm::Ed25519 && !key.is_encrypted() { Ok(key) } else { Err(bad()) }
}

fn generate() -> Result<PrivateKey, SshError> {
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "postern").map_err(SshError::Sign)
}

fn secret(key: &PrivateKey) -> Result<SecretString, SshError> {
    let text = key.to_openssh(LineEnding::LF).map_err(SshError::Sign)?;
    Ok(SecretString::from(text.as_str()))
}

fn line(key: &PrivateKey) -> Result<String, SshError> {
    key.public_key().to_openssh().map_err(SshError::Sign)
}

fn after(now: i64, life: Duration) -> i64 {
    now.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
}

fn seconds(millis: i64) -> u64 {
    u64::try_from(millis.div_euclid(1_000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn keys_are_made_once_kept_private_and_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let first = SshAuthority::load_or_generate(folder.path()).unwrap();
        let again = SshAuthority::load_or_generate(folder.path()).unwrap();
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        let keys = [first.people().to_openssh().unwrap(), first.logins_line().unwrap()];
        assert_ne!(keys[0], keys[1], "targets must not trust people's certificates");
        for name in [PEOPLE, LOGINS, HOSTS, HOST_KEY] {
            let path = folder.path().join(name);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.path().join(PEOPLE), open).unwrap();
        assert!(SshAuthority::load_or_generate(folder.path()).is_err());
    }

    #[test]
    fn a_login_is_the_one_principal_and_its_certificate_lasts_minutes() {
        let authority = SshAuthority::generate().unwrap();
        let life = Duration::from_secs(600);
        let permits = &["permit-agent-forwarding"][..];
        let requested = LoginCert { login: "deploy", key_id: "postern alice gr-1", permits, life };
        let issued = authority.issue_login(&requested, NOW).unwrap();
        let read = Certificate::from_openssh(&issued.certificate.line).unwrap();
        assert_eq!(read.valid_principals(), ["deploy"]);
        assert_eq!(read.key_id(), "postern alice gr-1");
        assert_eq!(issued.certificate.not_after, NOW + 600_000);
        assert!(!read.extensions().contains_key("permit-port-forwarding"));
        assert!(read.extensions().contains_key("permit-agent-forwarding"));
        assert!(!format!("{issued:?}").contains("PRIVATE"));
        for login in ["", "a\nb", "a\0"] {
            assert!(
                authority.issue_login(&LoginCert { login, ..requested }, NOW).is_err(),
                "{login:?}"
            );
        }
    }

    #[test]
    fn only_a_key_of_the_one_kind_is_certified() {
        let authority = SshAuthority::generate().unwrap();
        let person = PersonCert {
            principal_id: "alice",
            name: "Alice",
            device: "laptop",
            not_after: NOW + 60_000,
            max_life: Duration::from_secs(3_600),
        };
        let (_, public) = new_ssh_key().unwrap();
        assert!(authority.issue_person(&person, &public, NOW).is_ok());
        let certificate = authority.issue_person(&person, &public, NOW).unwrap().line;
        for other in ["", "ssh-ed25519", "ssh-rsa AAAA", certificate.as_str()] {
            assert!(authority.issue_person(&person, other, NOW).is_err(), "{other}");
        }
        let late = PersonCert { not_after: NOW, ..person };
        assert!(matches!(authority.issue_person(&late, &public, NOW), Err(SshError::Ended)));
    }
}
