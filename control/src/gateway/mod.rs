//! What serves proxies: the link, and connections that wait for a person.

pub(crate) mod access_wait;
pub(crate) mod link;
pub(crate) mod pending_connections;
