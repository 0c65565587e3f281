//! The authority of this gateway, and the TLS of its listeners.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::{Authority, Identity};
use control::Clock;

use super::UpError;
use crate::config::{ApiTls, Config, Identities};

const AUTHORITY: &str = "Postern";
/// Some clients refuse server certificates that last longer. A new one is issued at every start.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// The one protocol of Postgres clients that name one (direct TLS).
const POSTGRES: &[&[u8]] = &[b"postgresql"];
const HTTP: &[&[u8]] = &[b"http/1.1"];

/// What the listeners present.
pub(super) struct Tls {
    pub(super) authority: Arc<Authority>,
    pub(super) postgres: Arc<rustls::ServerConfig>,
    /// None where pages and API are served without.
    pub(super) api: Option<Arc<rustls::ServerConfig>>,
}

impl Tls {
    /// Loads the authority, or makes one at the first start, and issues what isn't configured.
    pub(super) fn load(
        config: &Config,
        identities: Identities,
        clock: &Clock,
    ) -> Result<Self, UpError> {
        let now = clock.now().millis();
        let authority = Authority::load_or_generate(&config.gateway.authority(), AUTHORITY, now)?;
        let own = || -> Result<Identity, UpError> {
            let issued = authority.issue_server(&names(config), LIFE, now)?;
            Ok(issued.identity()?)
        };
        let postgres = identities.postgres.map_or_else(own, Ok)?;
        let postgres = certs::server_config(vec![postgres], authority.roots()?, POSTGRES)?;
        let api = match &config.api.tls {
            ApiTls::Off => None,
            ApiTls::Authority | ApiTls::Files(_) => {
                let api = identities.api.map_or_else(own, Ok)?;
                Some(certs::web_config(vec![api], HTTP)?)
            }
        };
        Ok(Self { authority: Arc::new(authority), postgres, api })
    }
}

/// Under which names clients reach the gateway: its host, the targets below it, and where it listens.
fn names(config: &Config) -> Vec<String> {
    let host = &config.gateway.host;
    let mut names = vec![host.clone()];
    if host.parse::<IpAddr>().is_err() {
        names.push(format!("*.{host}"));
    }
    names.extend(config.gateway.public_url.host_str().map(unbracketed));
    let listeners = config.postgres.listen.iter().chain([&config.api.listen]);
    let addresses = listeners.map(|listener| listener.value.ip());
    let named = addresses.filter(|address| !address.is_unspecified());
    names.extend(named.map(|address| address.to_string()));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn unbracketed(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}
