//! The beginning of a session, within authentication: what the rules want of this very connection is told
//! while its client can still wait for it.

use policies::Kind;

use super::enter::{Caller, LetIn};
use super::refuse::Refusal;
use super::{APPLICATION, Visit};
use crate::credential::BeginError;
use crate::hold::Identity;
use crate::leases::Pass;
use crate::session::{Opening, Session, Tally};

/// Why a session doesn't begin.
pub(super) enum NotYet {
    /// The rules want a touch for this very connection first.
    Touch(Box<Session>, Refusal),
    Refused(Refusal),
}

impl Visit {
    /// Opens the session of somebody with a live lease, and obtains what opens the target.
    pub(super) async fn begin(
        &self,
        pass: Pass,
        caller: Caller,
        identity: Identity,
    ) -> Result<LetIn, NotYet> {
        let (client, application) = (self.peer, APPLICATION.to_owned());
        let opening = Opening { kind: Kind::Ssh, pass, identity, client, application };
        let opened = self.plane.sessions.open(opening);
        let mut session = opened.map_err(|error| NotYet::Refused(Refusal::open(&error)))?;
        session.may_be_left();
        self.obtain(session, caller).await
    }

    /// Obtains what opens the target, for a session that may have waited for a touch.
    pub(super) async fn obtain(&self, session: Session, caller: Caller) -> Result<LetIn, NotYet> {
        let begun = tokio::select! {
            biased;
            end = session.ended() => {
                session.close(&end, &Tally::default());
                return Err(NotYet::Refused(Refusal::cut(&end)));
            }
            begun = self.plane.credentials.begin(&session) => begun,
        };
        match begun {
            Ok(begun) => Ok(LetIn { session, begun, caller }),
            Err(error) => {
                let refusal = Refusal::begin(&error, &caller.resource);
                if matches!(error, BeginError::StepUp { .. }) {
                    return Err(NotYet::Touch(Box::new(session), refusal));
                }
                session.close(&error.end(), &Tally::default());
                Err(NotYet::Refused(refusal))
            }
        }
    }
}
