//! A call to a target: what it takes, why it fails, and its messages before the target is ready.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use policies::{Target, TargetName};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use super::super::stream::Stream;
use super::super::wire::{Fatal, HEADER, WireError, read_message};
use crate::core::credential::TargetCredential;

/// The longest message before a target is ready.
pub(super) const MESSAGE: usize = 16 * 1024;
/// How a target is signed in to.
#[derive(Debug)]
pub(in crate::postgres) struct Call<'a> {
    pub(in crate::postgres) target: &'a Arc<Target>,
    pub(in crate::postgres) login: &'a str,
    pub(in crate::postgres) database: &'a str,
    /// Start-up parameters that pass on.
    pub(in crate::postgres) settings: BTreeMap<String, String>,
    pub(in crate::postgres) replication: Option<&'a str>,
    pub(in crate::postgres) credential: &'a TargetCredential,
}

/// Why a target can't be used.
#[derive(Debug, Error)]
pub(in crate::postgres) enum DialError {
    /// No TCP connection.
    #[error("the target can't be reached")]
    Unreachable(#[source] io::Error),
    /// Not within the time.
    #[error("the target did not answer in time")]
    Late,
    /// TLS failed, or the target isn't who it should be.
    #[error("the target's identity can't be verified")]
    Unverified(#[source] io::Error),
    /// It doesn't offer TLS.
    #[error("the target refuses TLS")]
    NoTls,
    /// The configuration of the target can't be used.
    #[error("the target's TLS settings can't be used")]
    Settings(#[source] io::Error),
    /// It wants a credential in a way that would give it away.
    #[error("the target asks for {0}, which is not allowed")]
    Method(&'static str),
    /// It failed to prove that it knows the credential, or broke the exchange.
    #[error("the target failed the SCRAM exchange")]
    Scram(#[source] io::Error),
    /// It refused, with a message of its own.
    #[error("the target refused the connection")]
    Refused(Bytes),
    /// It broke the protocol.
    #[error("the target broke the protocol")]
    Protocol(#[from] WireError),
    /// It says too much before it is ready.
    #[error("the target sends too much before it is ready")]
    Endless,
}

impl DialError {
    /// What the client reads: the target's name, never its address.
    pub(in crate::postgres) fn fatal(&self, target: &TargetName) -> Fatal {
        let (sqlstate, hint) = match self {
            Self::Method(_) | Self::Scram(_) | Self::Settings(_) => {
                ("28000", "Ask who runs the gateway to check the target's credential.")
            }
            Self::Unverified(_) | Self::NoTls => {
                ("08006", "Ask who runs the gateway to check the target's TLS settings.")
            }
            Self::Unreachable(_)
            | Self::Late
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Endless => ("08006", "Try again; the gateway's log has the cause."),
        };
        Fatal::new(sqlstate, format!("target {target}: {self}")).hint(hint)
    }
}

/// Sends bytes to a target.
pub(super) async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), DialError> {
    stream.write_all(bytes).await.map_err(WireError::from)?;
    stream.flush().await.map_err(WireError::from)?;
    Ok(())
}

/// The next message of the kind wanted; notices are skipped, an error is the target's refusal.
pub(super) async fn expect(stream: &mut Stream, wanted: u8) -> Result<Bytes, DialError> {
    for _ in 0..16 {
        let message = read_message(stream, MESSAGE).await?;
        match message.first() {
            Some(b'E') => return Err(DialError::Refused(message)),
            Some(b'N') => {}
            Some(kind) if *kind == wanted => return Ok(message.slice(HEADER..)),
            kind => {
                let kind = char::from(kind.copied().unwrap_or_default());
                return Err(WireError::Kind(kind).into());
            }
        }
    }
    Err(DialError::Endless)
}
