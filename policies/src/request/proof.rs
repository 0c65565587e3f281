//! What step-ups do to a request: the one who asks stands by it, and an approver by their yes.

use super::{Approval, Request, RequestError, RequestState};
use crate::{Need, PrincipalId, Purpose, StepUp, StepUpId, Timestamp, Ttl};

/// How old a step-up may be that no rule asks for: nobody is shut out by it, but it has to be about
/// this very act.
const UNRULED: Ttl = Ttl::from_secs(300);

impl Request {
    /// The request as it begins, or begins again: with a step-up that serves, without one where none
    /// is wanted, or waiting for it.
    pub(super) fn opened(self, step_up: Option<&StepUp>, now: Timestamp) -> Self {
        let proved =
            step_up.map_or(Err(RequestError::NeedsStepUp), |given| self.proved(given, now));
        match (self.terms.step_up, proved) {
            (_, Ok(proved)) => proved,
            (Some(_), Err(_)) => self,
            (None, Err(_)) => Self { state: self.after(Vec::new(), now), ..self },
        }
    }

    /// The request once the one who asks has proved themselves.
    fn proved(&self, given: &StepUp, now: Timestamp) -> Result<Self, RequestError> {
        let subject = self.subject();
        self.fits(given, &self.principal, Purpose::Ask, &subject, now)?;
        let state = self.after(Vec::new(), now);
        let step_up = Some(given.id.clone());
        Ok(Self { state, step_up, moved_at: Some(now), ..self.clone() })
    }

    pub(super) fn stepped_up(&self, given: &StepUp, now: Timestamp) -> Result<Self, RequestError> {
        match &self.state {
            RequestState::NeedsStepUp => self.proved(given, now),
            RequestState::NeedsApproval { .. } => Err(RequestError::Over("proved")),
            RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => Err(RequestError::Over(self.state.word())),
        }
    }

    /// Where no rule says how fresh, a step-up is good for as long as anybody waits for it.
    fn fits(
        &self,
        given: &StepUp,
        principal: &PrincipalId,
        purpose: Purpose,
        subject: &str,
        now: Timestamp,
    ) -> Result<(), RequestError> {
        let within = self.terms.step_up.unwrap_or(UNRULED);
        let need = Need { principal, purpose, subject, bound: None, within };
        Ok(given.serves(&need, now)?)
    }

    /// An approver's step-up: wanted where the terms say so, and right wherever it is given.
    pub(super) fn approver_step_up(
        &self,
        by: &PrincipalId,
        given: Option<&StepUp>,
        now: Timestamp,
    ) -> Result<Option<StepUpId>, RequestError> {
        match (given, self.terms.step_up) {
            (None, Some(_)) => Err(RequestError::NeedsStepUp),
            (None, None) => Ok(None),
            (Some(given), _) => {
                self.fits(given, by, Purpose::Approve, self.id.as_str(), now)?;
                Ok(Some(given.id.clone()))
            }
        }
    }

    /// Granted once nobody is missing.
    pub(super) fn after(&self, approvals: Vec<Approval>, now: Timestamp) -> RequestState {
        if self.missing(&approvals) == 0 {
            RequestState::Granted { at: now, approvals }
        } else {
            RequestState::NeedsApproval { approvals }
        }
    }
}
