//! The leg towards clients: TLS 1.2 and 1.3, a client certificate welcome but not required.
//!
//! A client without a certificate gets through the handshake and is identified in another way. A
//! client that presents one must present a good one: of our authority, for client use, in its
//! time. Otherwise the handshake itself fails, with an alert that says which of these it was, and
//! no session begins. That is deliberate: falling back to "no certificate" would hide an expiry.
//!
//! There is no resumption: a resumed session skips the certificate check.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::identity::{Identity, TlsError, provider};

/// The most plaintext that one record carries: libpq's asynchronous API can hang on larger ones.
pub const RECORD_PAYLOAD: usize = 8 * 1024;
/// rustls counts a record's five-byte header into `max_fragment_size`.
const RECORD_HEADER: usize = 5;

/// Builds the configuration of a listener.
///
/// The first identity whose certificate covers the name that the client asks for is used, or else
/// the first of all: most Postgres clients don't verify, and none should fail for want of a name.
/// `alpn` is empty where the protocol has none; a client that offers only others is then accepted,
/// while with a list it is refused.
pub fn server_config(
    identities: Vec<Identity>,
    client_roots: Arc<RootCertStore>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(client_roots, provider())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName::new(&identities)?));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_fragment_size = Some(RECORD_PAYLOAD + RECORD_HEADER);
    Ok(Arc::new(config))
}

/// Builds the configuration of a listener for browsers and API clients, which are asked for no
/// certificate: a browser would make a question to its user of it.
pub fn web_config(
    identities: Vec<Identity>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName::new(&identities)?));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByName {
    first: Arc<CertifiedKey>,
    others: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: &[Identity]) -> Result<Self, TlsError> {
        let (first, others) = identities.split_first().ok_or(TlsError::NoIdentity)?;
        Ok(Self { first: first.pair(), others: others.iter().map(Identity::pair).collect() })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = ServerName::try_from(name).ok()?;
        std::iter::once(&self.first).chain(&self.others).find(|pair| covers(pair, &name))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.others.is_empty() {
            return Some(Arc::clone(&self.first));
        }
        let found = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

fn covers(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    pair.cert
        .first()
        .and_then(|leaf| ParsedCertificate::try_from(leaf).ok())
        .is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
