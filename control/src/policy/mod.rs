//! What the rules say of somebody who wants something, and which facts they say it by.

pub(crate) mod context;
pub(crate) mod evaluate;
pub(crate) mod risk;
