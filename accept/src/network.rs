//! Networks: by what unauthenticated clients are counted.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What counts as one address: of IPv6, the network of 64 bits, which one host has whole.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// As much of an address as one place keeps while its machines change: 24 bits of IPv4, 48 of IPv6.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new_assert(address, 24).trunc().into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, 48).trunc().into(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("203.0.113.9", "203.0.113.0/24")]
    #[case("203.0.113.255", "203.0.113.0/24")]
    #[case("203.0.114.1", "203.0.114.0/24")]
    #[case("::ffff:203.0.113.9", "203.0.113.0/24")]
    #[case("2001:db8:1:2::3", "2001:db8:1::/48")]
    #[case("2001:db8:1:ffff::3", "2001:db8:1::/48")]
    #[case("2001:db8:2::3", "2001:db8:2::/48")]
    #[case("127.0.1.1", "127.0.1.0/24")]
    fn a_place_is_known_by_its_network(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(neighbourhood(address.parse().unwrap()).to_string(), expected);
    }

    #[rstest]
    #[case("2001:db8::1", "2001:db8::")]
    #[case("2001:db8:0:1::1", "2001:db8:0:1::")]
    #[case("::ffff:192.0.2.1", "192.0.2.1")]
    #[case("192.0.2.1", "192.0.2.1")]
    fn one_ipv6_host_is_one_address(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(network(address.parse().unwrap()).to_string(), expected);
    }
}
