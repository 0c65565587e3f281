//! Sign-in challenges that nothing is stored for: the nonce carries its time and our tag.

use aws_lc_rs::hmac;
use policies::Timestamp;

/// Eight bytes of time and sixteen that are drawn.
const HEAD: usize = 24;

/// Makes sign-in challenges, and knows them again.
pub(crate) struct Nonces(hmac::Key);

impl Nonces {
    /// Challenges of a former run of the program are not known again.
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()))
    }

    pub(super) fn make(&self, now: Timestamp) -> Vec<u8> {
        let drawn: [u8; HEAD - 8] = rand::random();
        let head = [&now.millis().to_be_bytes()[..], &drawn].concat();
        let tag = hmac::sign(&self.0, &head);
        [&head, tag.as_ref()].concat()
    }

    /// When it was made, if it was made here.
    pub(super) fn read(&self, nonce: &[u8]) -> Option<Timestamp> {
        let (head, tag) = nonce.split_at_checked(HEAD)?;
        hmac::verify(&self.0, head, tag).ok()?;
        let (time, _) = head.split_first_chunk()?;
        Some(Timestamp::from_millis(i64::from_be_bytes(*time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_known_again_by_the_one_who_made_it() {
        let (ours, theirs) = (Nonces::new(), Nonces::new());
        let now = Timestamp::from_millis(1_800_000_000_000);
        let nonce = ours.make(now);
        assert_eq!((ours.read(&nonce), theirs.read(&nonce)), (Some(now), None));
        let mut later = nonce.clone();
        later[7] ^= 1;
        for bad in [&later[..], &nonce[..HEAD], &nonce[1..], &[]] {
            assert_eq!(ours.read(bad), None);
        }
    }
}
