//! What a login session brought.

use policies::Timestamp;

/// Something that a login session brought, which could be copied.
pub(crate) struct Brought {
    /// The serial of a certificate, or the public part of a token.
    pub(crate) id: String,
    pub(crate) expires_at: Timestamp,
}
