//! The directory: the people and targets that rules are linted and explained with.
//!
//! It is what a configuration says, without any secret. Groups may have members that only an issuer
//! or a roster knows; of these nothing is claimed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{GroupName, Principal, PrincipalId, Resource, Target, TargetName};

/// Who and what there is.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// People and workloads.
    pub people: BTreeMap<PrincipalId, Member>,
    /// Targets.
    pub targets: BTreeMap<TargetName, Target>,
    /// Groups whose members the configuration doesn't list: an issuer or a roster knows them.
    pub elsewhere: BTreeSet<GroupName>,
    /// Whether an issuer may bring groups of any name.
    pub any_group: bool,
    /// Groups whose places members of another may fill once they took too long.
    pub stand_ins: BTreeMap<GroupName, GroupName>,
}

/// Somebody who can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who, and their groups.
    pub principal: Principal,
    /// Whether they are disabled.
    pub disabled: bool,
    /// Whether it is a program, which neither approves nor steps up.
    pub workload: bool,
    /// Whose second identity this is, where it is one.
    pub same_as: Option<PrincipalId>,
}

impl Member {
    /// The one identity that stands for all of this person's.
    #[must_use]
    pub fn human(&self) -> &PrincipalId {
        self.same_as.as_ref().unwrap_or(&self.principal.id)
    }
}

impl Directory {
    /// Whether there may be people in this group whom nobody here knows of.
    #[must_use]
    pub fn is_open(&self, group: &GroupName) -> bool {
        self.any_group || self.elsewhere.contains(group)
    }

    /// How many people there are who can say yes as members of this group, each counted once.
    #[must_use]
    pub fn members(&self, group: &GroupName) -> usize {
        let able = self.people.values().filter(|member| !member.disabled && !member.workload);
        let there = able.filter(|member| self.fills(member).contains(group));
        there.map(Member::human).collect::<BTreeSet<_>>().len()
    }

    /// The groups whose places somebody may fill: their own, and those that they stand in for.
    pub(crate) fn fills(&self, member: &Member) -> BTreeSet<GroupName> {
        let own = &member.principal.groups;
        let others = self.stand_ins.iter().filter(|(_, by)| own.contains(*by));
        own.iter().chain(others.map(|(group, _)| group)).cloned().collect()
    }

    /// Those who can say yes to what this person asks: never they themselves, by no identity.
    pub fn others<'w>(&'w self, asker: &'w PrincipalId) -> impl Iterator<Item = &'w Member> {
        let human = self.people.get(asker).map_or(asker, Member::human);
        let people = self.people.values();
        people.filter(move |other| !other.disabled && !other.workload && other.human() != human)
    }

    /// Every login of every database of every target.
    pub fn resources(&self) -> impl Iterator<Item = (&Target, Resource)> {
        self.targets.values().flat_map(|target| {
            let logins = target.logins.keys();
            logins.flat_map(move |login| {
                let of = |database| Resource {
                    target: target.name.clone(),
                    login: login.clone(),
                    database,
                };
                let named = target.databases.iter().map(move |database| of(Some(database.clone())));
                let bare = target.databases.is_empty().then(|| of(None));
                named.chain(bare).map(move |resource| (target, resource))
            })
        })
    }
}
