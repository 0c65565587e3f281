//! Telling people, over channels that the configuration names.
//!
//! An event of the audit log that a channel wants becomes a row of the outbox in the same transaction
//! (`tell`): what happened and that somebody is to hear of it are one fact. `sender` delivers the rows,
//! each channel by itself, at least once each; `webhook`, `slack` and `email` are the ways, `template`
//! their texts, `letters` what admins see and do. No message decides anything: each leads to a page,
//! where the passkey is asked for.

mod backoff;
mod channel;
mod email;
mod email_address;
mod letters;
mod notice;
mod reminders;
mod sender;
mod slack;
mod tell;
mod template;
mod topic;
mod webhook;

pub use backoff::Patience;
pub use channel::{Bounds, Channel, ChannelFault, ChannelName, ChannelNameError, Hook, Way};
pub use email::{Mail, MailFault, MailTls, Server};
pub use email_address::{Email, EmailError};
pub use letters::{ChannelView, LetterState, LetterView};
pub(crate) use notice::Notice;
pub(crate) use sender::Wakeup;
pub use template::{TemplateFault, Templates};
pub use topic::{Topic, TopicError};
