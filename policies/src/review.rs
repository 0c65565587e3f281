//! The review of an emergency: what was done without approval stays open until somebody else has
//! looked at it and signs for that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    GrantId, GroupName, OtherHuman, PrincipalId, RequestId, Resource, ReviewId, Timestamp,
};

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its name.
    pub id: ReviewId,
    /// The grant that was given without approval.
    pub grant: GrantId,
    /// The request that it follows from.
    pub request: RequestId,
    /// Who used it.
    pub principal: PrincipalId,
    /// What it opened.
    pub resource: Resource,
    /// Why, in their words.
    pub reason: String,
    /// Whose approval it would have taken: their members sign, besides those who oversee.
    pub groups: BTreeSet<GroupName>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Where it stands.
    pub state: ReviewState,
}

/// Where a review stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ReviewState {
    /// Nobody has signed.
    Open,
    /// Somebody has.
    Signed {
        /// Who.
        by: PrincipalId,
        /// What they found.
        note: String,
        /// When.
        at: Timestamp,
    },
}

/// Somebody's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who.
    pub by: OtherHuman,
    /// Whether they oversee the gateway.
    pub oversees: bool,
    /// What they found.
    pub note: String,
}

/// Why a review isn't signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReviewError {
    /// Somebody has signed before.
    #[error("the review is already signed")]
    Signed,
    /// Nobody reviews what they did themselves.
    #[error("nobody signs the review of what they did themselves, under whatever name")]
    Own,
    /// They are neither asked nor oversee.
    #[error("a review is signed by those who would have approved, by admins or by auditors")]
    NotAsked,
    /// What was done isn't over.
    #[error("the grant is still open: its review is signed once it has ended")]
    TooEarly,
    /// A review says what was found.
    #[error("say what you found, in at least a word")]
    Silent,
}

impl Review {
    /// Whether nobody has signed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == ReviewState::Open
    }

    /// Whether this person may sign, once the grant has ended.
    ///
    /// # Errors
    /// Where it was signed, is about themselves, or they aren't asked.
    pub fn may_sign(&self, by: &OtherHuman, oversees: bool) -> Result<(), ReviewError> {
        if !self.is_open() {
            return Err(ReviewError::Signed);
        }
        match self.concerns(by) {
            Err(ReviewError::NotAsked) if oversees => Ok(()),
            other => other,
        }
    }

    /// Whether this is somebody else, whose approval it would have taken.
    ///
    /// # Errors
    /// Where it is about themselves, or they aren't asked.
    pub fn concerns(&self, by: &OtherHuman) -> Result<(), ReviewError> {
        if !by.is_other_than(&self.principal) {
            return Err(ReviewError::Own);
        }
        let asked = by.principal().groups.iter().any(|group| self.groups.contains(group));
        if asked { Ok(()) } else { Err(ReviewError::NotAsked) }
    }

    /// The one transition: somebody signs. `over` says whether the grant has ended.
    ///
    /// # Errors
    /// Where they may not, it is too early, or they say nothing.
    pub fn sign(
        &self,
        signature: Signature,
        over: bool,
        now: Timestamp,
    ) -> Result<Self, ReviewError> {
        let Signature { by, oversees, note } = signature;
        self.may_sign(&by, oversees)?;
        if !over {
            return Err(ReviewError::TooEarly);
        }
        if note.trim().is_empty() {
            return Err(ReviewError::Silent);
        }
        let state = ReviewState::Signed { by: by.into_principal().id, note, at: now };
        Ok(Self { state, ..self.clone() })
    }
}

impl ReviewState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Signed { .. } => "signed",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::other_human::tests::Somebody;

    fn review() -> Review {
        Review {
            id: ReviewId::new("rv-1").unwrap(),
            grant: GrantId::new("gr-1").unwrap(),
            request: RequestId::new("rq-1").unwrap(),
            principal: PrincipalId::new("alice").unwrap(),
            resource: "app_rw@orders/shop".parse().unwrap(),
            reason: "the shop is down".into(),
            groups: [GroupName::new("dba").unwrap()].into(),
            opened_at: Timestamp::from_millis(0),
            state: ReviewState::Open,
        }
    }

    fn signed(who: &str, groups: &[&str], oversees: bool) -> Result<Signature, ReviewError> {
        let who = Somebody::known(who, groups, &[who.trim_end_matches("-admin")]);
        let by = who.other_than(&review().principal).map_err(|_| ReviewError::Own)?;
        Ok(Signature { by, oversees, note: "read it".into() })
    }

    #[rstest]
    #[case("bob", &["dba"], false, None)]
    #[case("bob", &[], true, None)]
    #[case("bob", &["leads"], false, Some(ReviewError::NotAsked))]
    #[case("alice", &["dba"], true, Some(ReviewError::Own))]
    #[case("alice-admin", &["dba"], true, Some(ReviewError::Own))]
    fn somebody_else_signs(
        #[case] who: &str,
        #[case] groups: &[&str],
        #[case] oversees: bool,
        #[case] refused: Option<ReviewError>,
    ) {
        let now = Timestamp::from_millis(9);
        let signature = signed(who, groups, oversees);
        let outcome = signature.and_then(|signature| review().sign(signature, true, now));
        assert_eq!(outcome.as_ref().err().copied(), refused);
        assert!(outcome.is_err() || !outcome.unwrap().is_open());
    }

    #[test]
    fn being_another_than_somebody_else_is_no_proof_for_this_review() {
        let alice = Somebody::known("alice", &["dba"], &[]);
        let by = alice.other_than(&PrincipalId::new("dave").unwrap()).unwrap();
        let signature = Signature { by, oversees: true, note: "read it".into() };
        let refused = review().sign(signature, true, Timestamp::from_millis(9));
        assert_eq!(refused, Err(ReviewError::Own));
    }

    #[test]
    fn a_review_is_signed_once_after_the_end_and_with_a_word() {
        let (now, bob) = (Timestamp::from_millis(9), || signed("bob", &["dba"], false).unwrap());
        assert_eq!(review().sign(bob(), false, now), Err(ReviewError::TooEarly));
        let silent = Signature { note: " \n".into(), ..bob() };
        assert_eq!(review().sign(silent, true, now), Err(ReviewError::Silent));
        let done = review().sign(bob(), true, now).unwrap();
        assert_eq!(done.sign(bob(), true, now), Err(ReviewError::Signed));
        let json = serde_json::to_string(&done).unwrap();
        assert_eq!(serde_json::from_str::<Review>(&json).unwrap(), done);
    }
}
