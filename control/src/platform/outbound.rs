//! Where this machine may be made to connect to: addresses that everybody can reach, and others only
//! where the configuration says so.
//!
//! A receiver's name is resolved once, each of its addresses is looked at, and the connection goes to
//! one that was: a name that means another address a moment later changes nothing. Redirects are not
//! followed and no proxy is asked, since either would connect to where nobody looked. Of an answer
//! only its status and headers are read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use policies::Ttl;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, redirect};
use thiserror::Error;
use url::{Host, Url};

/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 8;
/// The longest pause that a receiver's `retry-after` is believed.
const LONGEST_PAUSE: u64 = 3_600;

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Those that everybody can reach.
    #[default]
    Public,
    /// Also loopback, private and link-local ones: the operator says that they are meant.
    Anywhere,
}

/// Why there is no address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressFault {
    /// The name means nothing.
    #[error("the name `{0}` can't be resolved")]
    Unknown(String),
    /// It is where only this machine or its network gets to.
    #[error(
        "`{0}` is at a private or reserved address: write `allow_private = true` if that is meant"
    )]
    Private(String),
}

/// Why a URL didn't take a message. It never holds the address, which may be secret.
#[derive(Debug, Error)]
pub enum PostFault {
    /// It may not be connected to.
    #[error(transparent)]
    Address(#[from] AddressFault),
    /// No answer in time.
    #[error("it did not answer in time")]
    Slow,
    /// No connection, or one that broke.
    #[error("it can't be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No client can be made on this machine.
    #[error("no HTTP client can be made here")]
    Setup(#[source] reqwest::Error),
}

/// What a receiver answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long it wants to be left alone.
    pub(crate) retry_after: Option<Ttl>,
}

/// A client for one receiver.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    client: Client,
    reach: Reach,
}

impl Reach {
    /// Whether this address may be connected to.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public => is_public(address),
        }
    }

    /// The addresses of a host that may be connected to.
    pub(crate) async fn resolve(
        self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, AddressFault> {
        let unknown = |_| AddressFault::Unknown(host.to_owned());
        let found = tokio::net::lookup_host((host, port)).await.map_err(unknown)?;
        let mut found = found.peekable();
        if found.peek().is_none() {
            return Err(AddressFault::Unknown(host.to_owned()));
        }
        let fit: Vec<SocketAddr> =
            found.filter(|address| self.allows(address.ip())).take(MOST_ADDRESSES).collect();
        if fit.is_empty() { Err(AddressFault::Private(host.to_owned())) } else { Ok(fit) }
    }

    /// A host that is written as an address is never resolved, and looked at here.
    pub(crate) fn admits(self, url: &Url) -> Result<(), AddressFault> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(AddressFault::Unknown(String::new())),
        };
        if self.allows(address) { Ok(()) } else { Err(AddressFault::Private(address.to_string())) }
    }
}

/// Whether everybody reaches the same machine under this address.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// All but the special-purpose blocks of RFC 6890, multicast and what is reserved.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Global unicast without its special-purpose blocks; of NAT64, what leads to a public address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    if [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [high, low] = [g.to_be_bytes(), h.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(high[0], high[1], low[0], low[1]));
    }
    let special = matches!(
        (a, b),
        // Teredo, ORCHID, benchmarking and the rest of 2001::/23; documentation twice; 6to4.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff)
    );
    (0x2000..=0x3fff).contains(&a) && !special
}

/// Resolves names for the client, and keeps what may not be connected to from it.
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = reach.resolve(name.as_str(), 0).await?;
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

impl Outbound {
    /// A client that trusts these roots only, or, without any, the machine's.
    pub(crate) fn new(
        reach: Reach,
        timeout: Duration,
        roots: &[Certificate],
    ) -> Result<Self, PostFault> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(Guard(reach)))
            .connect_timeout(timeout)
            .timeout(timeout)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
        let builder =
            if roots.is_empty() { builder } else { builder.tls_certs_only(roots.iter().cloned()) };
        let client = builder.build().map_err(PostFault::Setup)?;
        Ok(Self { client, reach })
    }

    /// Sends a JSON body.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Answer, PostFault> {
        self.reach.admits(url)?;
        let request = self.client.post(url.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(fault)?;
        Ok(Answer { status: response.status(), retry_after: retry_after(response.headers()) })
    }

    /// Whether somebody answers at the root of this address, where nothing is sent.
    pub(crate) async fn knock(&self, url: &Url) -> Result<StatusCode, PostFault> {
        self.reach.admits(url)?;
        let mut root = url.clone();
        root.set_path("/");
        root.set_query(None);
        let response = self.client.head(root).send().await.map_err(fault)?;
        Ok(response.status())
    }
}

fn fault(error: reqwest::Error) -> PostFault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(one) = cause {
        if let Some(address) = one.downcast_ref::<AddressFault>() {
            return PostFault::Address(address.clone());
        }
        cause = one.source();
    }
    if error.is_timeout() {
        return PostFault::Slow;
    }
    PostFault::Unreachable(error.without_url())
}

/// Only seconds are read: a date would need the receiver's clock. More than is believed is as long as
/// is believed.
fn retry_after(headers: &HeaderMap) -> Option<Ttl> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| text.parse::<u64>().unwrap_or(LONGEST_PAUSE))?;
    Some(Ttl::from_secs(seconds.min(LONGEST_PAUSE)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("93.184.216.34", true)]
    #[case("8.8.8.8", true)]
    #[case("172.32.0.1", true)]
    #[case("100.128.0.1", true)]
    #[case("2606:4700::1111", true)]
    #[case("2a00:1450:4001::1", true)]
    #[case("64:ff9b::808:808", true)]
    #[case("0.0.0.0", false)]
    #[case("10.1.2.3", false)]
    #[case("100.64.0.1", false)]
    #[case("127.0.0.1", false)]
    #[case("127.255.255.254", false)]
    #[case("169.254.169.254", false)]
    #[case("172.16.0.1", false)]
    #[case("192.168.1.1", false)]
    #[case("198.18.0.1", false)]
    #[case("203.0.113.9", false)]
    #[case("224.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("::", false)]
    #[case("::1", false)]
    #[case("::127.0.0.1", false)]
    #[case("::ffff:127.0.0.1", false)]
    #[case("::ffff:169.254.169.254", false)]
    #[case("64:ff9b::a9fe:a9fe", false)]
    #[case("64:ff9b:1::808:808", false)]
    #[case("2002:7f00:1::1", false)]
    #[case("2001:0:53aa:64c::1", false)]
    #[case("2001:db8::1", false)]
    #[case("fc00::1", false)]
    #[case("fd00:ec2::254", false)]
    #[case("fe80::1", false)]
    #[case("ff02::1", false)]
    fn only_what_everybody_can_reach_is_public(#[case] address: IpAddr, #[case] public: bool) {
        assert_eq!(Reach::Public.allows(address), public);
        assert!(Reach::Anywhere.allows(address));
    }

    #[rstest]
    #[case("60", Some(60))]
    #[case(" 7 ", Some(7))]
    #[case("0", Some(0))]
    #[case("3600", Some(3_600))]
    #[case("999999", Some(LONGEST_PAUSE))]
    #[case("99999999999999999999999999", Some(LONGEST_PAUSE))]
    #[case("", None)]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("Fri, 15 Jan 2027 08:00:00 GMT", None)]
    fn a_pause_is_believed_within_bounds(#[case] said: &'static str, #[case] secs: Option<u64>) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]);
        assert_eq!(retry_after(&headers), secs.map(Ttl::from_secs));
    }

    #[rstest]
    #[case("http://127.0.0.1/hook")]
    #[case("http://2130706433/hook")]
    #[case("http://0x7f.1/hook")]
    #[case("http://[::1]:8080/hook")]
    #[case("https://[::ffff:10.0.0.1]/hook")]
    #[case("http://169.254.169.254/latest/meta-data/")]
    fn an_address_in_a_url_is_looked_at_however_it_is_written(#[case] url: Url) {
        assert!(matches!(Reach::Public.admits(&url), Err(AddressFault::Private(_))));
        assert_eq!(Reach::Anywhere.admits(&url), Ok(()));
    }

    #[tokio::test]
    async fn a_name_of_a_private_address_is_refused_and_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url: Url = format!("http://localhost:{port}/").parse().unwrap();
        let client = Outbound::new(Reach::Public, Duration::from_secs(5), &[]).unwrap();
        let refused = client.post(&url, HeaderMap::new(), Vec::new()).await.unwrap_err();
        assert!(matches!(refused, PostFault::Address(AddressFault::Private(_))), "{refused:?}");
        let nobody = std::future::poll_fn(|context| match listener.poll_accept(context) {
            std::task::Poll::Pending => std::task::Poll::Ready(true),
            std::task::Poll::Ready(_) => std::task::Poll::Ready(false),
        });
        assert!(nobody.await);
    }

    proptest! {
        #[test]
        fn no_clothing_of_a_private_address_makes_it_public(
            (first, second) in prop::sample::select(vec![
                (0, 1), (10, 200), (100, 70), (127, 0), (169, 254), (172, 20), (192, 168), (198, 18),
                (224, 0), (255, 255),
            ]),
            third: u8,
            fourth: u8,
        ) {
            let inner = Ipv4Addr::new(first, second, third, fourth);
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for clothed in [
                inner.to_ipv6_mapped(),
                inner.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
            ] {
                prop_assert!(!is_public(IpAddr::V6(clothed)), "{}", clothed);
            }
        }

        #[test]
        fn what_std_knows_as_local_is_never_public(bits: u128, v4: u32) {
            let v6 = Ipv6Addr::from_bits(bits);
            let local = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
                || v6.is_unique_local() || v6.is_unicast_link_local();
            prop_assert!(!(local && is_public(IpAddr::V6(v6))));
            let v4 = Ipv4Addr::from_bits(v4);
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified()
                || v4.is_documentation();
            prop_assert!(!(local && is_public(IpAddr::V4(v4))));
        }
    }
}
