//! Who gains, who loses, and whose terms change between two sets of rules.
//!
//! Everybody is asked about every login of every target, in the situations that make a difference to
//! either set of rules: by day and by night, on call, in an emergency.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    Act, Denied, Facts, Inquiry, Mention, PrincipalId, Resource, RuleBook, TIMES, Terms, Timestamp,
};
use serde::Serialize;
use thiserror::Error;

use super::PolicyContext;

/// More questions than this are too many.
const MOST: usize = 200_000;
/// Moments are looked for in a week, by the quarter of an hour.
const QUARTER: i64 = 15 * 60_000;
const QUARTERS: i64 = 7 * 24 * 4;
/// What a situation is called that has nothing particular.
const ORDINARILY: &str = "ordinarily";

/// Why nothing was compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0} questions are too many (at most {MOST}): ask about fewer people by `--who`, or fewer \
     targets by `--target`"
)]
pub struct TooMany(usize);

/// What becomes of somebody's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It couldn't be had, and now it can.
    Gains,
    /// It could be had, and now it can't.
    Loses,
    /// It takes something else.
    Changes,
}

impl Effect {
    /// Its name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::Changes => "changes",
        }
    }
}

/// One difference, and all whom it concerns in the same way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What becomes of it.
    pub effect: Effect,
    /// What is asked for.
    pub resource: String,
    /// In which situations; all of them where it is empty.
    pub situations: Vec<String>,
    /// What came of it by the old rules.
    pub before: String,
    /// What comes of it by the new ones.
    pub after: String,
    /// Whom it concerns.
    pub people: Vec<PrincipalId>,
}

/// What two sets of rules say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The differences.
    pub differences: Vec<Difference>,
    /// How many people, logins and situations were asked about.
    pub asked: usize,
}

/// Who and what is asked about; everybody and everything where nobody says.
#[derive(Debug, Clone, Default)]
pub struct Focus {
    /// These people.
    pub who: BTreeSet<PrincipalId>,
    /// These targets.
    pub targets: BTreeSet<policies::TargetName>,
}

/// What comes of a question: what it takes, or why not.
type Outcome = Result<Terms, Denied>;

/// Compares two sets of rules.
///
/// # Errors
/// Where there are too many people and targets.
pub fn differ(
    old: &RuleBook,
    new: &RuleBook,
    context: &PolicyContext,
    focus: &Focus,
    now: Timestamp,
) -> Result<Comparison, TooMany> {
    let situations = situations([old, new], context, now);
    let people: Vec<&PrincipalId> = context
        .directory
        .people
        .keys()
        .filter(|id| focus.who.is_empty() || focus.who.contains(*id))
        .collect();
    let resources: Vec<Resource> = context
        .directory
        .resources()
        .map(|(_, resource)| resource)
        .filter(|resource| focus.targets.is_empty() || focus.targets.contains(&resource.target))
        .collect();
    let asked = people.len().saturating_mul(resources.len()).saturating_mul(situations.len());
    if asked > MOST {
        return Err(TooMany(asked));
    }
    let clock = |now| context.local(now);
    let ask = |book, who: &PrincipalId, resource: &Resource, facts: &Facts| {
        let inquiry = Inquiry { book, directory: &context.directory, clock: &clock };
        inquiry.outcome(who, resource, facts.clone())
    };
    let mut found = Found::new();
    for who in people {
        for resource in &resources {
            for (situation, facts) in &situations {
                let (before, after) =
                    (ask(old, who, resource, facts), ask(new, who, resource, facts));
                if let Some(effect) = effect(&before, &after) {
                    let key = (effect, resource.to_string(), words(&before), words(&after));
                    found.entry((key, who.clone())).or_default().push(situation.clone());
                }
            }
        }
    }
    Ok(Comparison { differences: grouped(found, situations.len()), asked })
}

type Key = (Effect, String, String, String);
type Found = BTreeMap<(Key, PrincipalId), Vec<String>>;

/// Whom the same concerns in the same situations stands together.
fn grouped(found: Found, situations: usize) -> Vec<Difference> {
    let mut groups: BTreeMap<(Key, Vec<String>), Vec<PrincipalId>> = BTreeMap::new();
    for ((key, who), when) in found {
        let when = if when.len() == situations { Vec::new() } else { when };
        groups.entry((key, when)).or_default().push(who);
    }
    let differences =
        groups.into_iter().map(|(((effect, resource, before, after), when), people)| Difference {
            effect,
            resource,
            situations: when,
            before,
            after,
            people,
        });
    differences.collect()
}

/// What becomes of it; nothing where it stays the same. Which rules say so doesn't matter.
pub(super) fn effect(before: &Outcome, after: &Outcome) -> Option<Effect> {
    match (before, after) {
        (Err(_), Ok(_)) => Some(Effect::Gains),
        (Ok(_), Err(_)) => Some(Effect::Loses),
        (Ok(one), Ok(other)) => {
            let bare = |terms: &Terms| Terms { rules: Vec::new(), ..terms.clone() };
            (bare(one) != bare(other)).then_some(Effect::Changes)
        }
        (Err(_), Err(_)) => None,
    }
}

pub(super) fn words(outcome: &Outcome) -> String {
    match outcome {
        Ok(terms) => policies::summary(terms),
        Err(denied) => format!("denied: {denied}"),
    }
}

/// The situations that either set of rules may tell apart.
fn situations(
    books: [&RuleBook; 2],
    context: &PolicyContext,
    now: Timestamp,
) -> Vec<(String, Facts)> {
    let asked: BTreeSet<String> = books.iter().flat_map(|book| book.asks_for()).collect();
    let spoken: BTreeSet<Mention> = books.iter().flat_map(|book| book.mentions()).collect();
    let mut found = Vec::new();
    for (when, facts) in moments(&asked, context, now) {
        if asked.contains("on_call") {
            let when = if when == ORDINARILY { "on call" } else { &format!("{when}, on call") };
            found.push((when.to_owned(), Facts { on_call: true, ..facts.clone() }));
        }
        found.push((when.to_owned(), facts));
    }
    let emergency = Mention::Entity("Action".to_owned(), Act::BreakGlass.word().to_owned());
    if spoken.contains(&emergency) {
        let last = found.last().map(|(_, facts)| facts.clone());
        let facts = last.map(|facts| Facts { act: Act::BreakGlass, ..facts });
        found.extend(facts.map(|facts| ("in an emergency".to_owned(), facts)));
    }
    found
}

/// Now, or a moment within working hours and one outside of them, where rules ask for the time.
fn moments(
    asked: &BTreeSet<String>,
    context: &PolicyContext,
    now: Timestamp,
) -> Vec<(&'static str, Facts)> {
    let facts = |at| Facts { local: context.local(at), ..Facts::new(at, None) };
    if !TIMES.iter().any(|fact| asked.contains(*fact)) {
        return vec![(ORDINARILY, facts(now))];
    }
    let moment = |working: bool| {
        let mut week =
            (0..QUARTERS).map(|nth| Timestamp::from_millis(now.millis() + nth * QUARTER));
        week.find(|at| context.local(*at).working_hours == working)
    };
    let day = moment(true).map(|at| ("in working hours", facts(at)));
    let night = moment(false).map(|at| ("outside working hours", facts(at)));
    day.into_iter().chain(night).collect()
}
