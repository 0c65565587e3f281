//! What travels as JSON: domain values as API clients read them.
//!
//! Instants are RFC 3339 in UTC, spans are written `1h30m`, resources `app_rw@orders/shop`. What
//! isn't there is left out, not null. The domain's own serialised form is the store's business and
//! never shown.

mod access;
mod cut;
mod evidence;
mod explain;
mod logins;
mod notifications;
mod people;
mod reviews;
mod targets;

pub(crate) use access::{AccessRequest, Grant, Hold};
pub(crate) use cut::{Cut, Gone};
pub(crate) use evidence::{AuditEvent, Session};
pub(crate) use explain::Explanation;
pub(crate) use logins::LoginSession;
pub(crate) use notifications::Channel;
pub(crate) use notifications::Notification;
pub(crate) use people::{Person, Token};
pub(crate) use reviews::Review;
pub(crate) use targets::{Lock, Target};
