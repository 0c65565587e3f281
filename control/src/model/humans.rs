//! Who is one human: identities that the configuration or a shared mailbox ties together, and whom another human may stand for.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    OtherHuman, Principal, PrincipalId, Request, RequestError, Review, ReviewError, SameHuman,
    Timestamp,
};

use crate::model::inventory::Inventory;
use crate::model::workflow::{Workflow, root};

impl Inventory {
    /// The one identity that stands for all of a person's: as the configuration says, and as their
    /// mailbox does. That somebody is notified at one address under two names says that they don't
    /// decide for themselves; it gives neither of them anything that the other has.
    pub(crate) fn human<'a>(&'a self, id: &'a PrincipalId) -> &'a PrincipalId {
        let first = self.workflow.same_as.get(id).unwrap_or(id);
        self.context.learned.namesakes.get(first).unwrap_or(first)
    }

    /// Whether both are identities of one person.
    pub(crate) fn same_human(&self, one: &PrincipalId, other: &PrincipalId) -> bool {
        self.human(one) == self.human(other)
    }

    /// This person as somebody else than all of those: what every act of a second person takes.
    ///
    /// # Errors
    /// Where one of those is the same person, under whatever identity.
    #[expect(clippy::disallowed_methods, reason = "the inventory knows who is one human")]
    pub(crate) fn other_human<'a>(
        &self,
        principal: &Principal,
        than: impl IntoIterator<Item = &'a PrincipalId>,
    ) -> Result<OtherHuman, SameHuman> {
        let than: BTreeSet<PrincipalId> = than.into_iter().cloned().collect();
        let known = self.workflow.same_as.keys().chain(self.context.learned.namesakes.keys());
        let all = known.chain(&than).chain([self.human(&principal.id)]);
        let same = all.filter(|id| self.same_human(id, &principal.id));
        let identities = same.cloned().collect();
        OtherHuman::known_as(principal.clone(), identities, than)
    }

    /// This person as somebody else than the one who asked.
    pub(crate) fn decider(
        &self,
        principal: &Principal,
        request: &Request,
    ) -> Result<OtherHuman, RequestError> {
        self.other_human(principal, [&request.principal]).map_err(|_| RequestError::Own)
    }

    /// This person as somebody else than the one whose emergency it was.
    pub(crate) fn reviewer(
        &self,
        principal: &Principal,
        review: &Review,
    ) -> Result<OtherHuman, ReviewError> {
        self.other_human(principal, [&review.principal]).map_err(|_| ReviewError::Own)
    }

    /// This inventory, knowing which of its people have one mailbox; whether that is news.
    pub(crate) fn acquainted(mut self) -> (Self, bool) {
        let namesakes = self.of_one_mailbox();
        let news = namesakes != self.context.learned.namesakes;
        if news {
            self.context.learned.namesakes = namesakes;
        }
        (self, news)
    }

    fn of_one_mailbox(&self) -> BTreeMap<PrincipalId, PrincipalId> {
        let mut boxes: BTreeMap<String, BTreeSet<&PrincipalId>> = BTreeMap::new();
        for (id, person) in self.people.iter() {
            let first = self.workflow.same_as.get(id).unwrap_or(id);
            if let Some(email) = &person.email {
                boxes.entry(email.mailbox()).or_default().insert(first);
            }
        }
        let mut stands: BTreeMap<PrincipalId, PrincipalId> = BTreeMap::new();
        for people in boxes.into_values().filter(|people| people.len() > 1) {
            let all: BTreeSet<PrincipalId> =
                people.into_iter().map(|id| root(&stands, id).clone()).collect();
            if let Some(first) = all.first() {
                stands.extend(all.iter().skip(1).map(|other| (other.clone(), first.clone())));
            }
        }
        let flat = stands.keys().map(|id| (id.clone(), root(&stands, id).clone()));
        flat.collect()
    }

    /// When others may stand in for those whose turn it is, where somebody may.
    pub(crate) fn escalates_at(&self, request: &Request) -> Option<Timestamp> {
        let Workflow { escalate_after, escalate_to, .. } = &*self.workflow;
        escalate_after.and_then(|after| request.escalates_at(after, escalate_to))
    }

    /// What is wrong with the identities: a second one of a second one. The first may have left.
    pub(crate) fn unfit_identities(&self) -> impl Iterator<Item = String> {
        let same = self.workflow.same_as.iter();
        let bad = same.filter(|(second, first)| {
            second == first || self.workflow.same_as.contains_key(*first)
        });
        bad.map(|(second, first)| {
            format!("person `{second}` is the same as `{first}`, which is a second identity too")
        })
    }
}
