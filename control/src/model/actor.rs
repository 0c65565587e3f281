//! An authenticated person, as actions take them, and what they may do by their office.

use std::net::{IpAddr, SocketAddr};

use policies::{Authn, Bound, DeviceId, LoginId, Method, Principal, PrincipalId, StepUp};

use crate::model::carrier::Carrier;
use crate::model::error::Refusal;

/// Somebody who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who, with their groups of now.
    pub principal: Principal,
    /// Whether they may lock, revoke and invite.
    pub admin: bool,
    /// Whether they may see everybody's sessions, recordings and the audit log.
    pub auditor: bool,
    /// The login session that they act in.
    pub login: LoginId,
    /// How they proved it.
    pub authn: Authn,
}

/// Whom something is asked for: by a signed-in person, or by an identified connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) principal: PrincipalId,
    pub(crate) device: Option<DeviceId>,
    /// On what it comes, for what is unusual about it.
    pub(crate) carrier: Carrier,
    /// The certificate or token of an identified connection.
    pub(crate) credential: Option<String>,
    /// Where a touch for their connection is good, where it is one.
    pub(crate) place: Option<Bound>,
    /// The touch with which their waiting connection was let go on: for what it asks, and no more.
    pub(crate) touch: Option<StepUp>,
}

impl Asker {
    /// Somebody who isn't there: only they themselves are looked at.
    pub(crate) fn absent(principal: &PrincipalId) -> Self {
        Self {
            principal: principal.clone(),
            device: None,
            carrier: Carrier::Unnamed,
            credential: None,
            place: None,
            touch: None,
        }
    }

    /// An identified connection, from there.
    pub(crate) fn connected(
        principal: &PrincipalId,
        authn: &Authn,
        source: Option<IpAddr>,
    ) -> Self {
        Self {
            principal: principal.clone(),
            device: authn.device.clone(),
            carrier: Carrier::of(authn),
            credential: Some(authn.evidence.clone()),
            place: place(Some(authn), source),
            touch: None,
        }
    }
}

impl Actor {
    /// # Errors
    /// Where they are neither an admin nor an auditor.
    pub(crate) fn must_oversee(&self) -> Result<(), Refusal> {
        if self.oversees() {
            return Ok(());
        }
        let message = "this takes an admin or an auditor";
        Err(Refusal::Forbidden(message.to_owned()))
    }

    pub(crate) fn oversees(&self) -> bool {
        self.admin || self.auditor
    }

    pub(crate) fn asker(&self) -> Asker {
        Asker {
            principal: self.principal.id.clone(),
            device: self.authn.device.clone(),
            carrier: Carrier::Session,
            credential: None,
            place: None,
            touch: None,
        }
    }
}

/// Where a connection is, as far as touches are bound to it: at the certificate whose key it holds,
/// or at the address it came from. Tokens can be copied, and devices be called alike.
pub(crate) fn place(authn: Option<&Authn>, source: Option<IpAddr>) -> Option<Bound> {
    match authn.filter(|authn| authn.method == Method::Certificate) {
        // A serial that can't be read is nowhere, rather than wherever it comes from.
        Some(authn) => authn.evidence.parse().ok().map(Bound::Certificate),
        None => source.map(|address| Bound::Address(address.to_canonical())),
    }
}

/// The address of an `address:port`, or of an address alone.
pub(crate) fn source(client: &str) -> Option<IpAddr> {
    let socket = client.parse::<SocketAddr>().map(|socket| socket.ip());
    socket.or_else(|_| client.parse()).ok().map(|ip| ip.to_canonical())
}
