//! Turning a connection away: what the client is told, and what the audit log is told.
//!
//! Every reason has its SQLSTATE, its remedy where there is one, and a name of fixed wording.

use bytes::BytesMut;
use policies::{Denial, End, Resource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::stream::Stream;
use super::wire::Fatal;
use crate::credential::BeginError;
use crate::hold::{HoldError, RedeemError};
use crate::session::OpenError;

/// How long a client may take to read its refusal.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// A refusal: its name for the audit log and metrics, and its words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) fatal: Fatal,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, fatal: Fatal) -> Self {
        Self { reason, fatal }
    }

    pub(super) fn denial(denial: &Denial, resource: &Resource) -> Self {
        let fatal = Fatal::new(denial_sqlstate(denial), denial.to_string());
        let hint = match denial {
            Denial::NoGrant | Denial::Expired => how_to_ask(resource),
            Denial::Locked(_) => "Ask who runs the gateway; a lock beats every grant.".to_owned(),
            Denial::Stale => "Try again in a moment.".to_owned(),
        };
        let detail = format!("The connection asked for {resource}.");
        Self::new(denial.code(), fatal.detail(detail).hint(hint))
    }

    pub(super) fn hold(error: &HoldError, resource: &Resource) -> Self {
        let (reason, sqlstate) = match error {
            HoldError::Draining => ("draining", "57P03"),
            HoldError::TooMany => ("too-many-holds", "53300"),
            HoldError::Lapsed => ("lapsed", "28000"),
            HoldError::Unreachable(_)
            | HoldError::Ended
            | HoldError::Malformed(_)
            | HoldError::Unsettled => ("control-unreachable", "57P03"),
        };
        Self::new(reason, Fatal::new(sqlstate, error.to_string()).hint(how_to_ask(resource)))
    }

    pub(super) fn token(error: &RedeemError) -> Self {
        let hint = "`postern token LOGIN@TARGET` prints a fresh one.";
        match error {
            RedeemError::Refused(why) => {
                Self::new("token", Fatal::new("28P01", why.clone()).hint(hint))
            }
            RedeemError::Unreachable(_) | RedeemError::Late | RedeemError::Malformed(_) => {
                let fatal = Fatal::new("57P03", "the token can't be checked now");
                Self::new("control-unreachable", fatal.hint("Try again in a moment."))
            }
        }
    }

    /// An access token that isn't taken, and where to get another one, where that is known.
    pub(super) fn bearer(error: &RedeemError, place: Option<&str>) -> Self {
        match error {
            RedeemError::Refused(why) => {
                let hint = match place {
                    Some(place) => format!("Get one for this gateway from the issuer of {place}."),
                    None => "Ask who runs the gateway which issuer it trusts.".to_owned(),
                };
                Self::new("bearer", Fatal::new("28P01", why.clone()).hint(hint))
            }
            RedeemError::Unreachable(_) | RedeemError::Late | RedeemError::Malformed(_) => {
                let fatal = Fatal::new("57P03", "the access token can't be checked now");
                Self::new("control-unreachable", fatal.hint("Try again in a moment."))
            }
        }
    }

    pub(super) fn open(error: &OpenError) -> Self {
        let reason = match error {
            OpenError::Draining => "draining",
            OpenError::Backlogged => "backlogged",
            OpenError::Full(full) => return Self::cut(&End::RecordingFull(full.to_string())),
        };
        Self::new(reason, Fatal::new("57P03", error.to_string()).hint("Try again in a moment."))
    }

    pub(super) fn begin(error: &BeginError, resource: &Resource) -> Self {
        let (reason, sqlstate, hint) = match error {
            BeginError::Refused(_) | BeginError::Over => {
                ("no-grant", "28000", how_to_ask(resource))
            }
            BeginError::Unreachable(_) | BeginError::Late | BeginError::Unregistered => {
                ("control-unreachable", "57P03", "Try again in a moment.".to_owned())
            }
            BeginError::StepUp { message: _, hint } => ("step-up-needed", "28000", hint.clone()),
            BeginError::Empty | BeginError::Unusable(_) => (
                "no-credential",
                "28000",
                "Ask who runs the gateway to check the login's credential.".to_owned(),
            ),
        };
        Self::new(reason, Fatal::new(sqlstate, error.to_string()).hint(hint))
    }

    /// A cut before the relay began.
    pub(super) fn cut(end: &End) -> Self {
        Self::new(end.code(), cut(end))
    }
}

/// A session that is cut, in the words of its end.
pub(super) fn cut(end: &End) -> Fatal {
    let (sqlstate, hint) = match end {
        End::Protocol(_) => ("08P01", ""),
        End::UpstreamLost => ("08006", "Connect again; the gateway's log has the cause."),
        End::RecorderFailed => ("58030", "Nothing passes unrecorded. Ask who runs the gateway."),
        End::RecordingFull(_) => ("53100", "Nothing passes unrecorded."),
        End::Expired | End::Done => ("57P01", "Connect again to ask for a new grant."),
        End::Closed
        | End::Revoked(_)
        | End::Locked(_)
        | End::Policy(_)
        | End::Partitioned
        | End::Drained => ("57P01", ""),
    };
    Fatal::new(sqlstate, end.to_string()).hint(hint)
}

fn denial_sqlstate(denial: &Denial) -> &'static str {
    match denial {
        Denial::NoGrant | Denial::Expired | Denial::Locked(_) => "28000",
        Denial::Stale => "57P03",
    }
}

fn how_to_ask(resource: &Resource) -> String {
    format!("Ask for it: postern request {resource} --reason \"...\"")
}

/// Tells the client and closes. Who doesn't listen is left.
pub(super) async fn tell(mut stream: Stream, fatal: &Fatal) {
    let mut out = BytesMut::new();
    fatal.put(&mut out);
    let said = async {
        stream.write_all(&out).await?;
        stream.shutdown().await?;
        // A reset would overtake the message.
        while stream.read(&mut [0; 512]).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(FAREWELL, said).await;
}
