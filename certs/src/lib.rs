//! Postern's certificates. X.509: one small authority, what it issues, what it recognises, and the TLS
//! configurations of both legs.
//!
//! A certificate's life runs top-down through the files: an [`Authority`] is made or loaded, a
//! [`Csr`] proves that somebody holds a key, the authority issues, a listener asks for client
//! certificates of that authority only, and [`identify`] turns what the handshake verified into a
//! [`Person`]. [`UpstreamTls`] is the other leg. [`SshAuthority`] and [`identify_ssh`] are the same for
//! SSH, and [`check_ssh_proof`] sees that somebody holds a key of their own. [`store`] keeps private
//! files private.
//!
//! Nothing here reads a clock: `now` is an argument, in unix milliseconds. The one exception is a
//! handshake, where rustls asks the `time_provider` of the configuration that it was given.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that can't go on has failed"
    )
)]

mod authority;
mod binding;
mod csr;
mod fields;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod issue;
mod names;
mod server;
mod ssh;
mod ssh_identity;
mod ssh_proof;
pub mod store;
mod upstream;
mod x509;

pub use authority::{Authority, AuthorityError};
pub use binding::tls_server_end_point;
pub use csr::{Csr, CsrError, NewRequest};
pub use fields::fingerprint;
pub use identity::{Identity, TlsError, roots_from_file, roots_from_pem};
pub use issue::{IssueError, Issued, IssuedKey, PersonCert};
pub use names::NameError;
pub use server::{RECORD_PAYLOAD, server_config, web_config};
pub use ssh::{
    LoginCert, SshAuthority, SshError, SshIssued, SshIssuedKey, check_private_key, key_fingerprint,
    new_ssh_key, read_public_key,
};
pub use ssh_identity::{SshPerson, SshRejection, check_host, identify_ssh};
pub use ssh_proof::{SshHolder, SshProofError, check_ssh_proof};
pub use upstream::{Connector, UnknownMode, UpstreamMode, UpstreamTls};
pub use x509::{Person, Rejection, identify};
