//! Why a proof isn't taken. Each reason has a word of its own in the audit log.

use certs::SshProofError;
use thiserror::Error;
use webauthn_rs::prelude::WebauthnError;

use crate::model::error_code::ErrorCode;

/// Why a touch or a code proves nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unproven {
    /// There never was such a challenge, or it is long over.
    #[error("this question is too old: open the page again, or run the command again")]
    Unknown,
    /// The challenge was for somebody else.
    #[error("this was asked of another person: open the page again, or run the command again")]
    AnotherPerson,
    /// The challenge was for another login session.
    #[error(
        "this was asked in another login session: open the page again, or run the command again"
    )]
    AnotherSession,
    /// The challenge was answered before.
    #[error("this was answered before: open the page again, or run the command again")]
    Replayed,
    /// The answer came too late.
    #[error("this took too long: begin again, and answer within five minutes")]
    Expired,
    /// What was proven is for something else.
    #[error("this proof is for something else: open the page again")]
    WrongPurpose,
    /// What was seen isn't what is to be done.
    #[error("what you confirmed has changed meanwhile: open the page again and read it again")]
    WrongStatement,
    /// The assertion isn't an answer to this challenge.
    #[error("the passkey answered another question: open the page again")]
    WrongChallenge,
    /// The browser was on another site.
    #[error("the passkey was used on another site than this one: somebody may be phishing")]
    WrongOrigin,
    /// The credential belongs to another relying party.
    #[error("this passkey belongs to another site")]
    WrongParty,
    /// The authenticator knows nobody's finger, face or PIN.
    #[error("the passkey did not check that it is you: use one with a PIN, finger or face")]
    UvMissing,
    /// The authenticator's counter went back: there may be a copy of it.
    #[error("this passkey may have been copied: remove it and tell your administrators")]
    CounterRegressed,
    /// Nobody registered it here.
    #[error("this passkey is not known here: use another one")]
    UnknownCredential,
    /// It is somebody's already.
    #[error("this passkey is registered already: use another authenticator")]
    Known,
    /// The signature isn't the key's.
    #[error("the passkey's signature is not good")]
    WrongSignature,
    /// Nobody made this by the rules.
    #[error("the proof is missing or malformed: passkeys need a browser that runs scripts")]
    Malformed,
    /// The code isn't the present one, or was used before.
    #[error("this code is wrong or was used before: wait for the next one")]
    WrongCode,
    /// A code doesn't do for this.
    #[error("this takes a passkey: a code of an app is too weak for it")]
    TooWeak,
    /// The maker of the authenticator isn't on the list.
    #[error("this kind of authenticator is not accepted here: ask which ones are")]
    NotListed,
    /// Nothing says that the private half of an SSH key is theirs.
    #[error(transparent)]
    SshKey(SshProofError),
}

impl Unproven {
    /// Its name of fixed wording, as the audit log has it.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UnknownChallenge,
            Self::AnotherPerson => ErrorCode::AnotherPerson,
            Self::AnotherSession => ErrorCode::AnotherSession,
            Self::Replayed => ErrorCode::Replayed,
            Self::Expired => ErrorCode::Expired,
            Self::WrongPurpose => ErrorCode::WrongPurpose,
            Self::WrongStatement => ErrorCode::WrongStatement,
            Self::WrongChallenge => ErrorCode::WrongChallenge,
            Self::WrongOrigin => ErrorCode::WrongOrigin,
            Self::WrongParty => ErrorCode::WrongParty,
            Self::UvMissing => ErrorCode::UvMissing,
            Self::CounterRegressed => ErrorCode::CounterRegressed,
            Self::UnknownCredential => ErrorCode::UnknownCredential,
            Self::Known => ErrorCode::KnownAlready,
            Self::WrongSignature => ErrorCode::WrongSignature,
            Self::Malformed => ErrorCode::Malformed,
            Self::WrongCode => ErrorCode::WrongCode,
            Self::TooWeak => ErrorCode::TooWeak,
            Self::NotListed => ErrorCode::NotListed,
            Self::SshKey(why) => ssh_code(why),
        }
    }
}

fn ssh_code(why: SshProofError) -> ErrorCode {
    match why {
        SshProofError::Malformed => ErrorCode::Malformed,
        SshProofError::Kind => ErrorCode::WrongKind,
        SshProofError::OtherKey => ErrorCode::AnotherKey,
        SshProofError::OtherNamespace => ErrorCode::WrongNamespace,
        SshProofError::Signature => ErrorCode::WrongSignature,
        SshProofError::NoTouch => ErrorCode::NoTouch,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library has sixty kinds of malformed")]
impl From<WebauthnError> for Unproven {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::MismatchedChallenge => Self::WrongChallenge,
            WebauthnError::InvalidRPOrigin | WebauthnError::CredentialCrossOrigin => {
                Self::WrongOrigin
            }
            WebauthnError::InvalidRPIDHash => Self::WrongParty,
            WebauthnError::UserNotVerified | WebauthnError::UserNotPresent => Self::UvMissing,
            WebauthnError::CredentialPossibleCompromise => Self::CounterRegressed,
            WebauthnError::CredentialNotFound => Self::UnknownCredential,
            WebauthnError::CredentialAlreadyExists => Self::Known,
            WebauthnError::AuthenticationFailure => Self::WrongSignature,
            WebauthnError::AttestationNotSupported
            | WebauthnError::AttestationNotVerifiable
            | WebauthnError::AttestationUntrustedAaguid
            | WebauthnError::AttestationChainNotTrusted(_)
            | WebauthnError::AttestationFormatMissingAaguid
            | WebauthnError::CredentialMayNotBeHardwareBound => Self::NotListed,
            _ => Self::Malformed,
        }
    }
}
