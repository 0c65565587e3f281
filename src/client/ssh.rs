//! An SSH key of one's own, certified by the gateway, and whom `ssh` should trust.
//!
//! The key is made here and stays here; what is sent is its public part.

use serde::Deserialize;
use serde_json::json;

use super::login::{checked, understood};
use super::{Client, ClientError, Home, HomeError, Place};

const NOT_FOUND: u16 = 404;

#[derive(Deserialize)]
struct Access {
    certificate: String,
    host_authority: String,
    host: Option<String>,
    port: Option<u16>,
}

/// Makes a key, has it certified, and saves both; says where SSH clients connect. None where the
/// gateway takes no SSH clients.
///
/// # Errors
/// Where nobody is signed in, the gateway can't be reached or says no, or nothing can be saved.
pub async fn certify(home: &Home) -> Result<Option<Place>, ClientError> {
    let session = home.session()?;
    let (key, public_key) = certs::new_ssh_key()?;
    let body = json!({ "public_key": public_key, "device": session.device.as_str() });
    let answer = Client::signed_in(home)?.post(&["ssh", "certificate"], &body, None).await;
    let answer = match answer {
        Err(ClientError::Problem(problem)) if problem.status == NOT_FOUND => return Ok(None),
        answer => answer?,
    };
    let access: Access = understood(answer)?;
    let one_line = |text: &str| !text.trim_end().contains(char::is_control);
    if !one_line(&access.certificate) || !one_line(&access.host_authority) {
        return Err(ClientError::Strange("an SSH key that is none"));
    }
    let (host, port) = access.host.zip(access.port).ok_or(HomeError::NoSsh)?;
    let place = checked(Place { host, port })?;
    home.save_ssh(&key, &access.certificate, &access.host_authority)?;
    Ok(Some(place))
}
