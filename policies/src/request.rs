//! An access request: somebody asks, and it ends granted, denied, withdrawn or lapsed. Once.
//!
//! An approval carries the digest of what the approver saw. A request that reads otherwise by then
//! is another request, and the approval is refused; an edit takes back every yes that was said.
//! `state` says where a request stands, `event` what can happen to it, `approve` who may say yes,
//! `proof` what step-ups do, `digest` what is approved.

mod approve;
mod digest;
mod event;
mod proof;
mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use digest::Digest;
pub use event::{Edit, RequestError, RequestEvent};
pub use state::{Approval, RequestState};

use crate::{
    Act, GrantId, GroupName, PrincipalId, RequestId, Resource, StepUp, StepUpId, Terms, Ticket,
    Timestamp, Ttl,
};

/// An access request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Who asks.
    pub principal: PrincipalId,
    /// For what; the database is filled in.
    pub resource: Resource,
    /// What else is asked for with it: one verdict counts for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Resource>,
    /// For how long it is asked, already within the limit of the terms.
    pub ttl: Ttl,
    /// Why, in the words of the one who asks.
    pub reason: String,
    /// The ticket that it is for, where one was named.
    #[serde(default)]
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    #[serde(default)]
    pub act: Act,
    /// From when on; without, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// The grant that it makes last longer, instead of giving another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// How often it was edited.
    #[serde(default)]
    pub edits: u32,
    /// What it takes.
    pub terms: Terms,
    /// What it took in the end, where the rules asked for less by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Terms>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it lapses if nobody decides.
    pub lapses_at: Timestamp,
    /// Since when nothing has happened to it, where something has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<Timestamp>,
    /// For how long at most the approvers give it, where they give it for a shorter time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortened: Option<Ttl>,
    /// Groups whose members took too long, and whose members may fill their places by now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub escalated: BTreeMap<GroupName, GroupName>,
    /// With what the one who asks proved themselves, where the terms want it.
    #[serde(default)]
    pub step_up: Option<StepUpId>,
    /// Where it stands.
    pub state: RequestState,
}

/// What is asked for, before the rules have limited it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What; the database is filled in.
    pub resource: Resource,
    /// What else.
    pub also: Vec<Resource>,
    /// For how long.
    pub ttl: Ttl,
    /// Why.
    pub reason: String,
    /// The ticket, where one was named.
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    pub act: Act,
    /// From when on; without, at once.
    pub starts_at: Option<Timestamp>,
    /// The grant that is to last longer, where that is wanted.
    pub extends: Option<GrantId>,
}

impl Request {
    /// The request as it is asked: granted at once where it takes nothing. A step-up that doesn't
    /// serve is as good as none.
    #[must_use]
    pub fn ask(
        id: RequestId,
        principal: PrincipalId,
        wanted: Wanted,
        terms: Terms,
        step_up: Option<&StepUp>,
        now: Timestamp,
        timeout: Ttl,
    ) -> Self {
        let Wanted { resource, also, ttl, reason, ticket, act, starts_at, extends } = wanted;
        let ttl = terms.limit.map_or(ttl, |limit| ttl.min(limit));
        let asked = Self {
            id,
            principal,
            resource,
            also,
            ttl,
            reason,
            ticket,
            act,
            starts_at,
            extends,
            edits: 0,
            terms,
            met: None,
            asked_at: now,
            lapses_at: now.after(timeout),
            moved_at: None,
            shortened: None,
            escalated: BTreeMap::new(),
            step_up: None,
            state: RequestState::NeedsStepUp,
        };
        asked.opened(step_up, now)
    }

    /// Everything that is asked for.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        std::iter::once(&self.resource).chain(&self.also)
    }

    /// Everything that is asked for, as one text.
    #[must_use]
    pub fn subject(&self) -> String {
        let all: Vec<String> = self.resources().map(ToString::to_string).collect();
        all.join(" + ")
    }

    /// For how long it is given: as asked, or as the approvers shortened it.
    #[must_use]
    pub fn lasts(&self) -> Ttl {
        self.shortened.map_or(self.ttl, |shorter| shorter.min(self.ttl))
    }

    /// The time that its rules are asked about: when it is to begin, or else now.
    #[must_use]
    pub fn evaluated_at(&self, now: Timestamp) -> Timestamp {
        self.starts_at.map_or(now, |starts| starts.max(now))
    }

    /// Whether somebody still has to decide.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.state, RequestState::NeedsStepUp | RequestState::NeedsApproval { .. })
    }

    /// The one transition.
    ///
    /// # Errors
    /// Where the event has no place in the present state, or comes from the wrong person.
    pub fn apply(&self, event: RequestEvent, now: Timestamp) -> Result<Self, RequestError> {
        if !self.is_pending() {
            return Err(RequestError::Over(self.state.word()));
        }
        let late = now >= self.lapses_at;
        match event {
            RequestEvent::Tick if late => Ok(self.over(RequestState::Lapsed { at: now })),
            RequestEvent::Tick => Ok(self.clone()),
            _ if late => Err(RequestError::Lapsed),
            RequestEvent::Withdraw { by } => {
                self.is_theirs(&by)?;
                Ok(self.over(RequestState::Withdrawn { at: now, why: None }))
            }
            RequestEvent::Drop { why } => {
                Ok(self.over(RequestState::Withdrawn { at: now, why: Some(why) }))
            }
            RequestEvent::Relax { terms } => self.relaxed(terms, now),
            RequestEvent::Deny { by, reason } => {
                self.may_decide(&by)?;
                let by = by.into_principal().id;
                Ok(self.over(RequestState::Denied { by, reason, at: now }))
            }
            RequestEvent::StepUp { step_up } => self.stepped_up(&step_up, now),
            RequestEvent::Approve { by, digest, shorten, step_up } => {
                self.approved(by, digest, shorten, step_up.as_ref(), now)
            }
            RequestEvent::Edit { by, edit, terms, timeout } => {
                self.is_theirs(&by)?;
                self.edited(edit, terms, now, timeout)
            }
            RequestEvent::Escalate { to } => self.escalated_to(to, now),
        }
    }

    fn over(&self, state: RequestState) -> Self {
        Self { state, ..self.clone() }
    }

    fn is_theirs(&self, by: &PrincipalId) -> Result<(), RequestError> {
        if *by == self.principal { Ok(()) } else { Err(RequestError::NotTheirs) }
    }

    /// Another text to decide on: every yes is taken back, and so is the step-up that it was asked with.
    /// Who has to read it again has as long for it as for the first one.
    fn edited(
        &self,
        edit: Edit,
        terms: Terms,
        now: Timestamp,
        timeout: Ttl,
    ) -> Result<Self, RequestError> {
        let Edit { ttl, reason, ticket, starts_at } = edit;
        if (ttl, &reason, &ticket, starts_at)
            == (self.ttl, &self.reason, &self.ticket, self.starts_at)
        {
            return Err(RequestError::Same);
        }
        let ttl = terms.limit.map_or(ttl, |limit| ttl.min(limit));
        let edited = Self {
            ttl,
            reason,
            ticket,
            starts_at,
            terms,
            edits: self.edits.saturating_add(1),
            lapses_at: now.after(timeout),
            moved_at: Some(now),
            shortened: None,
            escalated: BTreeMap::new(),
            step_up: None,
            state: RequestState::NeedsStepUp,
            ..self.clone()
        };
        Ok(edited.opened(None, now))
    }

    /// Given without those who are missing, since the rules ask nobody else by now. What was asked
    /// reads as it did.
    fn relaxed(&self, terms: Terms, now: Timestamp) -> Result<Self, RequestError> {
        let approvals = self.state.approvals().to_vec();
        let stepped_up =
            self.step_up.is_some() && approvals.iter().all(|yes| yes.step_up.is_some());
        let met = Self { terms, ..self.clone() };
        if met.missing(&approvals) > 0 || (met.terms.step_up.is_some() && !stepped_up) {
            return Err(RequestError::Lacking);
        }
        let state = RequestState::Granted { at: now, approvals };
        Ok(Self { state, met: Some(met.terms), moved_at: Some(now), ..self.clone() })
    }

    /// What it took: as it was asked, or less, where the rules had changed before it was given.
    #[must_use]
    pub fn took(&self) -> &Terms {
        self.met.as_ref().unwrap_or(&self.terms)
    }

    /// Whether somebody asked for this has taken too long by now, who others could stand in for.
    #[must_use]
    pub fn escalates_at(
        &self,
        after: Ttl,
        to: &BTreeMap<GroupName, GroupName>,
    ) -> Option<Timestamp> {
        let due = self.moved_at.unwrap_or(self.asked_at).after(after);
        let stuck = self.turn().iter().any(|quorum| {
            to.contains_key(&quorum.group) && !self.escalated.contains_key(&quorum.group)
        });
        Some(due).filter(|_| stuck)
    }

    /// Lets members of other groups fill the places of those whose turn it is.
    fn escalated_to(
        &self,
        to: BTreeMap<GroupName, GroupName>,
        now: Timestamp,
    ) -> Result<Self, RequestError> {
        let turn: Vec<&GroupName> = self.turn().iter().map(|quorum| &quorum.group).collect();
        let mut escalated = self.escalated.clone();
        let new = to.into_iter().filter(|(from, _)| turn.contains(&from));
        escalated.extend(new.filter(|(from, _)| !self.escalated.contains_key(from)));
        if escalated == self.escalated {
            return Err(RequestError::Nobody);
        }
        Ok(Self { escalated, moved_at: Some(now), ..self.clone() })
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
