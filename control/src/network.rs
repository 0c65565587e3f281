//! Whom bounds for strangers are counted by.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: of IPv6, the network, which one home has whole.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}
