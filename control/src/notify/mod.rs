//! Telling people, over channels that the configuration names.
//!
//! An event of the audit log that a channel wants becomes a row of the outbox in the same transaction
//! ([`outbox`]): what happened and that somebody is to hear of it are one fact. `sender` delivers the rows,
//! each channel by itself, at least once each; `reminders` adds what ends soon, and `outbox_admin` is what
//! admins see and do. The channels and their texts are in `model`. No message decides anything: each leads to
//! a page, where the passkey is asked for.

pub(crate) mod outbox;
mod outbox_admin;
mod reminders;
mod sender;

use crate::kernel::Kernel;

/// Tells people.
#[derive(Clone)]
pub struct Notifier {
    pub(crate) kernel: Kernel,
}
