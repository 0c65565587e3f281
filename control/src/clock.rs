//! The edge at which control reads the time. Everything else is handed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use policies::{Timestamp, Ttl};

/// Wall time in milliseconds: the system's, or one that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `at`. Its copies move together.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.millis()))))
    }

    /// Moves a fixed clock; the machine's own isn't ours to move.
    pub fn advance(&self, by: Ttl) {
        match &self.0 {
            Source::System => {}
            Source::Fixed(at) => {
                at.fetch_add(by.millis(), Ordering::SeqCst);
            }
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(match &self.0 {
            Source::System => system_millis(),
            Source::Fixed(at) => at.load(Ordering::SeqCst),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn system_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}
