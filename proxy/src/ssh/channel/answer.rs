//! A request whose answer the target gives.
//!
//! The library knows of one unanswered request a channel: the handler that takes a request waits until the task of the
//! channel has the target's answer, and nothing else of the connection is read meanwhile. Both waits are bounded, and
//! a channel that ends answers all that is still open.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a target may take to answer a request.
pub(in crate::ssh) const ANSWER: Duration = Duration::from_secs(60);
/// Beyond that, the task of the channel has failed by itself.
const LATEST: Duration = Duration::from_secs(75);

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub(in crate::ssh) enum Answer {
    /// It is refused here.
    Refused,
    /// It is granted here.
    Granted,
    /// The target has to say.
    Target(oneshot::Receiver<bool>),
}

/// Something to ask of the target, and who waits for its answer.
#[derive(Debug)]
pub(in crate::ssh) struct Asked<T> {
    pub(in crate::ssh) request: T,
    waits: Option<oneshot::Sender<bool>>,
}

impl Answer {
    /// Whether it isn't refused here.
    #[cfg(test)]
    pub(in crate::ssh) fn is_taken(&self) -> bool {
        !matches!(self, Self::Refused)
    }

    /// Whether the request is granted.
    pub(in crate::ssh) async fn granted(self) -> bool {
        match self {
            Self::Refused => false,
            Self::Granted => true,
            Self::Target(answer) => matches!(timeout(LATEST, answer).await, Ok(Ok(true))),
        }
    }
}

impl<T> Asked<T> {
    /// A request, and where its answer comes.
    pub(in crate::ssh) fn new(request: T) -> (Self, Answer) {
        let (waits, answer) = oneshot::channel();
        (Self { request, waits: Some(waits) }, Answer::Target(answer))
    }

    /// One for whose answer nobody waits.
    pub(in crate::ssh) fn unanswered(request: T) -> Self {
        Self { request, waits: None }
    }

    /// The request, and by what it is answered. Dropped, the answer is no.
    pub(in crate::ssh) fn split(self) -> (T, impl FnOnce(bool)) {
        let waits = self.waits;
        (self.request, move |granted| {
            let _ = waits.map(|waits| waits.send(granted));
        })
    }
}
