//! What `ssh` needs: a certificate for a person's key, and who vouches for host keys.

use axum::Json;
use axum::extract::State;
use policies::{DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::Body;
use crate::http::api::state::Api;
use crate::model::error::{InternalError, Refusal};

/// A key to be certified.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SshCertificateInput {
    /// An Ed25519 public key as OpenSSH writes one.
    public_key: String,
    /// The device that holds the key.
    #[schema(value_type = String)]
    device: DeviceId,
}

/// A certificate, and whom `ssh` should trust.
#[derive(Serialize, ToSchema)]
pub(crate) struct Access {
    /// One line, as OpenSSH keeps it in a file that ends in `-cert.pub`.
    certificate: String,
    not_after: String,
    /// The key that vouches for the host keys of the gateway: for `@cert-authority`.
    host_authority: String,
    /// Host name or address of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The port at which it listens for SSH clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// Certifies an SSH key for this person and device.
#[utoipa::path(post, path = "/ssh/certificate", tag = "login", request_body = SshCertificateInput,
    responses((status = 200, body = Access), Problems))]
pub(crate) async fn certificate(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<SshCertificateInput>,
) -> Result<Json<Access>, Problem> {
    let none = || Refusal::NotFound("SSH side of this gateway");
    let issued = api
        .control
        .identity
        .issue_ssh_certificate(&actor, &requested.public_key, &requested.device)
        .await?;
    let issued = issued.ok_or_else(none)?;
    let ssh = api.control.kernel.settings().ssh.as_ref().ok_or_else(none)?;
    let host_authority = ssh.authority.hosts_line().map_err(InternalError::IssueSsh)?;
    Ok(Json(Access {
        certificate: issued.line,
        not_after: Timestamp::from_millis(issued.not_after).to_string(),
        host_authority,
        host: ssh.gateway.as_ref().map(|gateway| gateway.host.clone()),
        port: ssh.gateway.as_ref().map(|gateway| gateway.port),
    }))
}
