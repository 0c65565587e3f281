//! What an issuer says about somebody.

/// What an issuer says about somebody, fresh and verified.
#[derive(Debug)]
pub(crate) struct Vouched {
    /// Who it is there, for ever.
    pub(crate) subject: String,
    /// How people call them; for display only.
    pub(crate) name: Option<String>,
    /// The names of their groups there; none where the answer held nothing in which they could stand.
    pub(crate) groups: Option<Vec<String>>,
    /// An address that the issuer says it has verified.
    pub(crate) email: Option<crate::platform::email_address::Email>,
    /// The session there.
    pub(crate) sid: Option<String>,
    /// What can be asked with later.
    pub(crate) refresh_token: Option<secrecy::SecretString>,
}
