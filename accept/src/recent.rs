//! What was seen most recently, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by their keys: at most so many, and the one that was seen longest ago is forgotten first.
#[derive(Debug)]
pub struct Recent<K, V> {
    most: usize,
    next: u64,
    seen: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// Remembers at most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, next: 0, seen: HashMap::new(), order: BTreeMap::new() }
    }

    /// The value of this key, where it is remembered.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.seen.get(key).map(|(_, value)| value)
    }

    /// Remembers this as the most recent one.
    pub fn remember(&mut self, key: K, value: V) {
        let number = self.next;
        self.next += 1;
        if let Some((before, _)) = self.seen.insert(key.clone(), (number, value)) {
            self.order.remove(&before);
        }
        self.order.insert(number, key);
        if self.seen.len() > self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.seen.remove(&oldest);
        }
    }

    /// Forgets it, where it is remembered.
    pub fn forget(&mut self, key: &K) {
        if let Some((number, _)) = self.seen.remove(key) {
            self.order.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recent_are_remembered_and_memory_is_bounded() {
        let mut recent = Recent::new(100);
        for n in 0..10_000 {
            recent.remember(n, n);
            recent.remember(0, n);
        }
        assert_eq!((recent.get(&0), recent.get(&9_999)), (Some(&9_999), Some(&9_999)));
        assert_eq!((recent.get(&1), recent.seen.len(), recent.order.len()), (None, 100, 100));
        recent.forget(&0);
        recent.forget(&1);
        assert_eq!((recent.get(&0), recent.seen.len(), recent.order.len()), (None, 99, 99));
    }
}
