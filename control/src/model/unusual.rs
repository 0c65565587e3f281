//! What is unusual about an access request or a connection.

use std::net::IpAddr;

use ipnet::IpNet;
use policies::{DeviceId, Facts, PrincipalId, Risk, Timestamp};

/// What is unusual about it, and what of it can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusual {
    pub(crate) risk: Risk,
    pub(crate) who: PrincipalId,
    pub(crate) network: Option<IpNet>,
    pub(crate) device: Option<DeviceId>,
}

impl Unusual {
    /// The facts of this moment and place, with what is unusual about them.
    pub(crate) fn facts(&self, now: Timestamp, source: Option<IpAddr>) -> Facts {
        Facts { risk: self.risk, ..Facts::new(now, source) }
    }

    /// In words for people, as `network 203.0.113.0/24 is new for alice`.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.parts().into_iter().map(|(_, message)| message).collect()
    }

    /// In words, what of it makes the difference that `matters` sees where it stands alone; all of it
    /// where only together it does.
    pub(crate) fn because(&self, matters: impl Fn(Risk) -> bool) -> Vec<String> {
        let (causes, others): (Vec<_>, Vec<_>) =
            self.parts().into_iter().partition(|(risk, _)| matters(*risk));
        let decisive = if causes.is_empty() { others } else { causes };
        decisive.into_iter().map(|(_, message)| message).collect()
    }

    /// Each part alone, with the words for it.
    fn parts(&self) -> Vec<(Risk, String)> {
        let (who, calm) = (&self.who, Risk::default());
        let Risk { new_network, new_device, failed_attempts } = self.risk;
        let network = self.network.filter(|_| new_network).map(|network| {
            let message = format!("network {network} is new for {who}");
            (Risk { new_network, ..calm }, message)
        });
        let device = new_device.then(|| {
            let message = match &self.device {
                Some(device) => format!("device `{device}` is new for {who}"),
                None => format!("no device of {who}'s stands for this connection"),
            };
            (Risk { new_device, ..calm }, message)
        });
        let failed = (failed_attempts > 0).then(|| {
            let message = format!("{failed_attempts} attempts in the name of {who} failed lately");
            (Risk { failed_attempts, ..calm }, message)
        });
        network.into_iter().chain(device).chain(failed).collect()
    }
}
