//! Explaining: what the rules say of an access request before anybody asks, by the inventory in force.
//!
//! Everybody may have their own requests explained; admins and auditors anybody's. What would have to be
//! otherwise for another answer, and where in which folder a rule stands, is for those who oversee: it
//! would show others how to get around a rule.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use policies::{
    Directory, Explanation, Facts, GroupName, Inquiry, InquiryError, Member, PrincipalId, Risk,
    Verdict,
};

use crate::access::Access;
use crate::access::input::AccessRequestInput;
use crate::model::actor::{Actor, Asker};
use crate::model::carrier::Carrier;
use crate::model::error::{ControlError, InternalError, Refusal};
use crate::model::inventory::Inventory;
use crate::policy::risk;

impl Access {
    /// What the rules say of this request: of the actor's own, or of somebody else's.
    ///
    /// # Errors
    /// Where the actor may not ask about them, or there is no such person, target, login or database.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, resource = %requested.resource))]
    pub async fn explain(
        &self,
        actor: &Actor,
        who: Option<PrincipalId>,
        requested: AccessRequestInput,
    ) -> Result<Explanation, ControlError> {
        let own = who.as_ref().is_none_or(|who| *who == actor.principal.id);
        if !own {
            actor.must_oversee()?;
        }
        self.kernel.limit_requests(&actor.principal.id).await?;
        let asker = who.filter(|_| !own).map_or_else(|| actor.asker(), stranger);
        let (now, inventory) = (self.kernel.now(), self.kernel.inventory());
        let risk = if own {
            let db = &mut *self.kernel.store().read().await?;
            risk::assess(db, &asker, None, now).await?.risk
        } else {
            Risk::default()
        };
        // The coming week is gone through, which takes a moment: for one at a time, beside the others.
        // Whoever doesn't wait for the answer keeps the turn until it is there all the same.
        let turn = Arc::clone(&self.own.explaining).acquire_owned();
        let turn = turn.await.map_err(|_| InternalError::Broken)?;
        let (access, oversees) = (self.clone(), actor.oversees());
        let explaining = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let facts = requested.facts(Facts { risk, ..Facts::new(now, None) });
            let explanation = inventory.explained(&asker.principal, &requested, &facts)?;
            let explanation = if oversees { explanation } else { discreet(explanation) };
            Ok(access.unless_locked(&asker, &inventory, &requested, explanation))
        });
        explaining.await.map_err(|_| InternalError::Broken)?
    }

    /// A lock stands above all rules.
    fn unless_locked(
        &self,
        asker: &Asker,
        inventory: &Inventory,
        requested: &AccessRequestInput,
        explanation: Explanation,
    ) -> Explanation {
        let resolved = inventory.resolve(&requested.resource).ok();
        let locked = resolved.and_then(|(_, resource)| {
            self.kernel.not_locked(asker, &resource, self.kernel.now()).err()
        });
        match locked {
            Some(why) => Explanation {
                answer: format!("{} can't have {}: {why}", explanation.name, explanation.resource),
                verdict: Verdict::Denied,
                ..explanation
            },
            None => explanation,
        }
    }
}

/// Somebody else, of whom nothing is known but who they are.
fn stranger(principal: PrincipalId) -> Asker {
    let (device, credential, place, touch) = (None, None, None, None);
    Asker { principal, device, carrier: Carrier::Session, credential, place, touch }
}

/// What somebody reads who doesn't oversee the rules.
fn discreet(explanation: Explanation) -> Explanation {
    let rules = explanation.rules.into_iter().map(|mut rule| {
        let name = Path::new(&rule.place.file).file_name();
        rule.place.file = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        rule
    });
    Explanation { rules: rules.collect(), otherwise: Vec::new(), ..explanation }
}

impl Inventory {
    fn explained(
        &self,
        who: &PrincipalId,
        requested: &AccessRequestInput,
        facts: &Facts,
    ) -> Result<Explanation, ControlError> {
        let person = self.people.get(who).ok_or(Refusal::NotFound("person"))?;
        let (directory, calendar) = (self.seen_by_rules(), &self.context.calendar);
        let clock = |now| calendar.local(now);
        let inquiry = Inquiry { book: &self.rules, directory: &directory, clock: &clock };
        let facts = self.informed(&person.principal, facts);
        inquiry.explain(who, &requested.resource, facts).map_err(|why| match why {
            InquiryError::NoPerson(_) => Refusal::NotFound("person").into(),
            InquiryError::NoTarget(_) => Refusal::NotFound("target").into(),
            InquiryError::Resource(why) => Refusal::Rejected(why.into()).into(),
        })
    }

    /// Who and what there is, as rules see it.
    fn seen_by_rules(&self) -> Directory {
        let people = self.people.iter().map(|(id, person)| {
            let human = self.human(id);
            let member = Member {
                principal: person.principal.clone(),
                disabled: person.disabled,
                workload: self.is_workload(id),
                same_as: (human != id).then(|| human.clone()),
            };
            (id.clone(), member)
        });
        let issuers = self.issuers.values();
        let mapped = issuers.clone().filter_map(|issuer| issuer.groups.as_ref());
        let mapped = mapped.flat_map(|groups| groups.values().cloned());
        let elsewhere: BTreeSet<GroupName> =
            mapped.chain(self.context.rosters.keys().cloned()).collect();
        Directory {
            people: people.collect(),
            targets: (*self.targets).clone(),
            elsewhere,
            any_group: issuers.clone().any(|issuer| issuer.groups.is_none()),
            stand_ins: self.workflow.escalate_to.clone(),
        }
    }
}
