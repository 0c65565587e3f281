//! What is allowed in rules, but probably a mistake: obligations that nobody can meet, rules that never
//! apply, names that the configuration doesn't know.
//!
//! Nothing here is guessed: a finding says what comes of the rules for the people and targets there
//! are. Where an issuer or a roster may bring people, nothing is said about who is missing.

mod names;
pub(crate) mod partial;
mod people;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::anatomy::{Place, RuleView};
use crate::directory::{Directory, Member};
use crate::policy::{Rule, without_number};
use crate::{Act, Resource, RuleBook, Target};

use partial::{AccessRequest, Certain, applies};

/// More combinations of people, targets and logins than this are not gone through.
const MOST: usize = 200_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// What the rules ask for can't be had by anybody.
    Error,
    /// It is probably a mistake.
    Warning,
}

/// One thing that is probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where the rule begins.
    pub place: Place,
    /// How bad it is.
    pub level: Level,
    /// The rule's title.
    pub rule: String,
    /// What is found.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn new(rule: &RuleView<'_>, level: Level, message: String, remedy: &str) -> Self {
        let (place, rule) = (rule.place().clone(), rule.title().to_owned());
        Self { place, level, rule, message, remedy: remedy.to_owned() }
    }

    /// What the check of a rule against the schema leaves doubtful.
    pub(crate) fn doubt(rule: &Rule, warning: &str) -> Self {
        let message = format!("`{}`: {}", rule.title, without_number(warning));
        let remedy = "a rule that can't be meant so is better mended or removed".to_owned();
        let (place, level, rule) = (rule.place.clone(), Level::Warning, rule.title.clone());
        Self { place, level, rule, message, remedy }
    }
}

/// What was found, and what wasn't looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The findings, in the order of files and lines.
    pub found: Vec<Finding>,
    /// Whether there were too many people and targets to go through all of them.
    pub partial: bool,
}

impl RuleBook {
    /// Looks for what is probably a mistake, by the people and targets there are.
    #[must_use]
    pub fn lint(&self, directory: &Directory) -> Findings {
        let views: Vec<(RuleView<'_>, &Value)> =
            self.views().into_iter().map(|view| (view, view.json())).collect();
        let mut found: Vec<Finding> =
            views.iter().flat_map(|(view, _)| names::unknown(view, directory)).collect();
        found.extend(self.doubts.iter().cloned());
        let people = distinct(directory, &self.named_people());
        let resources: Vec<_> = directory.resources().collect();
        let partial = people.len().saturating_mul(resources.len()) > MOST;
        if !partial && !people.is_empty() && !resources.is_empty() {
            found.extend(Reach::of(&views, &people, &resources).findings(directory));
        }
        found.extend(self.unmet(directory));
        found.sort();
        found.dedup();
        Findings { found, partial }
    }

    /// Approvals that nobody there is can give, or not to everybody. One that is an error never can
    /// be had: no book is put in force with it.
    #[must_use]
    pub fn unmet(&self, directory: &Directory) -> Vec<Finding> {
        let views = self.views();
        let asks = |member: &Member| may_ask(&views, member, directory);
        views.iter().flat_map(|view| people::unmet(view, directory, &asks)).collect()
    }

    /// People whom a rule speaks of by name.
    fn named_people(&self) -> BTreeSet<String> {
        let spoken = self.mentions().into_iter().filter_map(|spoken| match spoken {
            crate::Mention::Entity(kind, id) if kind == "Person" => Some(id),
            crate::Mention::Entity(..)
            | crate::Mention::Fact(..)
            | crate::Mention::Label(..)
            | crate::Mention::Network(_)
            | crate::Mention::Span(_) => None,
        });
        spoken.collect()
    }
}

/// One of all those who are the same to the rules: in the same groups, and not spoken of by name.
fn distinct<'w>(directory: &'w Directory, named: &BTreeSet<String>) -> Vec<&'w Member> {
    let mut seen = BTreeMap::new();
    for member in directory.people.values().filter(|member| !member.disabled) {
        let id = Some(member.principal.id.as_str()).filter(|id| named.contains(*id));
        seen.entry((&member.principal.groups, id, member.workload)).or_insert(member);
    }
    seen.into_values().collect()
}

/// Whether some rule may permit somebody something.
fn may_ask(views: &[RuleView<'_>], member: &Member, directory: &Directory) -> bool {
    let principal = &member.principal;
    directory.resources().any(|(target, resource)| {
        [Act::Connect, Act::BreakGlass].into_iter().any(|act| {
            let request = AccessRequest {
                principal,
                target,
                resource: &resource,
                act,
                certain: Certain::Things,
            };
            let mut permits = views.iter().filter(|view| view.permits());
            permits.any(|view| applies(view.json(), request) != Some(false))
        })
    })
}

/// How far rules reach.
struct Reach<'v, 'b> {
    views: &'v [(RuleView<'b>, &'b Value)],
    /// For each rule, whether it may apply to anybody and anything.
    applies: Vec<bool>,
    /// For each permit, the absolute rules that always forbid what it permits; none where something
    /// gets through.
    shadow: Vec<Option<BTreeSet<usize>>>,
}

impl<'v, 'b> Reach<'v, 'b> {
    fn of(
        views: &'v [(RuleView<'b>, &'b Value)],
        people: &[&Member],
        resources: &[(&Target, Resource)],
    ) -> Self {
        let applies = vec![false; views.len()];
        let shadow = vec![Some(BTreeSet::new()); views.len()];
        let mut reach = Self { views, applies, shadow };
        for member in people {
            for (target, resource) in resources {
                for act in [Act::Connect, Act::BreakGlass] {
                    let principal = &member.principal;
                    let certain = Certain::People;
                    reach.look(AccessRequest { principal, target, resource, act, certain });
                }
            }
        }
        reach
    }

    fn look(&mut self, request: AccessRequest<'_>) {
        let verdicts: Vec<Option<bool>> =
            self.views.iter().map(|(_, json)| applies(json, request)).collect();
        let absolute = self
            .views
            .iter()
            .zip(&verdicts)
            .position(|((view, _), verdict)| view.is_absolute() && *verdict == Some(true));
        let rules = self.views.iter().zip(verdicts).zip(&mut self.applies).zip(&mut self.shadow);
        for ((((view, _), verdict), applies), shadow) in rules {
            // A permit over any act permits no emergency.
            let named = request.act == Act::Connect || !view.permits() || view.names_break_glass();
            if verdict == Some(false) || !named {
                continue;
            }
            *applies = true;
            *shadow = shadow.take().zip(absolute).map(|(mut by, rule)| {
                by.insert(rule);
                by
            });
        }
    }

    fn findings(&self, directory: &Directory) -> Vec<Finding> {
        let rules = self.views.iter().zip(&self.applies).zip(&self.shadow);
        let found = rules.filter_map(|(((view, _), applies), shadow)| {
            if !applies {
                return never(view, directory);
            }
            let by = shadow.as_ref().filter(|_| view.permits())?;
            let titles = by.iter().filter_map(|rule| Some(self.views.get(*rule)?.0.title()));
            let titles = titles.collect::<Vec<_>>().join("`, `");
            let message = format!("all that `{}` permits is forbidden by `{titles}`", view.title());
            let remedy = "nothing discharges a `forbid` without obligations: give it some, narrow \
                          it, or remove this rule";
            Some(Finding::new(view, Level::Warning, message, remedy))
        });
        found.collect()
    }
}

/// A rule that applies to nobody and nothing; where an issuer may bring its people, it isn't known to.
fn never(view: &RuleView<'_>, directory: &Directory) -> Option<Finding> {
    let groups = view.groups();
    if directory.any_group && !groups.is_empty()
        || groups.iter().any(|group| directory.is_open(group))
    {
        return None;
    }
    let message =
        format!("`{}` never applies to any person, target and login there is", view.title());
    let remedy = "compare its groups, environments, labels and logins with the configuration, or \
                  remove it";
    Some(Finding::new(view, Level::Warning, message, remedy))
}
