//! Signing in with an issuer (OpenID Connect): who comes back, what they are then, and for how long.
//!
//! `flow` sends a browser to the issuer and takes it back, `exchange` turns the code that it brings
//! into what the issuer says, `people` makes somebody of this inventory out of it, `refresh` asks
//! again in the background, and `logout` ends sessions where the issuer says so. Every refusal is
//! one [`Refusal`], with its name in the audit log.

mod exchange;
mod flow;
mod issuer;
mod logout;
pub(crate) mod people;
mod refresh;
mod refusal;
#[cfg(test)]
mod tests;

pub(crate) use flow::{Answer, Begun, Finished, Flows, LIFE, is_flow};
pub use issuer::Probe;
pub(crate) use refresh::Outages;
pub(crate) use refusal::Refusal;

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
