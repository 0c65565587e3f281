//! The leases of one key: nearly always one, and more where a person asked again before the end.

use std::sync::Arc;

use policies::Timestamp;

use super::held::Held;

/// The leases of one key.
#[derive(Debug)]
pub(super) struct Leased {
    first: Arc<Held>,
    #[expect(
        clippy::box_collection,
        reason = "one that is hardly ever there should take no space"
    )]
    more: Option<Box<Vec<Arc<Held>>>>,
}

impl Leased {
    pub(super) fn new(first: Arc<Held>) -> Self {
        Self { first, more: None }
    }

    pub(super) fn add(&mut self, held: Arc<Held>) {
        self.more.get_or_insert_default().push(held);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// The one to be admitted by: one in use rather than one whose clock would have to start.
    pub(super) fn best(&self, now: Timestamp) -> Arc<Held> {
        if self.more.is_none() {
            return Arc::clone(&self.first);
        }
        let rank =
            |held: &&Arc<Held>| (held.is_live(now), held.is_claimed(), held.term().deadline());
        Arc::clone(self.all().max_by_key(rank).unwrap_or(&self.first))
    }

    /// Takes one out; true where none is left.
    pub(super) fn leave(&mut self, gone: &Arc<Held>) -> bool {
        let mut more = self.more.take().map_or_else(Vec::new, |more| *more);
        more.retain(|held| !Arc::ptr_eq(held, gone));
        if Arc::ptr_eq(&self.first, gone) {
            match more.pop() {
                Some(next) => self.first = next,
                None => return true,
            }
        }
        self.more = (!more.is_empty()).then(|| Box::new(more));
        false
    }
}
