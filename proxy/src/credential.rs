//! What opens the target: obtained from control at the first use of a grant, and kept while its lease
//! is live, so that later connections need no round trip and work while control is away.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use link::v1;
use link::v1::credential::Credential as Wire;
use policies::{GrantId, Timestamp};
use secrecy::SecretString;
use thiserror::Error;
use tokio::time::timeout;
use tonic::Status;

use crate::clock::Clock;
use crate::feed::LinkClient;
use crate::hold::is_verdict;
use crate::leases::Held;
use crate::session::Session;

/// How long control may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What the gateway signs in with upstream.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    Password(SecretString),
    Certificate { chain_pem: String, key_pem: SecretString },
}

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
    #[error("the grant has ended")]
    Over,
}

/// The credentials of the grants in use.
#[derive(Debug)]
pub(crate) struct Credentials {
    clock: Clock,
    link: LinkClient,
    kept: DashMap<GrantId, Kept>,
}

#[derive(Debug)]
struct Kept {
    held: Arc<Held>,
    upstream: Upstream,
}

impl Credentials {
    pub(crate) fn new(clock: Clock, link: LinkClient) -> Self {
        Self { clock, link, kept: DashMap::new() }
    }

    /// Begins to use a grant: starts its clock at the first use, and obtains its credential.
    pub(crate) async fn begin(&self, session: &Session) -> Result<Upstream, BeginError> {
        let pass = session.pass();
        let grant = pass.admission.grant();
        if pass.held.is_claimed()
            && let Some(kept) = self.kept(grant, &pass.held)
        {
            return Ok(kept);
        }
        let request = v1::BeginRequest {
            grant: grant.to_string(),
            session: session.id().to_string(),
            client: session.client().to_string(),
        };
        let (ends, upstream) = self.fetch(request).await?;
        pass.held.begin(ends);
        if !pass.held.is_live(self.clock.now()) {
            return Err(BeginError::Over);
        }
        let kept = Kept { held: Arc::clone(&pass.held), upstream: upstream.clone() };
        self.kept.insert(grant.clone(), kept);
        Ok(upstream)
    }

    /// Forgets the credentials of leases that are over.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.kept.retain(|_, kept| kept.held.is_live(now));
    }

    fn kept(&self, grant: &GrantId, held: &Arc<Held>) -> Option<Upstream> {
        let kept = self.kept.get(grant).filter(|kept| Arc::ptr_eq(&kept.held, held))?;
        kept.held.is_live(self.clock.now()).then(|| kept.upstream.clone())
    }

    async fn fetch(&self, request: v1::BeginRequest) -> Result<(Timestamp, Upstream), BeginError> {
        let mut link = self.link.clone();
        let reply = match timeout(ANSWER, link.begin(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) if is_verdict(&status) => {
                return Err(BeginError::Refused(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(BeginError::Unreachable(status)),
            Err(_) => return Err(BeginError::Late),
        };
        let credential = reply.credential.and_then(|outer| outer.credential);
        let upstream = match credential.ok_or(BeginError::Empty)? {
            Wire::Password(password) => Upstream::Password(password.into()),
            Wire::Certificate(pair) => {
                Upstream::Certificate { chain_pem: pair.chain_pem, key_pem: pair.key_pem.into() }
            }
        };
        Ok((Timestamp::from_millis(reply.ends_ms), upstream))
    }
}

#[cfg(test)]
mod tests {
    use policies::{End, Partition, Term};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::leases::Delta;
    use crate::testing::{LONG, Rig, at, claim, lease};

    fn rig(term: Term) -> Rig {
        let rig = Rig::new();
        rig.grant(vec![lease("gr-1", term)], Partition::UntilLeaseEnd);
        let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
        let ends_ms = at(600).millis();
        let reply = v1::BeginReply { ends_ms, credential: Some(credential) };
        *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
        rig
    }

    fn password(upstream: Upstream) -> String {
        match upstream {
            Upstream::Password(password) => password.expose_secret().to_owned(),
            Upstream::Certificate { .. } => panic!("a certificate"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_use_starts_the_clock_and_later_ones_need_nobody() {
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

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_forgotten_with_its_lease() {
        let rig = rig(Term::Until(at(600)));
        let session = rig.open();
        rig.plane.credentials.begin(&session).await.unwrap();
        rig.plane.credentials.sweep();
        assert_eq!(rig.plane.credentials.kept.len(), 1);
        let gone = vec![("gr-1".parse().unwrap(), End::Done)];
        let delta = Delta { gone, ..Delta::default() };
        rig.plane.leases.apply_delta(2, LONG, delta).unwrap();
        rig.plane.credentials.sweep();
        assert!(rig.plane.credentials.kept.is_empty());
        let late = rig.plane.credentials.begin(&session).await;
        assert!(matches!(late, Err(BeginError::Over)), "a reply can't bring a grant back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_and_a_failure_is_no_permission() {
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
