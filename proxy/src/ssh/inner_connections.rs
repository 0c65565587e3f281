//! The connections within one that leads to targets by `-J`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use russh::ChannelId;
use tokio_util::sync::CancellationToken;

/// The connections within one, each with the token by which it learns that its client has left.
#[derive(Debug, Default)]
pub(super) struct InnerConnections(Mutex<HashMap<ChannelId, CancellationToken>>);

impl InnerConnections {
    /// One that ends with its channel, or with the connection around it.
    pub(super) fn insert(&self, id: ChannelId, ended: &CancellationToken) -> CancellationToken {
        let left = ended.child_token();
        self.by_channel().insert(id, left.clone());
        left
    }

    /// The client sends nothing any more on this channel.
    pub(super) fn leave(&self, id: ChannelId) {
        if let Some(left) = self.by_channel().remove(&id) {
            left.cancel();
        }
    }

    fn by_channel(&self) -> MutexGuard<'_, HashMap<ChannelId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
