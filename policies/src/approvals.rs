//! Whose approval something takes: stages of quorums, one after the other.
//!
//! Written `1 of leads then 2 of dba, 1 of security`. A stage's places are filled by distinct people
//! before the next stage's turn comes, and nobody fills places of two stages. What several rules ask
//! for is merged so that whoever satisfies the whole satisfies each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::quorum::{Seating, strictest};
use crate::{GroupName, PrincipalId, Quorum, QuorumError};

/// What stands between two stages.
const THEN: &str = " then ";
/// More stages than this are a mistake.
const MOST: usize = 6;

/// What has to be filled before the next stage's turn; never empty.
type Stage = Vec<Quorum>;

/// Whose approval it takes, and in which order; nobody's by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Approvals(Vec<Stage>);

/// Why a text doesn't say whose approval it takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApprovalsError {
    /// One part is no quorum.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// Too many stages.
    #[error("{0} stages are too many: at most {MOST} follow each other")]
    Stages(usize),
    /// A `then` with nothing before or after it.
    #[error("`then` stands between two stages, as in `1 of leads then 2 of dba`")]
    Then,
}

/// How far those who said yes have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Whose turn it is; none once all places are filled.
    pub turn: &'a [Quorum],
    /// How many more people have to say yes, in all stages.
    pub missing: usize,
    /// Whether the last of them filled a place.
    pub seated: bool,
}

impl Approvals {
    /// Whether nobody has to be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stages, in order.
    pub fn stages(&self) -> impl Iterator<Item = &[Quorum]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The quorums of all stages.
    pub fn quorums(&self) -> impl Iterator<Item = &Quorum> {
        self.0.iter().flatten()
    }

    /// The quorums as a list for people: what begins a later stage says `then`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let stages = self.0.iter().enumerate();
        let lines = stages.flat_map(|(stage, quorums)| {
            quorums.iter().enumerate().map(move |(place, quorum)| {
                if stage > 0 && place == 0 { format!("then {quorum}") } else { quorum.to_string() }
            })
        });
        lines.collect()
    }

    /// Whether somebody in these groups is asked at all, in any stage.
    #[must_use]
    pub fn ask(&self, groups: &BTreeSet<GroupName>) -> bool {
        self.quorums().any(|quorum| groups.contains(&quorum.group))
    }

    /// How far these people, in the order in which they said yes, have come. Each counts once.
    pub fn progress<'p>(
        &self,
        people: impl IntoIterator<Item = (&'p PrincipalId, &'p BTreeSet<GroupName>)>,
    ) -> Progress<'_> {
        let (mut seen, mut seated) = (BTreeSet::new(), false);
        let mut people = people
            .into_iter()
            .filter(|(id, _)| seen.insert((*id).clone()))
            .map(|(_, groups)| groups);
        let mut stages = self.0.iter();
        while let Some(stage) = stages.next() {
            let mut seating = Seating::new(stage);
            while seating.empty() > 0 {
                let Some(groups) = people.next() else {
                    let later: usize = stages.map(|stage| places(stage)).sum();
                    return Progress { turn: stage, missing: seating.empty() + later, seated };
                };
                seated = seating.take(groups);
            }
        }
        seated &= people.next().is_none();
        Progress { turn: &[], missing: 0, seated }
    }

    /// How many more people have to say yes after these.
    #[must_use]
    pub fn missing<'p>(
        &self,
        people: impl IntoIterator<Item = (&'p PrincipalId, &'p BTreeSet<GroupName>)>,
    ) -> usize {
        self.progress(people).missing
    }

    /// Whether these people could fill all places, if they said yes in the right order. Groups of
    /// one who comes twice, by several identities, are taken together.
    #[must_use]
    pub(crate) fn can_be_met<'p>(
        &self,
        people: impl IntoIterator<Item = (&'p PrincipalId, &'p BTreeSet<GroupName>)>,
    ) -> bool {
        let mut merged: BTreeMap<&PrincipalId, BTreeSet<GroupName>> = BTreeMap::new();
        for (id, groups) in people {
            merged.entry(id).or_default().extend(groups.iter().cloned());
        }
        let places: Vec<Quorum> = self.quorums().cloned().collect();
        let mut seating = Seating::new(&places);
        for groups in merged.values() {
            seating.take(groups);
        }
        seating.empty() == 0
    }

    /// What satisfies both: whoever fills the places of this fills those of each, in its order.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        // Of two that are as long, the same comes first, whichever of them is asked.
        let length = self.0.len().cmp(&other.0.len());
        let order = length.then_with(|| self.to_string().cmp(&other.to_string()));
        let (long, short) = if order.is_ge() { (self, other) } else { (other, self) };
        Self(placed(&long.0, &short.0).1)
    }

    /// Whether whoever satisfies this has satisfied the other too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.len() <= self.0.len() && placed(&self.0, &other.0).0 == 0
    }
}

fn places(stage: &[Quorum]) -> usize {
    stage.iter().map(|quorum| usize::from(quorum.count)).sum()
}

/// The longer list with the shorter one's places in it: how many had to be added, and what came of
/// it. Each short stage finds its places in some long ones that follow each other, all before those
/// of the next; of all such ways, the first that adds least.
fn placed(long: &[Stage], short: &[Stage]) -> (usize, Vec<Stage>) {
    match short {
        [] => (0, long.to_vec()),
        [last] => filled(long, last),
        [first, rest @ ..] => {
            let ways = (1..=long.len().saturating_sub(rest.len())).filter_map(|cut| {
                let (before, after) = long.split_at_checked(cut)?;
                let (added, mut whole) = filled(before, first);
                let (more, tail) = placed(after, rest);
                whole.extend(tail);
                Some((added + more, whole))
            });
            ways.min_by_key(|(added, _)| *added).unwrap_or_else(|| (0, long.to_vec()))
        }
    }
}

/// These stages with the places of one more in them: what they lack is asked in the last.
fn filled(stages: &[Stage], wanted: &[Quorum]) -> (usize, Vec<Stage>) {
    let (mut added, mut all) = (0, stages.to_vec());
    for Quorum { group, count } in wanted {
        let of_group = |stage: &Stage| {
            let found = stage.iter().find(|quorum| quorum.group == *group);
            found.map_or(0, |quorum| quorum.count)
        };
        let there: u8 = stages.iter().map(of_group).fold(0, u8::saturating_add);
        let lacking = count.saturating_sub(there);
        let Some(last) = all.last_mut().filter(|_| lacking > 0) else {
            continue;
        };
        added += usize::from(lacking);
        let count = of_group(last).saturating_add(lacking);
        *last = strictest(last.drain(..).chain([Quorum { group: group.clone(), count }]));
    }
    (added, all)
}

impl FromStr for Approvals {
    type Err = ApprovalsError;

    fn from_str(text: &str) -> Result<Self, ApprovalsError> {
        let stages: Vec<&str> = text.split(THEN).collect();
        if stages.len() > MOST {
            return Err(ApprovalsError::Stages(stages.len()));
        }
        if text.split_whitespace().filter(|word| *word == THEN.trim()).count() >= stages.len() {
            return Err(ApprovalsError::Then);
        }
        let stages = stages.into_iter().map(|stage| {
            let quorums: Result<Vec<Quorum>, _> = stage.split(',').map(str::parse).collect();
            quorums.map(strictest)
        });
        Ok(Self(stages.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = self.0.iter().map(|stage| {
            let quorums: Vec<String> = stage.iter().map(ToString::to_string).collect();
            quorums.join(", ")
        });
        f.write_str(&stages.collect::<Vec<_>>().join(THEN))
    }
}

impl TryFrom<String> for Approvals {
    type Error = ApprovalsError;
    /// As it is kept: nothing at all means that nobody is asked.
    fn try_from(text: String) -> Result<Self, ApprovalsError> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

impl From<Approvals> for String {
    fn from(approvals: Approvals) -> Self {
        approvals.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    type People = Vec<(PrincipalId, BTreeSet<GroupName>)>;

    fn people(all: &[(&str, &str)]) -> People {
        let group = |name: &str| GroupName::new(name).unwrap();
        let person = |(id, groups): &(&str, &str)| {
            (PrincipalId::new(id).unwrap(), groups.split_whitespace().map(group).collect())
        };
        all.iter().map(person).collect()
    }

    fn progress<'a>(wanted: &'a Approvals, people: &People) -> Progress<'a> {
        wanted.progress(people.iter().map(|(id, groups)| (id, groups)))
    }

    #[rstest]
    #[case("1 of dba", &[("bob", "dba")], 0)]
    #[case("2 of dba", &[("bob", "dba")], 1)]
    #[case("2 of dba", &[("bob", "dba"), ("bob", "dba")], 1)]
    #[case("2 of dba", &[("bob", "dba"), ("carol", "dba")], 0)]
    #[case("1 of dba, 1 of leads", &[("bob", "dba leads")], 1)]
    #[case("1 of dba, 1 of leads", &[("bob", "dba leads"), ("carol", "dba")], 0)]
    #[case("1 of dba, 1 of leads", &[("carol", "dba"), ("bob", "dba leads")], 0)]
    #[case("1 of dba, 1 of leads", &[("carol", "dba"), ("dave", "dba")], 1)]
    #[case("2 of dba, 1 of leads", &[("bob", "dba leads"), ("carol", "dba leads"), ("dave", "leads")], 0)]
    #[case("1 of dba", &[("bob", "leads")], 1)]
    #[case("1 of leads then 1 of dba", &[("bob", "leads")], 1)]
    #[case("1 of leads then 1 of dba", &[("bob", "leads"), ("carol", "dba")], 0)]
    #[case("1 of leads then 1 of dba", &[("carol", "dba"), ("bob", "leads")], 1)]
    #[case("1 of leads then 1 of dba", &[("bob", "leads dba"), ("bob", "leads dba")], 1)]
    #[case("1 of leads then 2 of dba, 1 of security", &[("bob", "leads")], 3)]
    fn one_person_fills_one_place(
        #[case] wanted: &str,
        #[case] given: &[(&str, &str)],
        #[case] missing: usize,
    ) {
        let wanted: Approvals = wanted.parse().unwrap();
        assert_eq!(progress(&wanted, &people(given)).missing, missing);
    }

    #[test]
    fn each_stage_has_its_turn() {
        let wanted: Approvals = "1 of leads then 2 of dba".parse().unwrap();
        let turn = |given: &[(&str, &str)]| {
            let progress = progress(&wanted, &people(given));
            let turn: Vec<String> = progress.turn.iter().map(ToString::to_string).collect();
            (turn.join(", "), progress.seated)
        };
        assert_eq!(turn(&[]), ("1 of leads".to_owned(), false));
        assert_eq!(turn(&[("bob", "dba")]), ("1 of leads".to_owned(), false));
        assert_eq!(turn(&[("carol", "leads")]), ("2 of dba".to_owned(), true));
        assert_eq!(turn(&[("carol", "leads"), ("dave", "leads")]), ("2 of dba".to_owned(), false));
        let all = [("carol", "leads"), ("bob", "dba"), ("dave", "dba")];
        assert_eq!(turn(&all), (String::new(), true));
    }

    #[test]
    fn approvals_are_written_and_read_and_the_rest_refused() {
        let text = "1 of leads then 2 of dba, 1 of security";
        let read: Approvals = " 1 of leads then 1 of security,2 of dba, 1 of dba".parse().unwrap();
        let again: Approvals = read.to_string().parse().unwrap();
        assert_eq!(read, again);
        assert_eq!(text.parse::<Approvals>().unwrap().stages().count(), 2);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Approvals>(&json).unwrap(), read);
        let none = serde_json::to_string(&Approvals::default()).unwrap();
        assert!(serde_json::from_str::<Approvals>(&none).unwrap().is_empty());
        let long = ["1 of dba"; 7].join(" then ");
        for text in ["", "dba", "1 of dba then", "then 1 of dba", "1 of dba, ", long.as_str()] {
            assert!(text.parse::<Approvals>().is_err(), "{text:?}");
        }
    }

    #[rstest]
    #[case("1 of dba, 1 of leads", "2 of dba", "2 of dba, 1 of leads")]
    #[case("1 of leads then 1 of dba", "1 of dba", "1 of leads then 1 of dba")]
    #[case("1 of leads then 1 of dba", "1 of leads", "1 of leads then 1 of dba")]
    #[case("1 of leads then 1 of dba", "2 of dba", "1 of leads then 2 of dba")]
    #[case(
        "1 of leads then 1 of dba",
        "1 of dba then 1 of leads",
        "1 of dba, 1 of leads then 1 of dba, 1 of leads"
    )]
    #[case(
        "1 of a then 1 of b then 1 of c",
        "1 of a then 1 of c",
        "1 of a then 1 of b then 1 of c"
    )]
    #[case("", "1 of dba", "1 of dba")]
    fn the_strictest_asks_for_no_more_than_it_takes(
        #[case] one: &str,
        #[case] other: &str,
        #[case] both: &str,
    ) {
        let read = |text: &str| Approvals::try_from(text.to_owned()).unwrap();
        let merged = read(one).strictest(read(other));
        assert_eq!(merged, read(both), "{merged}");
        assert!(merged.covers(&read(one)) && merged.covers(&read(other)));
    }

    fn any_approvals() -> impl Strategy<Value = Approvals> {
        let quorum = (1..3_u8, prop::sample::select(vec!["dba", "leads", "security"]));
        let quorum = quorum.prop_map(|(count, group)| format!("{count} of {group}"));
        let stage = prop::collection::vec(quorum, 1..3).prop_map(|all| all.join(", "));
        let text = prop::collection::vec(stage, 0..4).prop_map(|all| all.join(THEN));
        text.prop_map(|text| Approvals::try_from(text).unwrap())
    }

    fn any_people() -> impl Strategy<Value = People> {
        let groups = prop::sample::subsequence(vec!["dba", "leads", "security"], 1..=3);
        let groups = groups.prop_map(|all| all.join(" "));
        prop::collection::vec((0..16_u8, groups), 0..24).prop_map(|all| {
            let named: Vec<_> =
                all.into_iter().map(|(id, groups)| (format!("p-{id}"), groups)).collect();
            let given: Vec<_> = named.iter().map(|(id, all)| (id.as_str(), all.as_str())).collect();
            people(&given)
        })
    }

    proptest! {
        #[test]
        fn merging_never_weakens_a_rule(
            one in any_approvals(), other in any_approvals(), people in any_people()
        ) {
            let both = one.clone().strictest(other.clone());
            if progress(&both, &people).missing == 0 {
                prop_assert_eq!(progress(&one, &people).missing, 0);
                prop_assert_eq!(progress(&other, &people).missing, 0);
            }
            prop_assert!(both.covers(&one) && both.covers(&other));
        }

        #[test]
        fn what_covers_satisfies(
            one in any_approvals(), other in any_approvals(), people in any_people()
        ) {
            if one.covers(&other) && progress(&one, &people).missing == 0 {
                prop_assert_eq!(progress(&other, &people).missing, 0);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Approvals>();
        }
    }
}
