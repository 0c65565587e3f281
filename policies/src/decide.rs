//! The decision: may this person have this login on this target, and what does it take?
//!
//! Pure, total, and deny by default. An error while evaluating any rule is a denial.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityUid, PolicyId, PolicySet,
    Request, RestrictedExpression,
};

use crate::anatomy::RuleView;
use crate::policy::RuleBook;
use crate::{
    Act, Facts, Local, Obligations, Principal, Refusal, Resource, Risk, StepUpKind, Target, Terms,
    Timestamp, Ttl,
};

/// The answer of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, once the terms are met.
    Allow(Terms),
    /// No.
    Deny(Refusal),
}

impl RuleBook {
    /// Decides. `resource` has been resolved against `target`.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        target: &Target,
        resource: &Resource,
        facts: &Facts,
    ) -> Decision {
        let question = Question { book: self, principal, target, resource, facts };
        match question.answer() {
            Ok(terms) => Decision::Allow(terms),
            Err(refusal) => Decision::Deny(refusal),
        }
    }

    /// The rules that apply: those that permit it, and those that forbid it or oblige to something.
    /// One that can't be evaluated isn't among them.
    ///
    /// # Errors
    /// Where the question can't be asked at all.
    pub(crate) fn applying(
        &self,
        principal: &Principal,
        target: &Target,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Vec<RuleView<'_>>, String> {
        let question = Question { book: self, principal, target, resource, facts };
        let (request, entities) = question.pose()?;
        let authorizer = Authorizer::new();
        let views = self.views();
        let mut found = Vec::new();
        for set in [question.permits(), &self.forbids] {
            let response = authorizer.is_authorized(&request, set, &entities);
            for id in response.diagnostics().reason() {
                found.extend(views.iter().filter(|view| view.id == id).copied());
            }
        }
        Ok(found)
    }
}

struct Question<'a> {
    book: &'a RuleBook,
    principal: &'a Principal,
    target: &'a Target,
    resource: &'a Resource,
    facts: &'a Facts,
}

impl Question<'_> {
    fn answer(&self) -> Result<Terms, Refusal> {
        let (request, entities) = self.pose().map_err(Refusal::Faulty)?;
        let authorizer = Authorizer::new();
        let permit = authorizer.is_authorized(&request, self.permits(), &entities);
        let forbid = authorizer.is_authorized(&request, &self.book.forbids, &entities);
        let errors = permit.diagnostics().errors().chain(forbid.diagnostics().errors());
        if let Some(error) = errors.into_iter().next() {
            return Err(Refusal::Faulty(error.to_string()));
        }
        if permit.decision() != Verdict::Allow {
            return Err(Refusal::NotPermitted);
        }
        self.discharge(forbid.diagnostics().reason())
    }

    /// The permits that count for this act.
    fn permits(&self) -> &PolicySet {
        match self.facts.act {
            Act::Connect => &self.book.permits,
            Act::BreakGlass => &self.book.break_glass,
        }
    }

    /// Adds up what the forbidding rules take; one that takes nothing can't be discharged.
    fn discharge<'i>(
        &self,
        forbidding: impl Iterator<Item = &'i PolicyId>,
    ) -> Result<Terms, Refusal> {
        let mut rules = Vec::new();
        let mut absolute = Vec::new();
        let mut sum = Obligations::default();
        // In one order, so that the same rules come to the same terms.
        let forbidding: BTreeSet<_> = forbidding.collect();
        for id in forbidding {
            let rule = self.book.rules.get(id).ok_or_else(|| Refusal::Faulty(id.to_string()))?;
            rules.push(rule.title.clone());
            if rule.obligations.is_absolute() {
                absolute.push(rule.title.clone());
            }
            sum = sum.and(&rule.obligations);
        }
        rules.sort();
        absolute.sort();
        if !absolute.is_empty() {
            return Err(Refusal::Forbidden(absolute));
        }
        Terms::of(sum, rules, self.facts.act).recordable(self.target)
    }

    fn pose(&self) -> Result<(Request, Entities), String> {
        let entities =
            Entities::from_entities(self.people()?.chain(self.things()?), Some(&self.book.schema))
                .map_err(|error| error.to_string())?;
        let request = Request::new(
            uid("Person", self.principal.id.as_str())?,
            uid("Action", self.facts.act.word())?,
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            self.context()?,
            Some(&self.book.schema),
        )
        .map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn context(&self) -> Result<Context, String> {
        let facts = self.facts;
        let database = self.resource.database.as_ref().map_or("", |database| database.as_str());
        let Local { working_hours, holiday, day, hour, minute } = facts.local;
        let Risk { new_network, new_device, failed_attempts } = facts.risk;
        let mut pairs = vec![
            ("login", text(self.resource.login.as_str())),
            ("database", text(database)),
            ("time", instant(facts.now)),
            ("working_hours", RestrictedExpression::new_bool(working_hours)),
            ("holiday", RestrictedExpression::new_bool(holiday)),
            ("day", text(day.word())),
            ("hour", RestrictedExpression::new_long(hour.into())),
            ("minute", RestrictedExpression::new_long(minute.into())),
            ("on_call", RestrictedExpression::new_bool(facts.on_call)),
            ("break_glass", RestrictedExpression::new_bool(facts.act == Act::BreakGlass)),
            ("ttl", span(facts.ttl.unwrap_or(self.target.default_ttl))),
            ("new_network", RestrictedExpression::new_bool(new_network)),
            ("new_device", RestrictedExpression::new_bool(new_device)),
            ("failed_attempts", RestrictedExpression::new_long(failed_attempts.into())),
        ];
        if let Some((kind, age)) = facts.step_up {
            pairs.push(("step_up", step_up(kind, age)?));
        }
        pairs.extend(facts.channel.map(|channel| ("channel", text(channel.word()))));
        // An IPv4 address that came over an IPv6 socket is compared as the IPv4 address it is.
        let source = facts.source.map(|source| source.to_canonical().to_string());
        pairs.extend(source.map(|source| ("source", RestrictedExpression::new_ip(source))));
        pairs.extend(facts.ticket.iter().map(|ticket| ("ticket", text(ticket.as_str()))));
        pairs.extend(facts.ticket_state.iter().map(|state| ("ticket_state", text(state))));
        let reason = Some(facts.reason.as_str()).filter(|reason| !reason.is_empty());
        pairs.extend(reason.map(|reason| ("reason", text(reason))));
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        Context::from_pairs(pairs).map_err(|error| error.to_string())
    }

    fn people(&self) -> Result<impl Iterator<Item = Entity> + use<>, String> {
        let groups: Result<HashSet<EntityUid>, String> =
            self.principal.groups.iter().map(|group| uid("Group", group.as_str())).collect();
        let groups = groups?;
        let attributes = HashMap::from([("id".to_owned(), text(self.principal.id.as_str()))]);
        let person =
            Entity::new(uid("Person", self.principal.id.as_str())?, attributes, groups.clone())
                .map_err(|error| error.to_string())?;
        Ok(std::iter::once(person).chain(groups.into_iter().map(Entity::with_uid)))
    }

    fn things(&self) -> Result<impl Iterator<Item = Entity> + use<>, String> {
        let environment = self.target.environment.iter().map(|name| uid("Env", name.as_str()));
        let labels = self.target.labels.iter();
        let labels = labels.map(|(key, value)| uid("Label", &format!("{key}={value}")));
        let parents: HashSet<EntityUid> =
            environment.chain(labels).collect::<Result<_, String>>()?;
        let attributes = [("name".to_owned(), text(self.target.name.as_str()))];
        let tags = self.target.labels.iter().map(|(key, value)| (key.clone(), text(value)));
        let thing = Entity::new_with_tags(
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            attributes,
            parents.clone(),
            tags,
        )
        .map_err(|error| error.to_string())?;
        Ok(std::iter::once(thing).chain(parents.into_iter().map(Entity::with_uid)))
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = kind.parse().map_err(|error| format!("{error}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// Age is in whole seconds: a step-up of this moment is 0 old.
fn step_up(kind: StepUpKind, age: Ttl) -> Result<RestrictedExpression, String> {
    let fields = [
        ("kind".to_owned(), text(kind.word())),
        ("age".to_owned(), RestrictedExpression::new_long(age.millis() / 1_000)),
    ];
    RestrictedExpression::new_record(fields).map_err(|error| error.to_string())
}

fn span(span: Ttl) -> RestrictedExpression {
    RestrictedExpression::new_duration(span.to_string())
}

fn instant(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(at.to_string())
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
