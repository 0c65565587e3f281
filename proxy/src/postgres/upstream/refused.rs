//! Why a target turned the gateway away: its own message, sanitized.
//!
//! SQLSTATE, message, detail and hint pass on, without what a client must not learn (addresses, the
//! password) and without what could drive its terminal. Where the target took no password, it never says
//! that `VALID UNTIL` has passed; so the hint does.

use std::net::IpAddr;

use policies::Target;
use secrecy::ExposeSecret;

use super::super::wire::{Fatal, HEADER, field};
use crate::core::credential::TargetCredential;

/// The longest text that passes on.
const LONGEST: usize = 1024;
const ELIDED: &str = "***";
/// What is shown where an error has no SQLSTATE: it comes from something that only looks like Postgres.
const NO_SQLSTATE: &str = "08006";

/// What the client reads, and the operator in the log.
pub(in crate::postgres) fn refusal(
    message: &[u8],
    target: &Target,
    credential: &TargetCredential,
) -> Fatal {
    let body = message.get(HEADER..).unwrap_or_default();
    let text = |kind| field(body, kind).map(|text| sanitize(text, target, credential));
    let sqlstate = text(b'C').filter(|code| {
        code.len() == 5
            && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    });
    let sqlstate = sqlstate.unwrap_or_else(|| NO_SQLSTATE.to_owned());
    let message = text(b'M').unwrap_or_else(|| "the target refused the connection".to_owned());
    let password = matches!(credential, TargetCredential::Password(_)) && sqlstate == "28P01";
    let hint = if password {
        "The target does not take the password that the gateway has for this login: it is wrong, or the \
         login's VALID UNTIL has passed. Ask who runs the gateway."
            .to_owned()
    } else {
        text(b'H').unwrap_or_default()
    };
    let fatal = Fatal::new(sqlstate, format!("target {}: {message}", target.name)).hint(hint);
    fatal.detail(text(b'D').unwrap_or_default())
}

fn sanitize(text: &[u8], target: &Target, credential: &TargetCredential) -> String {
    let text = String::from_utf8_lossy(text.get(..LONGEST).unwrap_or(text)).into_owned();
    let text = without(text, &target.host);
    let text = match credential {
        TargetCredential::Password(password) => without(text, password.expose_secret()),
        TargetCredential::Certificate { .. } | TargetCredential::SshKey { .. } => text,
    };
    without_addresses(&text)
}

fn without(text: String, secret: &str) -> String {
    if secret.is_empty() { text } else { text.replace(secret, ELIDED) }
}

/// Words that are IP addresses are elided.
fn without_addresses(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, '.' | ':');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        let (before, word) = rest.split_at(begin);
        let (word, after) =
            word.split_at(word.find(|letter| !is_part(letter)).unwrap_or(word.len()));
        out.push_str(before);
        let bare = word.trim_end_matches(['.', ':']);
        let port = bare.rsplit_once(':').map_or(bare, |(address, _)| address);
        let alone =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        let is_address = alone && [bare, port].iter().any(|word| word.parse::<IpAddr>().is_ok());
        out.push_str(if is_address { ELIDED } else { word });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use policies::Partition;

    use super::*;
    use crate::core::testing;

    fn refused_with(fields: &[u8], password: &str) -> Fatal {
        let message = [&b"E\0\0\0\0"[..], fields, b"\0"].concat();
        let credential = TargetCredential::Password(password.into());
        refusal(&message, &testing::target(Partition::Cut), &credential)
    }

    #[test]
    fn a_targets_message_passes_on_sanitized() {
        let fields = b"SFATAL\0C53300\0Mtoo many clients\0Dnone is free\0Hcome back\0Ffile.c\0";
        let fatal = refused_with(fields, "pw-canary");
        assert_eq!(fatal.sqlstate, "53300");
        assert_eq!(fatal.message, "target orders: too many clients");
        assert_eq!(fatal.detail.as_deref(), Some("none is free"));
        assert_eq!(fatal.hint.as_deref(), Some("come back"));
    }

    #[test]
    fn addresses_and_the_password_do_not() {
        let host = testing::target(Partition::Cut).host;
        let text = format!(
            "C28000\0Mno entry for host \"10.1.2.3\", user \"app\", {host}, [2001:db8::7]:5432, \
             10.1.2.4:5432. pw-canary at 12:30\0"
        );
        let fatal = refused_with(text.as_bytes(), "pw-canary");
        let expected = "no entry for host \"***\", user \"app\", ***, [***]:5432, *** *** at 12:30";
        assert!(fatal.message.ends_with(expected), "{}", fatal.message);
    }

    #[test]
    fn a_password_that_is_not_taken_may_have_expired() {
        let fatal = refused_with(
            b"C28P01\0Mpassword authentication failed for user \"app\"\0",
            "pw-canary",
        );
        assert_eq!(fatal.sqlstate, "28P01");
        assert!(fatal.hint.unwrap().contains("VALID UNTIL"));
    }

    #[test]
    fn an_error_without_a_sqlstate_gets_one() {
        for fields in [&b"Mgo away\0"[..], b"Cx\0Mgo away\0", b"C\x1b[2J\0Mgo away\0", b""] {
            assert_eq!(refused_with(fields, "pw-canary").sqlstate, NO_SQLSTATE);
        }
    }
}
