//! Whose authenticators may be registered.

use webauthn_rs::prelude::AttestationCaList;

/// Certificates of makers of authenticators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationRoots(pub(crate) AttestationCaList);

impl AttestationRoots {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// Where there is none, or one can't be read.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        const END: &str = "-----END CERTIFICATE-----";
        let mut all = AttestationCaList::default();
        for piece in text.split_inclusive(END).filter(|piece| piece.contains(END)) {
            let one = AttestationCaList::try_from(piece.trim_start().as_bytes());
            all.union(&one.map_err(|error| format!("not a certificate: {error}"))?);
        }
        if all.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(Self(all)) }
    }
}
