//! Cancelling a query, from a connection of its own (protocol section "Canceling Requests in Progress").
//!
//! The process id that a client holds is the target's real one, since tools join it with
//! `pg_stat_activity`; the secret is ours. A request cancels only the very session whose secret it
//! carries, in constant time, while that session lives, and a flood of guesses is cut off.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use certs::Connector;
use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use policies::Target;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::upstream::{DialError, connect};
use crate::core::limits::network;

/// How long a cancel may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that cancel nothing, of one address, or network of IPv6, a second.
const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
/// How long nothing is taken of an address that sends more of them.
const FLOODED: Duration = Duration::from_secs(1);
/// Addresses that are remembered before the quiet ones are forgotten.
const ADDRESSES: usize = 10_000;
/// Length of a secret in protocol 3.2, as Postgres 18 has it.
const LONG: usize = 32;

/// The way to cancel what a session runs upstream.
#[derive(Debug, Clone)]
pub(super) struct CancelRoute {
    pub(super) target: Arc<Target>,
    pub(super) connector: Option<Connector>,
    pub(super) pid: u32,
    /// The target's own secret.
    pub(super) secret: Bytes,
}

impl CancelRoute {
    /// Asks the target to cancel what the session runs.
    pub(super) async fn cancel(&self) -> Result<(), DialError> {
        timeout(TIMEOUT, self.send()).await.map_err(|_| DialError::Late)?
    }

    async fn send(&self) -> Result<(), DialError> {
        let (mut stream, _) =
            connect(&self.target, self.connector.as_ref(), accept::KEEPALIVE).await?;
        let mut request = BytesMut::new();
        request.put_u32(u32::try_from(self.secret.len() + 12).unwrap_or(u32::MAX));
        request.put_u32(80_877_102);
        request.put_u32(self.pid);
        request.put_slice(&self.secret);
        stream.write_all(&request).await.map_err(DialError::Unreachable)?;
        stream.flush().await.map_err(DialError::Unreachable)?;
        // The target closes, not always in order, when it has read the request: then it is on its way.
        match stream.read(&mut [0; 1]).await.map_err(|error| (error.kind(), error)) {
            Ok(_) | Err((ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset, _)) => Ok(()),
            Err((_, error)) => Err(DialError::Unreachable(error)),
        }
    }
}

/// The keys of live sessions.
#[derive(Debug)]
pub(super) struct Keys {
    routes: DashMap<u32, Vec<Arc<Key>>>,
    /// What cancels nothing counts here.
    rate: DefaultKeyedRateLimiter<IpAddr>,
    /// Who sent more of that than may be, and until when nothing of theirs is taken.
    flooding: DashMap<IpAddr, Instant>,
}

#[derive(Debug)]
struct Key {
    ours: Bytes,
    route: CancelRoute,
}

impl Default for Keys {
    fn default() -> Self {
        let rate = RateLimiter::keyed(Quota::per_second(RATE));
        Self { routes: DashMap::new(), rate, flooding: DashMap::new() }
    }
}

/// A key that is valid while this value lives.
#[derive(Debug)]
pub(super) struct Issued {
    keys: Arc<Keys>,
    key: Arc<Key>,
}

impl Issued {
    /// The secret that the client holds.
    pub(super) fn secret(&self) -> &Bytes {
        &self.key.ours
    }

    pub(super) fn route(&self) -> &CancelRoute {
        &self.key.route
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        let pid = self.key.route.pid;
        if let Some(mut keys) = self.keys.routes.get_mut(&pid) {
            keys.retain(|key| !Arc::ptr_eq(key, &self.key));
        }
        self.keys.routes.remove_if(&pid, |_, keys| keys.is_empty());
    }
}

impl Keys {
    /// Issues a secret: four bytes, or 32 where the client speaks protocol 3.2.
    pub(super) fn issue(self: &Arc<Self>, route: CancelRoute, minor: u16) -> Issued {
        let mut ours = BytesMut::zeroed(if minor >= 2 { LONG } else { 4 });
        rand::fill(&mut ours[..]);
        let pid = route.pid;
        let key = Arc::new(Key { ours: ours.freeze(), route });
        self.routes.entry(pid).or_default().push(Arc::clone(&key));
        Issued { keys: Arc::clone(self), key }
    }

    /// The one session that this request is for.
    pub(super) fn find(&self, pid: u32, secret: &[u8], client: SocketAddr) -> Option<CancelRoute> {
        let (client, now) = (network(client.ip()), Instant::now());
        if self.flooding.get(&client).is_some_and(|until| now < *until) {
            return None;
        }
        let found = self.held(pid, secret);
        if found.is_none() {
            self.missed(client, now);
        }
        found
    }

    /// A request that cancels nothing: it may be one of many guesses.
    fn missed(&self, client: IpAddr, now: Instant) {
        if self.rate.len() > ADDRESSES {
            self.rate.retain_recent();
        }
        if self.flooding.len() > ADDRESSES {
            self.flooding.retain(|_, until| now < *until);
        }
        if self.rate.check_key(&client).is_err() {
            self.flooding.insert(client, now + FLOODED);
        }
    }

    fn held(&self, pid: u32, secret: &[u8]) -> Option<CancelRoute> {
        let keys = self.routes.get(&pid)?;
        // Every key of this process id is compared, and each in constant time.
        let mut found = None;
        for key in keys.iter() {
            if bool::from(key.ours.ct_eq(secret)) {
                found = Some(key.route.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use policies::{
        Binds, Database, Hold, Kind, Partition, Recording, TargetName, Ttl, UpstreamTls,
    };

    use super::*;

    fn route(pid: u32) -> CancelRoute {
        let target = Target {
            name: TargetName::new("orders").unwrap(),
            kind: Kind::Postgres,
            host: "localhost".into(),
            port: 1,
            tls: UpstreamTls::Off,
            environment: None,
            labels: BTreeMap::new(),
            databases: vec![Database::new("shop").unwrap()],
            logins: BTreeMap::new(),
            hold: Hold::Never,
            partition: Partition::Cut,
            recording: Recording { binds: Binds::Keep },
            default_ttl: Ttl::from_secs(60),
            replication: false,
            weak_auth: Default::default(),
            ssh: None,
        };
        CancelRoute {
            target: Arc::new(target),
            connector: None,
            pid,
            secret: Bytes::from_static(b"real"),
        }
    }

    fn client(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 5))
    }

    #[test]
    fn only_the_very_secret_finds_the_session_and_only_while_it_lives() {
        let keys = Arc::new(Keys::default());
        let (one, other) = (keys.issue(route(7), 0), keys.issue(route(7), 2));
        assert_eq!((one.secret().len(), other.secret().len()), (4, 32));
        let finds = |pid, secret: &[u8]| keys.find(pid, secret, client(1)).is_some();
        let secret = other.secret().clone();
        assert!(finds(7, one.secret()) && finds(7, &secret));
        for wrong in [&b"real"[..], b"", &secret[..31], &[&secret[..], b"x"].concat()] {
            assert!(!finds(7, wrong));
        }
        assert!(!finds(8, &secret));
        drop(other);
        assert!(!finds(7, &secret) && finds(7, one.secret()));
        drop(one);
        assert!(keys.routes.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_is_cut_off_and_others_are_heard() {
        let keys = Arc::new(Keys::default());
        let issued = keys.issue(route(7), 0);
        for _ in 0..1_000 {
            let _ = keys.find(7, b"????", client(1));
        }
        assert!(keys.find(7, issued.secret(), client(1)).is_none());
        assert!(keys.find(7, issued.secret(), client(2)).is_some());
    }

    #[test]
    fn who_holds_valid_keys_may_cancel_as_often_as_it_likes() {
        let keys = Arc::new(Keys::default());
        let issued = keys.issue(route(7), 0);
        for _ in 0..1_000 {
            assert!(keys.find(7, issued.secret(), client(1)).is_some());
        }
        assert_eq!(keys.rate.len(), 0, "they count for nothing");
    }

    #[test]
    fn a_flood_from_one_ipv6_network_is_one_flood() {
        let keys = Arc::new(Keys::default());
        let issued = keys.issue(route(7), 0);
        let from = |network: u16, host: u16| {
            SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, host], 5))
        };
        for host in 0..1_000 {
            let _ = keys.find(7, b"????", from(1, host));
        }
        assert_eq!(keys.rate.len(), 1);
        assert!(keys.find(7, issued.secret(), from(1, 2_000)).is_none());
        assert!(keys.find(7, issued.secret(), from(2, 1)).is_some());
    }
}
