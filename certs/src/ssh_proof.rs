//! Proof that somebody holds the private half of an SSH key: a signature in OpenSSH's own format
//! (PROTOCOL.sshsig), as `ssh-keygen -Y sign` makes it.
//!
//! It counts for one key, one namespace and one message, which whoever asks for it chooses. A security
//! key says besides whether it was touched (PROTOCOL.u2f), without which its signature counts for
//! nothing, and whether it checked who touched it. RSA is not taken, with whatever digest.

use ssh_key::{Algorithm, LineEnding, PublicKey, SshSig};

/// The longest text that is read as a signature: many times that of the largest key that is taken.
const LONGEST: usize = 8 * 1024;
/// How many bytes a security key adds to what it signs: its flags, and a counter.
const TRAILER: usize = 5;
/// Somebody touched the key.
const PRESENT: u8 = 0x01;
/// The key checked who it was.
const VERIFIED: u8 = 0x04;

/// What a good signature says of whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHolder {
    /// Whether a security key checked a PIN, finger or face; none where the key is no security key.
    pub user_verified: Option<bool>,
    /// The signature, without anything that stood around it.
    pub signature: String,
}

/// Why a signature doesn't prove that somebody holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshProofError {
    /// It is no signature in OpenSSH's format.
    #[error(
        "this is no signature of OpenSSH's: send all that `ssh-keygen -Y sign` prints, from \
         `-----BEGIN SSH SIGNATURE-----` to the end"
    )]
    Malformed,
    /// Keys of this kind are not taken.
    #[error("keys of this kind are not taken: `ssh-keygen -t ed25519` makes one that is")]
    Kind,
    /// Another key signed.
    #[error("another key signed this: sign with the private half of the very key that you add")]
    OtherKey,
    /// It was made for something else.
    #[error(
        "this signature is for something else: sign with the namespace that you are told, after `-n`"
    )]
    OtherNamespace,
    /// It is over another text, or not by this key.
    #[error("this signature is not over the text that was asked for: begin again, and sign that")]
    Signature,
    /// Nobody touched the security key.
    #[error(
        "nobody touched the security key: make one that asks for it, without `no-touch-required`"
    )]
    NoTouch,
}

/// Whether keys of this kind may say who somebody is.
pub(crate) fn is_taken(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ed25519
            | Algorithm::Ecdsa { .. }
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
    )
}

/// Checks that whoever holds the private half of `line` signed the message, for this namespace.
pub fn check_ssh_proof(
    line: &str,
    namespace: &str,
    message: &[u8],
    armored: &str,
) -> Result<SshHolder, SshProofError> {
    let key = PublicKey::from_openssh(line).map_err(|_| SshProofError::Kind)?;
    if !is_taken(&key.algorithm()) {
        return Err(SshProofError::Kind);
    }
    let signed = read(armored)?;
    if signed.public_key() != key.key_data() {
        return Err(SshProofError::OtherKey);
    }
    if signed.namespace() != namespace {
        return Err(SshProofError::OtherNamespace);
    }
    if signed.algorithm() != key.algorithm() {
        return Err(SshProofError::Signature);
    }
    key.verify(namespace, message, &signed).map_err(|_| SshProofError::Signature)?;
    let signature = signed.to_pem(LineEnding::LF).map_err(|_| SshProofError::Malformed)?;
    Ok(SshHolder { user_verified: touched(&signed)?, signature })
}

fn read(armored: &str) -> Result<SshSig, SshProofError> {
    if armored.len() > LONGEST {
        return Err(SshProofError::Malformed);
    }
    // What was copied out of a terminal may have got other spaces and ends of lines.
    let lines: Vec<&str> = armored.trim().lines().map(str::trim).collect();
    let text = lines.join("\n") + "\n";
    let signed = SshSig::from_pem(text).map_err(|_| SshProofError::Malformed)?;
    if signed.version() == SshSig::VERSION { Ok(signed) } else { Err(SshProofError::Malformed) }
}

/// What a security key says of its holder, once its signature is known to be good.
fn touched(signed: &SshSig) -> Result<Option<bool>, SshProofError> {
    if !matches!(signed.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) {
        return Ok(None);
    }
    let trailer = signed.signature_bytes().last_chunk::<TRAILER>();
    let [flags, ..] = trailer.ok_or(SshProofError::Malformed)?;
    if flags & PRESENT == 0 {
        return Err(SshProofError::NoTouch);
    }
    Ok(Some(flags & VERIFIED != 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use sha2::{Digest, Sha256};
    use ssh_key::public::{KeyData, SkEd25519};
    use ssh_key::{EcdsaCurve, HashAlg, PrivateKey, Signature, SigningKey};

    use super::*;

    const SPACE: &str = "postern-key@gate.example.com";
    const MESSAGE: &[u8] = b"hi";

    /// What `ssh-keygen` of OpenSSH 9.2 makes.
    const OPENSSH: [(&str, &str); 2] = [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOzyxtXHw1fUl3E6CA4oZeKjI+PJ+bEN5PSV4r/WDkbH",
            "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAg7PLG1cfDV9SXcToIDihl4qMj48
n5sQ3k9JXiv9YORscAAAAccG9zdGVybi1rZXlAZ2F0ZS5leGFtcGxlLmNvbQAAAAAAAAAG
c2hhNTEyAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEBgpeTnn+eo6dgFEyX56ZopkT4R/64fs7
aJsdbdACLZDf302GWpfqo/Q+bxHzcSoHAE2DWoQansQxtFndw2r7cO
-----END SSH SIGNATURE-----
",
        ),
        (
            "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEfzNziz2Jz2tWeKLz2e1J+nAesjZs8u6v4wieQ5+a1SMrltz7xi98TTRzwNeSNCMTqibsbdYOfuu9qcvVRnxN0vwB4GeM7UhsM5Se/ZxV8BwCHgKo6zuAYuGULFrrPtJVcSsru52GlfoKOwl7fPjPyK/qe7HU2NNLHauGpd92NdpTAdg==",
            "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAAKwAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQAAAAhuaXN0cDUyMQAAAI
UEAR/M3OLPYnPa1Z4ovPZ7Un6cB6yNmzy7q/jCJ5Dn5rVIyuW3PvGL3xNNHPA15I0IxOqJ
uxt1g5+672py9VGfE3S/AHgZ4ztSGwzlJ79nFXwHAIeAqjrO4Bi4ZQsWus+0lVxKyu7nYa
V+go7CXt8+M/Ir+p7sdTY00sdq4al33Y12lMB2AAAAHHBvc3Rlcm4ta2V5QGdhdGUuZXhh
bXBsZS5jb20AAAAAAAAABnNoYTUxMgAAAKYAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQAAAI
sAAABBKIkV+8iGfn/83JK7Q6PwjSaoWlZPgDniqSNEm/duVp7a5sRasZPcEtMt0Y5DvkWw
42H7aizsruT7aZt7noWQCMAAAABCAZ8lp0Z0EaZGQyybJrGGWYvqG8JHDfBWSpRCmkSc/a
aCwuA86P/WT4GEJ3Pt3BLqMdcTQqiKWlMW0tNzqKuer3/8
-----END SSH SIGNATURE-----
",
        ),
    ];

    fn key(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::random(&mut rand::rng(), algorithm).unwrap()
    }

    fn line(data: &KeyData) -> String {
        PublicKey::from(data.clone()).to_openssh().unwrap()
    }

    fn armored(signed: &SshSig) -> String {
        signed.to_pem(LineEnding::LF).unwrap()
    }

    fn signed(key: &PrivateKey, space: &str, message: &[u8]) -> String {
        armored(&key.sign(space, HashAlg::Sha512, message).unwrap())
    }

    fn raw(key: &impl SigningKey, data: &[u8]) -> Vec<u8> {
        key.try_sign(data).unwrap().as_bytes().to_vec()
    }

    /// A security key, and what it signs with these flags: the second ones are those it says it had.
    fn security_key(flags: u8, said: u8) -> (String, String) {
        let inner = key(Algorithm::Ed25519);
        let KeyData::Ed25519(public) = inner.public_key().key_data() else { panic!("Ed25519") };
        let data = KeyData::SkEd25519(SkEd25519::new(*public, "ssh:"));
        let whole = SshSig::signed_data(SPACE, HashAlg::Sha512, MESSAGE).unwrap();
        let (application, whole) = (Sha256::digest("ssh:"), Sha256::digest(whole));
        let bytes = [&application[..], &[flags, 0, 0, 0, 7], &whole[..]].concat();
        let all = [&raw(&inner, &bytes)[..], &[said, 0, 0, 0, 7]].concat();
        let signature = Signature::new(Algorithm::SkEd25519, all).unwrap();
        let sig = SshSig::new(data.clone(), SPACE, HashAlg::Sha512, signature).unwrap();
        (line(&data), armored(&sig))
    }

    #[test]
    fn what_openssh_signs_is_taken_however_it_was_copied() {
        for (line, text) in OPENSSH {
            let holder = check_ssh_proof(line, SPACE, MESSAGE, text).unwrap();
            assert_eq!(holder.user_verified, None);
            assert!(check_ssh_proof(line, SPACE, MESSAGE, &holder.signature).is_ok());
            for copied in [
                text.replace('\n', "\r\n"),
                text.replace('\n', "\n    "),
                format!("\n\n  {text}\n\n"),
                text.trim_end().to_owned(),
            ] {
                let again = check_ssh_proof(line, SPACE, MESSAGE, &copied).unwrap();
                assert_eq!(again.signature, holder.signature, "{copied}");
            }
        }
    }

    #[rstest]
    #[case::ed25519(Algorithm::Ed25519)]
    #[case::p256(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })]
    #[case::p384(Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 })]
    #[case::p521(Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 })]
    fn a_signature_counts_for_its_own_key_namespace_and_message(#[case] algorithm: Algorithm) {
        let (own, other) = (key(algorithm.clone()), key(algorithm));
        let (own_line, other_line) =
            (line(own.public_key().key_data()), line(other.public_key().key_data()));
        let good = signed(&own, SPACE, MESSAGE);
        let check = |line: &str, text: &str| check_ssh_proof(line, SPACE, MESSAGE, text);
        assert!(check(&own_line, &good).is_ok());
        assert_eq!(check(&other_line, &good), Err(SshProofError::OtherKey));
        let for_git = signed(&own, "git", MESSAGE);
        assert_eq!(check(&own_line, &for_git), Err(SshProofError::OtherNamespace));
        let elsewhere = signed(&own, "postern-key@other.example.com", MESSAGE);
        assert_eq!(check(&own_line, &elsewhere), Err(SshProofError::OtherNamespace));
        for message in [&b"hi "[..], b"", b"Hi"] {
            let over_another = signed(&own, SPACE, message);
            assert_eq!(check(&own_line, &over_another), Err(SshProofError::Signature));
        }
    }

    #[test]
    fn a_signature_that_only_claims_to_be_the_keys_is_none() {
        let (own, other) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
        let data = own.public_key().key_data();
        let whole = SshSig::signed_data(SPACE, HashAlg::Sha512, MESSAGE).unwrap();
        let claimed = Signature::new(Algorithm::Ed25519, raw(&other, &whole)).unwrap();
        let forged = SshSig::new(data.clone(), SPACE, HashAlg::Sha512, claimed).unwrap();
        let refused = check_ssh_proof(&line(data), SPACE, MESSAGE, &armored(&forged));
        assert_eq!(refused, Err(SshProofError::Signature));
    }

    #[rstest]
    #[case::sha1(None)]
    #[case::sha256(Some(HashAlg::Sha256))]
    fn rsa_is_not_taken_with_whatever_digest(#[case] hash: Option<HashAlg>) {
        let own = key(Algorithm::Ed25519);
        let data = own.public_key().key_data();
        let whole = SshSig::signed_data(SPACE, HashAlg::Sha512, MESSAGE).unwrap();
        let other_kind = Signature::new(Algorithm::Rsa { hash }, raw(&own, &whole)).unwrap();
        let sig = SshSig::new(data.clone(), SPACE, HashAlg::Sha512, other_kind).unwrap();
        let refused = check_ssh_proof(&line(data), SPACE, MESSAGE, &armored(&sig));
        assert_eq!(refused, Err(SshProofError::Signature));
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAgCB";
        let refused = check_ssh_proof(rsa, SPACE, MESSAGE, &armored(&sig));
        assert_eq!(refused, Err(SshProofError::Kind));
    }

    #[rstest]
    #[case::nobody_there(0, Err(SshProofError::NoTouch))]
    #[case::verified_but_not_touched(VERIFIED, Err(SshProofError::NoTouch))]
    #[case::touched(PRESENT, Ok(Some(false)))]
    #[case::touched_and_verified(PRESENT | VERIFIED, Ok(Some(true)))]
    fn a_security_key_has_to_be_touched(
        #[case] flags: u8,
        #[case] expected: Result<Option<bool>, SshProofError>,
    ) {
        let (line, text) = security_key(flags, flags);
        let holder = check_ssh_proof(&line, SPACE, MESSAGE, &text);
        assert_eq!(holder.map(|holder| holder.user_verified), expected);
    }

    #[test]
    fn a_security_key_says_no_more_than_it_signed() {
        for (flags, said) in [(0, PRESENT), (PRESENT, PRESENT | VERIFIED)] {
            let (line, text) = security_key(flags, said);
            let refused = check_ssh_proof(&line, SPACE, MESSAGE, &text);
            assert_eq!(refused, Err(SshProofError::Signature));
        }
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let (line, good) = OPENSSH[0];
        let body = good.replace("SSH SIGNATURE", "OPENSSH PRIVATE KEY");
        let cut = good.replace("U1NIU0lH", "U1NIU0lI");
        let twice = format!("{good}{good}");
        let long = format!("{good}{}", "\n".repeat(LONGEST));
        for bad in ["", "none", &good[..200], &body, &cut, &twice, &long] {
            let refused = check_ssh_proof(line, SPACE, MESSAGE, bad);
            assert_eq!(refused, Err(SshProofError::Malformed), "{bad:.80}");
        }
        let refused = check_ssh_proof("ssh-ed25519", SPACE, MESSAGE, good);
        assert_eq!(refused, Err(SshProofError::Kind));
    }

    proptest! {
        #[test]
        fn no_other_bytes_are_a_good_signature(at in 0_usize..280, to in any::<u8>()) {
            let (line, good) = OPENSSH[0];
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = to;
            if let Ok(text) = String::from_utf8(bytes) {
                let holder = check_ssh_proof(line, SPACE, MESSAGE, &text);
                // An end of a line is no part of what was signed.
                let same = holder.is_ok_and(|holder| holder.signature == good);
                prop_assert!(!same || text.split_whitespace().eq(good.split_whitespace()));
            }
        }
    }
}
