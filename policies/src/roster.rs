//! A roster: who is on call, and when.
//!
//! It is read elsewhere, from a file or a feed; here it is only asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{PrincipalId, Timestamp};

/// Somebody's turn, from an instant up to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shift {
    /// Whose.
    pub who: PrincipalId,
    /// Since when.
    pub from: Timestamp,
    /// Until when; that instant is no longer part of it.
    pub until: Timestamp,
}

/// Everybody's turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roster {
    shifts: BTreeSet<Shift>,
}

impl FromIterator<Shift> for Roster {
    fn from_iter<I: IntoIterator<Item = Shift>>(shifts: I) -> Self {
        Self { shifts: shifts.into_iter().filter(|shift| shift.from < shift.until).collect() }
    }
}

impl Roster {
    /// Who is on call now.
    #[must_use]
    pub fn on_call(&self, now: Timestamp) -> BTreeSet<&PrincipalId> {
        let shifts = self.shifts.iter();
        let now = shifts.filter(|shift| shift.from <= now && now < shift.until);
        now.map(|shift| &shift.who).collect()
    }

    /// The next instant at which somebody's turn begins or ends.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let edges = self.shifts.iter().flat_map(|shift| [shift.from, shift.until]);
        edges.filter(|edge| *edge > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn shift(who: &str, from: i64, until: i64) -> Shift {
        Shift { who: PrincipalId::new(who).unwrap(), from: at(from), until: at(until) }
    }

    #[test]
    fn a_turn_begins_and_ends_to_the_instant() {
        let roster: Roster = [shift("alice", 10, 20), shift("bob", 20, 30), shift("carol", 15, 15)]
            .into_iter()
            .collect();
        let on_call = |secs| {
            let now = roster.on_call(at(secs)).into_iter();
            now.map(PrincipalId::as_str).collect::<Vec<_>>()
        };
        assert_eq!(on_call(9), Vec::<&str>::new());
        assert_eq!(on_call(10), ["alice"]);
        assert_eq!(on_call(20), ["bob"]);
        assert_eq!(on_call(30), Vec::<&str>::new());
        assert_eq!(roster.next_change(at(10)), Some(at(20)));
        assert_eq!(roster.next_change(at(30)), None);
    }
}
