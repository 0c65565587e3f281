//! What people's factors take: the certificates of makers of authenticators, and the key that seals
//! the secrets of apps, in a file of its own beside the database.

use std::path::Path;

use certs::store::{self, StoreError};
use control::{AttestationRoots, TotpKey};
use secrecy::ExposeSecret;

use super::UpError;
use crate::config::Config;

/// What was read.
pub(super) struct Keys {
    pub(super) attestation: Option<AttestationRoots>,
    pub(super) totp: Option<TotpKey>,
}

impl Keys {
    pub(super) fn load(config: &Config) -> Result<Self, UpError> {
        let attestation = config.attestation_roots()?;
        let totp = config.totp.enabled.then(|| totp_key(&config.gateway.totp_key())).transpose()?;
        Ok(Self { attestation, totp })
    }
}

/// The key of this file, which is made where there is none.
fn totp_key(file: &Path) -> Result<TotpKey, UpError> {
    match store::create_private(file, &rand::random::<[u8; 32]>()) {
        Ok(()) | Err(StoreError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = store::read_private(file)?;
    let unusable = || UpError::TotpKey(file.to_owned());
    let bytes = <&[u8; 32]>::try_from(bytes.expose_secret()).map_err(|_| unusable())?;
    TotpKey::new(bytes).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("totp.key");
        totp_key(&file).unwrap();
        let first = std::fs::read(&file).unwrap();
        totp_key(&file).unwrap();
        assert_eq!((first.len(), std::fs::read(&file).unwrap()), (32, first));
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, open).unwrap();
        assert!(totp_key(&file).is_err());
        store::write_private(&file, b"short").unwrap();
        assert!(matches!(totp_key(&file), Err(UpError::TotpKey(_))));
    }
}
