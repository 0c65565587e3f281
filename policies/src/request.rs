//! An access request: somebody asks, and it ends granted, denied, withdrawn or lapsed. Once.
//!
//! An approval carries the digest of what the approver saw. A request that reads otherwise by then
//! is another request, and the approval is refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    Act, GroupName, Need, Principal, PrincipalId, Purpose, RequestId, Resource, StepUp,
    StepUpError, StepUpId, Terms, Ticket, Timestamp, Ttl,
};

/// How old a step-up may be that no rule asks for: nobody is shut out by it, but it has to be about
/// this very act.
const UNRULED: Ttl = Ttl::from_secs(300);

/// SHA-256 over what was asked, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Digest {
    /// Any text can be compared with a digest; only the right one is equal.
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// An access request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Who asks.
    pub principal: PrincipalId,
    /// For what; the database is filled in.
    pub resource: Resource,
    /// For how long, already within the limit of the terms.
    pub ttl: Ttl,
    /// Why, in the words of the one who asks.
    pub reason: String,
    /// The ticket that it is for, where one was named.
    #[serde(default)]
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    #[serde(default)]
    pub act: Act,
    /// What it takes.
    pub terms: Terms,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it lapses if nobody decides.
    pub lapses_at: Timestamp,
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
    /// For how long.
    pub ttl: Ttl,
    /// Why.
    pub reason: String,
    /// The ticket, where one was named.
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    pub act: Act,
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RequestState {
    /// The one who asks has to prove themselves before anybody is asked.
    NeedsStepUp,
    /// It waits for people.
    NeedsApproval {
        /// Who said yes so far.
        approvals: Vec<Approval>,
    },
    /// Its terms are met.
    Granted {
        /// When.
        at: Timestamp,
        /// Who said yes; empty where nobody had to be asked.
        approvals: Vec<Approval>,
    },
    /// An approver said no.
    Denied {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The one who asked took it back.
    Withdrawn {
        /// When.
        at: Timestamp,
    },
    /// Nobody decided in time.
    Lapsed {
        /// When.
        at: Timestamp,
    },
}

/// One person's yes to one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: PrincipalId,
    /// The groups they were in then.
    pub groups: BTreeSet<GroupName>,
    /// What they saw.
    pub digest: Digest,
    /// With what they proved themselves, where they did.
    #[serde(default)]
    pub step_up: Option<StepUpId>,
    /// When.
    pub at: Timestamp,
}

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
        by: Principal,
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
        by: Principal,
        /// Why.
        reason: String,
    },
    /// The one who asked takes it back.
    Withdraw {
        /// Who.
        by: PrincipalId,
    },
    /// Time has passed.
    Tick,
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
    #[error("nobody decides on their own request")]
    Own,
    /// The request isn't theirs to take back.
    #[error("only the one who asked can withdraw a request")]
    NotTheirs,
    /// None of the groups that are asked has this person.
    #[error("approving this takes a member of {0}")]
    NotAsked(String),
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
        (now, patience): (Timestamp, Ttl),
    ) -> Self {
        let Wanted { resource, ttl, reason, ticket, act } = wanted;
        let ttl = terms.limit.map_or(ttl, |limit| ttl.min(limit));
        let (asked_at, lapses_at) = (now, now.after(patience));
        let state = RequestState::NeedsStepUp;
        let asked = Self {
            id,
            principal,
            resource,
            ttl,
            reason,
            ticket,
            act,
            terms,
            asked_at,
            lapses_at,
            step_up: None,
            state,
        };
        let proved =
            step_up.map_or(Err(RequestError::NeedsStepUp), |given| asked.proved(given, now));
        match (asked.terms.step_up, proved) {
            (_, Ok(proved)) => proved,
            (Some(_), Err(_)) => asked,
            (None, Err(_)) => Self { state: asked.after(Vec::new(), now), ..asked },
        }
    }

    /// The request once the one who asks has proved themselves.
    fn proved(&self, given: &StepUp, now: Timestamp) -> Result<Self, RequestError> {
        let subject = self.resource.to_string();
        self.fits(given, &self.principal, (Purpose::Ask, &subject), now)?;
        let state = self.after(Vec::new(), now);
        Ok(Self { state, step_up: Some(given.id.clone()), ..self.clone() })
    }

    /// Where no rule says how fresh, a touch is good for as long as anybody waits for it.
    fn fits(
        &self,
        given: &StepUp,
        principal: &PrincipalId,
        (purpose, subject): (Purpose, &str),
        now: Timestamp,
    ) -> Result<(), RequestError> {
        let within = self.terms.step_up.unwrap_or(UNRULED);
        let need = Need { principal, purpose, subject, bound: None, within };
        Ok(given.serves(&need, now)?)
    }

    /// The digest of what is asked. It doesn't move when people approve.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let terms = self.terms.approvals.to_string();
        let step_up = self.terms.step_up.map(|within| format!("step-up {within}"));
        let ticket = self.ticket.as_ref().map(|ticket| format!("ticket {ticket}"));
        let emergency = (self.act != Act::Connect).then(|| self.act.to_string());
        let said = [step_up, ticket, emergency];
        let parts = [
            "postern request v1",
            self.id.as_str(),
            self.principal.as_str(),
            &self.resource.to_string(),
            &self.ttl.to_string(),
            &self.reason,
            &terms,
            &self.asked_at.millis().to_string(),
        ];
        for part in parts.into_iter().chain(said.iter().flatten().map(String::as_str)) {
            // Lengths keep two different requests from running together into one text.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Digest(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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
        let state = match event {
            RequestEvent::Tick if late => RequestState::Lapsed { at: now },
            RequestEvent::Tick => self.state.clone(),
            _ if late => return Err(RequestError::Lapsed),
            RequestEvent::Withdraw { by } if by == self.principal => {
                RequestState::Withdrawn { at: now }
            }
            RequestEvent::Withdraw { .. } => return Err(RequestError::NotTheirs),
            RequestEvent::Deny { by, reason } => {
                self.may_decide(&by)?;
                RequestState::Denied { by: by.id, reason, at: now }
            }
            RequestEvent::StepUp { step_up } => return self.touched(&step_up, now),
            RequestEvent::Approve { by, digest, shorten, step_up } => {
                return self.approved(by, (digest, shorten), step_up.as_ref(), now);
            }
        };
        Ok(Self { state, ..self.clone() })
    }

    fn touched(&self, given: &StepUp, now: Timestamp) -> Result<Self, RequestError> {
        match &self.state {
            RequestState::NeedsStepUp => self.proved(given, now),
            RequestState::NeedsApproval { .. } => Err(RequestError::Over("proved")),
            RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => Err(RequestError::Over(self.state.word())),
        }
    }

    fn approved(
        &self,
        by: Principal,
        (digest, shorten): (Digest, Option<Ttl>),
        given: Option<&StepUp>,
        now: Timestamp,
    ) -> Result<Self, RequestError> {
        self.may_decide(&by)?;
        let RequestState::NeedsApproval { approvals } = &self.state else {
            return Err(RequestError::TooEarly);
        };
        if approvals.iter().any(|approval| approval.by == by.id) {
            return Err(RequestError::Twice);
        }
        if digest != self.digest() {
            return Err(RequestError::Changed);
        }
        let step_up = self.touch_of(&by.id, given, now)?;
        let approval = Approval { by: by.id, groups: by.groups, digest, step_up, at: now };
        let all = approvals.iter().cloned().chain([approval]).collect();
        let ttl = shorten.map_or(self.ttl, |wish| wish.min(self.ttl));
        Ok(Self { state: self.after(all, now), ttl, ..self.clone() })
    }

    /// An approver's step-up: wanted where the terms say so, and right wherever it is given.
    fn touch_of(
        &self,
        by: &PrincipalId,
        given: Option<&StepUp>,
        now: Timestamp,
    ) -> Result<Option<StepUpId>, RequestError> {
        match (given, self.terms.step_up) {
            (None, Some(_)) => Err(RequestError::NeedsStepUp),
            (None, None) => Ok(None),
            (Some(given), _) => {
                self.fits(given, by, (Purpose::Approve, self.id.as_str()), now)?;
                Ok(Some(given.id.clone()))
            }
        }
    }

    fn after(&self, approvals: Vec<Approval>, now: Timestamp) -> RequestState {
        if self.missing(&approvals) == 0 {
            RequestState::Granted { at: now, approvals }
        } else {
            RequestState::NeedsApproval { approvals }
        }
    }

    /// How many more people have to say yes.
    #[must_use]
    pub fn missing(&self, approvals: &[Approval]) -> usize {
        self.terms.approvals.missing(approvals.iter().map(|yes| (&yes.by, &yes.groups)))
    }

    /// Whether this person may say yes or no.
    ///
    /// # Errors
    /// Where it is their own request, or none of their groups is asked.
    pub fn may_decide(&self, by: &Principal) -> Result<(), RequestError> {
        if by.id == self.principal {
            return Err(RequestError::Own);
        }
        let asked = &self.terms.approvals;
        if asked.ask(&by.groups) {
            return Ok(());
        }
        let groups: Vec<&str> = asked.quorums().map(|quorum| quorum.group.as_str()).collect();
        Err(RequestError::NotAsked(groups.join(" or ")))
    }
}

impl RequestState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NeedsStepUp | Self::NeedsApproval { .. } => "pending",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn person(id: &str, groups: &[&str]) -> Principal {
        Principal {
            id: PrincipalId::new(id).unwrap(),
            name: id.into(),
            groups: groups.iter().map(|name| GroupName::new(name).unwrap()).collect(),
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            resource: "app_rw@orders/shop".parse().unwrap(),
            ttl: Ttl::from_secs(7_200),
            reason: "fix order 7".into(),
            ticket: None,
            act: Act::Connect,
        }
    }

    fn asked(quorum: &[&str]) -> Request {
        let terms = Terms {
            approvals: quorum.join(", ").try_into().unwrap(),
            limit: Some(Ttl::from_secs(3_600)),
            ..Terms::default()
        };
        Request::ask(
            RequestId::new("rq-1").unwrap(),
            PrincipalId::new("alice").unwrap(),
            wanted(),
            terms,
            None,
            (at(0), Ttl::from_secs(600)),
        )
    }

    fn approve(request: &Request, by: Principal) -> Result<Request, RequestError> {
        let digest = request.digest();
        request.apply(RequestEvent::Approve { by, digest, shorten: None, step_up: None }, at(1))
    }

    #[test]
    fn the_limit_of_the_rules_shortens_the_wish() {
        assert_eq!(asked(&[]).ttl, Ttl::from_secs(3_600));
    }

    #[test]
    fn nobody_asked_means_granted_at_once() {
        assert_eq!(asked(&[]).state.word(), "granted");
    }

    #[test]
    fn nobody_approves_or_denies_their_own() {
        let request = asked(&["1 of dba"]);
        let alice = || person("alice", &["dba"]);
        assert_eq!(approve(&request, alice()), Err(RequestError::Own));
        let deny = RequestEvent::Deny { by: alice(), reason: String::new() };
        assert_eq!(request.apply(deny, at(1)), Err(RequestError::Own));
    }

    #[test]
    fn approving_twice_counts_once() {
        let request = approve(&asked(&["2 of dba"]), person("bob", &["dba"])).unwrap();
        assert_eq!(approve(&request, person("bob", &["dba"])), Err(RequestError::Twice));
        let request = approve(&request, person("carol", &["dba"])).unwrap();
        assert_eq!(request.state.word(), "granted");
    }

    #[test]
    fn a_person_in_two_groups_counts_once() {
        let request =
            approve(&asked(&["1 of dba", "1 of leads"]), person("bob", &["dba", "leads"])).unwrap();
        assert!(request.is_pending());
        assert!(!approve(&request, person("carol", &["dba"])).unwrap().is_pending());
    }

    #[test]
    fn an_approval_of_something_else_is_refused() {
        let request = asked(&["1 of dba"]);
        let edited = Request { reason: "other".into(), ..request.clone() };
        let event = RequestEvent::Approve {
            by: person("bob", &["dba"]),
            digest: request.digest(),
            shorten: None,
            step_up: None,
        };
        assert_eq!(edited.apply(event, at(1)), Err(RequestError::Changed));
    }

    #[test]
    fn the_ticket_and_the_act_are_part_of_what_is_approved() {
        let request = asked(&["1 of dba"]);
        let ticket = Some(Ticket::new("OPS-12").unwrap());
        for edited in [
            Request { ticket, ..request.clone() },
            Request { act: Act::BreakGlass, ..request.clone() },
        ] {
            assert_ne!(edited.digest(), request.digest());
        }
    }

    #[test]
    fn an_approver_can_shorten_but_not_lengthen() {
        let request = asked(&["1 of dba"]);
        for (wish, got) in [(60, 60), (99_999, 3_600)] {
            let event = RequestEvent::Approve {
                by: person("bob", &["dba"]),
                digest: request.digest(),
                shorten: Some(Ttl::from_secs(wish)),
                step_up: None,
            };
            assert_eq!(request.apply(event, at(1)).unwrap().ttl, Ttl::from_secs(got));
        }
    }

    #[test]
    fn pending_requests_lapse_and_stay_lapsed() {
        let request = asked(&["1 of dba"]);
        assert_eq!(request.apply(RequestEvent::Tick, at(599)).unwrap(), request);
        let late = RequestEvent::Withdraw { by: request.principal.clone() };
        assert_eq!(request.apply(late, at(600)), Err(RequestError::Lapsed));
        let lapsed = request.apply(RequestEvent::Tick, at(600)).unwrap();
        assert_eq!(approve(&lapsed, person("bob", &["dba"])), Err(RequestError::Over("lapsed")));
    }

    #[test]
    fn only_the_one_who_asked_withdraws() {
        let request = asked(&["1 of dba"]);
        let by = |id: &str| RequestEvent::Withdraw { by: PrincipalId::new(id).unwrap() };
        assert_eq!(request.apply(by("bob"), at(1)), Err(RequestError::NotTheirs));
        assert_eq!(request.apply(by("alice"), at(1)).unwrap().state.word(), "withdrawn");
    }

    fn stepped(quorum: &[&str]) -> Request {
        let request = asked(&["9 of nobody"]);
        let terms = Terms {
            approvals: quorum.join(", ").try_into().unwrap(),
            step_up: Some(Ttl::from_secs(60)),
            ..request.terms
        };
        let wanted = Wanted { ttl: request.ttl, ..wanted() };
        let patience = (at(0), Ttl::from_secs(600));
        Request::ask(request.id, request.principal, wanted, terms, None, patience)
    }

    fn touch(by: &str, purpose: Purpose, subject: &str, secs: i64) -> StepUp {
        crate::step_up::tests::touch(by, purpose, subject, at(secs))
    }

    #[test]
    fn nobody_is_asked_before_the_one_who_asks_has_proved_themselves() {
        let request = stepped(&["1 of dba"]);
        assert_eq!((&request.state, request.is_pending()), (&RequestState::NeedsStepUp, true));
        assert_eq!(approve(&request, person("bob", &["dba"])), Err(RequestError::TooEarly));
        let prove = |step_up| request.apply(RequestEvent::StepUp { step_up }, at(10));
        let wish = "app_rw@orders/shop";
        for (wrong, why) in [
            (touch("bob", Purpose::Ask, wish, 9), StepUpError::AnotherPerson),
            (touch("alice", Purpose::Approve, wish, 9), StepUpError::AnotherPurpose),
            (touch("alice", Purpose::Ask, "app_ro@orders/shop", 9), StepUpError::AnotherSubject),
            (touch("alice", Purpose::Ask, wish, -50), StepUpError::Stale),
        ] {
            assert_eq!(prove(wrong), Err(RequestError::Unfit(why)));
        }
        let proved = prove(touch("alice", Purpose::Connect, wish, 9)).unwrap();
        assert_eq!(proved.state, RequestState::NeedsApproval { approvals: vec![] });
        assert_eq!(proved.step_up.as_ref().map(StepUpId::as_str), Some("su-1"));
        assert_eq!(proved.digest(), request.digest());
    }

    #[test]
    fn an_approval_takes_a_touch_for_this_very_request() {
        let step_up = touch("alice", Purpose::Ask, "app_rw@orders/shop", 0);
        let request =
            stepped(&["1 of dba"]).apply(RequestEvent::StepUp { step_up }, at(1)).unwrap();
        let say = |step_up| {
            let (by, digest) = (person("bob", &["dba"]), request.digest());
            request.apply(RequestEvent::Approve { by, digest, shorten: None, step_up }, at(70))
        };
        assert_eq!(say(None), Err(RequestError::NeedsStepUp));
        for (who, purpose, subject, secs) in [
            ("carol", Purpose::Approve, "rq-1", 69),
            ("bob", Purpose::Connect, "rq-1", 69),
            ("bob", Purpose::Approve, "rq-2", 69),
            ("bob", Purpose::Approve, "rq-1", 10),
        ] {
            let given = Some(touch(who, purpose, subject, secs));
            assert!(matches!(say(given), Err(RequestError::Unfit(_))), "{who} {purpose} {subject}");
        }
        let granted = say(Some(touch("bob", Purpose::Approve, "rq-1", 69))).unwrap();
        assert_eq!(granted.state.word(), "granted");
    }

    #[test]
    fn a_wish_that_takes_only_a_touch_is_granted_by_it() {
        let request = stepped(&[]);
        assert!(request.is_pending());
        let step_up = touch("alice", Purpose::Ask, "app_rw@orders/shop", 0);
        let granted = request.apply(RequestEvent::StepUp { step_up }, at(1)).unwrap();
        assert_eq!(granted.state.word(), "granted");
    }

    fn any_touch() -> impl Strategy<Value = Option<StepUp>> {
        let people = prop::sample::select(vec!["alice", "bob", "carol"]);
        let purposes = prop::sample::select(vec![Purpose::Ask, Purpose::Approve, Purpose::Connect]);
        let subjects = prop::sample::select(vec!["rq-1", "app_rw@orders/shop", "rq-2"]);
        let touch = (people, purposes, subjects, 0..120_i64)
            .prop_map(|(who, purpose, subject, secs)| touch(who, purpose, subject, secs));
        prop::option::of(touch)
    }

    fn any_event(request: Request) -> impl Strategy<Value = RequestEvent> {
        let people = prop::sample::select(vec!["alice", "bob", "carol", "dave"]);
        let groups = prop::sample::subsequence(vec!["dba", "leads"], 0..=2);
        (people, groups, 0..5_u8).prop_map(move |(id, groups, kind)| {
            let by = person(id, &groups);
            match kind {
                0 | 1 => RequestEvent::Approve {
                    by,
                    digest: request.digest(),
                    shorten: None,
                    step_up: None,
                },
                2 => RequestEvent::Deny { by, reason: "no".into() },
                3 => RequestEvent::Withdraw { by: by.id },
                _ => RequestEvent::Tick,
            }
        })
    }

    fn any_touched_event() -> impl Strategy<Value = RequestEvent> {
        let people = prop::sample::select(vec!["alice", "bob", "carol"]);
        (people, any_touch(), 0..3_u8).prop_map(|(who, given, kind)| match (given, kind) {
            (Some(step_up), 0) => RequestEvent::StepUp { step_up },
            (step_up, 0 | 1) => RequestEvent::Approve {
                by: person(who, &["dba"]),
                digest: stepped(&["1 of dba"]).digest(),
                shorten: None,
                step_up,
            },
            (_, _) => RequestEvent::Tick,
        })
    }

    proptest! {
        #[test]
        fn no_order_of_events_grants_without_its_step_ups(
            events in prop::collection::vec((any_touched_event(), 0..300_i64), 0..16)
        ) {
            let (mut request, mut now) = (stepped(&["1 of dba"]), 0);
            for (event, step) in events {
                now += step / 10;
                request = request.apply(event, at(now)).unwrap_or(request);
            }
            if let RequestState::Granted { approvals, .. } = &request.state {
                prop_assert!(request.step_up.is_some());
                prop_assert!(approvals.iter().all(|yes| yes.step_up.is_some()));
            }
        }

        #[test]
        fn no_order_of_events_grants_without_its_approvals(
            events in prop::collection::vec((any_event(asked(&["1 of dba", "1 of leads"])), 0..700_i64), 0..12)
        ) {
            let mut request = asked(&["1 of dba", "1 of leads"]);
            let mut now = 0;
            for (event, step) in events {
                now += step / 10;
                let before = request.clone();
                if let Ok(next) = request.apply(event, at(now)) {
                    prop_assert!(before.is_pending(), "nothing follows an end");
                    request = next;
                }
                prop_assert_eq!(request.digest(), before.digest());
            }
            if let RequestState::Granted { approvals, at } = &request.state {
                prop_assert_eq!(request.missing(approvals), 0);
                prop_assert!(approvals.iter().all(|yes| yes.by != request.principal));
                prop_assert!(*at < request.lapses_at);
            }
        }
    }
}
