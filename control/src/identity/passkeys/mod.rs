//! Passkeys: what people prove themselves with.
//!
//! Somebody registers as many as they like (`enrol`), and gives them names (`manage`). A change to them
//! takes a touch of one that is there already, so that a stolen cookie can't add its thief's; the last
//! one can't be removed, since whoever has none acts by click. `sign_in` opens login sessions, `party`
//! checks what authenticators say, `check` whose answer it is, `evidence` is what anybody can check later.

pub(crate) mod check;
pub(crate) mod enrol;
pub(crate) mod evidence;
pub(crate) mod manage;
pub(crate) mod nonces;
pub(crate) mod party;
mod sign_in;
