//! The answers of control that serve later connections too, by who was authenticated.
//!
//! Control decided about one proof of identity: one certificate, key or token, of one device. Only a
//! connection with the same proof finds the answer again; another proof of the same person, even
//! from the same address and under the same grant, is another question to control.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::{DashMap, Entry};
use policies::{AdmissionQuery, DeviceId, LeaseKey, Method, PrincipalId};
use tokio::time::Instant;

use super::begun::Begun;
use crate::core::identity::Identity;
use crate::core::leases::Held;

/// How many proofs of identity have answers at once. Beyond it, connections ask control each time.
const MOST_PROOFS: usize = 4_096;
/// How many answers one proof has: one for each grant and address.
const MOST_ANSWERS: usize = 8;

/// What was authenticated, and nothing else: no address and no grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProofKey {
    principal: PrincipalId,
    method: Method,
    /// The certificate's serial, the key's fingerprint, the token's public part.
    evidence: String,
    device: Option<DeviceId>,
}

impl ProofKey {
    /// None where the proof was for one connection only, so that no later one can show it again.
    pub(super) fn of(identity: &Identity) -> Option<Self> {
        let authn = &identity.authn;
        match authn.method {
            Method::Certificate
            | Method::Token
            | Method::Bearer
            | Method::Key
            | Method::Workload => Some(Self {
                principal: identity.principal.clone(),
                method: authn.method,
                evidence: authn.evidence.clone(),
                device: authn.device.clone(),
            }),
            Method::Confirmed | Method::Link | Method::Passkey | Method::Oidc => None,
        }
    }

    /// The same as a connection to this would show it.
    pub(super) fn query<'a>(&'a self, key: &'a LeaseKey) -> AdmissionQuery<'a> {
        AdmissionQuery { key, device: self.device.as_ref(), credential: Some(&self.evidence) }
    }
}

/// An answer, with the grant and the address that it was about.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) held: Arc<Held>,
    pub(super) from: IpAddr,
    pub(super) begun: Begun,
    pub(super) until: Instant,
}

/// What a connection asks control about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) held: &'a Arc<Held>,
    pub(super) from: IpAddr,
}

impl Answer {
    fn question(&self) -> Question<'_> {
        Question { held: &self.held, from: self.from }
    }
}

impl Question<'_> {
    fn is(self, other: Question<'_>) -> bool {
        Arc::ptr_eq(self.held, other.held) && self.from == other.from
    }
}

/// All of them. What isn't kept is asked for again, so that a full table denies nothing.
#[derive(Debug, Default)]
pub(super) struct Kept {
    by_proof: DashMap<ProofKey, Vec<Answer>>,
}

impl Kept {
    /// The answer to the same question, where it is still good.
    pub(super) fn find(
        &self,
        who: &ProofKey,
        question: Question<'_>,
        is_good: impl Fn(&Answer) -> bool,
    ) -> Option<Begun> {
        let answers = self.by_proof.get(who)?;
        let mut found = answers.iter().filter(|answer| answer.question().is(question));
        found.find(|answer| is_good(answer)).map(|answer| answer.begun.clone())
    }

    /// Keeps an answer instead of the one to the same question, or else of this proof's oldest.
    pub(super) fn put(&self, who: ProofKey, answer: Answer) {
        let is_full = self.by_proof.len() >= MOST_PROOFS;
        let mut answers = match self.by_proof.entry(who) {
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(entry) => entry.insert(Vec::new()),
            Entry::Occupied(entry) => entry.into_ref(),
        };
        answers.retain(|kept| !kept.question().is(answer.question()));
        if answers.len() >= MOST_ANSWERS {
            answers.remove(0);
        }
        answers.push(answer);
    }

    /// Drops all answers for which this is false.
    pub(super) fn retain(&self, keep: impl Fn(&ProofKey, &Answer) -> bool) {
        self.by_proof.retain(|who, answers| {
            answers.retain(|answer| keep(who, answer));
            !answers.is_empty()
        });
    }

    /// How many answers there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_proof.iter().map(|answers| answers.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use link::v1;
    use policies::{End, Lock, Partition, Term};
    use tonic::Status;

    use super::super::{BeginError, Wire};
    use super::*;
    use crate::core::leases::Delta;
    use crate::core::testing::{LONG, Rig, alice, at, lease, lock};

    const HERE: &str = "192.0.2.7:5555";

    fn rig() -> Rig {
        let rig = Rig::new();
        rig.grant(vec![lease("gr-1", Term::Until(at(600)))], Partition::UntilLeaseEnd);
        let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
        let (ends_ms, credential) = (at(600).millis(), Some(credential));
        let reply = v1::BeginReply { ends_ms, credential, keep: true, ..Default::default() };
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
        rig
    }

    fn proof(method: Method, evidence: &str, device: Option<&str>) -> Identity {
        let mut identity = alice();
        identity.authn.method = method;
        identity.authn.evidence = evidence.to_owned();
        identity.authn.device = device.map(|device| device.parse().unwrap());
        identity
    }

    async fn begin(rig: &Rig, identity: &Identity) -> Result<Begun, BeginError> {
        rig.plane.credentials.begin(&rig.open_as(identity.clone(), HERE)).await
    }

    fn asked(rig: &Rig) -> usize {
        rig.control.begins.lock().unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn another_proof_of_the_same_person_at_the_same_address_asks_control_itself() {
        let rig = rig();
        let proofs = [
            proof(Method::Certificate, "01", Some("laptop")),
            proof(Method::Certificate, "02", Some("laptop")),
            proof(Method::Certificate, "01", Some("phone")),
            proof(Method::Workload, "01", Some("laptop")),
            proof(Method::Key, "SHA256:a", None),
            proof(Method::Key, "SHA256:b", None),
            proof(Method::Token, "a", None),
            proof(Method::Token, "b", None),
            proof(Method::Bearer, "a", None),
        ];
        for round in 0..2 {
            for (at, identity) in proofs.iter().enumerate() {
                begin(&rig, identity).await.unwrap();
                let expected = if round == 0 { at + 1 } else { proofs.len() };
                assert_eq!(asked(&rig), expected, "round {round}: {:?}", identity.authn);
            }
        }
        let no = Status::permission_denied("not with this one");
        *rig.control.begin_reply.lock().unwrap() = Some(Err(no));
        let stolen = proof(Method::Certificate, "03", Some("laptop"));
        let refused = begin(&rig, &stolen).await.unwrap_err();
        assert_eq!(refused.to_string(), "not with this one");
        begin(&rig, &proofs[0]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_connection_alone_proved_is_kept_for_none() {
        let rig = rig();
        for _ in 0..2 {
            begin(&rig, &proof(Method::Confirmed, "ho-1", Some("laptop"))).await.unwrap();
        }
        assert_eq!((asked(&rig), rig.plane.credentials.kept.len()), (2, 0));
    }

    fn locks(rig: &Rig, revision: u64, lock: Lock) {
        let delta = Delta { locks: vec![lock], ..Delta::default() };
        rig.plane.leases.apply_delta(revision, LONG, delta).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_takes_back_what_was_kept_for_the_locked_proof_alone() {
        for (subject, left) in [
            ("credential:01", 1),
            ("device:laptop", 1),
            ("device:tablet", 2),
            ("principal:alice", 0),
            ("target:orders", 0),
        ] {
            let rig = rig();
            let laptop = proof(Method::Certificate, "01", Some("laptop"));
            let phone = proof(Method::Certificate, "02", Some("phone"));
            for identity in [&laptop, &phone] {
                begin(&rig, identity).await.unwrap();
            }
            locks(&rig, 2, lock(subject));
            rig.plane.credentials.sweep(&rig.plane.leases);
            assert_eq!(rig.plane.credentials.kept.len(), left, "{subject}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_a_lock_ends_gets_no_kept_answer_before_the_sweep_either() {
        let rig = rig();
        let laptop = proof(Method::Certificate, "01", Some("laptop"));
        let session = rig.open_as(laptop, HERE);
        rig.plane.credentials.begin(&session).await.unwrap();
        locks(&rig, 2, lock("credential:01"));
        let no = Status::permission_denied("locked");
        *rig.control.begin_reply.lock().unwrap() = Some(Err(no));
        let refused = rig.plane.credentials.begin(&session).await.unwrap_err();
        assert_eq!(refused.to_string(), "locked");
        assert!(matches!(session.must_end(), Some(End::Locked(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_bounded_and_what_is_not_kept_is_asked_for_again() {
        let rig = rig();
        let laptop = proof(Method::Certificate, "01", Some("laptop"));
        for host in 0..=MOST_ANSWERS {
            let session = rig.open_as(laptop.clone(), &format!("192.0.2.{host}:1"));
            rig.plane.credentials.begin(&session).await.unwrap();
        }
        let kept = &rig.plane.credentials.kept;
        assert_eq!(kept.len(), MOST_ANSWERS);
        let session = rig.open_as(laptop, &format!("192.0.2.{MOST_ANSWERS}:1"));
        rig.plane.credentials.begin(&session).await.unwrap();
        assert_eq!(asked(&rig), MOST_ANSWERS + 1, "the latest are kept");
        let (pass, until) = (session.pass().clone(), rig.plane.clock.instant());
        let begun = rig.plane.credentials.begin(&session).await.unwrap();
        for number in 0..MOST_PROOFS {
            let who = ProofKey::of(&proof(Method::Token, &number.to_string(), None)).unwrap();
            let (held, from) = (Arc::clone(&pass.held), session.client().ip());
            kept.put(who, Answer { held, from, begun: begun.clone(), until });
        }
        assert_eq!(kept.by_proof.len(), MOST_PROOFS);
    }
}
