//! What the rules say of an access request.

use policies as domain;
use serde::Serialize;
use utoipa::ToSchema;

/// What the rules say of an access request, in plain words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// Whose request it is.
    #[schema(example = "alice")]
    who: String,
    /// How people call them.
    name: String,
    /// What is asked for, with its database.
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// One of `connect` and `break-glass`.
    act: &'static str,
    /// The moment that it is asked about.
    at: String,
    /// One of `free`, `takes` and `denied`.
    verdict: &'static str,
    /// The same as a sentence.
    answer: String,
    /// What it takes, one thing each.
    takes: Vec<String>,
    /// What has been left unsaid, and how it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaid: Option<String>,
    approvers: Vec<Approvers>,
    /// The rules that decided.
    rules: Vec<Rule>,
    /// When the rules would end it before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<RulesEnd>,
    /// What comes of it in the course of a week, where that differs.
    week: Vec<Answered>,
    /// What would come of it if one fact were another: for admins and auditors.
    otherwise: Vec<Answered>,
}

/// Those who could fill some places.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approvers {
    #[schema(example = "2 of dba")]
    wanted: String,
    /// The stage whose turn has to come, from 1.
    stage: usize,
    people: Vec<String>,
    /// Whether an issuer or a roster may bring more.
    more: bool,
}

/// A rule that had a say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rule {
    title: String,
    /// File and line.
    #[schema(example = "access.cedar:12")]
    place: String,
    /// What it says.
    says: String,
}

/// When the rules would end a grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RulesEnd {
    at: String,
    /// The same by the organisation's clock.
    #[schema(example = "Fri 18:00")]
    when: String,
    /// What comes of the same request then.
    why: String,
}

/// A case, and what comes of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answered {
    when: String,
    then: String,
}

impl From<domain::Explanation> for Explanation {
    fn from(explanation: domain::Explanation) -> Self {
        let answered = |when, then| Answered { when, then };
        Self {
            who: explanation.who.to_string(),
            name: explanation.name,
            resource: explanation.resource,
            act: explanation.act.word(),
            at: explanation.at,
            verdict: explanation.verdict.word(),
            answer: explanation.answer,
            takes: explanation.takes,
            unsaid: explanation.unsaid,
            approvers: explanation.approvers.into_iter().map(Approvers::from).collect(),
            rules: explanation.rules.into_iter().map(Rule::from).collect(),
            ends: explanation.ends.map(|domain::Ends { at, when, why }| RulesEnd { at, when, why }),
            week: explanation.week.into_iter().map(|part| answered(part.when, part.then)).collect(),
            otherwise: explanation
                .otherwise
                .into_iter()
                .map(|one| answered(one.when, one.then))
                .collect(),
        }
    }
}

impl From<domain::Approvers> for Approvers {
    fn from(domain::Approvers { wanted, stage, people, more }: domain::Approvers) -> Self {
        Self { wanted, stage, people, more }
    }
}

impl From<domain::Cited> for Rule {
    fn from(domain::Cited { title, place, says }: domain::Cited) -> Self {
        Self { title, place: place.to_string(), says }
    }
}
