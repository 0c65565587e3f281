//! What is asked of others: on-call rosters, tickets, and the configuration when it is read again.

pub(crate) mod icalendar;
pub(crate) mod on_call;
pub(crate) mod reload;
pub(crate) mod tickets;
