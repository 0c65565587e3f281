//! The names inside a person's certificate: two SAN URIs, `postern:principal/<id>` and
//! `postern:device/<id>`, the id percent-encoded.
//!
//! There is one spelling for each id. What decodes to an id but isn't spelled as we would spell it
//! is refused, so that no two certificates can name the same person in different bytes.

use std::fmt::Write;

pub(crate) const PRINCIPAL: &str = "postern:principal/";
pub(crate) const DEVICE: &str = "postern:device/";
/// Far above any id in use; keeps a certificate from being a place to store data.
const MAX_ID_BYTES: usize = 256;

/// Why an id can't stand in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no id.
    #[error("the id is empty")]
    Empty,
    /// The id is longer than 256 bytes.
    #[error("the id is longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    /// The id holds a NUL or another control character.
    #[error("the id holds a control character")]
    ControlCharacter,
    /// The id isn't spelled in the one way that this authority spells it.
    #[error("the id is not in its canonical percent-encoding")]
    NotCanonical,
}

/// Spells an id: RFC 3986 unreserved characters stand for themselves, every other byte is `%XX`.
pub(crate) fn encode(id: &str) -> Result<String, NameError> {
    check(id)?;
    Ok(spell(id))
}

/// Reads an id back, from its canonical spelling only.
pub(crate) fn decode(spelled: &str) -> Result<String, NameError> {
    if spelled.len() > 3 * MAX_ID_BYTES {
        return Err(NameError::TooLong);
    }
    let bytes = unescape(spelled).ok_or(NameError::NotCanonical)?;
    let id = String::from_utf8(bytes).map_err(|_| NameError::NotCanonical)?;
    check(&id)?;
    if spell(&id) == spelled { Ok(id) } else { Err(NameError::NotCanonical) }
}

fn check(id: &str) -> Result<(), NameError> {
    if id.is_empty() {
        return Err(NameError::Empty);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(NameError::TooLong);
    }
    if id.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

fn spell(id: &str) -> String {
    id.bytes().fold(String::with_capacity(id.len()), |mut spelled, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                spelled.push(char::from(byte));
            }
            // Writing to a string never fails.
            _ => drop(write!(spelled, "%{byte:02X}")),
        }
        spelled
    })
}

fn unescape(spelled: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(spelled.len());
    let mut rest = spelled.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            plain => plain,
        });
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("alice", "alice")]
    #[case::mail("alice@example.com", "alice%40example.com")]
    #[case::path("a/b", "a%2Fb")]
    #[case::percent("a%2Fb", "a%252Fb")]
    #[case::space("a b", "a%20b")]
    #[case::unicode("zoë", "zo%C3%AB")]
    fn an_id_has_one_spelling(#[case] id: &str, #[case] spelled: &str) {
        assert_eq!(encode(id).unwrap(), spelled);
        assert_eq!(decode(spelled).unwrap(), id);
    }

    #[rstest]
    #[case::empty("", NameError::Empty)]
    #[case::encoded_nul("alice%00", NameError::ControlCharacter)]
    #[case::raw_nul("alice\0", NameError::ControlCharacter)]
    #[case::newline("alice%0Aadmin", NameError::ControlCharacter)]
    #[case::needless_escape("%61lice", NameError::NotCanonical)]
    #[case::lower_case_escape("a%2fb", NameError::NotCanonical)]
    #[case::raw_slash("a/b", NameError::NotCanonical)]
    #[case::raw_unicode("zoë", NameError::NotCanonical)]
    #[case::cut_escape("alice%4", NameError::NotCanonical)]
    #[case::wrong_escape("alice%zz", NameError::NotCanonical)]
    #[case::signed_escape("alice%+4", NameError::NotCanonical)]
    #[case::overlong_utf8("%C0%80", NameError::NotCanonical)]
    fn a_second_spelling_is_refused(#[case] spelled: &str, #[case] error: NameError) {
        assert_eq!(decode(spelled), Err(error));
    }

    proptest! {
        #[test]
        fn every_id_that_can_be_spelled_reads_back(id in "\\PC{1,60}") {
            prop_assert_eq!(decode(&encode(&id).unwrap()).unwrap(), id);
        }

        #[test]
        fn whatever_reads_is_spelled_the_same_way(spelled in "[a-c%0-9A-Fa-f/]{0,12}") {
            if let Ok(id) = decode(&spelled) {
                prop_assert_eq!(encode(&id).unwrap(), spelled);
            }
        }
    }
}
