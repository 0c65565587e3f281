//! What a proxy starts with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use policies::{Amount, Size};

/// The settings of one proxy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The proxy's name in the audit log.
    pub name: String,
    /// Where it listens for Postgres clients.
    pub postgres: Vec<SocketAddr>,
    /// The SSH side, where there is one.
    pub ssh: Option<SshSettings>,
    /// The names below which a server name chooses a target: `orders.gate.example.com`.
    pub host_names: Vec<String>,
    /// TLS towards clients: client certificates welcome, no tickets.
    pub tls: Arc<rustls::ServerConfig>,
    /// Whether clients without a certificate are asked for an issuer's access token, where they don't
    /// say how they want to be asked.
    pub bearer: bool,
    /// The folder of recordings; made where it isn't there.
    pub recordings: PathBuf,
    /// The folder of control's state, where it is on this machine: its disk keeps the same reserve.
    pub state: Option<PathBuf>,
    /// How much room recordings may take.
    pub recording: RecordingSettings,
    /// Worker threads; 0 is one per processor.
    pub workers: usize,
    /// How much of what at once.
    pub limits: LimitSettings,
}

/// How SSH clients are served.
#[derive(Debug, Clone)]
pub struct SshSettings {
    /// Where it listens for SSH clients.
    pub listen: Vec<SocketAddr>,
    /// The authority that people's certificates come from, and that vouches for the host key.
    pub authority: Arc<certs::SshAuthority>,
    /// What clients are shown before they authenticate.
    pub banner: Option<String>,
}

/// How much room recordings may take. Shares are of the file system that they are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingSettings {
    /// The recording of one session.
    pub session_quota: Amount,
    /// All recordings of one principal.
    pub principal_quota: Amount,
    /// All recordings.
    pub spool_quota: Amount,
    /// What stays free. Below it no session begins; below half of it, live ones end. A share stands
    /// for at least 512 MiB, or a quarter of a file system that is smaller than 2 GiB.
    pub reserve: Amount,
}

/// The least that a share stands for as the reserve.
const LEAST_RESERVE: u64 = 512 << 20;

impl RecordingSettings {
    /// The reserve in bytes, on a file system of this size.
    #[must_use]
    pub fn reserve_of(&self, whole: u64) -> u64 {
        let reserve = self.reserve.of(whole);
        match self.reserve {
            Amount::Size(_) => reserve,
            Amount::Percent(_) => reserve.max(LEAST_RESERVE.min(whole / 4)),
        }
    }
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self {
            session_quota: Amount::Size(Size::from_bytes(4 << 30)),
            principal_quota: Amount::Percent(20),
            spool_quota: Amount::Percent(80),
            reserve: Amount::Percent(5),
        }
    }
}

/// How much of what at once.
#[derive(Debug, Clone)]
pub struct LimitSettings {
    /// Connections in all.
    pub connections: usize,
    /// Connections that haven't authenticated; one of them makes room for a new one.
    pub unauthenticated: usize,
    /// Connections of one address that haven't authenticated; one of them makes room for a new one.
    pub per_address: usize,
    /// Connections of one network that haven't authenticated; one of them makes room for a new one.
    pub per_network: usize,
    /// From accept to authentication, in all.
    pub handshake: Duration,
    /// When a silent side of a session is asked whether it is still there.
    pub keepalive: Duration,
    /// Connections that wait for a person.
    pub pending: usize,
    /// Connections of one address that wait for a person.
    pub pending_per_address: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections: 20_000,
            unauthenticated: 4_000,
            per_address: 256,
            per_network: 2_000,
            handshake: Duration::from_secs(15),
            keepalive: accept::KEEPALIVE,
            pending: 1_000,
            pending_per_address: 32,
        }
    }
}
