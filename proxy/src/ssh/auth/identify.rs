//! Who a client is: by a certificate of our authority or a registered key, proved.

use std::net::SocketAddr;

use certs::SshRejection;
use policies::{Authn, Method, Timestamp};
use ssh_key::{Certificate, PublicKey};
use thiserror::Error;

use crate::core::identity::{Identity, RedeemError, redeem_key};
use crate::core::plane::Plane;
use crate::ssh::connection::Connection;

/// The longest line of a key that is registered: one of ECDSA over P-521 has 240 bytes.
const LONGEST_KEY: usize = 1024;

/// Why a certificate identifies no user. An unauthenticated client doesn't learn it: the audit log has it.
#[derive(Debug, Error)]
pub(in crate::ssh) enum IdentifyError {
    #[error(transparent)]
    Rejected(#[from] SshRejection),
    #[error(transparent)]
    Name(#[from] policies::NameError),
    #[error("there is no authority for SSH")]
    NoAuthority,
    #[error(transparent)]
    Key(#[from] RedeemError),
    #[error("the key is longer than any that is registered")]
    LongKey,
    #[error("the key can't be written down")]
    Unwritable(#[from] ssh_key::Error),
}

/// The person whose key this is: all of it is compared, as it is written down. Only where it was proved does
/// it prove anything.
pub(in crate::ssh) async fn by_key(
    connection: &Connection,
    key: &PublicKey,
) -> Result<Identity, IdentifyError> {
    let line = PublicKey::from(key.key_data().clone()).to_openssh()?;
    if line.len() > LONGEST_KEY {
        return Err(IdentifyError::LongKey);
    }
    Ok(redeem_key(&connection.plane.link, line, connection.peer).await?)
}

/// Reads the person out of a certificate whose key was proved, and until when it says so.
pub(in crate::ssh) fn by_certificate(
    plane: &Plane,
    certificate: &Certificate,
    client: SocketAddr,
) -> Result<(Identity, Timestamp), IdentifyError> {
    let ssh = plane.settings.ssh.as_ref().ok_or(IdentifyError::NoAuthority)?;
    let now = plane.clock.now();
    let authority = ssh.authority.people();
    let person = certs::identify_ssh(certificate, authority, client.ip(), now.millis())?;
    let authn = Authn {
        method: Method::Certificate,
        at: now,
        evidence: person.evidence,
        device: Some(person.device.parse()?),
    };
    let ends = certificate.valid_before().saturating_mul(1_000);
    let ends = Timestamp::from_millis(i64::try_from(ends).unwrap_or(i64::MAX));
    let principal = person.principal_id.parse()?;
    Ok((Identity { principal, name: person.principal_id, authn }, ends))
}
