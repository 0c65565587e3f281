//! How requests go their way: who may stand in for whom, and whose word about tickets is taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use policies::{GroupName, PrincipalId, Ttl};

use super::read::{Document, Field, Located, Section, Value};
use super::{Fault, Person};

/// How long those who are asked have, where nobody says.
const ESCALATE_AFTER: Ttl = Ttl::from_secs(600);

/// How requests go their way.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// How long those who are asked have before others may stand in.
    pub escalate_after: Ttl,
    /// For each group, the one whose members may stand in for its own.
    pub escalate_to: BTreeMap<GroupName, GroupName>,
    /// The file of the secret with which the system of tickets signs what it says.
    pub ticket_secret: Option<Located<PathBuf>>,
}

pub(super) fn workflow(mut section: Section<'_>, base: &Path) -> Workflow {
    let named = section.section("escalate_to").named::<GroupName>("escalate_to").into_iter();
    let escalate_to =
        named.filter_map(|(from, _, _, value)| Some((from.clone(), other(&from, value)?)));
    let workflow = Workflow {
        escalate_to: escalate_to.collect(),
        escalate_after: section.take_or("escalate_after", ESCALATE_AFTER),
        ticket_secret: section.path("ticket_secret_file", base),
    };
    section.finish();
    workflow
}

fn other(from: &GroupName, value: Value<'_>) -> Option<GroupName> {
    let to = GroupName::read(value)?;
    if to == *from {
        let message = format!("members of `{from}` can't stand in for themselves");
        value.fault_with_remedy(message, "name the group that is to be asked next");
        return None;
    }
    Some(to)
}

/// Finds fault with second identities of nobody, and of second identities.
pub(super) fn check(people: &BTreeMap<PrincipalId, Located<Person>>, document: &Document<'_>) {
    for (id, person) in people {
        let Some(first) = &person.value.same_as else { continue };
        let known = people.get(&first.value);
        let is_first = known.is_some_and(|known| known.value.same_as.is_none());
        if !is_first || first.value == *id {
            let message = format!("`{id}` can't be the same person as `{}`", first.value);
            let fault = Fault::new(first.site.clone(), message);
            document
                .put(fault.with_remedy("name the first identity, a person who has no `same_as`"));
        }
    }
}
