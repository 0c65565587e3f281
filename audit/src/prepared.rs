//! What a session has prepared and bound, as far as its events tell.
//!
//! Names lead to what they stand for; the oldest are forgotten beyond a bound, because a recording
//! doesn't say when a statement is closed. It doesn't say either which Parse the target took: a
//! refused or skipped one leaves the statement before it in place. So where a failure came between
//! a Parse and the first success that used it, what the name stood for before is kept as well:
//! nobody can pass one statement off as another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::{Text, Value};

/// The most names of one sort that are kept.
const MAX_NAMES: usize = 65_536;

/// The most bytes that the kept names of one sort may stand for.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The most earlier texts that are kept of one name.
const MAX_EARLIER: usize = 8;

/// What something kept in memory weighs.
pub(crate) trait Weight {
    /// Roughly, in bytes.
    fn weight(&self) -> usize;
}

/// Text for display: the start of it, where it is very long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The text.
    pub(crate) text: Arc<str>,
    /// Whether there is more than this.
    pub(crate) truncated: bool,
}

/// A prepared statement as one Parse made it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Its text.
    pub(crate) shown: Shown,
    /// What the name may still stand for if that Parse was not taken, oldest first.
    pub(crate) earlier: Vec<Arc<str>>,
    /// How many failures the session had seen when the Parse was sent.
    pub(crate) failures_before: u64,
}

/// A portal: a statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// The name of the statement that it was made from, and what that stood for.
    pub(crate) prepared: Option<(Text<'static>, Prepared)>,
    /// The values.
    pub(crate) values: Arc<[Value<'static>]>,
    /// Whether there are more or longer values than these.
    pub(crate) truncated: bool,
}

impl Prepared {
    /// What a Parse makes of its name.
    pub(crate) fn over(
        previous: Option<&Prepared>,
        shown: Shown,
        failures_before: u64,
    ) -> Prepared {
        let mut new = Prepared { shown, earlier: Vec::new(), failures_before };
        if let Some(previous) = previous {
            new.earlier.clone_from(&previous.earlier);
            new.earlier.push(Arc::clone(&previous.shown.text));
        }
        new.earlier.retain(|text| *text != new.shown.text);
        if new.earlier.len() > MAX_EARLIER {
            new.earlier.truncate(MAX_EARLIER);
            new.shown.truncated = true;
        }
        new
    }
}

impl Weight for Prepared {
    fn weight(&self) -> usize {
        self.shown.text.len() + self.earlier.iter().map(|text| text.len()).sum::<usize>()
    }
}

impl Weight for Portal {
    fn weight(&self) -> usize {
        let prepared = self.prepared.as_ref().map_or(0, |(_, prepared)| prepared.weight());
        prepared + values_weight(&self.values)
    }
}

/// What values weigh, in bytes.
pub(crate) fn values_weight(values: &[Value<'_>]) -> usize {
    values.iter().map(value_weight).sum()
}

fn value_weight(value: &Value<'_>) -> usize {
    let held = match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Hashed { .. } | Value::Omitted(_) => 0,
    };
    held + size_of::<Value<'_>>()
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

    fn portal(bytes: usize) -> Portal {
        Portal {
            prepared: None,
            values: Arc::from([Value::Bytes(vec![0; bytes].into())]),
            truncated: false,
        }
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
