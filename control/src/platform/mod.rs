//! What is of no domain: time, ids, addresses, requests to other servers, sealed secrets.

pub(crate) mod backoff;
pub(crate) mod clock;
pub(crate) mod email_address;
pub(crate) mod error_chain;
pub(crate) mod http_client;
pub(crate) mod ids;
pub(crate) mod outbound;
pub(crate) mod sanitize;
pub(crate) mod shared;
pub(crate) mod vault;
pub(crate) mod webhook_signature;
