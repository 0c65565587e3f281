//! Obligations that nobody can meet: too few people in a group, or none besides those who ask.

use std::collections::BTreeSet;

use super::{Finding, Level};
use crate::anatomy::RuleView;
use crate::directory::{Directory, Member};
use crate::{Approvals, GroupName, Quorum};

const REMEDY: &str = "put more people into the group, or ask fewer of them";
/// So many people are named; the rest is counted.
const NAMED: usize = 4;

/// What is wrong with the approvals that a rule wants.
pub(super) fn unmet(
    view: &RuleView<'_>,
    directory: &Directory,
    asks: &impl Fn(&Member) -> bool,
) -> Vec<Finding> {
    let wanted = &view.obligations().approvals;
    let (open, closed): (Vec<&Quorum>, Vec<&Quorum>) =
        wanted.quorums().partition(|quorum| directory.is_open(&quorum.group));
    let small: Vec<Finding> =
        closed.into_iter().filter_map(|quorum| few(view, quorum, directory)).collect();
    if wanted.is_empty() || !small.is_empty() || !open.is_empty() {
        return small;
    }
    if !can_be_met(wanted, directory, everybody(directory)) {
        let message = format!(
            "`{}` wants {wanted}, but one person counts once, and there are not enough distinct \
             people in these groups",
            view.title(),
        );
        return vec![Finding::new(view, Level::Error, message, REMEDY)];
    }
    alone(view, wanted, directory, asks).into_iter().collect()
}

/// A group with nobody in it, or with fewer people than are asked.
fn few(view: &RuleView<'_>, quorum: &Quorum, directory: &Directory) -> Option<Finding> {
    let reason = match directory.members(&quorum.group) {
        few if few >= usize::from(quorum.count) => return None,
        0 => format!("nobody who could approve is in group `{}`", quorum.group),
        1 => format!("only one who could approve is in group `{}`", quorum.group),
        few => format!("only {few} who could approve are in group `{}`", quorum.group),
    };
    let message = format!("`{}` wants {quorum}, but {reason}", view.title());
    Some(Finding::new(view, Level::Error, message, REMEDY))
}

/// People who may ask for something and have nobody left to ask, since none approves what they ask
/// themselves.
fn alone(
    view: &RuleView<'_>,
    wanted: &Approvals,
    directory: &Directory,
    asks: &impl Fn(&Member) -> bool,
) -> Option<Finding> {
    let asked: BTreeSet<&GroupName> = wanted.quorums().map(|quorum| &quorum.group).collect();
    let stuck: BTreeSet<&str> = everybody(directory)
        .filter(|member| member.principal.groups.iter().any(|group| asked.contains(group)))
        .filter(|member| !can_be_met(wanted, directory, directory.others(&member.principal.id)))
        .filter(|member| asks(member))
        .map(|member| member.human().as_str())
        .collect();
    if stuck.is_empty() {
        return None;
    }
    let names = listed(&stuck);
    let message = format!(
        "`{}` wants {wanted}, which can't be had by {names}: nobody approves their own request, \
         and without them there are too few",
        view.title(),
    );
    Some(Finding::new(view, Level::Warning, message, REMEDY))
}

fn listed(names: &BTreeSet<&str>) -> String {
    let listed: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(NAMED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

fn everybody(directory: &Directory) -> impl Iterator<Item = &Member> {
    directory.people.values().filter(|member| !member.disabled && !member.workload)
}

/// Whether these people, each once, fill all places. Which identity of somebody counts is open.
fn can_be_met<'w>(
    wanted: &Approvals,
    directory: &Directory,
    people: impl Iterator<Item = &'w Member>,
) -> bool {
    let people: Vec<_> = people.map(|member| (member.human(), directory.fills(member))).collect();
    wanted.can_be_met(people.iter().map(|(human, groups)| (*human, groups)))
}
