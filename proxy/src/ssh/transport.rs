//! What connections of SSH use, towards clients and towards targets: algorithms, and when a silent side is gone.

use std::borrow::Cow;
use std::time::Duration;

use russh::{Limits, Preferred, SshId, cipher, compression, kex, mac};
use ssh_key::Algorithm;

/// Keys are exchanged again after so many bytes in one direction, and after so much time.
const REKEY: (usize, Duration) = (1 << 30, Duration::from_secs(3_600));
/// A side that sends nothing for so long is asked whether it is still there, and is gone when so many
/// questions had no answer.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(30);
pub(super) const MOST_SILENT: usize = 4;

/// What either side learns of this program: no version, which would only help to attack it.
pub(super) fn version() -> SshId {
    SshId::Standard(Cow::Borrowed("SSH-2.0-Postern"))
}

/// When keys are exchanged again.
pub(super) fn rekey() -> Limits {
    Limits::new(REKEY.0, REKEY.0, REKEY.1)
}

/// Clients choose by their own order, and OpenSSH's has counter mode before what seals and encrypts in one:
/// they are offered that alone.
pub(super) fn towards_clients() -> Preferred {
    const CIPHERS: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM];
    Preferred { cipher: Cow::Borrowed(CIPHERS), ..preferred() }
}

/// Modern algorithms alone, and among methods of key exchange first the one that a quantum computer
/// can't undo later. Nothing is compressed: it tells of what is encrypted by its length.
pub(super) fn preferred() -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const CIPHERS: &[cipher::Name] =
        &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::AES_256_CTR];
    const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Borrowed(&[
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: ssh_key::EcdsaCurve::NistP256 },
        ]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}
