//! The codes of errors: names of fixed wording that programs and the audit log go by.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($code:ident = $name:literal, $status:literal, $meaning:literal, $remedy:literal;)+) => {
        /// The name of an error, which stays as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(
                #[doc = $meaning]
                $code,
            )+
        }

        impl ErrorCode {
            /// All of them, by their names.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// As it is written.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// The status of an HTTP answer with it.
            #[must_use]
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$code => $status,)+
                }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => $meaning,)+
                }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$code => $remedy,)+
                }
            }
        }
    };
}

codes! {
    AnotherKey = "another-key", 403, "The SSH proof was made with another key.",
        "Sign with the key that you register.";
    AnotherPerson = "another-person", 403, "The challenge was for another person.",
        "Open the page again, or run the command again.";
    AnotherSession = "another-session", 403, "The challenge was for another login session.",
        "Open the page again, or run the command again.";
    Broken = "broken", 500, "The gateway broke the work off.",
        "Try again; the log has the cause.";
    Busy = "busy", 503, "Too many connections wait for people.", "Try again later.";
    Conflict = "conflict", 409, "The thing is not, or no longer, in a state for it.",
        "Look at it again; the message says what it is.";
    CounterRegressed = "counter-regressed", 403, "The passkey may have been copied.",
        "Remove it, and report this to your administrators.";
    Disabled = "disabled", 403, "The person is disabled.", "Ask an admin why.";
    Disbelieved = "disbelieved", 401, "The signature of another system's message is not good.",
        "Check the shared secret and the clock of the sender.";
    EnrolFirst = "enrol-first", 403, "The sign-in may only register a passkey.",
        "Register a passkey at `/keys`.";
    Expired = "expired", 403, "The answer came too late.",
        "Begin again, and answer within five minutes.";
    Forbidden = "forbidden", 403, "The person may not do this.",
        "The message says who may.";
    Invalid = "invalid", 400, "The request makes no sense.",
        "Correct what the message names.";
    Issue = "issue", 500, "A certificate could not be issued.",
        "The log has the cause.";
    IssuerUnavailable = "issuer-unavailable", 503, "The identity provider can't be asked.",
        "Try again in a minute; `postern doctor` checks the provider.";
    KnownAlready = "known-already", 403, "The passkey is registered already.",
        "Use another authenticator.";
    Locked = "locked", 403, "A lock matches the person, device, credential, login or target.",
        "The message has the lock's reason; an admin lifts it.";
    Malformed = "malformed", 403, "The proof is missing or malformed.",
        "Use a browser that runs scripts, or OpenSSH's `ssh-keygen -Y sign`.";
    NoGrant = "no-grant", 409, "There is no live grant, and this takes approval.",
        "Request access, and connect again when it is approved.";
    NoResource = "no-resource", 404, "The target has no such login or database.",
        "`postern ls` lists what there is.";
    NoTarget = "no-target", 404, "There is no such target.", "`postern ls` lists what there is.";
    NoTouch = "no-touch", 403, "The security key was not touched for the SSH proof.",
        "Sign again, and touch the key.";
    NotCovered = "not-covered", 409, "The rules now ask for more than was given.",
        "Request access again.";
    NotFound = "not-found", 404, "There is no such thing, or the person may not see it.",
        "Check the name.";
    NotListed = "not-listed", 403, "This kind of authenticator is not accepted here.",
        "Ask an admin which ones are.";
    NotPermitted = "not-permitted", 403, "No rule permits it, or a rule forbids it.",
        "`postern explain` says why.";
    RateLimited = "rate-limited", 429, "There were too many tries or requests.",
        "Wait a minute.";
    ReasonNeeded = "reason-needed", 400, "The rules want a reason.", "Give one.";
    Replayed = "replayed", 403, "The challenge was answered before.",
        "Open the page again, or run the command again.";
    StepUpNeeded = "step-up-needed", 403, "It takes a fresh step-up.",
        "Open the URL of the answer, and confirm with your passkey.";
    StepUpUnfit = "step-up-unfit", 403, "The step-up that was given doesn't serve here.",
        "Open the page again, and confirm with your passkey.";
    Store = "store", 503, "The store can't be read.",
        "The log has the cause; see [Operate a gateway](../operations.md).";
    TicketNeeded = "ticket-needed", 400, "The rules want a ticket.", "Name one.";
    TooWeak = "too-weak", 403, "A code of an app is too weak for this.", "Use a passkey.";
    Unauthenticated = "unauthenticated", 401, "Nobody is signed in, or the proof is no longer good.",
        "Sign in: `postern login`.";
    UnknownChallenge = "unknown-challenge", 403, "There is no such challenge, or it is long over.",
        "Open the page again, or run the command again.";
    UnknownCredential = "unknown-credential", 403, "The passkey is not registered here.",
        "Use another one.";
    UnknownPerson = "unknown-person", 403, "No person of this name is known here.",
        "Sign in once, or ask an admin.";
    Unwritable = "unwritable", 503, "The store can't be written, so that no new access begins.",
        "Free space on the disk: [What happens when the disk is full](../how-to/full-disk.md).";
    UvMissing = "uv-missing", 403, "The authenticator did not verify the person.",
        "Use one with a PIN, finger or face.";
    Vault = "vault", 500, "A stored secret can't be opened.",
        "Check `vault.key`; the log has the cause.";
    WorkloadStepUp = "workload-step-up", 403, "The rules want a step-up, which a workload can't give.",
        "Change the rule, or let a person do it.";
    WrongChallenge = "wrong-challenge", 403, "The passkey answered another challenge.",
        "Open the page again.";
    WrongCode = "wrong-code", 403, "The code is wrong, or was used before.",
        "Wait for the next one.";
    WrongKind = "wrong-kind", 403, "SSH keys of this kind are not taken.",
        "The message names the kinds.";
    WrongNamespace = "wrong-namespace", 403, "The SSH proof was made for something else.",
        "Sign with the namespace of the command.";
    WrongOrigin = "wrong-origin", 403, "The passkey was used on another site.",
        "Check the address: somebody may be phishing.";
    WrongParty = "wrong-party", 403, "The passkey belongs to another site.", "Use another one.";
    WrongPurpose = "wrong-purpose", 403, "The proof is for something else.",
        "Open the page again.";
    WrongSignature = "wrong-signature", 403, "The signature is not good.", "Try again.";
    WrongStatement = "wrong-statement", 403, "What was confirmed has changed meanwhile.",
        "Open the page again, and read it again.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl PartialEq<&str> for ErrorCode {
    fn eq(&self, name: &&str) -> bool {
        self.name() == *name
    }
}
