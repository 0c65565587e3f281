//! Signing this terminal in by a browser (RFC 8628): a code is shown, its person types it where they
//! are signed in, and this side asks now and then whether it is in.

use std::time::Duration;

use certs::NewRequest;
use policies::DeviceId;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::login::{Fresh, device, save, understood};
use super::{Client, ClientError, Home, Session};

/// What is added to the interval where the gateway says that it was too short.
const MORE: u64 = 5;
/// Bounds on an interval that a gateway names.
const INTERVAL: std::ops::RangeInclusive<u64> = 1..=60;

/// A terminal that waits for its person.
#[derive(Debug)]
pub struct Waiting {
    client: Client,
    url: Url,
    device: DeviceId,
    key_request: NewRequest,
    codes: Codes,
}

#[derive(Debug, Deserialize)]
struct Codes {
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    interval: u64,
}

/// Begins to sign in at this gateway, trusting this authority besides those of the system.
///
/// # Errors
/// Where the gateway can't be reached or says no.
pub async fn begin(home: &Home, url: Url, ca_pem: Option<&[u8]>) -> Result<Waiting, ClientError> {
    let (device, key_request) = (device(home)?, NewRequest::generate()?);
    let client = Client::anonymous(&url, ca_pem)?;
    let body = json!({ "device": device.as_str(), "csr": key_request.csr_pem });
    let codes = understood(client.post(&["device"], &body, None).await?)?;
    Ok(Waiting { client, url, device, key_request, codes })
}

impl Waiting {
    /// The code to type.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.codes.user_code
    }

    /// Where to type it.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.codes.verification_uri
    }

    /// The name under which this machine's key will be known.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Waits until its person has answered, and saves what came of it.
    ///
    /// # Errors
    /// Where they say no or nothing, or nothing can be saved.
    pub async fn finish(self, home: &Home) -> Result<Session, ClientError> {
        let body = json!({ "device_code": self.codes.device_code.expose_secret() });
        let mut interval = self.codes.interval.clamp(*INTERVAL.start(), *INTERVAL.end());
        let mut left = self.codes.expires_in;
        loop {
            left = left.checked_sub(interval).ok_or(ClientError::Unanswered)?;
            tokio::time::sleep(Duration::from_secs(interval)).await;
            match self.client.post(&["device", "token"], &body, None).await {
                Ok(answer) => {
                    let (url, device, key) = (self.url, self.device, self.key_request.key_pem);
                    return save(home, Fresh { url, device, key, answer });
                }
                Err(error) => match Reply::of(error)? {
                    Reply::Pending => {}
                    Reply::SlowDown => interval = (interval + MORE).min(*INTERVAL.end()),
                },
            }
        }
    }
}

/// An answer after which it is right to ask again.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Pending,
    SlowDown,
}

impl Reply {
    /// A gateway that can't be reached for a moment doesn't end the waiting; its time does.
    fn of(error: ClientError) -> Result<Self, ClientError> {
        match error {
            ClientError::Problem(problem) => match problem.error.as_deref() {
                Some("authorization_pending") => Ok(Self::Pending),
                Some("slow_down") => Ok(Self::SlowDown),
                Some("access_denied") => Err(ClientError::Disowned),
                Some("expired_token") => Err(ClientError::Unanswered),
                Some(_) | None => Err(ClientError::Problem(problem)),
            },
            ClientError::Unreachable { .. } => Ok(Self::Pending),
            other @ (ClientError::Home(_)
            | ClientError::Insecure(_)
            | ClientError::Authority(_)
            | ClientError::Setup(_)
            | ClientError::Strange(_)
            | ClientError::Key(_)
            | ClientError::Disowned
            | ClientError::Unanswered
            | ClientError::SshKey(_)
            | ClientError::Write(_)) => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn a_terminal_asks_again_where_it_should_and_nowhere_else() {
        let parsed = |error: &str| {
            let body = format!(r#"{{"error":"{error}","detail":"d","title":"t"}}"#);
            Reply::of(ClientError::Problem(Problem::read(400, body.as_bytes())))
        };
        assert_eq!(parsed("authorization_pending").unwrap(), Reply::Pending);
        assert_eq!(parsed("slow_down").unwrap(), Reply::SlowDown);
        assert!(matches!(parsed("access_denied"), Err(ClientError::Disowned)));
        assert!(matches!(parsed("expired_token"), Err(ClientError::Unanswered)));
        assert!(matches!(parsed("server_error"), Err(ClientError::Problem(_))));
    }
}
