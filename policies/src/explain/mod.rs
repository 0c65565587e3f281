//! Explains a decision: what it takes, who can approve, which rules decide, and what would change it.
//!
//! Everything here comes from asking the rules again, with one fact changed at a time; nothing is
//! read out of a rule's text but the names that are worth trying.

mod otherwise;
mod summary;
mod week;

use serde::Serialize;
use thiserror::Error;

use crate::anatomy::{Place, RuleView};
use crate::directory::{Directory, Member};
use crate::{
    Act, Decision, Facts, Local, PrincipalId, Refusal, Resource, ResourceError, RuleBook, Target,
    Terms, Timestamp, Ttl,
};

pub use otherwise::Otherwise;
pub use summary::summary;
pub use week::{Course, TIMES};

/// How far ahead the end of a grant is looked for, minute by minute.
const HORIZON: i64 = 7 * 24 * 60;
const MINUTE: i64 = 60_000;

/// A question to the rules, and the directory that it is asked in.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The rules.
    pub book: &'a RuleBook,
    /// Who and what there is.
    pub directory: &'a Directory,
    /// The organisation's clock.
    pub clock: &'a dyn Fn(Timestamp) -> Local,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InquiryError {
    /// Nobody has this name.
    #[error("nobody is called `{0}`: people and workloads are those of the configuration")]
    NoPerson(PrincipalId),
    /// No target has this name.
    #[error("there is no target `{0}`")]
    NoTarget(crate::TargetName),
    /// The target has no such login or database.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

/// Why something is denied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct Denied {
    /// In words.
    pub why: String,
    /// The rules that forbid it, by their titles.
    pub by: Vec<String>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        let why = refusal.to_string();
        let by = match refusal {
            Refusal::Forbidden(rules) => rules,
            Refusal::NotPermitted | Refusal::Unrecordable(..) | Refusal::Faulty(_) => Vec::new(),
        };
        Self { why, by }
    }
}

/// What comes of it, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is given to whoever asks.
    Free,
    /// It is given once something is done.
    Takes,
    /// It isn't given.
    Denied,
}

impl Verdict {
    /// Its name in answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Takes => "takes",
            Self::Denied => "denied",
        }
    }
}

/// The answer to a question, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who asks.
    pub who: PrincipalId,
    /// How people call them.
    pub name: String,
    /// What is asked for, with its database.
    pub resource: String,
    /// What is to be done.
    pub act: Act,
    /// The moment that is asked about.
    pub at: String,
    /// What comes of it.
    pub verdict: Verdict,
    /// The same as a sentence.
    pub answer: String,
    /// What it takes, one thing a line.
    pub takes: Vec<String>,
    /// What has been left unsaid, and how it is said.
    pub unsaid: Option<String>,
    /// Who could say yes.
    pub approvers: Vec<Approvers>,
    /// The rules that decided, permits first.
    pub rules: Vec<Cited>,
    /// When the rules would end it before its time.
    pub ends: Option<Ends>,
    /// What else would come of it if one fact were another.
    pub otherwise: Vec<Otherwise>,
    /// What comes of it in the course of a week, where that differs.
    pub week: Vec<Course>,
}

/// Those who could fill some places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approvers {
    /// As `2 of dba`.
    pub wanted: String,
    /// The stage whose turn has to come, from 1.
    pub stage: usize,
    /// Their names, without the one who asks.
    pub people: Vec<String>,
    /// Whether an issuer or a roster may bring more.
    pub more: bool,
}

/// A rule that had a say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cited {
    /// Its title.
    pub title: String,
    /// Where it begins.
    pub place: Place,
    /// What it says: its description, or what it does.
    pub says: String,
}

/// When the rules would end a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// The moment.
    pub at: String,
    /// The same by the organisation's clock, as `Fri 18:00`.
    pub when: String,
    /// What comes of the same question then.
    pub why: String,
}

/// A question with everything looked up.
#[derive(Clone)]
struct Question<'a> {
    inquiry: Inquiry<'a>,
    member: &'a Member,
    target: &'a Target,
    resource: Resource,
    facts: Facts,
}

impl Inquiry<'_> {
    /// Explains what the rules say.
    ///
    /// # Errors
    /// Where there is no such person, target, login or database.
    pub fn explain(
        &self,
        who: &PrincipalId,
        resource: &Resource,
        facts: Facts,
    ) -> Result<Explanation, InquiryError> {
        Ok(self.question(who, resource, facts)?.explain())
    }

    /// What it takes, or why it is denied.
    ///
    /// # Errors
    /// Where it is denied, or there is no such person, target, login or database.
    pub fn outcome(
        &self,
        who: &PrincipalId,
        resource: &Resource,
        facts: Facts,
    ) -> Result<Terms, Denied> {
        let unknown = |error: InquiryError| Denied { why: error.to_string(), by: Vec::new() };
        self.question(who, resource, facts).map_err(unknown)?.outcome()
    }

    /// When the rules would end what they give now, where they would.
    #[must_use]
    pub fn ends(&self, who: &PrincipalId, resource: &Resource, facts: Facts) -> Option<Ends> {
        let question = self.question(who, resource, facts).ok()?;
        let terms = question.outcome().ok()?;
        question.ends(&terms)
    }

    fn question(
        &self,
        who: &PrincipalId,
        wanted: &Resource,
        facts: Facts,
    ) -> Result<Question<'_>, InquiryError> {
        let member = self.directory.people.get(who);
        let member = member.ok_or_else(|| InquiryError::NoPerson(who.clone()))?;
        let target = self.directory.targets.get(&wanted.target);
        let target = target.ok_or_else(|| InquiryError::NoTarget(wanted.target.clone()))?;
        let resource = target.resolve(&wanted.login, wanted.database.as_ref())?;
        Ok(Question { inquiry: *self, member, target, resource, facts })
    }
}

impl Question<'_> {
    fn decide(&self) -> Decision {
        let Self { inquiry, member, target, resource, facts } = self;
        inquiry.book.decide(&member.principal, target, resource, facts)
    }

    /// The terms or the denial. A workload can't step up, and a disabled person gets nothing.
    fn outcome(&self) -> Result<Terms, Denied> {
        if self.member.disabled {
            let why = format!("`{}` is disabled", self.member.principal.id);
            return Err(Denied { why, by: Vec::new() });
        }
        match self.decide() {
            Decision::Allow(terms) if self.member.workload && terms.step_up.is_some() => {
                let why = "a rule wants a step-up, and a workload can't do one".to_owned();
                Err(Denied { why, by: terms.rules })
            }
            Decision::Allow(terms) => Ok(terms),
            Decision::Deny(refusal) => Err(refusal.into()),
        }
    }

    fn answer(&self) -> String {
        self.outcome().map_or_else(|denied| denied.why, |terms| summary(&terms))
    }

    /// The same question at another moment.
    fn at(&self, now: Timestamp) -> Self {
        let local = (self.inquiry.clock)(now);
        Self { facts: Facts { now, local, ..self.facts.clone() }, ..self.clone() }
    }

    fn explain(&self) -> Explanation {
        let outcome = self.outcome();
        let terms = outcome.as_ref().ok();
        let verdict = match terms {
            None => Verdict::Denied,
            Some(terms) if summary::is_free(terms) => Verdict::Free,
            Some(_) => Verdict::Takes,
        };
        let Facts { ticket, reason, .. } = &self.facts;
        let unsaid = terms.and_then(|terms| terms.check_input(ticket.as_ref(), reason).err());
        Explanation {
            who: self.member.principal.id.clone(),
            name: self.member.principal.name.clone(),
            resource: self.resource.to_string(),
            act: self.facts.act,
            at: self.facts.now.to_string(),
            verdict,
            answer: self.sentence(&outcome),
            takes: terms.map_or_else(Vec::new, summary::takes),
            unsaid: unsaid.map(|unsaid| unsaid.to_string()),
            approvers: terms.map_or_else(Vec::new, |terms| self.approvers(terms)),
            rules: self.cited(),
            ends: terms.and_then(|terms| self.ends(terms)),
            otherwise: self.otherwise(),
            week: self.week(),
        }
    }

    fn sentence(&self, outcome: &Result<Terms, Denied>) -> String {
        let (name, what) = (&self.member.principal.name, &self.resource);
        match outcome {
            Err(why) => format!("{name} can't have {what}: {why}"),
            Ok(terms) if summary::is_free(terms) => {
                format!("{name} gets {what}: {}", summary(terms))
            }
            Ok(terms) => format!("{name} can have {what}: {}", summary(terms)),
        }
    }

    fn approvers(&self, terms: &Terms) -> Vec<Approvers> {
        let directory = self.inquiry.directory;
        let stages = terms.approvals.stages().enumerate();
        let places = stages.flat_map(|(stage, quorums)| {
            quorums.iter().map(move |quorum| {
                let others = directory.others(&self.member.principal.id);
                let fit = others.filter(|other| other.principal.groups.contains(&quorum.group));
                let people =
                    fit.map(|other| format!("{} ({})", other.principal.name, other.principal.id));
                Approvers {
                    wanted: quorum.to_string(),
                    stage: stage + 1,
                    people: people.collect(),
                    more: directory.is_open(&quorum.group),
                }
            })
        });
        places.collect()
    }

    fn cited(&self) -> Vec<Cited> {
        let Self { inquiry, member, target, resource, facts } = self;
        let applying = inquiry.book.applying(&member.principal, target, resource, facts);
        let cited = applying.unwrap_or_default().into_iter().map(|view| Cited {
            title: view.title().to_owned(),
            place: view.place().clone(),
            says: says(&view),
        });
        cited.collect()
    }

    /// The first minute at which it would no longer be given, before its time is over.
    fn ends(&self, terms: &Terms) -> Option<Ends> {
        let asked = self.facts.ttl.unwrap_or(self.target.default_ttl);
        let lasts = terms.limit.map_or(asked, |limit| limit.min(asked));
        if !week::asks_for_time(self.inquiry.book) {
            return None;
        }
        let start = self.facts.now.millis();
        let minute = start - start.rem_euclid(MINUTE);
        let minutes = (lasts.millis() / MINUTE).min(HORIZON);
        let moments = (1..=minutes).map(|nth| Timestamp::from_millis(minute + nth * MINUTE));
        let mut moments = moments.filter(|at| at.millis() < start.saturating_add(lasts.millis()));
        moments.find_map(|at| {
            let then = self.at(at);
            let why = then.no_longer(terms, lasts)?;
            Some(Ends { at: at.to_string(), when: self.moment(at), why })
        })
    }

    /// Why what was given on these terms would not be given again.
    fn no_longer(&self, given: &Terms, lasts: Ttl) -> Option<String> {
        let terms = match self.outcome() {
            Err(denied) => return Some(denied.why),
            Ok(terms) => terms,
        };
        let shorter = terms.limit.is_some_and(|limit| limit < lasts);
        let unasked = !given.approvals.covers(&terms.approvals);
        (shorter || unasked).then(|| summary(&terms))
    }

    /// A moment by the organisation's clock.
    fn moment(&self, at: Timestamp) -> String {
        let local = (self.inquiry.clock)(at);
        format!("{} {:02}:{:02}", local.day.word(), local.hour, local.minute)
    }
}

fn says(view: &RuleView<'_>) -> String {
    if let Some(description) = view.description() {
        return description.to_owned();
    }
    match (view.permits(), view.is_absolute()) {
        (true, _) => "permits it".to_owned(),
        (false, true) => "forbids it, whatever permits it".to_owned(),
        (false, false) => summary::obliges(view.obligations()),
    }
}
