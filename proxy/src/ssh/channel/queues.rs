//! The queues of one connection, by their channels.
//!
//! A queue belongs to the task that serves its channel, and ends with it. What the library reports of a channel changes
//! the queue and never removes it: it says nothing of a channel that the gateway closes first.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::ChannelId;

use crate::ssh::channel::queue::{ChannelQueue, Load};

type ByChannel = HashMap<ChannelId, Arc<ChannelQueue>>;

/// The queues of a connection.
#[derive(Debug, Default)]
pub(in crate::ssh) struct ChannelQueues {
    pub(in crate::ssh) load: Arc<Load>,
    by_channel: Arc<Mutex<ByChannel>>,
}

/// A queue in the hands of the task that serves its channel. Dropped, the connection knows it no longer.
#[derive(Debug)]
pub(in crate::ssh) struct OwnedQueue {
    id: ChannelId,
    queue: Arc<ChannelQueue>,
    by_channel: Arc<Mutex<ByChannel>>,
}

impl ChannelQueues {
    pub(in crate::ssh) fn get(&self, id: ChannelId) -> Option<Arc<ChannelQueue>> {
        lock(&self.by_channel).get(&id).cloned()
    }

    /// The queue of a session that a client opens.
    pub(in crate::ssh) fn session(&self, id: ChannelId) -> OwnedQueue {
        self.own(id, ChannelQueue::session)
    }

    /// The queue of a forward. One that the gateway opens has it since the client confirmed it.
    pub(in crate::ssh) fn forward(&self, id: ChannelId) -> OwnedQueue {
        self.own(id, ChannelQueue::forward)
    }

    /// The client confirms a forward that the gateway opens: what it sends waits for the task that asked for it.
    pub(in crate::ssh) fn confirmed(&self, id: ChannelId) {
        self.of(id, ChannelQueue::forward);
    }

    /// The client closes the channel.
    pub(in crate::ssh) fn close(&self, id: ChannelId) {
        if let Some(queue) = self.get(id) {
            queue.close();
        }
    }

    pub(in crate::ssh) fn count(&self) -> usize {
        lock(&self.by_channel).len()
    }

    fn own(&self, id: ChannelId, new: fn(Arc<Load>) -> ChannelQueue) -> OwnedQueue {
        let (queue, by_channel) = (self.of(id, new), Arc::clone(&self.by_channel));
        OwnedQueue { id, queue, by_channel }
    }

    fn of(&self, id: ChannelId, new: fn(Arc<Load>) -> ChannelQueue) -> Arc<ChannelQueue> {
        let made = || Arc::new(new(Arc::clone(&self.load)));
        Arc::clone(lock(&self.by_channel).entry(id).or_insert_with(made))
    }
}

impl Deref for OwnedQueue {
    type Target = ChannelQueue;

    fn deref(&self) -> &ChannelQueue {
        &self.queue
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        lock(&self.by_channel).remove(&self.id);
    }
}

fn lock(by_channel: &Mutex<ByChannel>) -> MutexGuard<'_, ByChannel> {
    by_channel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ssh_key::encoding::Decode;

    use super::*;

    #[test]
    fn a_queue_ends_with_the_task_that_serves_its_channel() {
        let id = |n: u32| ChannelId::decode(&mut &n.to_be_bytes()[..]).unwrap();
        let queues = ChannelQueues::default();
        for n in 0..1_000 {
            let session = queues.session(id(2 * n));
            queues.confirmed(id(2 * n + 1));
            let forward = queues.forward(id(2 * n + 1));
            assert_eq!(queues.count(), 2);
            // The client closes one of them; the gateway closes the other.
            queues.close(id(2 * n));
            assert_eq!(queues.count(), 2);
            drop((session, forward));
            assert_eq!(queues.count(), 0);
        }
    }
}
