//! What every change goes through: transactions, the feed, audit events, limits, and who may act.

pub(crate) mod audit;
pub(crate) mod authorize;
pub(crate) mod backup;
pub(crate) mod cut;
pub(crate) mod cuts;
pub(crate) mod feed;
mod handle;
pub(crate) mod health;
pub(crate) mod high_water;
pub(crate) mod locks;
pub(crate) mod metrics;
pub(crate) mod rate_limit;
pub(crate) mod refusal_log;
pub(crate) mod refusals;
pub(crate) mod request_rate;
pub(crate) mod state;
pub(crate) mod transaction;

pub use state::Kernel;
pub(crate) use state::Opened;
