//! What the rules and the locks say about somebody who wants something, by the inventory in force.
//!
//! It is asked when somebody asks, again when somebody approves, at every connection, and about
//! every live grant when the inventory changes.

use policies::{
    Approvals, Decision, Facts, Grant, Grounds, PrincipalId, Request, Resource, Terms, Ttl,
};

use crate::model::error::Rejection;
use crate::model::inventory::Inventory;

impl Inventory {
    /// What it takes for this person to have this, with the database filled in.
    pub(crate) fn evaluate(
        &self,
        id: &PrincipalId,
        requested: &Resource,
        facts: &Facts,
    ) -> Result<(Resource, Terms), Rejection> {
        let person = self.person(id)?;
        let (target, resource) = self.resolve(requested)?;
        let facts = self.informed(&person.principal, facts);
        match self.rules.decide(&person.principal, target, &resource, &facts) {
            Decision::Allow(terms) if terms.step_up.is_some() && self.is_workload(id) => {
                Err(Rejection::NobodyThere)
            }
            Decision::Allow(terms) => Ok((resource, terms)),
            Decision::Deny(refusal) => Err(refusal.into()),
        }
    }

    /// Which rules gave this to whoever asked, and by which facts.
    pub(crate) fn grounds(
        &self,
        request: &Request,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Grounds, Rejection> {
        let person = self.person(&request.principal)?;
        let (target, resource) = self.resolve(resource)?;
        let facts = self.informed(&person.principal, &facts.clone().about(request));
        Ok(self.rules.grounds(&person.principal, target, &resource, &facts)?)
    }

    /// Whether a pending request still asks the people that the rules want.
    /// It says what they want by now.
    pub(crate) fn still_asks(&self, request: &Request, facts: &Facts) -> Result<Terms, Rejection> {
        let facts = facts.clone().about(request);
        let mut terms = Terms::default();
        for resource in request.resources() {
            terms = terms.and(self.evaluate(&request.principal, resource, &facts)?.1);
        }
        terms
            .check_input(request.ticket.as_ref(), &request.reason)
            .map_err(Rejection::MissingInput)?;
        if !request.terms.approvals.covers(&terms.approvals) {
            return Err(Rejection::NotCovered(needs(&terms.approvals)));
        }
        if let Some(wanted) = terms.step_up
            && request.terms.step_up.is_none_or(|asked| asked > wanted)
        {
            return Err(Rejection::NotCovered(format!("a step-up of the last {wanted}")));
        }
        within(&terms, request.ttl)?;
        Ok(terms)
    }

    /// Whether what was given, on the approvals of its request, would be given again: by which terms.
    /// Each person counts once, whatever names they have, and nobody for themselves.
    pub(crate) fn still_gives(
        &self,
        request: &Request,
        grant: &Grant,
        facts: &Facts,
    ) -> Result<Terms, Rejection> {
        let facts = facts.clone().about(request);
        let (_, terms) = self.evaluate(&request.principal, &grant.resource, &facts)?;
        terms
            .check_input(request.ticket.as_ref(), &request.reason)
            .map_err(Rejection::MissingInput)?;
        if !self.is_approved(request, &terms.approvals) {
            return Err(Rejection::NotCovered(needs(&terms.approvals)));
        }
        within(&terms, grant.ttl).map(|()| terms)
    }

    /// Whether those who said yes are enough people, each counted once, and none for themselves.
    pub(crate) fn is_approved(&self, request: &Request, wanted: &Approvals) -> bool {
        let asker = self.human(&request.principal);
        let said = request.state.approvals().iter().map(|yes| (self.human(&yes.by), yes.fills()));
        let others: Vec<_> = said.filter(|(by, _)| *by != asker).collect();
        wanted.missing(others.iter().map(|(by, fills)| (*by, fills))) == 0
    }
}

/// Whether everybody proved themselves whom the rules want to. How long ago no longer matters: a
/// step-up opens, and ends nothing.
pub(crate) fn was_proved(terms: &Terms, request: &Request) -> Result<(), Rejection> {
    let approvals = request.state.approvals();
    let proved =
        request.step_up.is_some() && approvals.iter().all(|approval| approval.step_up.is_some());
    match terms.step_up.filter(|_| !proved) {
        Some(wanted) => Err(Rejection::NotCovered(format!("a step-up of the last {wanted}"))),
        None => Ok(()),
    }
}

fn within(terms: &Terms, ttl: Ttl) -> Result<(), Rejection> {
    match terms.limit.filter(|limit| *limit < ttl) {
        Some(limit) => Err(Rejection::NotCovered(format!("{limit} at most"))),
        None => Ok(()),
    }
}

/// As `2 of dba, 1 of leads`.
pub(crate) fn needs(approvals: &Approvals) -> String {
    approvals.to_string()
}
