//! Admission: the verdict on one connection.
//!
//! Deny by default: without a lease that is live now and matches to the byte, with a lock that
//! matches, or with a feed that is out of date, there is no [`Admission`]. Nothing outside this file
//! can make one.

use thiserror::Error;

use crate::{DeviceId, Lease, LeaseKey, Lock, Term, Timestamp};

/// An identified connection that wants in.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// Who, and what for.
    pub key: &'a LeaseKey,
    /// The device that the proof of identity belongs to, where it has one.
    pub device: Option<&'a DeviceId>,
    /// Which certificate or token it was, as [`crate::Authn::evidence`] names it.
    pub credential: Option<&'a str>,
}

/// Proof that a connection was let in. Only [`admit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    key: LeaseKey,
    term: Term,
}

impl Admission {
    /// Who, and what for.
    #[must_use]
    pub fn key(&self) -> &LeaseKey {
        &self.key
    }

    /// The lease's term at the time of admission.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }
}

/// Why a connection isn't let in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// No lease; asking for one is the remedy.
    #[error("no live grant")]
    NoGrant,
    /// The lease is over; asking again is the remedy.
    #[error("the grant has expired")]
    Expired,
    /// A lock matches; nothing helps but lifting it.
    #[error("access is locked: {0}")]
    Locked(String),
    /// The proxy's knowledge is out of date; waiting is the remedy.
    #[error("the gateway has lost its control plane and admits nobody until it is back")]
    Stale,
}

impl Denial {
    /// A short name of fixed wording, fit for a metric's label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoGrant => "no-grant",
            Self::Expired => "expired",
            Self::Locked(_) => "locked",
            Self::Stale => "stale",
        }
    }
}

/// Decides on one connection.
///
/// `held` is the lease found under the knock's key, with its present term; `fresh_until` is the end
/// of the feed's own lease.
///
/// # Errors
/// Whatever keeps the connection out.
pub fn admit<'l>(
    knock: &Knock<'_>,
    held: Option<(&Lease, Term)>,
    locks: impl IntoIterator<Item = &'l Lock>,
    fresh_until: Timestamp,
    now: Timestamp,
) -> Result<Admission, Denial> {
    if now >= fresh_until {
        return Err(Denial::Stale);
    }
    if let Some(lock) = locks.into_iter().find(|lock| lock.blocks(knock, now)) {
        return Err(Denial::Locked(lock.reason.clone()));
    }
    let (_, term) = held.filter(|(lease, _)| lease.key == *knock.key).ok_or(Denial::NoGrant)?;
    if now >= term.deadline() {
        return Err(Denial::Expired);
    }
    // The two keys are equal; the knock's was just made, so that no memory is waited for.
    Ok(Admission { key: knock.key.clone(), term })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{GrantId, LockId, PrincipalId, Ttl};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn key(who: &str, what: &str) -> LeaseKey {
        LeaseKey { principal: who.parse().unwrap(), resource: what.parse().unwrap() }
    }

    fn lease(term: Term) -> Lease {
        let key = key("alice", "app_rw@orders/shop");
        Lease { grant: GrantId::new("gr-1").unwrap(), key, name: "Alice".into(), term }
    }

    fn lock(subject: &str, until: Option<i64>) -> Lock {
        Lock {
            id: LockId::new("lk-1").unwrap(),
            subject: subject.parse().unwrap(),
            reason: "incident 7".into(),
            by: PrincipalId::new("bob").unwrap(),
            at: at(0),
            until: until.map(at),
        }
    }

    #[rstest]
    #[case("alice", "app_rw@orders/shop", Term::Until(at(100)), 99, "in")]
    #[case("alice", "app_rw@orders/shop", Term::Until(at(100)), 100, "expired")]
    #[case("alice", "app_rw@orders/shop", Term::Claim { by: at(50), ttl: Ttl::from_secs(9) }, 49, "in")]
    #[case("alice", "app_rw@orders/shop", Term::Claim { by: at(50), ttl: Ttl::from_secs(9) }, 50, "expired")]
    #[case("alice", "app_rw@orders/shop", Term::Until(at(9_999)), 1_000, "stale")]
    #[case("bob", "app_rw@orders/shop", Term::Until(at(100)), 1, "no-grant")]
    #[case("alice", "app_ro@orders/shop", Term::Until(at(100)), 1, "no-grant")]
    #[case("alice", "app_rw@orders/reporting", Term::Until(at(100)), 1, "no-grant")]
    #[case("alice", "app_rw@billing/shop", Term::Until(at(100)), 1, "no-grant")]
    fn only_a_live_lease_that_matches_lets_in(
        #[case] who: &str,
        #[case] what: &str,
        #[case] term: Term,
        #[case] now: i64,
        #[case] expected: &str,
    ) {
        let (lease, key) = (lease(term), key(who, what));
        let knock = Knock { key: &key, device: None, credential: None };
        let verdict = admit(&knock, Some((&lease, term)), [], at(1_000), at(now));
        assert_eq!(verdict.map_or_else(|denial| denial.code(), |_| "in"), expected);
    }

    #[rstest]
    #[case("principal:alice", None, "locked")]
    #[case("principal:bob", None, "in")]
    #[case("device:laptop", None, "locked")]
    #[case("device:phone", None, "in")]
    #[case("target:orders", None, "locked")]
    #[case("target:billing", None, "in")]
    #[case("login:app_rw@orders", None, "locked")]
    #[case("login:app_ro@orders", None, "in")]
    #[case("principal:alice", Some(10), "in")]
    #[case("principal:alice", Some(11), "locked")]
    fn a_lock_beats_every_grant(
        #[case] subject: &str,
        #[case] until: Option<i64>,
        #[case] expected: &str,
    ) {
        let lease = lease(Term::Until(at(100)));
        let device = DeviceId::new("laptop").unwrap();
        let knock = Knock { key: &lease.key, device: Some(&device), credential: None };
        let locks = [lock(subject, until)];
        let verdict = admit(&knock, Some((&lease, lease.term)), &locks, at(1_000), at(10));
        assert_eq!(verdict.map_or_else(|denial| denial.code(), |_| "in"), expected);
    }

    #[test]
    fn without_a_lease_nobody_is_let_in() {
        let key = key("alice", "app_rw@orders/shop");
        let knock = Knock { key: &key, device: None, credential: None };
        assert_eq!(admit(&knock, None, [], at(1), at(0)), Err(Denial::NoGrant));
    }
}
