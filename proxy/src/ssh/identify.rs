//! Who is it? A certificate of our authority, proved; or nobody yet.

use std::net::SocketAddr;

use certs::SshRejection;
use policies::{Authn, Method};
use ssh_key::Certificate;
use thiserror::Error;

use crate::Plane;
use crate::hold::Identity;

/// Why a certificate names nobody. A stranger isn't told: the audit log is.
#[derive(Debug, Error)]
pub(super) enum IdentifyError {
    #[error(transparent)]
    Rejected(#[from] SshRejection),
    #[error(transparent)]
    Name(#[from] policies::NameError),
    #[error("there is no authority for SSH")]
    NoAuthority,
}

/// Reads the person out of a certificate whose key was proved.
pub(super) fn by_certificate(
    plane: &Plane,
    certificate: &Certificate,
    client: SocketAddr,
) -> Result<Identity, IdentifyError> {
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
    Ok(Identity { principal: person.principal_id.parse()?, name: person.principal_id, authn })
}
