//! What this crate promises of bytes that it didn't make, for `tests/fuzz` to try to break.

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
pub(crate) mod seeds;
#[path = "../../tests/fuzz/steps.rs"]
pub(crate) mod steps;

pub use crate::postgres::fuzz::*;
pub use crate::ssh::fuzz::*;
