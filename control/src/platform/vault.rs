//! Secrets that the store keeps but must not give away: wrapped by a key that isn't in it.
//!
//! The key is a file beside the store that only its owner may read. Each secret is sealed with
//! AES-256-GCM under a fresh nonce and bound to its table and row, so that whoever can write to the
//! store can neither read one nor move it to where it would mean something else. It is the one place
//! where secrets are sealed: an issuer's refresh tokens, and the secrets of authenticator apps.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use certs::store::{self, StoreError};
use secrecy::{ExposeSecret, SecretSlice};
use thiserror::Error;

const KEY_LENGTH: usize = 32;

/// The key, and what it does.
pub(crate) struct Vault(LessSafeKey);

/// Why a secret can't be wrapped or had back.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key's file can't be used.
    #[error("the vault's key can't be used")]
    File(#[from] StoreError),
    /// The key's file holds something else.
    #[error("`{0}` is no key of a vault: put back the one that belongs to this store")]
    Key(String),
    /// It can't be sealed.
    #[error("a secret can't be wrapped")]
    Seal,
    /// It is not what was wrapped for this place by this key.
    #[error("a stored secret of `{0}` is damaged, moved, or of another vault's key")]
    Open(&'static str),
}

impl Vault {
    /// Reads the key, or makes one at the first start.
    pub(crate) fn open(path: &Path) -> Result<Self, VaultError> {
        if !path.exists() {
            let fresh: [u8; KEY_LENGTH] = rand::random();
            match store::create_private(path, &fresh) {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = store::read_private(path)?;
        let key = UnboundKey::new(&AES_256_GCM, bytes.expose_secret());
        key.map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| VaultError::Key(path.display().to_string()))
    }

    /// Wraps a secret for one row of one table.
    pub(crate) fn wrap(
        &self,
        table: &'static str,
        row: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        let fresh = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(fresh, place(table, row), &mut sealed)
            .map_err(|_| VaultError::Seal)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The secret that was wrapped for this row of this table.
    pub(crate) fn reveal(
        &self,
        table: &'static str,
        row: &str,
        wrapped: &[u8],
    ) -> Result<SecretSlice<u8>, VaultError> {
        let failed = || VaultError::Open(table);
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, place(table, row), &mut sealed);
        let secret: Box<[u8]> = Box::from(&*opened.map_err(|_| failed())?);
        Ok(SecretSlice::from(secret))
    }
}

/// What a secret is bound to: lengths first, so that no two places look alike.
fn place(table: &str, row: &str) -> Aad<Vec<u8>> {
    let length = u64::try_from(table.len()).unwrap_or(u64::MAX).to_be_bytes();
    Aad::from([b"postern vault v1".as_slice(), &length, table.as_bytes(), row.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&folder.path().join("vault.key")).unwrap();
        (folder, vault)
    }

    #[test]
    fn a_secret_comes_back_only_at_its_place_and_by_its_key() {
        let (folder, vault) = vault();
        let wrapped = vault.wrap("people", "corp:a1", b"canary").unwrap();
        assert!(!wrapped.windows(6).any(|six| six == b"canary"));
        let again = Vault::open(&folder.path().join("vault.key")).unwrap();
        let back = again.reveal("people", "corp:a1", &wrapped).unwrap();
        assert_eq!(back.expose_secret(), b"canary");
        assert!(vault.reveal("people", "corp:b2", &wrapped).is_err());
        assert!(vault.reveal("other", "corp:a1", &wrapped).is_err());
        assert!(self::vault().1.reveal("people", "corp:a1", &wrapped).is_err());
    }

    #[test]
    fn what_was_changed_or_cut_off_is_refused() {
        let (_folder, vault) = vault();
        let wrapped = vault.wrap("people", "a", b"canary").unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(vault.reveal("people", "a", &changed).is_err(), "{at}");
            assert!(vault.reveal("people", "a", &wrapped[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        std::fs::write(&path, "short").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Vault::open(&path), Err(VaultError::Key(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Vault::open(&path), Err(VaultError::File(_))));
    }
}
