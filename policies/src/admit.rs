//! Admission: the verdict on one connection.
//!
//! Deny by default: without a lease that is live now and matches to the byte, with a lock that
//! matches, or with a feed that is out of date, there is no [`Admission`]. Nothing outside this file
//! can make one.

use thiserror::Error;

use crate::{DeviceId, LeaseKey, Lock, Term, Timestamp};

/// An identified connection that wants in.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionQuery<'a> {
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
/// `held` is the present term of the lease under exactly the query's key; `fresh_until` is the end of
/// the feed's own lease.
///
/// # Errors
/// Whatever keeps the connection out.
pub fn admit<'l>(
    query: &AdmissionQuery<'_>,
    held: Option<Term>,
    locks: impl IntoIterator<Item = &'l Lock>,
    fresh_until: Timestamp,
    now: Timestamp,
) -> Result<Admission, Denial> {
    if now >= fresh_until {
        return Err(Denial::Stale);
    }
    if let Some(lock) = locks.into_iter().find(|lock| lock.blocks(query, now)) {
        return Err(Denial::Locked(lock.reason.clone()));
    }
    let term = held.ok_or(Denial::NoGrant)?;
    if now >= term.deadline() {
        return Err(Denial::Expired);
    }
    Ok(Admission { key: query.key.clone(), term })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{LockId, PrincipalId, Ttl};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn key() -> LeaseKey {
        let principal = "alice".parse().unwrap();
        LeaseKey { principal, resource: "app_rw@orders/shop".parse().unwrap() }
    }

    fn lock(subject: &str, until: Option<i64>) -> Lock {
        Lock {
            id: LockId::new("lk-1").unwrap(),
            subject: subject.parse().unwrap(),
            reason: "incident 7".into(),
            by: PrincipalId::new("bob").unwrap(),
            at: at(0),
            until: until.map(at),
            members: [PrincipalId::new("alice").unwrap()].into(),
        }
    }

    #[rstest]
    #[case(Term::Until(at(100)), 99, "in")]
    #[case(Term::Until(at(100)), 100, "expired")]
    #[case(Term::Claim { by: at(50), ttl: Ttl::from_secs(9) }, 49, "in")]
    #[case(Term::Claim { by: at(50), ttl: Ttl::from_secs(9) }, 50, "expired")]
    #[case(Term::Until(at(9_999)), 1_000, "stale")]
    fn only_a_live_lease_lets_in(#[case] term: Term, #[case] now: i64, #[case] expected: &str) {
        let key = key();
        let query = AdmissionQuery { key: &key, device: None, credential: None };
        let verdict = admit(&query, Some(term), [], at(1_000), at(now));
        assert_eq!(verdict.map_or_else(|denial| denial.code(), |_| "in"), expected);
    }

    #[rstest]
    #[case("principal:alice", None, "locked")]
    #[case("principal:bob", None, "in")]
    #[case("group:engineering", None, "locked")]
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
        let key = key();
        let device = DeviceId::new("laptop").unwrap();
        let query = AdmissionQuery { key: &key, device: Some(&device), credential: None };
        let locks = [lock(subject, until)];
        let verdict = admit(&query, Some(Term::Until(at(100))), &locks, at(1_000), at(10));
        assert_eq!(verdict.map_or_else(|denial| denial.code(), |_| "in"), expected);
    }

    #[test]
    fn without_a_lease_nobody_is_let_in() {
        let key = key();
        let query = AdmissionQuery { key: &key, device: None, credential: None };
        assert_eq!(admit(&query, None, [], at(1), at(0)), Err(Denial::NoGrant));
    }
}
