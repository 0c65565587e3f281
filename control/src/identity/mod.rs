//! Who somebody is, and how they prove it: sign-ins, devices, passkeys, tokens, identity providers.

pub(crate) mod bearer;
pub(crate) mod challenge;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod failed_attempts;
pub(crate) mod issuers;
pub(crate) mod login;
pub(crate) mod logins;
pub(crate) mod oidc;
pub(crate) mod passkeys;
pub(crate) mod proof;
pub(crate) mod rate_limits;
pub(crate) mod recovery;
pub(crate) mod ssh_certificates;
pub(crate) mod ssh_keys;
pub(crate) mod ssh_proof;
pub(crate) mod tokens;
pub(crate) mod totp;
pub(crate) mod workloads;

use std::sync::Arc;

use crate::identity::devices::table::Devices;
use crate::identity::issuers::Issuers;
use crate::identity::oidc::outages::Outages;
use crate::identity::passkeys::nonces::Nonces;
use crate::identity::passkeys::party::Party;
use crate::identity::rate_limits::{ExchangeLimit, FailedAttempts, FlowLimit, Limits};
use crate::kernel::Kernel;
use crate::model::error::ControlError;
use crate::model::settings::Settings;
use crate::platform::clock::Clock;

/// Who somebody is. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Identity {
    pub(crate) kernel: Kernel,
    pub(crate) own: Arc<State>,
}

/// What this layer alone uses.
pub(crate) struct State {
    pub(crate) issuers: Issuers,
    pub(crate) devices: Devices,
    pub(crate) outages: Outages,
    pub(crate) flows: FlowLimit,
    pub(crate) limits: Limits,
    pub(crate) failed_attempts: FailedAttempts,
    /// None where the public address has no host name: passkeys need one.
    pub(crate) party: Option<Party>,
    pub(crate) nonces: Nonces,
    pub(crate) exchanges: ExchangeLimit,
}

impl State {
    /// # Errors
    /// Where no client for issuers can be made on this machine.
    pub(crate) fn new(settings: &Settings, clock: &Clock) -> Result<Self, ControlError> {
        Ok(Self {
            issuers: Issuers::new(clock.clone())?,
            devices: Devices::default(),
            outages: Outages::default(),
            flows: FlowLimit::new(),
            limits: Limits::new(),
            failed_attempts: FailedAttempts::new(),
            party: Party::of(&settings.public_url, settings.attestation.clone()),
            nonces: Nonces::new(),
            exchanges: ExchangeLimit::new(),
        })
    }
}

impl Identity {
    /// How often somebody may try.
    pub(crate) fn limits(&self) -> &Limits {
        &self.own.limits
    }

    /// Forgets tries that limit nobody any more.
    pub(crate) fn forget(&self) {
        self.own.limits.forget();
        self.own.failed_attempts.forget();
        self.own.exchanges.forget();
        self.own.flows.forget();
    }
}
