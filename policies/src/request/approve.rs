//! Who may say yes, and what their yes does.

use std::collections::BTreeSet;

use super::{Approval, Digest, Request, RequestError, RequestState};
use crate::{GroupName, OtherHuman, Principal, StepUp, Timestamp, Ttl};

impl Request {
    /// Whether this person may say yes or no, perhaps once their turn has come.
    ///
    /// # Errors
    /// Where it is their own request, or none of their groups is asked.
    pub fn may_decide(&self, by: &OtherHuman) -> Result<(), RequestError> {
        if !by.is_other_than(&self.principal) {
            return Err(RequestError::Own);
        }
        if self.terms.approvals.ask(&self.groups_of(by)) {
            return Ok(());
        }
        let asked = self.terms.approvals.quorums();
        let groups: BTreeSet<&str> = asked.map(|quorum| quorum.group.as_str()).collect();
        let groups: Vec<&str> = groups.into_iter().collect();
        Err(RequestError::NotAsked(groups.join(" or ")))
    }

    /// Whether their yes is what it waits for now.
    #[must_use]
    pub fn waits_for(&self, by: &OtherHuman) -> bool {
        let RequestState::NeedsApproval { approvals } = &self.state else {
            return false;
        };
        self.may_decide(by).is_ok()
            && approvals.iter().all(|yes| !by.is(&yes.by))
            && self.seats(by, approvals)
    }

    pub(super) fn approved(
        &self,
        by: OtherHuman,
        digest: Digest,
        shorten: Option<Ttl>,
        given: Option<&StepUp>,
        now: Timestamp,
    ) -> Result<Self, RequestError> {
        self.may_decide(&by)?;
        let RequestState::NeedsApproval { approvals } = &self.state else {
            return Err(RequestError::TooEarly);
        };
        if approvals.iter().any(|approval| by.is(&approval.by)) {
            return Err(RequestError::Twice);
        }
        if digest != self.digest() {
            return Err(RequestError::Changed);
        }
        if !self.seats(&by, approvals) {
            let turn: Vec<String> = self.turn().iter().map(ToString::to_string).collect();
            return Err(RequestError::NotYet(turn.join(", ")));
        }
        let step_up = self.approver_step_up(&by.principal().id, given, now)?;
        let stood_in = self.stands_in(&by).cloned().collect();
        let Principal { id, groups, .. } = by.into_principal();
        let approval = Approval { by: id, groups, stood_in, digest, step_up, at: now };
        let all = approvals.iter().cloned().chain([approval]).collect();
        // What was asked stays as it was read; what is given is the shortest that anybody said.
        let shortened = [self.shortened, shorten].into_iter().flatten().min();
        Ok(Self { state: self.after(all, now), shortened, moved_at: Some(now), ..self.clone() })
    }

    /// Whether there is a place for them among these.
    fn seats(&self, by: &OtherHuman, approvals: &[Approval]) -> bool {
        let before: Vec<_> = approvals.iter().map(|yes| (&yes.by, yes.fills())).collect();
        let newcomer = (&by.principal().id, self.groups_of(by));
        let people = before.iter().chain([&newcomer]).map(|(id, groups)| (*id, groups));
        self.terms.approvals.progress(people).seated
    }

    /// The groups whose places somebody could fill.
    fn groups_of(&self, by: &OtherHuman) -> BTreeSet<GroupName> {
        self.stands_in(by).chain(&by.principal().groups).cloned().collect()
    }

    /// The groups that took too long, and that they may stand in for.
    fn stands_in<'a>(&'a self, by: &'a OtherHuman) -> impl Iterator<Item = &'a GroupName> {
        let escalated = self.escalated.iter();
        escalated.filter(|(_, to)| by.principal().groups.contains(*to)).map(|(from, _)| from)
    }
}
