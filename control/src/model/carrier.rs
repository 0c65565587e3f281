//! On what an access request comes, as far as it can be recognised again.

use policies::{Authn, DeviceId, Method};

/// On what it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A login session, which somebody proved themselves to open.
    Session,
    /// A device, by the name in its certificate or of the sign-in that its token is of.
    Device(DeviceId),
    /// A connection for which no device stands: a new one each time.
    Unnamed,
}

impl Carrier {
    /// What an identified connection comes on.
    pub(crate) fn of(authn: &Authn) -> Self {
        let named = authn.device.clone().map(Self::Device);
        match authn.method {
            Method::Confirmed => Self::Session,
            Method::Token => named.unwrap_or(Self::Session),
            Method::Certificate
            | Method::Workload
            | Method::Bearer
            | Method::Key
            | Method::Link
            | Method::Passkey
            | Method::Oidc => named.unwrap_or(Self::Unnamed),
        }
    }
}
