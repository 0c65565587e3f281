//! Turning a connection away: what the client reads, and what the audit log has.
//!
//! Every reason has its SQLSTATE, its remedy where there is one, and a name of fixed wording.

use bytes::BytesMut;
use policies::{Denial, End, Resource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::stream::Stream;
use super::wire::Fatal;
use crate::core::admission::{AdmissionError, end_hint};
use crate::core::credential::BeginError;
use crate::core::identity::RedeemError;
use crate::core::pending::PendingError;
use crate::core::session::OpenError;

/// How long a client may take to read its refusal.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A refusal: its name for the audit log and metrics, and its message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) fatal: Fatal,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, fatal: Fatal) -> Self {
        Self { reason, fatal }
    }

    /// A connection that isn't admitted.
    pub(super) fn admission(error: &AdmissionError, resource: &Resource) -> Self {
        let fatal = Fatal::new(sqlstate(error), error.to_string()).hint(error.hint(resource));
        let fatal = match error {
            AdmissionError::Denied(_) => {
                fatal.detail(format!("The connection asked for {resource}."))
            }
            AdmissionError::Pending(_)
            | AdmissionError::Refused { .. }
            | AdmissionError::NotOpened(_)
            | AdmissionError::NoCredential(_)
            | AdmissionError::Ended(_) => fatal,
        };
        Self::new(error.reason(), fatal)
    }

    /// A client that waited in vain to identify itself.
    pub(super) fn pending(error: PendingError, resource: &Resource) -> Self {
        Self::admission(&AdmissionError::Pending(error), resource)
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

    /// A cut before the relay began.
    pub(super) fn cut(end: &End) -> Self {
        Self::new(end.code(), cut(end))
    }
}

/// A session that is cut, with the reason of its end.
pub(super) fn cut(end: &End) -> Fatal {
    Fatal::new(end_sqlstate(end), end.to_string()).hint(end_hint(end))
}

fn sqlstate(error: &AdmissionError) -> &'static str {
    match error {
        AdmissionError::Denied(Denial::Stale)
        | AdmissionError::Pending(
            PendingError::Draining
            | PendingError::Unreachable(_)
            | PendingError::Ended
            | PendingError::Malformed(_)
            | PendingError::Unsettled,
        )
        | AdmissionError::NotOpened(OpenError::Draining | OpenError::Backlogged)
        | AdmissionError::NoCredential(
            BeginError::Unreachable(_) | BeginError::Late | BeginError::Unregistered,
        ) => "57P03",
        AdmissionError::Pending(PendingError::TooMany) => "53300",
        AdmissionError::Denied(Denial::NoGrant | Denial::Expired | Denial::Locked(_))
        | AdmissionError::Pending(PendingError::Lapsed)
        | AdmissionError::Refused { .. }
        | AdmissionError::NoCredential(
            BeginError::Refused(_)
            | BeginError::Over
            | BeginError::StepUp { .. }
            | BeginError::Empty
            | BeginError::Unusable(_),
        ) => "28000",
        AdmissionError::NotOpened(OpenError::Full(full)) => end_sqlstate(&full.end()),
        AdmissionError::Ended(end) => end_sqlstate(end),
    }
}

fn end_sqlstate(end: &End) -> &'static str {
    match end {
        End::Protocol(_) => "08P01",
        End::UpstreamLost => "08006",
        End::RecorderFailed => "58030",
        End::RecordingFull(_) => "53100",
        End::Expired
        | End::Done
        | End::Closed
        | End::Revoked(_)
        | End::Locked(_)
        | End::Policy(_)
        | End::Partitioned
        | End::Drained => "57P01",
    }
}

/// Sends the refusal and closes. A client that doesn't read isn't waited for.
pub(super) async fn send(mut stream: Stream, fatal: &Fatal) {
    let mut out = BytesMut::new();
    fatal.put(&mut out);
    let sent = async {
        stream.write_all(&out).await?;
        stream.shutdown().await?;
        // A reset would overtake the message.
        while stream.read(&mut [0; 512]).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(READ_TIMEOUT, sent).await;
}
