//! What can happen to a request, and why it is refused.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Digest;
use crate::{
    GroupName, OtherHuman, PrincipalId, StepUp, StepUpError, Terms, Ticket, Timestamp, Ttl,
};

/// What can happen to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestEvent {
    /// The one who asks proves themselves.
    StepUp {
        /// With what.
        step_up: StepUp,
    },
    /// Somebody says yes to what they saw, perhaps for a shorter time.
    Approve {
        /// Who.
        by: OtherHuman,
        /// What they saw.
        digest: Digest,
        /// For how long at most.
        shorten: Option<Ttl>,
        /// With what they prove themselves, where they do.
        step_up: Option<StepUp>,
    },
    /// Somebody says no.
    Deny {
        /// Who.
        by: OtherHuman,
        /// Why.
        reason: String,
    },
    /// The one who asked takes it back.
    Withdraw {
        /// Who.
        by: PrincipalId,
    },
    /// The one who asked says it otherwise.
    Edit {
        /// Who.
        by: PrincipalId,
        /// How.
        edit: Edit,
        /// What it takes, said so.
        terms: Terms,
        /// How long it waits, from now on.
        timeout: Ttl,
    },
    /// The rules ask for less by now.
    Relax {
        /// What it takes now.
        terms: Terms,
    },
    /// It is of no use any more: the rules wouldn't give it, or something took its place.
    Drop {
        /// Why.
        why: String,
    },
    /// Those who are asked took too long.
    Escalate {
        /// For each group, the one whose members may stand in for its own.
        to: BTreeMap<GroupName, GroupName>,
    },
    /// Time has passed.
    Tick,
}

/// What of a request can be said otherwise: all of it, changed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// For how long.
    pub ttl: Ttl,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<Ticket>,
    /// From when on.
    pub starts_at: Option<Timestamp>,
}

/// Why an event is refused. The request stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It was decided before.
    #[error("the request is already {0}")]
    Over(&'static str),
    /// It would have lapsed by now.
    #[error("the request has lapsed")]
    Lapsed,
    /// Nobody approves or denies their own.
    #[error("nobody decides on their own request, under whatever name")]
    Own,
    /// The request isn't theirs to take back or edit.
    #[error("only the one who asked can withdraw or edit a request")]
    NotTheirs,
    /// None of the groups that are asked has this person.
    #[error("approving this takes a member of {0}")]
    NotAsked(String),
    /// There is no place for their yes: others come first, or enough have said it.
    #[error("it is not your turn: what is missing now is {0}")]
    NotYet(String),
    /// They said yes before.
    #[error("you have already approved this request")]
    Twice,
    /// The terms want a step-up of whoever acts.
    #[error("this takes a fresh step-up")]
    NeedsStepUp,
    /// The one who asked hasn't proved themselves yet.
    #[error("the one who asked has to prove themselves first")]
    TooEarly,
    /// The step-up that was given doesn't serve here.
    #[error("the step-up doesn't serve here: {0}")]
    Unfit(#[from] StepUpError),
    /// The request isn't what they saw.
    #[error("the request has changed since you looked at it: look again")]
    Changed,
    /// An edit that changes nothing.
    #[error("the request says this already: nothing was changed")]
    Same,
    /// Somebody's yes or step-up is missing by any rules.
    #[error("something is still missing")]
    Lacking,
    /// There is nobody to stand in.
    #[error("nobody can stand in for those who are asked")]
    Nobody,
}
