//! Things by name, the oldest forgotten beyond a bound: a recording doesn't say when a statement or
//! portal is closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::Text;

/// The most names of one sort that are kept.
const MAX_NAMES: usize = 65_536;

/// The most bytes that the kept names of one sort may stand for.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What something kept in memory weighs.
pub(crate) trait Weight {
    /// Roughly, in bytes.
    fn weight(&self) -> usize;
}

/// Things by name, the oldest forgotten beyond a bound.
#[derive(Debug)]
pub(crate) struct Names<T> {
    held: HashMap<Arc<Text<'static>>, (u64, T)>,
    by_age: BTreeMap<u64, Arc<Text<'static>>>,
    next_age: u64,
    weight: usize,
}

impl<T: Weight> Names<T> {
    /// No name yet.
    pub(crate) fn new() -> Names<T> {
        Names { held: HashMap::new(), by_age: BTreeMap::new(), next_age: 0, weight: 0 }
    }

    /// What a name stands for.
    pub(crate) fn find(&self, name: &Text<'static>) -> Option<&T> {
        self.held.get(name).map(|(_, thing)| thing)
    }

    /// Changes what a name stands for into something no heavier.
    pub(crate) fn lighten(&mut self, name: &Text<'static>, change: impl FnOnce(&mut T)) {
        if let Some((_, thing)) = self.held.get_mut(name) {
            let before = thing.weight();
            change(thing);
            self.weight = self.weight.saturating_sub(before.saturating_sub(thing.weight()));
        }
    }

    /// Lets a name stand for something new.
    pub(crate) fn set(&mut self, name: Text<'static>, thing: T) {
        self.forget(&name);
        let name = Arc::new(name);
        self.weight += weight_of(&name, &thing);
        self.by_age.insert(self.next_age, Arc::clone(&name));
        self.held.insert(name, (self.next_age, thing));
        self.next_age += 1;
        while self.held.len() > MAX_NAMES || (self.weight > MAX_BYTES && self.held.len() > 1) {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, name: &Text<'static>) {
        if let Some((age, thing)) = self.held.remove(name) {
            self.by_age.remove(&age);
            self.weight = self.weight.saturating_sub(weight_of(name, &thing));
        }
    }
}

fn weight_of(name: &Text<'_>, thing: &impl Weight) -> usize {
    name.as_bytes().len() + thing.weight()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;
    use crate::prepared::Portal;

    fn portal(bytes: usize) -> Portal {
        let values = Arc::from([Value::Bytes(vec![0; bytes].into())]);
        Portal { values, ..Portal::unknown() }
    }

    #[test]
    fn the_oldest_names_are_forgotten_beyond_the_bounds() {
        let mut names = Names::new();
        for i in 0..=MAX_NAMES {
            names.set(i.to_string().as_bytes().to_vec().into(), portal(0));
        }
        assert!(names.find(&"0".into()).is_none());
        assert!(names.find(&"1".into()).is_some());
        assert_eq!(names.held.len(), MAX_NAMES);

        names.set("large".into(), portal(MAX_BYTES));
        assert_eq!(names.held.len(), 1);
        names.set("large".into(), portal(1));
        assert_eq!((names.by_age.len(), names.held.len()), (1, 1));
        assert!(names.weight < 1000);
    }

    #[test]
    fn a_name_set_again_keeps_one_place() {
        let mut names = Names::new();
        for _ in 0..100 {
            names.set("".into(), portal(10));
        }
        assert_eq!((names.by_age.len(), names.held.len()), (1, 1));
    }
}
