//! One channel, from the client's request to its close.
//!
//! A session is [`opened`] until its one program starts, and [`running`] from then on; a forward is running
//! from its start. The transition makes the [`content`] of the channel, through which all bytes pass: what is
//! recorded of them, and the limits of file transfer. In any other state bytes have no way.
//!
//! [`serve`] has the channels that clients open, and those that targets open because their client asked for it.
//! What clients send waits in [`queue`]; [`request`] is what they ask for on a channel.

pub(super) mod answer;
pub(super) mod channel_open;
pub(super) mod content;
mod held_eof;
pub(super) mod link;
mod opened;
pub(super) mod queue;
pub(super) mod queues;
pub(super) mod request;
mod running;
pub(super) mod serve;
