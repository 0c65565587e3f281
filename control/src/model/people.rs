//! People by their keys.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use policies::PrincipalId;

use crate::model::person::Person;

/// People by their keys, on 256 shelves: a copy shares them all, and a change copies one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People(BTreeMap<u8, Arc<Shelf>>);

type Shelf = BTreeMap<PrincipalId, Person>;

impl People {
    /// The person of this key.
    #[must_use]
    pub fn get(&self, id: &PrincipalId) -> Option<&Person> {
        self.0.get(&number(id))?.get(id)
    }

    /// The person of this key, to be changed.
    pub fn get_mut(&mut self, id: &PrincipalId) -> Option<&mut Person> {
        Arc::make_mut(self.0.get_mut(&number(id))?).get_mut(id)
    }

    /// Whether there is somebody of this key.
    #[must_use]
    pub fn contains_key(&self, id: &PrincipalId) -> bool {
        self.get(id).is_some()
    }

    /// Takes somebody in, in the place of whoever had the key before.
    pub fn insert(&mut self, id: PrincipalId, person: Person) -> Option<Person> {
        Arc::make_mut(self.0.entry(number(&id)).or_default()).insert(id, person)
    }

    /// Takes somebody out.
    pub fn remove(&mut self, id: &PrincipalId) -> Option<Person> {
        Arc::make_mut(self.0.get_mut(&number(id))?).remove(id)
    }

    /// All of them with their keys, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&PrincipalId, &Person)> {
        self.0.values().flat_map(|shelf| shelf.iter())
    }

    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = &PrincipalId> {
        self.iter().map(|(id, _)| id)
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Person> {
        self.iter().map(|(_, person)| person)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|shelf| shelf.len()).sum()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<(PrincipalId, Person)> for People {
    fn from_iter<I: IntoIterator<Item = (PrincipalId, Person)>>(people: I) -> Self {
        let mut all = Self::default();
        for (id, person) in people {
            all.insert(id, person);
        }
        all
    }
}

/// On which shelf somebody is.
fn number(id: &PrincipalId) -> u8 {
    let [first, ..] = BuildHasherDefault::<DefaultHasher>::default().hash_one(id).to_le_bytes();
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(count: usize) -> People {
        let inventory = crate::tests::inventory("");
        let somebody = inventory.people.values().next().unwrap().clone();
        let ids = (0..count).map(|nth| format!("corp:{nth}").parse().unwrap());
        ids.map(|id| (id, somebody.clone())).collect()
    }

    #[test]
    fn what_is_learned_of_one_person_copies_no_more_than_their_shelf() {
        let before = people(10_000);
        let mut after = before.clone();
        let id: PrincipalId = "corp:77".parse().unwrap();
        after.get_mut(&id).unwrap().disabled = true;
        assert!(after.get(&id).unwrap().disabled && !before.get(&id).unwrap().disabled);
        let shared = before.0.values().zip(after.0.values());
        let copied: Vec<_> = shared.filter(|(one, other)| !Arc::ptr_eq(one, other)).collect();
        assert_eq!(copied.len(), 1);
        assert!(copied[0].0.len() < 100, "{}", copied[0].0.len());
    }

    #[test]
    fn people_are_found_replaced_and_taken_out() {
        let mut all = people(500);
        assert_eq!((all.len(), all.keys().count(), all.values().count()), (500, 500, 500));
        let id: PrincipalId = "corp:499".parse().unwrap();
        assert!(all.insert(id.clone(), all.get(&id).unwrap().clone()).is_some());
        assert!(all.remove(&id).is_some() && all.remove(&id).is_none());
        assert!(!all.contains_key(&id) && all.get_mut(&id).is_none());
        assert!(people(0).is_empty() && all.len() == 499);
    }
}
