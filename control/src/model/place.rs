//! By what somebody is recognised: networks and devices.

/// What somebody may come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Device,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Device => "device",
        }
    }
}
