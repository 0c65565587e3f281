//! Fresh ids, codes and secrets, and the digests under which secrets are kept.
//!
//! An id names a thing and is no secret. A code is short enough to type, and lives behind rate
//! limits. A secret has 256 bits, so that a plain SHA-256 of it is safe to store.

use policies::NameError;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use thiserror::Error;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Without I, L, O and U, which are misread or misspell words.
const TYPED: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 52;
const CODE_LENGTH: usize = 8;

/// A prefix that gives no id.
#[derive(Debug, Error)]
#[error("`{prefix}` begins no id")]
pub struct IdError {
    prefix: String,
    source: NameError,
}

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// A fresh id with this prefix, such as `rq-` and twelve letters and digits.
pub(crate) fn fresh<T>(prefix: &str) -> Result<T, IdError>
where
    T: TryFrom<String, Error = NameError>,
{
    let id = fresh_text(prefix).try_into();
    id.map_err(|source| IdError { prefix: prefix.to_owned(), source })
}

/// The same as text.
pub(crate) fn fresh_text(prefix: &str) -> String {
    format!("{prefix}-{}", spell::<ID_LENGTH>(BASE32))
}

/// A fresh secret behind a prefix.
pub(crate) fn fresh_secret(prefix: &str) -> SecretString {
    format!("{prefix}{}", spell::<SECRET_LENGTH>(BASE32)).into()
}

/// Whether a text has the form of such a secret.
pub(crate) fn is_secret(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == SECRET_LENGTH && rest.bytes().all(|byte| BASE32.contains(&byte))
    })
}

/// A fresh code to type, such as `KXQT-7M4P`.
pub(crate) fn fresh_code() -> String {
    let mut code = spell::<CODE_LENGTH>(TYPED);
    code.insert(CODE_LENGTH / 2, '-');
    code
}

/// The code that somebody meant: without regard to case, dashes, spaces and look-alikes.
pub(crate) fn read_code(typed: &str) -> Option<String> {
    let letters = typed.chars().filter(|letter| !matches!(letter, '-' | ' '));
    let mut code = String::with_capacity(CODE_LENGTH + 1);
    for letter in letters {
        let meant = match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let known = u8::try_from(meant).is_ok_and(|byte| TYPED.contains(&byte));
        if !known || code.len() > CODE_LENGTH {
            return None;
        }
        if code.len() == CODE_LENGTH / 2 {
            code.push('-');
        }
        code.push(meant);
    }
    (code.len() == CODE_LENGTH + 1).then_some(code)
}

/// The digest of a secret.
pub(crate) fn hash(secret: &SecretString) -> Hash {
    Sha256::digest(secret.expose_secret().as_bytes()).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spell<const N: usize>(alphabet: &[u8; 32]) -> String {
    let random: [u8; N] = rand::random();
    let letter = |byte: u8| alphabet.get(usize::from(byte & 31)).copied().unwrap_or(b'a');
    random.into_iter().map(|byte| char::from(letter(byte))).collect()
}

#[cfg(test)]
mod tests {
    use policies::RequestId;

    use super::*;

    #[test]
    fn a_fresh_id_is_one() {
        let id: RequestId = fresh("rq").unwrap();
        assert_eq!(id.as_str().len(), 15, "{id}");
        assert_ne!(id, fresh::<RequestId>("rq").unwrap());
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = fresh_code();
        let sloppy = format!(" {} ", code.to_lowercase().replace('-', ""));
        assert_eq!(read_code(&sloppy), Some(code.clone()));
        assert_eq!(read_code("oil0-0000"), Some("0110-0000".into()));
        for bad in ["", "KXQT", "KXQT-7M4P9", "KXQT-7M4U", "KXQT-7M4é", &code.repeat(2)] {
            assert_eq!(read_code(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_cannot_be_printed_and_has_its_form() {
        let secret = fresh_secret("psl_");
        assert!(is_secret(secret.expose_secret(), "psl_"));
        assert!(!format!("{secret:?}").contains(secret.expose_secret()));
        assert!(!is_secret("psl_short", "psl_"));
    }
}
