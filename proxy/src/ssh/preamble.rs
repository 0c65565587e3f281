//! What a client says before anything is encrypted: its name, and the algorithms that it offers.
//!
//! An attacker in between could take messages out of the start of a connection without either side
//! noticing (Terrapin, CVE-2023-48795), unless both follow the strict key exchange. The library follows it
//! where the client does; here it is demanded. What is read goes on to the library as it came.

use thiserror::Error;

/// What a client says that follows the strict key exchange (OpenSSH's PROTOCOL, section 1.10).
const STRICT: &[u8] = b"kex-strict-c-v00@openssh.com";
/// Far more than the name of any client and its offer.
const LONGEST: usize = 16 * 1024;
const KEXINIT: u8 = 20;
const DISCONNECT: u8 = 1;
/// `SSH_DISCONNECT_KEY_EXCHANGE_FAILED`.
const NO_KEYS: u32 = 3;
/// The length and the padding's, the message's number and a cookie of random bytes.
const BEFORE_LISTS: usize = 4 + 1 + 1 + 16;
/// Packets that nothing encrypts yet are multiples of it.
const BLOCK: usize = 8;

/// Why a client goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unsafe {
    #[error("the client does not begin as the protocol says")]
    Nonsense,
    #[error(
        "this client is too old to keep what it says from being cut (Terrapin): a client of 2024 or newer \
         is needed, such as OpenSSH 9.6"
    )]
    NotStrict,
    #[error("the client sends more at once than an unauthenticated client may")]
    Long,
}

/// The start of a connection, up to the end of the client's first packet.
#[derive(Debug, Default)]
pub(super) struct Preamble {
    held: Vec<u8>,
    over: bool,
}

impl Preamble {
    /// Looks at bytes on their way to the library.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), Unsafe> {
        if self.over {
            return Ok(());
        }
        let room = LONGEST.saturating_sub(self.held.len());
        self.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        match offer(&self.held)? {
            Some(lists) => {
                is_strict(lists)?;
                *self = Self { held: Vec::new(), over: true };
            }
            None if self.held.len() >= LONGEST => return Err(Unsafe::Nonsense),
            None => {}
        }
        Ok(())
    }

    /// Whether no more is held than may be.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_bounded(&self) -> bool {
        self.held.len() <= LONGEST
    }
}

/// The lists of the client's offer, once they are here whole.
fn offer(held: &[u8]) -> Result<Option<&[u8]>, Unsafe> {
    let Some(line) = held.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let packet = held.get(line + 1..).unwrap_or_default();
    // The strict exchange begins with the offer, and nothing comes before it.
    if packet.get(5).is_some_and(|kind| *kind != KEXINIT) {
        return Err(Unsafe::Nonsense);
    }
    let Some(length) = packet.first_chunk() else { return Ok(None) };
    let end = 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap_or(LONGEST);
    if !(BEFORE_LISTS..LONGEST).contains(&end) {
        return Err(Unsafe::Nonsense);
    }
    Ok(packet.get(BEFORE_LISTS..end))
}

/// The first list has the methods of key exchange, and the sign of the strict one.
fn is_strict(lists: &[u8]) -> Result<(), Unsafe> {
    let (length, rest) = lists.split_first_chunk().ok_or(Unsafe::Nonsense)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(LONGEST);
    let methods = rest.get(..length).ok_or(Unsafe::Nonsense)?;
    let strict = methods.split(|byte| *byte == b',').any(|method| method == STRICT);
    if strict { Ok(()) } else { Err(Unsafe::NotStrict) }
}

/// A disconnect that is read before there are keys.
pub(super) fn disconnect(why: Unsafe) -> Vec<u8> {
    let text = format!("postern: {why}");
    let mut payload = vec![DISCONNECT];
    payload.extend_from_slice(&NO_KEYS.to_be_bytes());
    for text in [text.as_str(), ""] {
        payload.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
        payload.extend_from_slice(text.as_bytes());
    }
    let least = 4 + 1 + payload.len() + 4;
    let padding = 4 + (BLOCK - least % BLOCK) % BLOCK;
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or(0);
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap_or(0));
    packet.extend_from_slice(&payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// A client's first packet, with these methods.
    fn first_packet(kind: u8, methods: &str) -> Vec<u8> {
        let mut payload = vec![kind];
        payload.extend([7; 16]);
        payload.extend(u32::try_from(methods.len()).unwrap().to_be_bytes());
        payload.extend(methods.as_bytes());
        payload.extend([0; 60]);
        let mut packet = u32::try_from(payload.len() + 5).unwrap().to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    fn client(methods: &str) -> Vec<u8> {
        [b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), first_packet(KEXINIT, methods)].concat()
    }

    #[rstest]
    #[case::strict("mlkem768x25519-sha256,kex-strict-c-v00@openssh.com", Ok(()))]
    #[case::alone("kex-strict-c-v00@openssh.com", Ok(()))]
    #[case::older("curve25519-sha256,ext-info-c", Err(Unsafe::NotStrict))]
    #[case::servers("curve25519-sha256,kex-strict-s-v00@openssh.com", Err(Unsafe::NotStrict))]
    #[case::likeness("xkex-strict-c-v00@openssh.com", Err(Unsafe::NotStrict))]
    #[case::nothing("", Err(Unsafe::NotStrict))]
    fn only_who_follows_the_strict_exchange_goes_on(
        #[case] methods: &str,
        #[case] expected: Result<(), Unsafe>,
    ) {
        let bytes = client(methods);
        assert_eq!(Preamble::default().pass(&bytes), expected);
        let mut slowly = Preamble::default();
        assert_eq!(bytes.iter().try_for_each(|byte| slowly.pass(&[*byte])), expected);
    }

    #[rstest]
    #[case::endless_name(vec![b'x'; LONGEST])]
    #[case::another_first([b"SSH-2.0-x\n".to_vec(), first_packet(2, "kex-strict-c-v00@openssh.com")].concat())]
    #[case::huge([&b"SSH-2.0-x\n"[..], &[0x7f, 0xff, 0xff, 0xff, 4, KEXINIT]].concat())]
    #[case::empty([&b"SSH-2.0-x\n"[..], &[0, 0, 0, 0, 4, KEXINIT]].concat())]
    fn nonsense_is_found_before_it_is_held(#[case] bytes: Vec<u8>) {
        assert_eq!(Preamble::default().pass(&bytes), Err(Unsafe::Nonsense));
    }

    #[test]
    fn what_follows_is_nobodys_business() {
        let mut preamble = Preamble::default();
        preamble.pass(&client("kex-strict-c-v00@openssh.com")).unwrap();
        assert_eq!(preamble.pass(&[0xff; 2 * LONGEST]), Ok(()));
        assert!(preamble.held.is_empty());
    }

    #[test]
    fn the_disconnect_is_a_packet() {
        for why in [Unsafe::Nonsense, Unsafe::NotStrict, Unsafe::Long] {
            let packet = disconnect(why);
            assert_eq!(packet.len() % BLOCK, 0);
            assert!((4..=12).contains(&packet[4]), "{}", packet[4]);
            let length = u32::from_be_bytes(*packet.first_chunk().unwrap());
            assert_eq!(usize::try_from(length).unwrap() + 4, packet.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hold_much(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..60),
        ) {
            let mut preamble = Preamble::default();
            for piece in pieces {
                if preamble.pass(&piece).is_err() {
                    break;
                }
                prop_assert!(preamble.is_bounded());
            }
        }
    }
}
