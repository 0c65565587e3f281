//! Requests and grants, from the first ask to the last review.

pub(crate) mod ask;
pub(crate) mod edit;
pub(crate) mod explain;
pub(crate) mod grants;
pub(crate) mod issue_grant;
pub(crate) mod lists;
pub(crate) mod locks;
pub(crate) mod pending;
pub(crate) mod reconsider;
pub(crate) mod requests;
pub(crate) mod reviews;
pub(crate) mod rollback;
pub(crate) mod step_up;
pub(crate) mod sweep;
pub(crate) mod targets;
pub(crate) mod ticket_state;
pub(crate) mod tickets_hook;
pub(crate) mod transitions;
