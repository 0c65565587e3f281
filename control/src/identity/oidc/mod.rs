//! Signing in with an issuer (OpenID Connect): who comes back, what they are then, and for how long.
//!
//! `flow` sends a browser to the issuer and takes it back, `exchange` turns the code that it brings
//! into what the issuer says, `people` makes somebody of this inventory out of it, `refresh` asks
//! again in the background, and `logout` ends sessions where the issuer says so. Every refusal is
//! one [`refusal::OidcRefusal`], with its name in the audit log.

mod exchange;
pub(crate) mod flow;
pub(crate) mod issuer;
mod logout;
pub(crate) mod outages;
pub(crate) mod people;
mod refresh;
pub(crate) mod refusal;
#[cfg(test)]
mod tests;
pub(crate) mod vouched;
