//! How long the packets of an unauthenticated client may be.
//!
//! Keys, certificates and signatures come in these packets, and the library reads a certificate and verifies
//! its signature before it asks us about it. It would take 256 KiB of each. The length of a packet can be read
//! here: at first nothing is encrypted, and then clients have no other ciphers than those that authenticate
//! the length and leave it in the clear (RFC 5647, section 7.3).

use crate::ssh::preamble::Unsafe;

/// The longest packet that every implementation has to take (RFC 4253, section 6.1).
const LONGEST: u32 = 35_000;
const NEWKEYS: u8 = 21;
/// What authenticates a packet, behind it.
const TAG: u64 = 16;
/// A packet's length; and that of its padding and its type, where they can be read.
const SEALED_HEAD: usize = 4;
const CLEAR_HEAD: usize = 6;

/// Where in the stream of a client something stands.
#[derive(Debug, Default)]
pub(super) struct PacketBound {
    at: At,
    /// Whether packets are encrypted by now.
    sealed: bool,
}

#[derive(Debug, Default)]
enum At {
    /// In the line that names the client.
    #[default]
    Version,
    /// In the first bytes of a packet.
    Head { held: [u8; CLEAR_HEAD], count: usize },
    /// In the rest of a packet.
    Body { left: u64 },
}

impl At {
    const NEXT: Self = Self::Head { held: [0; CLEAR_HEAD], count: 0 };
}

impl PacketBound {
    /// Looks at bytes on their way to the library.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Unsafe> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Version => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        return Ok(());
                    };
                    self.at = At::NEXT;
                    bytes = bytes.get(end + 1..).unwrap_or_default();
                }
                At::Head { held, count } => {
                    if let Some(place) = held.get_mut(*count) {
                        *place = *first;
                    }
                    *count += 1;
                    let (held, count) = (*held, *count);
                    bytes = rest;
                    self.head(held, count)?;
                }
                At::Body { left } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left = left.saturating_sub(taken as u64);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        self.at = At::NEXT;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the first bytes of a packet, once they are here.
    fn head(&mut self, held: [u8; CLEAR_HEAD], count: usize) -> Result<(), Unsafe> {
        let wanted = if self.sealed { SEALED_HEAD } else { CLEAR_HEAD };
        if count < wanted {
            return Ok(());
        }
        let [length @ .., _, kind] = held;
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(Unsafe::Long);
        }
        let left = if self.sealed {
            u64::from(length) + TAG
        } else {
            u64::from(length).checked_sub(2).ok_or(Unsafe::Nonsense)?
        };
        self.sealed |= kind == NEWKEYS && !self.sealed;
        self.at = if left == 0 { At::NEXT } else { At::Body { left } };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clear(kind: u8, length: u32) -> Vec<u8> {
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend([4, kind]);
        packet.resize(4 + length as usize, 7);
        packet
    }

    fn sealed(length: u32) -> Vec<u8> {
        let mut packet = length.to_be_bytes().to_vec();
        packet.resize(4 + length as usize + 16, 21);
        packet
    }

    fn begun() -> Vec<u8> {
        [b"SSH-2.0-x\r\n".to_vec(), clear(20, 1_000), clear(30, 44), clear(NEWKEYS, 12)].concat()
    }

    #[test]
    fn a_packet_beyond_the_bound_is_found_by_its_length_alone() {
        let usual = [begun(), sealed(32), sealed(LONGEST), sealed(0), sealed(32)].concat();
        assert_eq!(PacketBound::default().pass(&usual), Ok(()));
        let clear = [&b"SSH-2.0-x\r\n"[..], &(LONGEST + 1).to_be_bytes(), &[4, 20]].concat();
        assert_eq!(PacketBound::default().pass(&clear), Err(Unsafe::Long));
        for length in [LONGEST + 1, u32::MAX] {
            let long = [&usual[..], &length.to_be_bytes()].concat();
            assert_eq!(PacketBound::default().pass(&long), Err(Unsafe::Long));
        }
    }

    #[test]
    fn a_packet_without_room_for_its_type_is_nonsense() {
        let bytes = [&b"SSH-2.0-x\r\n"[..], &[0, 0, 0, 1, 0, 0]].concat();
        assert_eq!(PacketBound::default().pass(&bytes), Err(Unsafe::Nonsense));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            lengths in proptest::collection::vec(0_u32..200, 0..8),
            last in prop::sample::select(vec![0, LONGEST, LONGEST + 1]),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let packets: Vec<u8> = lengths.into_iter().flat_map(sealed).collect();
            let bytes = [begun(), packets, last.to_be_bytes().to_vec()].concat();
            let whole = PacketBound::default().pass(&bytes);
            prop_assert_eq!(whole.is_ok(), last <= LONGEST);
            let (mut bound, mut rest, mut sizes) = (PacketBound::default(), &bytes[..], sizes.iter().cycle());
            let mut pieces = Ok(());
            while !rest.is_empty() && pieces.is_ok() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces = bound.pass(piece);
                rest = after;
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
