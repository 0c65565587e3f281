//! The second person of an act that takes two: an approval, a denial, a review, a recovery, a sign-in link.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{Principal, PrincipalId};

/// A person who is none of certain others, under whatever identity.
///
/// Every act that takes a second person takes this type, and not an identifier. Only the inventory
/// knows which identities belong to one human, so only the inventory makes it: `clippy.toml` holds
/// [`OtherHuman::known_as`] for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherHuman {
    principal: Principal,
    identities: BTreeSet<PrincipalId>,
    than: BTreeSet<PrincipalId>,
}

/// The person and one of the others are the same human.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is the same person")]
pub struct SameHuman(pub PrincipalId);

impl OtherHuman {
    /// This person, known under all these identities, who has to be none of the others.
    ///
    /// # Errors
    /// Where one of the others is one of the identities.
    pub fn known_as(
        principal: Principal,
        mut identities: BTreeSet<PrincipalId>,
        than: BTreeSet<PrincipalId>,
    ) -> Result<Self, SameHuman> {
        identities.insert(principal.id.clone());
        match than.intersection(&identities).next() {
            Some(same) => Err(SameHuman(same.clone())),
            None => Ok(Self { principal, identities, than }),
        }
    }

    /// Who acts, with their groups of now.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The same, without the proof.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        self.principal
    }

    /// Whether this person was compared with that one, and is another. Nobody is by default.
    #[must_use]
    pub fn is_other_than(&self, id: &PrincipalId) -> bool {
        self.than.contains(id)
    }

    /// Whether that is one of this person's identities.
    #[must_use]
    pub fn is(&self, id: &PrincipalId) -> bool {
        self.identities.contains(id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::GroupName;

    /// Somebody in the tests of this crate, with their identities.
    #[derive(Debug, Clone)]
    pub(crate) struct Somebody {
        pub(crate) principal: Principal,
        pub(crate) identities: BTreeSet<PrincipalId>,
    }

    impl Somebody {
        pub(crate) fn known(id: &str, groups: &[&str], also: &[&str]) -> Self {
            let groups = groups.iter().map(|name| GroupName::new(name).unwrap()).collect();
            let principal = Principal { id: name(id), name: id.into(), groups };
            let identities = also.iter().map(|id| name(id)).collect();
            Self { principal, identities }
        }

        #[expect(clippy::disallowed_methods, reason = "tests have no inventory")]
        pub(crate) fn other_than(&self, id: &PrincipalId) -> Result<OtherHuman, SameHuman> {
            let (principal, identities) = (self.principal.clone(), self.identities.clone());
            OtherHuman::known_as(principal, identities, [id.clone()].into())
        }
    }

    fn name(id: &str) -> PrincipalId {
        PrincipalId::new(id).unwrap()
    }

    #[test]
    fn nobody_is_another_than_themselves_under_any_identity() {
        let bob = Somebody::known("bob-admin", &[], &["bob"]);
        for same in ["bob", "bob-admin"] {
            assert_eq!(bob.other_than(&name(same)), Err(SameHuman(name(same))));
        }
        let other = bob.other_than(&name("alice")).unwrap();
        assert!(other.is_other_than(&name("alice")) && other.is(&name("bob")));
        assert!(!other.is_other_than(&name("carol")), "they were not compared with carol");
    }
}
