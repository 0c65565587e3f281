//! What opens the target: obtained from control at every connect, where the rules are asked again,
//! also about the address from which this very connection comes.
//!
//! The trade: a connection within a minute of such an answer, by the same proof of identity, for the
//! same grant and from the same address, uses the kept credential and needs no round trip. Another
//! certificate, key, token or device of the same person asks again (`kept.rs`). A change of the rules
//! that ends grants comes with the feed and doesn't wait for that minute; one of what a session may
//! open does. A kept certificate is never close to its end.

mod begun;
mod kept;

use std::sync::Arc;
use std::time::Duration;

use certs::Identity;
use link::v1;
use link::v1::credential::Credential as Wire;
use policies::{End, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use ssh_key::{Certificate as SshCertificate, PrivateKey};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::core::clock::Clock;
use crate::core::feed::LinkClient;
use crate::core::identity::is_decision;
use crate::core::leases::Leases;
use crate::core::session::Session;
use begun::MARGIN;
pub(crate) use begun::{Begun, Rights, TargetCredential};
use kept::{Answer, Kept, ProofKey, Question};

/// How long control may take.
const ANSWER: Duration = Duration::from_secs(10);
/// For how long an answer holds for more connections like the one that it was given to.
const KEEP: Duration = Duration::from_secs(60);

/// Why there is no credential.
#[derive(Debug, Error)]
pub(crate) enum BeginError {
    #[error("{0}")]
    Refused(String),
    #[error("control is out of reach")]
    Unreachable(#[source] Status),
    #[error("control did not answer in time")]
    Late,
    #[error("control gave no credential")]
    Empty,
    #[error("the credential can't be used")]
    Unusable(#[from] ssh_key::Error),
    #[error("control did not write down that the session begins")]
    Unregistered,
    #[error("the grant has ended")]
    Over,
    /// The rules want a fresh touch for this very connection; what to do where it can't wait.
    #[error("{message}")]
    StepUp { message: String, hint: String },
}

impl BeginError {
    /// How a session ends that doesn't begin because of it.
    pub(crate) fn end(&self) -> End {
        match self {
            Self::StepUp { .. } => End::Policy(self.to_string()),
            Self::Refused(_)
            | Self::Unreachable(_)
            | Self::Late
            | Self::Unregistered
            | Self::Empty
            | Self::Unusable(_)
            | Self::Over => End::Expired,
        }
    }
}

/// The credentials of the grants in use.
#[derive(Debug)]
pub(crate) struct Credentials {
    clock: Clock,
    link: LinkClient,
    kept: Kept,
}

impl Credentials {
    pub(crate) fn new(clock: Clock, link: LinkClient) -> Self {
        Self { clock, link, kept: Kept::default() }
    }

    /// Begins to use a grant: has the rules asked again, starts its clock at the first use, and
    /// obtains its credential. Meanwhile control writes down that the session begins: without that
    /// there is none.
    pub(crate) async fn begin(&self, session: &Session) -> Result<Begun, BeginError> {
        let registered = async {
            match session.registered(ANSWER).await {
                true => Ok(()),
                false => Err(BeginError::Unregistered),
            }
        };
        let (begun, ()) = tokio::try_join!(self.credential(session), registered)?;
        Ok(begun)
    }

    async fn credential(&self, session: &Session) -> Result<Begun, BeginError> {
        let pass = session.pass();
        let who = ProofKey::of(session.identity());
        let from = session.client().ip().to_canonical();
        let question = Question { held: &pass.held, from };
        // What has to end gets no kept answer: control says why.
        if let Some(who) = &who
            && session.must_end().is_none()
            && let Some(begun) = self.kept.find(who, question, |kept| self.is_good(kept))
        {
            return Ok(begun);
        }
        let asked = self.clock.instant();
        let request = v1::BeginRequest {
            grant: pass.grant().to_string(),
            session: session.id().to_string(),
            client: session.client().to_string(),
            authn: Some(session.identity().authn.clone().into()),
        };
        let (ends, begun, keep) = self.fetch(request).await?;
        pass.held.begin(ends);
        if !pass.held.is_live(self.clock.now()) {
            return Err(BeginError::Over);
        }
        // Where each connection takes a touch, nothing is kept for the next one.
        if let Some(who) = who.filter(|_| keep) {
            let until = self.until(asked, &begun.credential);
            let held = Arc::clone(&pass.held);
            self.kept.put(who, Answer { held, from, begun: begun.clone(), until });
        }
        Ok(begun)
    }

    /// Forgets the credentials that were kept for long enough, those of leases that are over, and
    /// those that a lock blocks.
    pub(crate) fn sweep(&self, leases: &Leases) {
        let now = self.clock.now();
        self.kept.retain(|who, kept| {
            let query = who.query(&kept.held.lease().key);
            self.is_good(kept) && leases.lock_on(&query, now).is_none()
        });
    }

    fn is_good(&self, kept: &Answer) -> bool {
        self.clock.instant() < kept.until && kept.held.is_live(self.clock.now())
    }

    /// Until when the answer to what was asked then may be kept.
    fn until(&self, asked: Instant, credential: &TargetCredential) -> Instant {
        let longest = asked + KEEP;
        match credential {
            TargetCredential::Password(_) | TargetCredential::SshKey { certificate: None, .. } => {
                longest
            }
            TargetCredential::SshKey { certificate: Some(certificate), .. } => {
                let ends = certificate.valid_before().saturating_mul(1_000);
                self.before(longest, i64::try_from(ends).unwrap_or(i64::MAX))
            }
            TargetCredential::Certificate { chain_pem, key_pem } => {
                let identity = Identity::from_pem(chain_pem.as_bytes(), key_pem).ok();
                let ends = identity.and_then(|identity| identity.not_after());
                // One that can't be read is not kept; its user will report what is wrong.
                ends.map_or(asked, |ends| self.before(longest, ends))
            }
        }
    }

    /// The earlier of the two, with a margin before the end of a certificate.
    fn before(&self, longest: Instant, ends_ms: i64) -> Instant {
        let ends = Timestamp::from_millis(ends_ms.saturating_sub(MARGIN.millis()));
        longest.min(self.clock.deadline(ends))
    }

    async fn fetch(
        &self,
        request: v1::BeginRequest,
    ) -> Result<(Timestamp, Begun, bool), BeginError> {
        let mut link = self.link.clone();
        let reply = match timeout(ANSWER, link.begin(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) if is_decision(&status) => {
                return Err(BeginError::Refused(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(BeginError::Unreachable(status)),
            Err(_) => return Err(BeginError::Late),
        };
        if let Some(v1::StepUpNeeded { message, hint }) = reply.step_up_needed {
            return Err(BeginError::StepUp { message, hint });
        }
        let rights = Rights {
            channels: reply.channels.iter().filter_map(|name| name.parse().ok()).collect(),
            record: reply.record.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        let credential = reply.credential.and_then(|outer| outer.credential);
        let credential = match credential.ok_or(BeginError::Empty)? {
            Wire::Password(password) => TargetCredential::Password(password.into()),
            Wire::Certificate(pair) => TargetCredential::Certificate {
                chain_pem: pair.chain_pem,
                key_pem: pair.key_pem.into(),
            },
            Wire::SshKey(pair) => ssh_key(pair)?,
        };
        let begun = Begun { credential, rights };
        Ok((Timestamp::from_millis(reply.ends_ms), begun, reply.keep))
    }
}

fn ssh_key(pair: v1::SshKey) -> Result<TargetCredential, BeginError> {
    let private = SecretString::from(pair.private_key);
    let key = Arc::new(PrivateKey::from_openssh(private.expose_secret())?);
    let certificate = pair.certificate.map(|line| SshCertificate::from_openssh(&line));
    Ok(TargetCredential::SshKey { key, certificate: certificate.transpose()?.map(Box::new) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::leases::Delta;
    use crate::core::testing::{LONG, Rig, at, claim, lease};
    use policies::{Channel, Partition, Record, Term};
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering;

    fn rig(term: Term) -> Rig {
        let rig = Rig::new();
        rig.grant(vec![lease("gr-1", term)], Partition::UntilLeaseEnd);
        let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
        let ends_ms = at(600).millis();
        let reply = reply(ends_ms, Some(credential));
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
        rig
    }

    fn reply(ends_ms: i64, credential: Option<v1::Credential>) -> v1::BeginReply {
        v1::BeginReply { ends_ms, credential, keep: true, ..v1::BeginReply::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn where_each_connection_takes_a_touch_nothing_is_kept() {
        let rig = rig(claim(60, 600));
        let session = rig.open();
        let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
        let touched = v1::BeginReply { keep: false, ..reply(at(600).millis(), Some(credential)) };
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(touched));
        rig.plane.credentials.begin(&session).await.unwrap();
        let needed = v1::StepUpNeeded { message: "touch".into(), hint: "there".into() };
        let stale = v1::BeginReply { step_up_needed: Some(needed), ..v1::BeginReply::default() };
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(stale));
        let refused = rig.plane.credentials.begin(&session).await.unwrap_err();
        assert!(matches!(refused, BeginError::StepUp { .. }), "{refused}");
        assert_eq!(rig.plane.credentials.kept.len(), 0);
        let authn = rig.control.begins.lock().unwrap()[0].authn.clone().unwrap();
        assert_eq!(authn.device.as_deref(), Some("laptop"), "control hears which device it is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_control_does_not_write_down_does_not_begin() {
        let rig = rig(claim(60, 600));
        rig.control.failing.store(usize::MAX, Ordering::SeqCst);
        let session = rig.open();
        let refused = rig.plane.credentials.begin(&session).await.unwrap_err();
        assert!(matches!(refused, BeginError::Unregistered), "{refused}");
        assert!(rig.control.reports().is_empty());
        // A kept credential lets no client in, either.
        let refused = rig.plane.credentials.begin(&session).await.unwrap_err();
        assert!(matches!(refused, BeginError::Unregistered), "{refused}");
        rig.control.failing.store(0, Ordering::SeqCst);
        rig.plane.credentials.begin(&session).await.unwrap();
        assert_eq!(rig.control.reports(), ["opened"]);
    }

    fn password(begun: Begun) -> String {
        match begun.credential {
            TargetCredential::Password(password) => password.expose_secret().to_owned(),
            TargetCredential::Certificate { .. } | TargetCredential::SshKey { .. } => {
                panic!("no password")
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_session_may_open_comes_along_and_unknown_names_open_nothing() {
        let rig = rig(claim(60, 600));
        let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
        let names = |names: [&str; 2]| names.map(ToOwned::to_owned).to_vec();
        let reply = v1::BeginReply {
            channels: names(["sftp", "teleport"]),
            record: names(["input", "thoughts"]),
            ..reply(at(600).millis(), Some(credential))
        };
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
        let expected = Rights {
            channels: BTreeSet::from([Channel::Sftp]),
            record: BTreeSet::from([Record::Input]),
        };
        for _ in 0..2 {
            let begun = rig.plane.credentials.begin(&rig.open()).await.unwrap();
            assert_eq!(begun.rights, expected, "the kept answer says the same");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_use_starts_the_clock_and_the_next_one_asks_for_nothing() {
        let rig = rig(claim(60, 600));
        let credentials = &rig.plane.credentials;
        let session = rig.open();
        assert_eq!(password(credentials.begin(&session).await.unwrap()), "secret");
        assert_eq!(session.pass().held.term(), Term::Until(at(600)));
        *rig.control.begin_reply.lock().unwrap() = None;
        assert_eq!(password(credentials.begin(&rig.open()).await.unwrap()), "secret");
        let begins = rig.control.begins.lock().unwrap().clone();
        assert_eq!(begins.len(), 1);
        assert_eq!(begins[0].session, session.id().as_str());
    }

    fn begins(rig: &Rig) -> Vec<String> {
        let begins = rig.control.begins.lock().unwrap();
        begins.iter().map(|begin| begin.client.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rules_are_asked_again_about_every_address() {
        let rig = rig(Term::Until(at(600)));
        let credentials = &rig.plane.credentials;
        credentials.begin(&rig.open()).await.unwrap();
        credentials.begin(&rig.open_from("[::ffff:192.0.2.7]:6666")).await.unwrap();
        assert_eq!(begins(&rig).len(), 1);
        credentials.begin(&rig.open_from("192.0.2.8:5555")).await.unwrap();
        assert_eq!(begins(&rig), ["192.0.2.7:5555", "192.0.2.8:5555"]);
        let no = Status::permission_denied("not from there");
        *rig.control.begin_reply.lock().unwrap() = Some(Err(no));
        let refused = credentials.begin(&rig.open_from("198.51.100.1:5555")).await;
        assert_eq!(refused.unwrap_err().to_string(), "not from there");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rules_are_asked_again_after_a_minute() {
        let rig = rig(Term::Until(at(600)));
        let credentials = &rig.plane.credentials;
        credentials.begin(&rig.open()).await.unwrap();
        let no = Status::permission_denied("not any more");
        *rig.control.begin_reply.lock().unwrap() = Some(Err(no));
        tokio::time::advance(KEEP - Duration::from_millis(500)).await;
        // A use doesn't lengthen the minute, and a wall clock that is set back doesn't, either.
        rig.plane.clock.step(-3_600_000);
        credentials.begin(&rig.open()).await.unwrap();
        tokio::time::advance(Duration::from_millis(500)).await;
        let refused = credentials.begin(&rig.open()).await;
        assert_eq!(refused.unwrap_err().to_string(), "not any more");
        credentials.sweep(&rig.plane.leases);
        assert_eq!(credentials.kept.len(), 0);
    }

    fn certificate(secs: u64) -> v1::Credential {
        let now = at(0).millis();
        let authority = certs::Authority::generate("CA", now).unwrap();
        let issued = authority.issue_login("app", Duration::from_secs(secs), now).unwrap();
        let pair = v1::Certificate {
            chain_pem: issued.certificate.pem,
            key_pem: issued.key_pem.expose_secret().to_owned(),
        };
        v1::Credential { credential: Some(Wire::Certificate(pair)) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_not_used_within_a_minute_of_its_end() {
        for (life, used, expected) in [(600, 59, 1), (90, 29, 1), (90, 31, 2), (60, 0, 2)] {
            let rig = rig(Term::Until(at(600)));
            let credential = Some(certificate(life));
            let reply = reply(at(600).millis(), credential);
            *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
            rig.plane.credentials.begin(&rig.open()).await.unwrap();
            tokio::time::advance(Duration::from_secs(used)).await;
            rig.plane.credentials.begin(&rig.open()).await.unwrap();
            assert_eq!(begins(&rig).len(), expected, "{life} s, used after {used} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_forgotten_with_its_lease() {
        let rig = rig(Term::Until(at(600)));
        let session = rig.open();
        rig.plane.credentials.begin(&session).await.unwrap();
        rig.plane.credentials.sweep(&rig.plane.leases);
        assert_eq!(rig.plane.credentials.kept.len(), 1);
        let gone = vec![("gr-1".parse().unwrap(), End::Done)];
        let delta = Delta { gone, ..Delta::default() };
        rig.plane.leases.apply_delta(2, LONG, delta).unwrap();
        rig.plane.credentials.sweep(&rig.plane.leases);
        assert_eq!(rig.plane.credentials.kept.len(), 0);
        let late = rig.plane.credentials.begin(&session).await;
        assert!(matches!(late, Err(BeginError::Over)), "a reply can't bring a grant back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_passed_on_and_a_failure_is_no_permission() {
        let rig = rig(claim(60, 600));
        let session = rig.open();
        for (reply, expected) in [
            (Some(Err(Status::failed_precondition("the grant is over"))), "the grant is over"),
            (Some(Err(Status::internal("stack trace"))), "control is out of reach"),
            (Some(Ok(v1::BeginReply::default())), "control gave no credential"),
            (None, "control is out of reach"),
        ] {
            *rig.control.begin_reply.lock().unwrap() = reply;
            let error = rig.plane.credentials.begin(&session).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert!(!session.pass().held.is_claimed());
    }
}
