//! Why a command got no answer, or a no.

use std::io;

use serde::Deserialize;
use thiserror::Error;

use super::HomeError;
use crate::terminal::plain;

/// Why a command can't go on.
#[derive(Debug, Error)]
pub enum ClientError {
    /// What a sign-in left can't be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The address isn't safe for secrets.
    #[error("`{0}` would show your sign-in to everybody on the way: use an https address")]
    Insecure(String),
    /// The saved authority can't be read.
    #[error("the certificate of the gateway's authority can't be read")]
    Authority(#[source] reqwest::Error),
    /// The client can't be set up.
    #[error("the HTTP client can't be set up")]
    Setup(#[source] reqwest::Error),
    /// Nothing answers there, or not in a way that can be trusted.
    #[error("`{url}` can't be reached")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The gateway says no.
    #[error("{0}")]
    Problem(Problem),
    /// The answer isn't what this version understands.
    #[error("the gateway sent {0}: is it of another version?")]
    Strange(&'static str),
    /// A key can't be made.
    #[error(transparent)]
    Key(#[from] certs::CsrError),
    /// The person said that this terminal isn't theirs.
    #[error("the code was answered with a no")]
    Disowned,
    /// Nobody typed the code in time.
    #[error("nobody typed the code in time")]
    Unanswered,
    /// A key for SSH can't be made.
    #[error("can't make a key for SSH")]
    SshKey(#[from] certs::SshError),
    /// A file can't be written.
    #[error("the file can't be written")]
    Write(#[source] io::Error),
}

/// A refusal as the gateway words it (RFC 9457, or RFC 6749 where a token is exchanged).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Error)]
#[error("{}", self.message())]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What kind it is.
    #[serde(default)]
    pub title: String,
    /// What is wrong with this very request.
    #[serde(default, alias = "error_description")]
    pub detail: String,
    /// An error code of OAuth, where the endpoint is one of its kind.
    #[serde(default)]
    pub error: Option<String>,
}

impl Problem {
    /// The problem of this answer. The status is the one that HTTP says.
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        let read = serde_json::from_slice::<Self>(body).ok();
        let title = format!("HTTP status {status}");
        let bare = Self { status, title, detail: String::new(), error: None };
        read.map_or(bare, |problem| problem.titled(status))
    }

    /// An answer of OAuth has no title: its code stands for one.
    fn titled(self, status: u16) -> Self {
        let code = self.error.clone().unwrap_or_default();
        let title = if self.title.is_empty() { code } else { self.title };
        Self { status, title, ..self }
    }

    /// The detail says it all where we did something wrong; where the gateway did, its title says so.
    fn message(&self) -> String {
        let (title, detail) = (plain(&self.title), plain(&self.detail));
        match (title.is_empty(), detail.is_empty()) {
            (_, true) => title,
            (true, false) => detail,
            (false, false) if self.status < 500 && self.error.is_none() => detail,
            (false, false) => format!("{title}: {detail}"),
        }
    }
}

impl ClientError {
    /// What to do about it, where there is something.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Home(HomeError::NotSignedIn) => Some("run `postern login URL`"),
            Self::Problem(problem) => match problem.status {
                401 => Some("sign in again: `postern login`"),
                429 => Some("wait a minute and try again"),
                503 | 504 => Some("try again; if it lasts, `postern doctor` may say why"),
                _ => None,
            },
            Self::Unreachable { source, .. } if is_untrusted(source) => Some(
                "the gateway's certificate isn't trusted here: get `authority/ca.pem` from the \
                 gateway's state folder and name it with `postern login --ca FILE`",
            ),
            Self::Unreachable { .. } => Some("is the gateway up, and is this its address?"),
            Self::Disowned | Self::Unanswered => Some("run `postern login` again for a new code"),
            Self::Home(_)
            | Self::Insecure(_)
            | Self::Authority(_)
            | Self::Setup(_)
            | Self::Strange(_)
            | Self::Key(_)
            | Self::SshKey(_)
            | Self::Write(_) => None,
        }
    }
}

/// Whether a certificate is what stood in the way.
fn is_untrusted(error: &reqwest::Error) -> bool {
    let source: &dyn std::error::Error = error;
    let mut causes = std::iter::successors(Some(source), |error| error.source());
    causes.any(|cause| cause.to_string().contains("invalid peer certificate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_signed_out_meanwhile_is_told_how_to_sign_in_again() {
        let body = br#"{"title":"Sign in first","detail":"not signed in"}"#;
        let error = ClientError::Problem(Problem::read(401, body));
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("postern login")));
    }

    #[test]
    fn a_problem_says_what_is_wrong_once_and_can_not_act_on_a_terminal() {
        let body = br#"{"title":"You may not do this","status":200,"detail":"\u001b[2Jno"}"#;
        let problem = Problem::read(403, body);
        assert_eq!(problem.status, 403);
        assert_eq!(problem.to_string(), "\\u{1b}[2Jno");
        let body = br#"{"title":"Something broke","detail":"it is incident 7"}"#;
        assert_eq!(Problem::read(500, body).to_string(), "Something broke: it is incident 7");
        let body = br#"{"error":"invalid_grant","error_description":"the token has expired"}"#;
        assert_eq!(Problem::read(400, body).to_string(), "invalid_grant: the token has expired");
        assert_eq!(Problem::read(502, b"<html>").to_string(), "HTTP status 502");
    }
}
