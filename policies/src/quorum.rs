//! Quorums: how many distinct people of a group have to say yes.
//!
//! One person fills one place, whatever groups they share: with `1 of dba, 1 of leads`, somebody
//! who is in both still needs a second person. Whether the places are filled is a matching between
//! people and places, not a count per group.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::GroupName;

/// So many people of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quorum {
    /// The group.
    pub group: GroupName,
    /// How many distinct people; at least one.
    pub count: u8,
}

/// Why a text is not a quorum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a quorum: write it as `2 of dba`, with 1 to 20 people")]
pub struct QuorumError(String);

const MOST: u8 = 20;

impl FromStr for Quorum {
    type Err = QuorumError;

    fn from_str(text: &str) -> Result<Self, QuorumError> {
        let wrong = || QuorumError(text.chars().take(80).collect());
        let (count, group) = text.trim().split_once(" of ").ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let group = GroupName::new(group.trim()).map_err(|_| wrong())?;
        if (1..=MOST).contains(&count) { Ok(Self { group, count }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.group)
    }
}

impl TryFrom<String> for Quorum {
    type Error = QuorumError;
    fn try_from(text: String) -> Result<Self, QuorumError> {
        text.parse()
    }
}

impl From<Quorum> for String {
    fn from(quorum: Quorum) -> Self {
        quorum.to_string()
    }
}

/// The strictest of several: for each group the larger count.
pub(crate) fn strictest(all: impl IntoIterator<Item = Quorum>) -> Vec<Quorum> {
    let mut merged: Vec<Quorum> = Vec::new();
    for quorum in all {
        match merged.iter_mut().find(|other| other.group == quorum.group) {
            Some(other) => other.count = other.count.max(quorum.count),
            None => merged.push(quorum),
        }
    }
    merged.sort();
    merged
}

/// Who sits where, while the matching grows by one person at a time.
pub(crate) struct Seating<'a> {
    places: Vec<&'a GroupName>,
    taken: Vec<Option<usize>>,
    people: Vec<&'a BTreeSet<GroupName>>,
}

impl<'a> Seating<'a> {
    /// Empty places, as many as are wanted.
    pub(crate) fn new(wanted: &'a [Quorum]) -> Self {
        let places: Vec<&GroupName> = wanted
            .iter()
            .flat_map(|quorum| std::iter::repeat_n(&quorum.group, usize::from(quorum.count)))
            .collect();
        Self { taken: vec![None; places.len()], places, people: Vec::new() }
    }

    /// Somebody new, in these groups; whether there is a place for them.
    pub(crate) fn take(&mut self, groups: &'a BTreeSet<GroupName>) -> bool {
        self.people.push(groups);
        let newcomer = self.people.len() - 1;
        self.seat(newcomer, &mut BTreeSet::new())
    }

    /// How many places are empty.
    pub(crate) fn empty(&self) -> usize {
        self.taken.iter().filter(|place| place.is_none()).count()
    }

    /// Finds the person a place, asking those who sit to move over (an augmenting path).
    fn seat(&mut self, person: usize, tried: &mut BTreeSet<usize>) -> bool {
        for place in 0..self.places.len() {
            let fits = self
                .places
                .get(place)
                .zip(self.people.get(person))
                .is_some_and(|(group, groups)| groups.contains(*group));
            if !fits || !tried.insert(place) {
                continue;
            }
            let holder = self.taken.get(place).copied().flatten();
            if holder.is_none_or(|holder| self.seat(holder, tried)) {
                if let Some(seat) = self.taken.get_mut(place) {
                    *seat = Some(person);
                }
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_read_and_the_rest_refused() {
        let quorum: Quorum = "2 of dba team".parse().unwrap();
        assert_eq!((quorum.count, quorum.group.as_str()), (2, "dba team"));
        for text in
            ["", "dba", "0 of dba", "21 of dba", "-1 of dba", "two of dba", "1 of ", "1of dba"]
        {
            assert!(text.parse::<Quorum>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_strictest_count_of_each_group_holds() {
        let all =
            ["1 of dba", "1 of leads", "2 of dba"].map(|text| text.parse::<Quorum>().unwrap());
        let texts: Vec<String> = strictest(all).iter().map(Quorum::to_string).collect();
        assert_eq!(texts, ["2 of dba", "1 of leads"]);
    }
}
